"""Weights beside a model: its own files are read, nobody else's, whichever door asks and wherever a tensor stands."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from workbench import UnreadableFile, UnsupportedModel, WorkbenchError, compare, detect, load_engine, report, to_nengo
from workbench.compare.inside import Inside
from workbench.engines.worker import WorkerEngine
from workbench.files.header import _Reader, parse_header, read_header
from workbench.files.wire import Wire
from workbench.inference import first_inference
from workbench.safety.external import whole_size
from workbench.sandbox import WorkerFailed, memory_for, run

SECRET = b"TOPSECRET-0123456789-abcdefghij!"


def outside(location: str, name: str = "W", length: int = 32) -> TensorProto:
    """A tensor of 32 bytes whose numbers lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.UINT8, dims=[32], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(*nodes: onnx.NodeProto, **parts: object) -> onnx.ModelProto:
    output = helper.make_tensor_value_info("Y", TensorProto.UINT8, None)
    graph = helper.make_graph(list(nodes), "g", [], [output])
    for name in ("initializer", "sparse_initializer"):
        getattr(graph, name).extend(parts.pop(name, []))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, **parts)


def constant(attribute: onnx.AttributeProto, *more: onnx.AttributeProto) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["Y"])
    node.attribute.extend([*more, attribute])
    return node


def tensor_attribute(tensor: TensorProto, name: str = "value") -> onnx.AttributeProto:
    return onnx.AttributeProto(name=name, type=onnx.AttributeProto.TENSOR, t=tensor)


def sparse(values: str | None, indices: str | None) -> onnx.SparseTensorProto:
    plain = helper.make_tensor("indices", TensorProto.INT64, [32], list(range(32)))
    held = helper.make_tensor("values", TensorProto.UINT8, [32], [0] * 32)
    return onnx.SparseTensorProto(
        dims=[32],
        values=held if values is None else outside(values),
        indices=plain if indices is None else outside(indices),
    )


def in_initializer(where: str) -> onnx.ModelProto:
    return model(helper.make_node("Identity", ["W"], ["Y"]), initializer=[outside(where)])


def in_branch(where: str) -> onnx.ModelProto:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["W"], ["B"])], "b", [],
        [helper.make_tensor_value_info("B", TensorProto.UINT8, [32])], [outside(where)],
    )  # fmt: skip
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    choice = helper.make_node("If", ["yes"], ["Y"], then_branch=branch, else_branch=branch)
    return model(choice, initializer=[yes])


def in_function(where: str) -> onnx.ModelProto:
    body = helper.make_function(
        "d", "F", [], ["Y"], [constant(tensor_attribute(outside(where)))], [helper.make_opsetid("", 18)]
    )
    made = model(helper.make_node("F", [], ["Y"], domain="d"), functions=[body])
    made.opset_import.add(domain="d", version=1)
    return made


def in_default_of_function(where: str) -> onnx.ModelProto:
    made = in_function("plain.bin")
    del made.functions[0].node[0].attribute[:]
    made.functions[0].node[0].attribute.append(onnx.AttributeProto(name="value", ref_attr_name="v", type=4))
    made.functions[0].attribute_proto.append(tensor_attribute(outside(where), "v"))
    return made


def in_training(where: str) -> onnx.ModelProto:
    made = model(constant(tensor_attribute(helper.make_tensor("c", TensorProto.UINT8, [1], [1]))))
    made.training_info.add().algorithm.initializer.append(outside(where))
    return made


def after_a_list(where: str) -> bytes:
    """The fields of one attribute in an order that no library writes: a hundred thousand numbers, then the tensor."""
    attribute = b"".join(
        part.SerializeToString()
        for part in (
            onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR),
            onnx.AttributeProto(ints=range(100_000)),
            onnx.AttributeProto(t=outside(where)),
        )
    )
    node = helper.make_node("Constant", [], ["Y"]).SerializeToString() + _field(5, attribute)
    data = model().SerializeToString() + _field(7, _field(1, node))
    assert onnx.ModelProto.FromString(data).graph.node[0].attribute[0].t.external_data[0].value == where
    return data


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


