"""`detect` is done within its steps, whatever the file: work grows with the file, and ends where the steps do.

Work is counted in lines of Python executed, which is the same on any machine and also sees what forgets to count its
steps; only what C does in one line (patterns) is timed, against an honest file of the same size.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from workbench import UnreadableFile, detect, kind
from workbench.files.formats import identify_bytes
from workbench.files.header import Header, _Reader, parse_header
from workbench.files.wire import MAX_STEPS, Steps, StepsSpent, Wire, encode_varint
from workbench.kind import dynamics, our_rule, paper_rule
from workbench.kind.structure import examine


def field(number: int, payload: bytes) -> bytes:
    return encode_varint(number << 3 | 2) + encode_varint(len(payload)) + payload


def node(op_type: str, inputs: str = "", outputs: str = "", domain: str = "", more: bytes = b"") -> bytes:
    """A node of a graph; inputs and outputs are separated by blanks."""
    names = [(1, name) for name in inputs.split()] + [(2, name) for name in outputs.split()] + [(4, op_type)]
    names += [(7, domain)] if domain else []
    return field(1, b"".join(field(number, name.encode()) for number, name in names) + more)


def stored(*names: str) -> bytes:
    return b"".join(field(5, field(8, name.encode())) for name in names)


OPSET = field(8, b"\x0a\0\x10\x12")


def model(graph: bytes, more: bytes = b"") -> bytes:
    return b"\x08\x08" + field(7, graph) + OPSET + more


def each(count: int, make: Callable[[int], bytes]) -> bytes:
    return b"".join(map(make, range(count)))


def function(name: str, *parts: bytes) -> bytes:
    return field(25, field(1, name.encode()) + field(10, b"d") + b"".join(parts))


def body(*nodes: bytes) -> bytes:
    """Nodes of a graph as those of a function."""
    return b"".join(b"\x3a" + each[1:] for each in nodes)


def loops(depth: int, nodes: Callable[[int], bytes]) -> bytes:
    graph = b""
    for level in range(depth):
        inside = field(5, field(6, graph)) if graph else b""
        graph = field(11, field(1, b"s")) + nodes(level) + node("Loop", "x", "y", more=inside)
    return graph


def integrate_and_fire(i: int) -> bytes:
    return b"".join([
        node("Mul", f"v{i} b", f"d{i}"), node("Add", f"d{i} x{i}", f"i{i}"), node("Greater", f"i{i} t", f"f{i}"),
        node("Cast", f"f{i}", f"s{i}"), node("Sub", f"i{i} s{i}", f"v{i + 1}"), node("MatMul", f"s{i} w", f"o{i}"),
    ])  # fmt: skip


def fire_and_reset_twice(i: int) -> bytes:
    """Two nodes reset the state, and each would do."""
    return b"".join([
        node("Mul", f"v{i} b", f"d{i}"), node("Add", f"d{i} x{i}", f"i{i}"), node("Greater", f"i{i} t", f"f{i}"),
        node("Cast", f"f{i}", f"s{i}"), node("Mul", f"s{i} t", f"m{i}"), node("MatMul", f"s{i} w", f"o{i}"),
        node("Sub", f"i{i} s{i}", f"p{i}", more=field(3, b"one")),
        node("Sub", f"i{i} m{i}", f"q{i}", more=field(3, b"other")), node("Max", f"p{i} q{i}", f"v{i + 1}"),
    ])  # fmt: skip


def spikes(count: int) -> bytes:
    return each(count, lambda i: node("Greater", f"x{i} t", f"f{i}") + node("Cast", f"f{i}", f"s{i}"))


def function_calls(count: int) -> bytes:
    """Three functions, each of which calls the next again and again."""
    calls = (
        field(4, b"a") + field(5, b"b") + body(*[node(f"f{i + 1}", "a", "b", "d")] * (count // 6)) for i in range(3)
    )
    return model(node("f0", "x", "y", "d"), b"".join(function(f"f{i}", part) for i, part in enumerate(calls)))


def archive(path: Path, **members: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(f"{name}.json", text)


GRAPHS: dict[str, Callable[[int], bytes]] = {
    "claims of a neuron's name": lambda n: model(
        node("LIF", domain="d") * n, function("LIF", body(*[node("A")] * n))
    ),
    "claims of many names": lambda n: model(
        each(n, lambda i: node(f"LIF{i}", domain="d")),
        each(n // 40, lambda i: function(f"LIF{i}", body(*[node("A")] * 40))),
    ),
    "thresholds": lambda n: model(each(n, lambda i: node("Greater", f"x{i} t", f"y{i}"))),
    "thresholds with spikes": lambda n: model(spikes(n) + stored("t")),
    "spikes in one node": lambda n: model(
        spikes(n) + node("Mul", " ".join(f"s{i}" for i in range(n)), " ".join(f"m{i}" for i in range(n))) + stored("t")
    ),
    "one flag of all thresholds": lambda n: model(
        (node("Greater", "x t", "y") + node("Cast", "y", "s")) * n + stored("t")
    ),
    "a flag that turns itself": lambda n: model(
        (node("Greater", "x t", "y") + node("Not", "y", "y")) * n + stored("t")
    ),
    "negative spikes": lambda n: model(
        node("Greater", "x t", "f") + node("Cast", "f", "s0") + node("MatMul", "s0 w", "y") + stored("t", "w")
        + each(n, lambda i: node("Neg", f"s{i}", f"s{i + 1}") + node("Add", f"x s{i}", f"z{i}"))
    ),
    "integrate and fire": lambda n: model(each(n, integrate_and_fire) + stored("t", "w", "b")),
    "spikes through one chain": lambda n: model(
        each(n, lambda i: node("Greater", f"x{i} t", f"f{i}") + node("Cast", f"f{i}", f"s{i}")
             + node("Sub", f"x{i} s{i}", f"x{i + 1}") + node("Identity", f"s{i}", "c0"))
        + each(n, lambda i: node("Concat", f"c{i}", f"c{i + 1}")) + stored("t")
    ),
    "nested loops": lambda n: model(loops(30, lambda level: node("Add", f"q{level} r", "z") * (n // 30))),
    "a loop of many values": lambda n: model(
        loops(9, lambda level: each(n // 9, lambda i: field(11, field(1, b"v%d" % i))))
    ),
    "functions that call one another": function_calls,
    "a function of many inputs": lambda n: model(
        node("f", "x", "y", "d") * n, function("f", each(n, lambda i: field(4, b"%d" % i)))
    ),
    "a function at every depth": lambda n: model(
        node("f", "x w", "x", "d") * (n // 10) + stored("w"),
        function("f", field(4, b"a") + field(4, b"w") + field(5, b"a"),
                 body(node("MatMul", "a w", "a"), *[node("Relu", "a", "a")] * 30)),
    ),
    "empty nodes": lambda n: model(b"\x0a\0" * n),
    "distinct op_types": lambda n: model(each(n, lambda i: node(f"LIF_{i}"))),
    "empty tensors": lambda n: model(b"\x2a\0" * n),
    "dimensions": lambda n: model(each(n // 64, lambda i: field(5, field(1, b"\xff" * 9 + b"\1") * 8))),
    "a shape of many dimensions": lambda n: model(
        field(11, field(2, field(1, field(2, b"\x0a\0" * 60)))) * (n // 60)
    ),
    "inputs of one node": lambda n: model(node("Add", " ".join(map(str, range(n))))),
    "graphs of one attribute": lambda n: model(node("If", more=field(5, b"\x5a\0" * n))),
    "parts of one graph": lambda n: b"\x08\x08" + field(7, node("A")) * n + OPSET,
    "opset imports": lambda n: model(node("A")) + OPSET * n,
    "functions": lambda n: model(node("A"), b"\xca\x01\0" * n),
    "data files": lambda n: model(field(5, each(n, lambda i: field(13, field(1, b"location") + field(2, b"%d" % i))))),
    "unknown fields": lambda n: model(b"\xf8\x3f\1" * n),
}  # fmt: skip

OTHERS: dict[str, Callable[[int], bytes]] = {
    "GraphDef": lambda n: field(1, field(1, b"n") + field(2, b"Const")) * n,
    "GraphDef with functions": lambda n: field(1, field(2, b"Const"))
    + field(2, field(1, each(n, lambda i: field(3, field(2, b"Op%d" % i))))),
    "SavedModel": lambda n: b"\x08\1" + field(2, field(2, field(1, field(2, b"Const")))) * n,
    "Caffe": lambda n: field(1, b"net") + field(100, field(2, b"Convolution") * n),
    "Caffe of old": lambda n: field(1, b"net") + field(2, field(3, b"x") + field(4, b"x") + b"\x28\1" * n),
    "Caffe2": lambda n: field(1, b"net") + field(2, field(4, b"Conv") + b"\x0a\0" * n),
    "Core ML": lambda n: b"\x08\1" + field(402, b"") * n,
}  # fmt: skip


@contextmanager
def lines_counted() -> Iterator[list[int]]:
    """Lines of Python executed, in a list of one number."""
    count = [0]

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        count[0] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(before)


def lines(path: Path) -> int:
    with lines_counted() as count:
        detect(path)
    return count[0]


FAMILIES = {**GRAPHS, **OTHERS}
LINES_A_STEP = 30


@pytest.mark.parametrize("family", FAMILIES)
def test_twice_the_file_is_at_most_about_twice_the_work(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamics, "REACH", 30)  # of each threshold: few files are that long
    monkeypatch.setattr(kind, "LOOKING", 10**9)
    path = tmp_path / "m.onnx"
    work = []
    for size in (360, 720):
        path.write_bytes(FAMILIES[family](size))
        work.append(lines(path))
    assert work[1] < 2.4 * work[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_work_ends_with_the_steps_and_the_answer_says_so(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "READING", 5_000)
    monkeypatch.setattr(kind, "LOOKING", 1_000)
    path = tmp_path / "m.onnx"
    path.write_bytes(FAMILIES[family](30_000))
    with lines_counted() as count:
        found = detect(path)
    assert count[0] < LINES_A_STEP * 6_000
    if family in GRAPHS:
        assert found.format == "ONNX"
    if family not in ("Core ML", "a function at every depth"):  # those are small
        assert any("more than is looked at" in warning for warning in found.warnings), found.warnings


def cpu_seconds(path: Path) -> float:
    start = time.process_time()
    detect(path)
    return time.process_time() - start


NAMES = {
    "skl2onnx's constants": b"_Acst" * 39,
    "almost skl2onnx's constants": b"_A" * 97,
    "digits": b"_Acst" + b"1" * 180 + b"x",
    "TensorFlow's variables": b"/ReadVariableO" * 14,
    "PyTorch's modules": b"a." * 97,
}


@pytest.mark.parametrize("sort", NAMES)
def test_no_name_keeps_a_pattern_busy(tmp_path: Path, sort: str) -> None:
    honest, hostile = tmp_path / "honest.onnx", tmp_path / "hostile.onnx"
    hostile.write_bytes(model(each(3_000, lambda i: field(5, field(8, b"%d" % i + NAMES[sort])))))
    size = hostile.stat().st_size
    honest.write_bytes(model(each(size // 31, lambda i: node("Relu", f"x{i:07}", f"x{i + 1:07}", "d"))))
    assert 0.9 * size < honest.stat().st_size < 1.1 * size
    cpu_seconds(honest)  # the first time imports
    assert min(cpu_seconds(hostile) for _ in range(3)) < 1.5 * min(cpu_seconds(honest) for _ in range(3))


def test_patterns_over_archives_text_and_keras_configs_are_quick(tmp_path: Path) -> None:
    """Some 500 kB of each, beside as much of operators."""
    honest = tmp_path / "honest.onnx"
    honest.write_bytes(model(each(16_000, lambda i: node("Relu", f"x{i:07}", f"x{i + 1:07}", "d"))))
    cpu_seconds(honest)
    limit = 8 * min(cpu_seconds(honest) for _ in range(3))
    metadata = '{"keras_version": "3.0.0"}'
    configs = {
        "deep": '{"class_name":' * 400 + "[" + "{}," * 150_000 + "{}]" + "}" * 400,
        "deep names": '{"class_name":"x","config":{"name":' * 400 + "[" + "{}," * 150_000 + "{}]" + "}}" * 400,
        "a long module": '{"class_name":"x","module":"keras.layers' + ".a" * 250_000 + '-"}',
    }
    for name, config in configs.items():
        path = tmp_path / "m.keras"
        archive(path, config=config, metadata=metadata)
        assert detect(path).format == "Keras v3"
        assert cpu_seconds(path) < limit, name
    for name, text in {
        "prototxt": "layer {" * 70_000,
        "JSON": '{"a":' * 100_000,
        "PMML": "<PMML" + "<aModel" * 70_000,
    }.items():
        path = tmp_path / "m.txt"
        path.write_text(text)
        assert cpu_seconds(path) < limit, name


def perceptron(layers: int) -> bytes:
    return model(
        each(layers, lambda i: node("MatMul", f"h{i} layers.{i}.weight", f"m{i}") + node("Relu", f"m{i}", f"h{i + 1}"))
        + each(layers, lambda i: field(5, b"\x08\x10\x08\x10\x10\x01" + field(8, b"layers.%d.weight" % i)))
    )


def tree_ensemble(nodes: int) -> bytes:
    """As skl2onnx writes one: lists of 4-byte numbers and one of strings, each element a field of its own."""
    numbers = (b"nodes_values", b"target_weights", b"nodes_hitrates")
    lists = [(name, b"\x3d\0\0\0\0" * nodes, 6) for name in numbers] + [(b"nodes_modes", field(9, b"LEAF") * nodes, 8)]
    attributes = b"".join(field(5, field(1, name) + data + b"\xa0\x01" + bytes([kind])) for name, data, kind in lists)
    return model(node("TreeEnsembleRegressor", "X", "variable", "ai.onnx.ml", attributes))


def isolation_forest(trees: int) -> bytes:
    ops = ("Gather", "LessOrEqual", "Cast", "Mul", "Add")

    def tree(number: int) -> bytes:
        steps = each(50, lambda i: node(ops[i % 5], f"t{number}_{i} c{i}", f"t{number}_{i + 1}"))
        return steps + node("TreeEnsembleRegressor", f"t{number}_9", f"r{number}", "ai.onnx.ml")

    return model(each(trees, tree) + stored(*(f"c{i}" for i in range(50))))


@pytest.mark.parametrize(
    ("make", "nodes", "kind_of_it"),
    [
        (lambda: model(each(150_000, lambda i: node("Relu", f"x{i}", f"x{i + 1}"))), 150_000, "unknown"),
        (lambda: perceptron(5_000), 10_000, "DL"),
        (lambda: tree_ensemble(1_500_000), 1, "ML"),
        (lambda: isolation_forest(1_000), 51_000, "ML"),
    ],
    ids=["a chain", "a deep perceptron", "a tree ensemble of 30 MB", "an isolation forest"],
)  # fmt: skip
def test_large_honest_models_are_read_whole(
    tmp_path: Path, make: Callable[[], bytes], nodes: int, kind_of_it: str
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(make())
    found = detect(path)
    assert found.kind == kind_of_it
    assert found.header is not None and not found.header.in_part
    assert found.components is not None and found.components["graph"]["nodes"] == nodes
    assert not found.findings and not any("in part only" in warning for warning in found.warnings)


def in_part(data: bytes, steps: int = 10_000) -> Header:
    header = parse_header(data, steps=Steps(steps))
    assert header.in_part
    return header


def test_what_stands_behind_too_many_operators_is_read() -> None:
    ends = field(11, field(1, b"x")) + field(12, field(1, b"y"))
    header = in_part(
        model(node("Conv", "x w", "x") * 800 + stored("w") + ends, field(14, field(1, b"k") + field(2, b"v")))
    )
    assert [value.name for value in (*header.graph.inputs, *header.graph.outputs)] == ["x", "y"]
    assert header.metadata_props == {"k": "v"}
    assert header.opset_import == {"": 18}
    assert 100 < len(header.graph.nodes) < 800
    assert f"{len(header.graph.nodes)} operators" in header.in_part
    kind, because, _, _ = our_rule(header)
    assert (kind, because) == ("DL", "It is built of neural-network layers: Conv.")


def test_a_part_that_tells_no_kind_is_not_taken_for_the_whole() -> None:
    nodes = node("Identity", "x", "x") * 800
    for data in (model(nodes), model(nodes + node("MatMul", "x w", "y") + stored("w"))):
        kind, because, _, warnings = our_rule(in_part(data))
        assert kind == "unknown"
        assert "part" in because and because in warnings
    unused = model(nodes, function("f", body(node("Relu"))))
    assert not any("never called" in warning for warning in our_rule(in_part(unused))[3])
    assert "in what was read" in paper_rule(in_part(model(nodes))).because


def test_a_loop_that_is_the_whole_model_is_read_in_part() -> None:
    inside = field(5, field(6, node("Conv", "x", "x") * 3_000)) + field(3, b"loop")
    header = in_part(model(node("Loop", "n c x", "y", more=inside)))
    (loop,) = header.graph.nodes
    assert loop.op_type == "Loop" and len(loop.subgraphs[0].nodes) > 100


def test_a_file_read_in_part_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "READING", 5_000)
    path = tmp_path / "m.onnx"
    path.write_bytes(model(node("Conv", "x w", "x") * 3_000 + stored("w")))
    found = detect(path)
    assert found.kind == "DL"
    assert [finding.id for finding in found.findings] == ["read-in-part"]
    assert found.findings[0].says in found.warnings


def test_whoever_needs_the_whole_file_gets_no_part_of_it() -> None:
    with pytest.raises(StepsSpent, match="more in it"):
        _Reader(Wire(model(node("Relu", "x", "x") * 1_000), Steps(5_000)), 0, False).model()
    with pytest.raises(StepsSpent, match="more in it"):
        _Reader(Wire(model(node("Loop", more=field(5, field(6, node("A") * 999)))), Steps(5_000)), 0, False).model()


def test_every_reset_found_is_counted_or_said_to_be_fewer_than_there_are() -> None:
    header = parse_header(model(each(40, integrate_and_fire) + stored("t", "w", "b")))
    whole, cut = examine(header, Steps(10**9)), examine(header, Steps(8_000))
    assert whole.complete and whole.spike_resets == 39  # the last state is never held against a threshold again
    assert not cut.complete and 0 < cut.spike_resets < 39
    longer = parse_header(model(each(1_000, integrate_and_fire) + stored("t", "w", "b")))
    assert examine(longer, Steps(24_000)).spike_resets > 0  # though the index of it alone would take them
    assert "at least" not in our_rule(header)[1]


def test_a_function_called_often_is_followed_as_often() -> None:
    """Remembering what it makes of a value must not hide what it makes of another."""
    dense = function("Dense", field(4, b"a") + field(4, b"w") + field(5, b"c"),
                     body(node("MatMul", "a w", "b"), node("Relu", "b", "c")))  # fmt: skip
    header = parse_header(model(each(6, lambda i: node("Dense", f"x{i} w", f"x{i + 1}", "d")) + stored("w"), dense))
    assert examine(header, Steps()).depth == 6


def test_names_inside_a_body_hide_those_outside_only_there() -> None:
    inner = field(11, field(1, b"h")) + node("Relu", "h", "r") + node("MatMul", "r w", "h") + field(12, field(1, b"h"))
    graph = (
        node("MatMul", "x w", "h") + node("If", "c", "y", more=field(5, field(6, inner))) + node("Identity", "h", "z")
    )
    found = examine(
        parse_header(model(graph + stored("w", "c") + node("Relu", "z", "q") + node("MatMul", "q w", "p"))), Steps()
    )
    assert found.depth == 2
    assert found.products == 3


@pytest.mark.parametrize(
    "tensor",
    [field(5, field(1, b"\1" * 500_000)), field(5, b"\x08\1" * 500_000),
     field(11, field(2, field(1, field(2, b"\x0a\0" * 500_000))))],
    ids=["packed", "one by one", "of an input"],
)  # fmt: skip
def test_no_more_dimensions_are_read_than_a_tensor_can_have(tensor: bytes) -> None:
    steps = Steps()
    with pytest.raises(UnreadableFile, match="64 dimensions"):
        parse_header(model(tensor), steps=steps)
    assert MAX_STEPS - steps.left < 1_000


@pytest.mark.parametrize("graph", [
    node("Greater", "x t", "f") + node("Not", "f") + node("Cast", "f"),
    node("Greater", "x t", "f") + node("Cast", "f", "s") + node("Neg", "s") + node("Sub", "x s") + node("Mul", "s s"),
    node("Greater", "x t", "f") + node("Where", "f"), node("Floor", "x"), node("If", more=field(5, field(6, b""))),
])  # fmt: skip
def test_nodes_without_what_they_should_have_raise_nothing(graph: bytes) -> None:
    our_rule(parse_header(model(graph + stored("t"))))


def test_a_data_file_of_more_bytes_than_there_are_is_said_to_be_short(tmp_path: Path) -> None:
    dims = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 40
    tensor = dims + b"\x10\x01" + field(8, b"w") + field(13, field(1, b"location") + field(2, b"w.bin"))
    (tmp_path / "w.bin").write_bytes(b"1234")
    (tmp_path / "m.onnx").write_bytes(model(node("Relu", "w", "y") + field(5, tensor)))
    assert [finding.id for finding in detect(tmp_path / "m.onnx").findings] == ["external-short"]


def test_a_keras_function_that_is_no_name_is_told(tmp_path: Path) -> None:
    config = {"class_name": "function", "module": "builtins", "config": {}}
    archive(tmp_path / "m.keras", config=json.dumps(config), metadata="{}")
    assert any(finding.id == "code-unknown" for finding in detect(tmp_path / "m.keras").findings)


def in_another_process(code: str, path: Path, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    ).stdout


def test_the_answer_is_the_same_every_time(tmp_path: Path) -> None:
    """Also where the steps end it: Python takes the members of a set in another order in each process."""
    path = tmp_path / "m.onnx"
    path.write_bytes(model(each(60, fire_and_reset_twice) + stored("t", "w", "b")))
    code = "import sys; from workbench import detect, kind; kind.LOOKING = 9_000; print(detect(sys.argv[1]).to_dict())"
    first, second = (in_another_process(code, path, PYTHONHASHSEED=seed) for seed in "12")
    assert "at least" in first
    assert first == second


_SWELLING = """
import os, sys
from pathlib import Path
from workbench import detect
def held(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) >> 10
files = sorted(Path(sys.argv[1]).glob("*.onnx"))
detect(files[0].with_suffix(".small"))
for file in files:
    if os.fork() == 0:  # a process for each, which has not held what another file took
        before = held("VmRSS")
        detect(file)
        print(file.stem, held("VmHWM") - before, sep=": ", flush=True)
        os._exit(0)
    os.wait()
