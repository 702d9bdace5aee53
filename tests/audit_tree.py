"""A folder of model files of every sort, clean and not, whose truth is known: kind and findings of each."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from workbench.files.wire import delimited

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Sort:
    """Files of one sort: how their names end, what they hold, and what is true of them."""

    ending: str
    content: bytes
    kind: str | None
    findings: frozenset[str] = frozenset()


class _Harm:
    def __init__(self, call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call, ("true",)


def network(layers: int = 2, wide: int = 8, **told: Any) -> onnx.ModelProto:
    """A network of products and Relus; `told` are texts, versions, an operator in the middle, and data elsewhere."""
    rng = np.random.default_rng(layers)
    nodes, weights, value = [], [], "x"
    for number in range(layers):
        weights.append(numpy_helper.from_array(rng.random((wide, wide), np.float32), f"w{number}"))
        nodes += [
            helper.make_node("MatMul", [value, f"w{number}"], [f"h{number}"], name=f"dense_{number}"),
            helper.make_node("Relu", [f"h{number}"], [value := f"r{number}"]),
        ]
    if "op_type" in told:
        nodes.insert(2, helper.make_node(told["op_type"], ["r0"], ["o"], domain=told["domain"]))
        nodes[3].input[0] = "o"
    nodes[0].doc_string, nodes[0].name = told.get("doc", ""), told.get("name", "dense_0")
    if "location" in told:
        weights[0].ClearField("raw_data")
        weights[0].data_location = TensorProto.EXTERNAL
        weights[0].external_data.add(key="location", value=told["location"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", wide]) for name in ("x", value))
    opsets = [helper.make_opsetid("", told.get("opset", 17))]
    opsets += [helper.make_opsetid(told["domain"], 1)] if "domain" in told else []
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=opsets, ir_version=told.get("ir_version", 8))


def _quantised(folder: Path) -> list[bytes]:
    """As ONNX Runtime quantises: weights alone, and with activations in pairs of (de)quantisers."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter([{"x": np.random.default_rng(0).random((4, 8), np.float32)}] * 2)

        def get_next(self) -> Any:
            return next(self.left, None)

    onnx.save(network(3), folder / "plain.onnx")
    quantize_dynamic(folder / "plain.onnx", folder / "dynamic.onnx", weight_type=QuantType.QUInt8)
    quantize_static(folder / "plain.onnx", folder / "static.onnx", Rows())
    return [(folder / name).read_bytes() for name in ("dynamic.onnx", "static.onnx")]


def _scikit() -> tuple[Any, bytes]:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    rows = np.random.default_rng(0).random((60, 3), np.float32)
    labels = np.arange(60) % 2
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    tree = to_onnx(DecisionTreeClassifier(max_depth=3).fit(rows, labels), rows[:1])
    return pipeline, tree.SerializeToString()


def _bytes(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _zip(**members: str) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, text in members.items():
                archive.writestr(name, text)

    return _bytes(write)


def clean(folder: Path) -> list[Sort]:
    """Sorts of which nothing is to be said."""
    pipeline, tree = _scikit()
    light = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return [
        *(Sort(".onnx", network(n).SerializeToString(), "DL") for n in (2, 3, 9)),
        *(Sort(".onnx", content, "DL") for content in _quantised(folder)),
        *(Sort(".onnx", (DATA / name).read_bytes(), "DL") for name in ("gru.onnx", "mlp.onnx")),
        *(Sort(".onnx", (light / f"light_{n}.onnx").read_bytes(), "DL") for n in ("squeezenet", "bvlc_alexnet")),
        Sort(".onnx", (DATA / "snn_leaky.onnx").read_bytes(), "SNN"), Sort(".onnx", tree, "ML"),
        Sort(".nir", (DATA / "net.nir").read_bytes(), "SNN"), Sort(".pkl", pickle.dumps(pipeline), "ML"),
        Sort(".joblib", _bytes(lambda b: joblib.dump(pipeline, b)), "ML"),
        Sort(".npz", _bytes(lambda b: np.savez(b, rows=np.zeros((3, 2)))), None),
        Sort(".npy", _bytes(lambda b: np.save(b, np.zeros(3))), None),
        Sort(".txt", b"What these files are, and who made them.\n", None), Sort(".csv", b"a,b\n1,2\n3,4\n", None),
        Sort(".json", json.dumps({"hidden_size": 64, "layers": [1, 2]}).encode(), None),
    ]  # fmt: skip


def faulty() -> list[Sort]:
    """Sorts with something to be found, and nothing else."""

    def onnx_with(finding: str, kind: str | None = "DL", ending: str = ".onnx", **told: Any) -> Sort:
        return Sort(ending, network(**told).SerializeToString(), kind, frozenset({finding}))

    whole = network(4).SerializeToString()
    entry = delimited(1, b"workbench.certificate") + delimited(2, json.dumps({"opset": 12}).encode())
    return [
        onnx_with("text-key", doc="token ghp_" + "a1B2" * 9), onnx_with("text-script", doc="<script>alert(1)</script>"),
        onnx_with("text-path", doc="/home/ada/models/net.py"), onnx_with("text-email", doc="ask ada@example.org"),
        onnx_with("text-trace", doc='File "net.py", line 12, in forward'),
        onnx_with("text-trick", name="a\N{RIGHT-TO-LEFT OVERRIDE}b"), onnx_with("opset-newer", opset=99),
        onnx_with("ir-newer", ir_version=99), onnx_with("external-outside", location="../../etc/passwd"),
        onnx_with("external-missing", location="gone.bin"), onnx_with("extension", ending=".h5"),
        onnx_with("operator-unknown", op_type="Mystery", domain="org.somebody"),
        Sort(".onnx", whole[: len(whole) // 2], None, frozenset({"damaged"})),
        Sort(".onnx", whole[:-1], None, frozenset({"damaged"})), Sort(".onnx", b"", None, frozenset({"damaged"})),
        Sort(".onnx", b"\x00" * 500, None, frozenset({"extension"})),
        Sort(".pkl", pickle.dumps(_Harm(os.system)), "unknown", frozenset({"code-dangerous", "kind-unknown"})),
        Sort(".joblib", pickle.dumps([_Harm(eval)]), None, frozenset({"code-dangerous"})),
        Sort(".zip", _zip(**{"../../evil.py": ""}), None, frozenset({"member-outside"})),
        Sort(".onnx", whole + delimited(14, entry), "DL", frozenset({"certificate"})),
    ]  # fmt: skip


def plant(root: Path, count: int) -> dict[str, Sort]:
    """Write so many files, a third of them faulty, in folders; path -> what is true of it. Sound ONNX files are each a
    little different, by a line of metadata; of the others many have the same bytes."""
    rng, planted = random.Random(count), dict[str, Sort]()
    with tempfile.TemporaryDirectory() as scratch:
        sorts = clean(Path(scratch))
    faults = faulty()
    for number in range(count):
        sort = faults[number // 3 % len(faults)] if number % 3 == 0 else rng.choice(sorts)
        content = sort.content
        if sort.ending == ".onnx" and sort.kind is not None:
            content += delimited(14, delimited(1, b"number") + delimited(2, str(number).encode()))
        folder = root / f"{number % 7}" / f"{number // 7 % 11}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{number:06}{sort.ending}"
        path.write_bytes(content)
        planted[str(path)] = replace(sort, content=content)
    return planted