PLACES: dict[str, Callable[[str], onnx.ModelProto | bytes]] = {
    "initializer": in_initializer,
    "sparse values": lambda where: model(
        helper.make_node("Identity", ["W"], ["Y"]), sparse_initializer=[sparse(where, None)]
    ),
    "sparse indices": lambda where: model(
        helper.make_node("Identity", ["values"], ["Y"]), sparse_initializer=[sparse(None, where)]
    ),
    "constant": lambda where: model(constant(tensor_attribute(outside(where)))),
    "list of tensors": lambda where: model(
        constant(onnx.AttributeProto(name="v", type=onnx.AttributeProto.TENSORS, tensors=[outside(where)]))
    ),
    "sparse constant": lambda where: model(
        constant(
            onnx.AttributeProto(name="sparse_value", type=11, sparse_tensor=sparse(where, None)),
        )
    ),
    "branch of an If": in_branch,
    "function": in_function,
    "default of a function": in_default_of_function,
    "training": in_training,
    "after a long list": after_a_list,
}


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """A model's folder, and beside it a file that is not the model's."""
    (tmp_path / "secret.txt").write_bytes(SECRET)
    inside = tmp_path / "inside"
    inside.mkdir()
    return inside


def save(folder: Path, made: onnx.ModelProto | bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    return path


def hard_link(folder: Path) -> str:
    os.link(folder.parent / "secret.txt", folder / "hard.bin")
    return "hard.bin"


def soft_link(folder: Path) -> str:
    (folder / "soft.bin").symlink_to(folder.parent / "secret.txt")
    return "soft.bin"


def folder_link(folder: Path) -> str:
    (folder / "sub").symlink_to(folder.parent)
    return "sub/secret.txt"


def pipe(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return "pipe"


def listening(folder: Path) -> str:
    with socket.socket(socket.AF_UNIX) as end:
        here = os.getcwd()
        os.chdir(folder)  # such names are short
        try:
            end.bind("socket")
        finally:
            os.chdir(here)
    return "socket"


def down_and_up(folder: Path) -> str:
    (folder / "a").mkdir()
    return "a/../../secret.txt"


HARMFUL: dict[str, tuple[Callable[[Path], str], str]] = {
    "above": (lambda folder: "../secret.txt", "external-outside"),
    "above, with the other slash": (lambda folder: "..\\secret.txt", "external-outside"),
    "down and up": (down_and_up, "external-outside"),
    "absolute": (lambda folder: str(folder.parent / "secret.txt"), "external-outside"),
    "on a drive": (lambda folder: "C:\\secret.txt", "external-outside"),
    "device": (lambda folder: "/dev/zero", "external-outside"),
    "memory": (lambda folder: "*/_ORT_MEM_ADDR_/*", "external-outside"),
    "no name": (lambda folder: "", "external-outside"),
    "hard link": (hard_link, "external-hard-link"),
    "link": (soft_link, "external-link"),
    "link on the way": (folder_link, "external-link"),
    "pipe": (pipe, "external-no-file"),
    "socket": (listening, "external-no-file"),
    "the folder itself": (lambda folder: ".", "external-no-file"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_data_file_is_named_wherever_the_model_hides_it(folder: Path, place: str) -> None:
    path = save(folder, PLACES[place]("../secret.txt"))
    assert read_header(path).external_data == ("../secret.txt",)
    assert [finding.id for finding in detect(path).findings] == ["external-outside"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", [hard_link, soft_link, lambda folder: "../secret.txt"])
def test_no_place_in_a_model_gives_away_another_file(folder: Path, place: str, way: Callable[[Path], str]) -> None:
    path = save(folder, PLACES[place](way(folder)))
    with pytest.raises(UnsupportedModel, match="not loaded"):
        load_engine(path, "onnxruntime")


@pytest.mark.parametrize("sort", HARMFUL)
def test_data_that_are_not_the_models_own_are_an_error_in_detect_and_refused_at_every_door(
    folder: Path, sort: str
) -> None:
    make, expected = HARMFUL[sort]
    path = save(folder, in_initializer(make(folder)))
    (finding,) = detect(path).findings
    assert (finding.id, finding.level, finding.where) == (expected, "error", "W")
    for door in (load_engine, lambda path: load_engine(path, lean=True), to_nengo, lambda path: Inside(str(path))):
        with pytest.raises(WorkbenchError) as caught:
            door(path)
        assert "not loaded" in str(caught.value) or "neurons" in str(caught.value)


@pytest.mark.parametrize("sort", ["pipe", "hard link", "above"])
def test_a_report_neither_waits_for_nor_tells_of_files_that_are_not_the_models(folder: Path, sort: str) -> None:
    path = save(folder, in_initializer(HARMFUL[sort][0](folder)))
    page = report(path, folder / "page.html").read_text()
    assert "can harm" in page.partition("<main>")[0]  # on its cover
    assert hashlib.sha256(SECRET).hexdigest() not in page


def test_the_models_own_data_are_read_and_said_to_be_fine(folder: Path) -> None:
    (folder / "weights").mkdir()
    (folder / "weights" / "w.bin").write_bytes(bytes(range(32)))
    path = save(folder, in_initializer("weights/w.bin"))
    detection = detect(path)
    assert detection.findings == () and detection.header is not None
    assert detection.header.external[0].size == 32
    assert load_engine(path, "onnxruntime").run({})["Y"].tolist() == list(range(32))


def test_keys_of_external_data_are_words_and_nothing_more(folder: Path) -> None:
    (folder / "w.bin").write_bytes(bytes(32))
    tensor = outside("w.bin")
    for key in ("__class__", "location\0", "basepath", "file_size"):
        tensor.external_data.add(key=key, value="../secret.txt")
    path = save(folder, model(helper.make_node("Identity", ["W"], ["Y"]), initializer=[tensor]))
    assert read_header(path).external_data == ("w.bin",)
    with suppress(UnsupportedModel):  # ONNX Runtime may not like the keys
        assert load_engine(path, "onnxruntime").run({})["Y"].tolist() == [0] * 32


def test_the_last_of_several_locations_does_not_hide_the_others(folder: Path) -> None:
    """Readers differ in which one they take."""
    (folder / "w.bin").write_bytes(bytes(32))
    for first, last in (("../secret.txt", "w.bin"), ("w.bin", "../secret.txt")):
        tensor = outside(first)
        tensor.external_data.add(key="location", value=last)
        path = save(folder, model(helper.make_node("Identity", ["W"], ["Y"]), initializer=[tensor]))
        assert "external-outside" in [finding.id for finding in detect(path).findings]
        with pytest.raises(UnsupportedModel, match="not loaded"):
            load_engine(path, "onnxruntime")


def test_missing_and_short_data_are_said_before_loading(folder: Path) -> None:
    path = save(folder, in_initializer("w.bin"))
    assert [finding.id for finding in detect(path).findings] == ["external-missing"]
    (folder / "w.bin").write_bytes(b"too short")
    assert [finding.id for finding in detect(path).findings] == ["external-short"]
    with pytest.raises(UnreadableFile, match="32 bytes"):
        load_engine(path, "onnxruntime")
    assert any("32 bytes" in warning for warning in detect(path).warnings)


@pytest.mark.parametrize(
    ("dtype", "shape", "needed"),
    [("float", [3, 5], 60), ("int4", [7], 4), ("bool", [9], 9), ("bfloat16", [4], 8), ("complex128", [2], 32)],
)
def test_without_a_length_the_shape_says_how_many_bytes_are_needed(dtype: str, shape: list[int], needed: int) -> None:
    tensor = TensorProto(
        name="W", dims=shape, data_type=getattr(TensorProto, dtype.upper()), data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="w.bin")
    tensor.external_data.add(key="offset", value="100")
    made = model(helper.make_node("Identity", ["W"], ["Y"]), initializer=[tensor])
    (data,) = parse_header(made.SerializeToString()).external
    assert data.size == 100 + needed


def fields_read(data: bytes) -> int:
    wire = Wire(data)
    before = wire.steps.left
    _Reader(wire, 1 << 26, False).model()
    return before - wire.steps.left


def test_a_forest_of_a_million_numbers_is_stepped_over(folder: Path) -> None:
    """What is searched for hidden tensors is not walked number by number."""
    node = helper.make_node("TreeEnsembleClassifier", [], ["Y"], domain="ai.onnx.ml")
    node.attribute.append(onnx.AttributeProto(name="nodes_values", type=6, floats=np.zeros(1_000_000, np.float32)))
    data = model(node).SerializeToString()
    assert len(data) > 5_000_000
    steps = fields_read(data)
    assert steps < 200


def test_many_hostile_names_are_cut_to_what_a_person_can_read(folder: Path) -> None:
    tensors = [outside(f"../{index}", f"W{index}") for index in range(1000)]
    path = save(folder, model(helper.make_node("Identity", ["W0"], ["Y"]), initializer=tensors))
    found = detect(path).findings
    assert len(found) == 101 and "900" in found[-1].says and found[-1].level == "error"


def test_text_of_a_location_is_shown_not_obeyed(folder: Path) -> None:
    path = save(folder, in_initializer("../\x1b[31mEVIL\x1b]0;t\x07\u202e"))
    (finding,) = detect(path).findings
    assert finding.says.isprintable() and "EVIL" in finding.says


# --- how much memory a model with data beside it may take ---------------------------------------------------------


def test_a_models_data_count_into_the_memory_it_may_take(tmp_path: Path) -> None:
    path, many = tmp_path / "m.onnx", 96 << 20
    (tmp_path / "w.bin").touch()
    os.truncate(tmp_path / "w.bin", many)  # takes no room on the disk
    inside = TensorProto(name="W", data_type=TensorProto.UINT8, dims=[many], data_location=TensorProto.EXTERNAL)
    inside.external_data.add(key="location", value="w.bin")
    first = helper.make_tensor("zero", TensorProto.INT64, [1], [0])
    node = helper.make_node("Gather", ["W", "zero"], ["Y"])
    path.write_bytes(model(node, initializer=[inside, first]).SerializeToString())
    assert whole_size(path) == many + path.stat().st_size and whole_size(tmp_path) == whole_size(path)
    with contextlib.closing(WorkerEngine(path, load=load_engine)) as engine:
        assert engine.worker.memory_mib == pytest.approx(memory_for(many), abs=1)
        assert engine.run({})["Y"].tolist() == [0]


def test_every_limit_of_memory_that_a_sentence_names_can_be_set(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    node = helper.make_node("Constant", [], ["Y"], value=helper.make_tensor("", TensorProto.UINT8, [1], [7]))
    path.write_bytes(model(node).SerializeToString())
    told = r"more than the 10 MiB it was given.* memory_mib \(--memory\)"
    with pytest.raises(WorkerFailed, match=told):
        load_engine(path, memory_mib=10)
    with pytest.raises(WorkerFailed, match=told):
        compare(path, path, memory_mib=10)
    with pytest.raises(WorkerFailed, match=told):
        first_inference(path, memory_mib=10)
    with load_engine(path, memory_mib=2000) as engine:
        assert engine.run({})["Y"].tolist() == [7]
    for command in ("compare", "report", "convert"):
        said = subprocess.run([sys.executable, "-m", "workbench", command, "--help"], capture_output=True, text=True)
        assert "--memory" in said.stdout


def test_a_sentence_gives_no_advice_about_a_limit_that_nobody_can_set() -> None:
    with pytest.raises(WorkerFailed, match="more than the 20 MiB it was given") as caught:
        run(bytearray, 300 << 20, memory_mib=20)
    assert "give it more" not in str(caught.value)
