"""The header scan: equal to onnx's own reading on real files, bounded and polite on hostile ones."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from workbench import UnreadableFile, WorkbenchError, detect
from workbench.files.formats import identify_bytes
from workbench.files.header import MAX_DEPTH, parse_header, read_header
from workbench.files.wire import MAX_TEXT, Steps, Wire
from workbench.kind import our_rule

ONNX_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _loop_model() -> onnx.ModelProto:
    """A model that is one Loop, with an If inside its body, and a function it calls."""
    value = helper.make_tensor_value_info
    branch = [
        helper.make_graph([helper.make_node(op, ["s"], ["r"])], op, [], [value("r", TensorProto.FLOAT, [2])])
        for op in ("Relu", "Neg")
    ]
    body = helper.make_graph(
        [
            helper.make_node("Twice", ["s_in"], ["s"], domain="mine"),
            helper.make_node("If", ["c_in"], ["s_out"], then_branch=branch[0], else_branch=branch[1]),
            helper.make_node("Identity", ["c_in"], ["c_out"]),
        ],
        "body",
        [value("i", TensorProto.INT64, []), value("c_in", TensorProto.BOOL, []), value("s_in", TensorProto.FLOAT, [2])],
        [value("c_out", TensorProto.BOOL, []), value("s_out", TensorProto.FLOAT, [2])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["n", "", "x"], ["y"], body=body)],
        "only_a_loop",
        [value("x", TensorProto.FLOAT, ["batch", 2])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(3, np.int64), "n")],
    )
    twice = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, functions=[twice], opset_imports=opsets, producer_name="hand", domain="d")


def _real_files() -> list[Path]:
    return sorted(ONNX_DATA.glob("*/*/model.onnx")) + sorted(ONNX_DATA.glob("light/*.onnx"))


def _nodes(nodes: object) -> Iterator[onnx.NodeProto]:
    for node in nodes:  # type: ignore[attr-defined]
        yield node
        for attribute in node.attribute:
            for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _nodes(graph.node)


def _counts(model: onnx.ModelProto) -> Counter[tuple[str, str]]:
    every = [*_nodes(model.graph.node), *(n for f in model.functions for n in _nodes(f.node))]
    return Counter(("" if n.domain == "ai.onnx" else n.domain, n.op_type) for n in every)


def test_header_equals_onnx_load_on_every_model_the_onnx_package_ships() -> None:
    files = _real_files()
    assert len(files) > 100
    for path in files:
        header, model = read_header(path), onnx.load(path, load_external_data=False)
        stored = {tensor.name for tensor in model.graph.initializer}
        assert header.op_types() == _counts(model), path
        assert [v.name for v in header.graph.inputs] == [v.name for v in model.graph.input if v.name not in stored]
        assert [v.name for v in header.graph.outputs] == [v.name for v in model.graph.output]
        assert {n: t.shape for n, t in header.graph.initializers.items()} == {
            t.name: tuple(t.dims) for t in model.graph.initializer
        }
        assert (header.producer_name, header.ir_version) == (model.producer_name, model.ir_version)


def test_header_reads_subgraphs_functions_shapes_and_opsets() -> None:
    header = parse_header(_loop_model().SerializeToString())
    expected = {("", "Loop"), ("", "If"), ("", "Relu"), ("", "Neg"), ("mine", "Twice"), ("", "Identity"), ("", "Add")}
    assert set(header.op_types()) == expected
    assert header.opset_import == {"": 18, "mine": 1}
    assert [(v.name, v.dtype, v.shape) for v in header.graph.inputs] == [("x", "float32", ("batch", 2))]
    assert header.graph.outputs[0].shape is None
    assert header.parameters == 1
    assert [f.key for f in header.functions] == [("mine", "Twice")]


def test_header_finds_a_graph_attribute_written_after_its_type() -> None:
    # Field order is free in protobuf: `type` first, then name, then the graph.
    inner = _field(1, _field(4, b"LIF"))
    attribute = _varint(20 << 3) + b"\x05" + _field(1, b"body") + _field(6, inner)
    model = b"\x08\x08" + _field(7, _field(1, _field(5, attribute) + _field(4, b"Scan"))) + _field(8, b"\x10\x12")
    assert onnx.ModelProto.FromString(model).graph.node[0].attribute[0].g.node[0].op_type == "LIF"
    assert set(parse_header(model).op_types()) == {("", "Scan"), ("", "LIF")}


def test_a_model_over_2_gb_is_read_without_its_weights(tmp_path: Path) -> None:
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Gemm", ["x", "w"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        )
    )
    size = 3 << 30
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [0], []).SerializeToString()
    start = _varint(5 << 3 | 2) + _varint(len(tensor) + 6 + size) + tensor + _varint(9 << 3 | 2) + _varint(size)
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    head = model.SerializeToString() + _varint(7 << 3 | 2) + _varint(len(graph) + len(start) + size) + graph + start
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)  # a hole: no disk used
    header = read_header(path)
    assert header.size_bytes > 3 << 30
    assert header.op_types() == {("", "Gemm"): 1}
    assert "w" in header.graph.initializers


def test_external_data_is_named_and_its_absence_said(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weights],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="m.data", size_threshold=0)
    assert read_header(path).external_data == ("m.data",)
    assert read_header(path).parameters == 64 * 64
    assert not any("m.data" in warning for warning in detect(path).warnings)
    (tmp_path / "m.data").unlink()
    assert any("m.data" in warning for warning in detect(path).warnings)


def test_truncation_anywhere_gives_a_header_or_one_clear_sentence(tmp_path: Path) -> None:
    whole = (ONNX_DATA / "light" / "light_squeezenet.onnx").read_bytes()
    path = tmp_path / "cut.onnx"
    cut_short = 0
    for length in range(1, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:length])
        try:
            found = detect(path)
        except UnreadableFile as error:
            cut_short += 1
            assert str(path) in str(error)
            assert "\n" not in str(error)
        else:
            assert found.kind in (None, "DL", "unknown")
    assert cut_short > 100


def _nested(depth: int) -> bytes:
    """A graph in an attribute of a node of a graph in … `depth` times."""
    graph = _field(1, _field(4, b"Relu"))
    for _ in range(depth):
        graph = _field(1, _field(4, b"Loop") + _field(5, _field(6, graph)))
    return b"\x08\x08" + _field(7, graph) + _field(8, b"\x10\x12")


def test_nesting_up_to_what_onnx_readers_accept_is_read_and_deeper_is_refused() -> None:
    assert parse_header(_nested(MAX_DEPTH - 1)).op_types()[("", "Loop")] == MAX_DEPTH - 1
    with pytest.raises(UnreadableFile, match="nested more than"):
        parse_header(_nested(10_000))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (b"\xff" * 12, "does not end"),
        (b"\x3a\xff\xff\xff\xff\x7f", "announced"),
        (b"\x3a\x05\x08", "announced"),
        (b"\x00\x01", "field number"),
        (b"\x0f", "wire type"),
        (b"\x09\x01", "does not end"),
    ],
)
def test_each_way_to_break_the_wire_format_has_its_own_words(damage: bytes, reason: str) -> None:
    with pytest.raises(UnreadableFile, match=reason):
        parse_header(b"\x08\x08" + damage)


def test_a_budget_bounds_the_fields_read() -> None:
    wire = Wire(b"\x08\x01" * 1000, Steps(100))
    with pytest.raises(UnreadableFile, match="more in it"):
        list(wire.fields(wire.span))


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", [b"\0", b"\x08\x01", b"\x0a\0", b"\x3a\0", b"\xff", b"\x3a\x02\x0a\0", b"PK\x03\x04", b"random"]
)
def test_100_mb_of_junk_is_answered_in_bounded_time(tmp_path: Path, unit: bytes) -> None:
    path, seconds = tmp_path / "junk.onnx", []
    for size in (10_000_000, 100_000_000):
        path.write_bytes(random.Random(7).randbytes(size) if unit == b"random" else unit * (size // len(unit)))
        start = time.process_time()
        try:
            found = detect(path)
        except WorkbenchError as error:
            assert len(str(error)) < 500
        else:
            assert found.kind in (None, "unknown")
        seconds.append(time.process_time() - start)
    # The budget of fields ends within the smaller; without it the larger would take ten times as long, and minutes.
    assert seconds[1] < 3 * seconds[0] + 0.5


def test_a_gigantic_string_is_cut_not_copied() -> None:
    model = onnx.ModelProto.FromString(_loop_model().SerializeToString())
    model.doc_string = "x" * 1_000_000
    header = parse_header(model.SerializeToString())
    assert len(header.doc_string) == MAX_TEXT + 1
    assert header.doc_string.endswith("…")


BASES = [_loop_model().SerializeToString()] + [
    path.read_bytes()
    for path in (
        ONNX_DATA / "light" / "light_squeezenet.onnx",
        ONNX_DATA / "pytorch-converted" / "test_Conv2d" / "model.onnx",
        ONNX_DATA / "simple" / "test_sequence_model1" / "model.onnx",
    )
]


WOUNDS = st.tuples(
    st.sampled_from(["flip", "cut", "drop", "double", "write", "varint"]),
    st.booleans(),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 2**64 - 1),
)


def wounded(base: int, wounds: list[tuple[str, bool, float, int]]) -> bytes:
    """A real model file with flipped, missing, doubled, overwritten or inserted bytes."""
    data = bytearray(BASES[base])
    for sort, anywhere, place, number in wounds:
        # Structure sits at the start: half of the wounds go there.
        at = int(place * (len(data) if anywhere else min(len(data), 400)))
        size = 1 + number % 40
        if sort == "flip" and data:
            data[at] ^= 1 << number % 8
        elif sort == "cut":
            del data[at:]
        elif sort == "drop":
            del data[at : at + size]
        elif sort == "double":
            data[at:at] = data[at : at + size]
        elif sort == "write":
            data[at : at + size] = number.to_bytes(8, "little")[:size]
        elif sort == "varint":
            data[at:at] = _varint(number)
    return bytes(data) or b"\0"


@settings(max_examples=2000, deadline=5000)
@given(st.integers(0, len(BASES) - 1), st.lists(WOUNDS, min_size=1, max_size=4), st.integers(1, 3000))
def test_wounded_files_give_a_header_or_a_sentence_and_agree_with_onnx(
    base: int, wounds: list[tuple[str, bool, float, int]], steps: int
) -> None:
    data = wounded(base, wounds)
    identify_bytes(data, Steps(steps))
    with suppress(WorkbenchError):
        our_rule(parse_header(data, steps=Steps(steps)))
    try:
        header = parse_header(data)
    except WorkbenchError as error:
        assert 0 < len(str(error)) < 300
        return
    our_rule(header)
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception:
        return  # protobuf is stricter: it parses the parts a header steps over
    # Names that are not UTF-8 stay bytes in protobuf.
    theirs: Counter[tuple[str, str]] = Counter()
    for key, count in _counts(model).items():
        theirs[tuple(p.decode("utf-8", "replace") if isinstance(p, bytes) else p for p in key)] += count  # type: ignore[index,misc]
    assert header.op_types() == theirs


def test_tensors_of_absurd_rank_and_floods_of_inputs_are_refused() -> None:
    dims = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 5000
    with pytest.raises(UnreadableFile, match="dimensions"):
        parse_header(b"\x08\x08" + _field(7, _field(5, dims + _field(8, b"w"))) + _field(8, b"\x10\x12"))
    with pytest.raises(UnreadableFile, match="inputs or outputs"):
        parse_header(b"\x08\x08" + _field(7, _field(11, b"") * 200_000) + _field(8, b"\x10\x12"))