"""
LARGE = ("thresholds with spikes", "inputs of one node", "empty nodes", "functions")


@pytest.mark.slow
def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    for family in LARGE:
        unit = len(GRAPHS[family](2_000)) / 2_000
        (tmp_path / f"{family}.small").write_bytes(GRAPHS[family](10))
        (tmp_path / f"{family}.onnx").write_bytes(GRAPHS[family](int(8e6 / unit)))
    found = dict(line.split(": ") for line in in_another_process(_SWELLING, tmp_path).splitlines())
    assert set(found) == set(LARGE) and all(int(mib) < 300 for mib in found.values()), found


def test_a_file_of_empty_streams_is_not_unpacked_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "m.joblib"
    path.write_bytes(gzip.compress(b"", mtime=0) * 100_000)
    assert lines(path) < 300_000


def test_a_keras_config_that_zipfile_would_unpack_without_bound_stays_packed(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("metadata.json", "{}")
        file.writestr("config.json", "[" + " " * 30_000_000 + "]")
    detect(path)  # the first time imports
    tracemalloc.start()
    try:
        assert detect(path).format == "Keras v3"
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_formats_read_in_part_are_named_all_the_same() -> None:
    for family, name in {
        "GraphDef": "GraphDef",
        "SavedModel": "SavedModel",
        "Caffe": "Caffe",
        "Caffe of old": "Caffe",
    }.items():
        found = identify_bytes(OTHERS[family](20_000), Steps(9_000))
        assert found.name == name
        assert any("beginning" in warning for warning in found.warnings)
