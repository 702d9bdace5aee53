"""Leaving weights out: everything a graph view shows must survive, whatever the file does."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from workbench.errors import UnreadableFile, UnsupportedModel, WorkbenchError
from workbench.files.wire import WireError, opened
from workbench.graph import slim

LIGHT = sorted((Path(onnx.__file__).parent / "backend/test/data/light").glob("light_*.onnx"))
X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited protobuf field, written by hand."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def model(nodes: list[onnx.NodeProto], initializers: list[onnx.TensorProto] | None = None) -> onnx.ModelProto:
    return helper.make_model(helper.make_graph(nodes, "g", [X], [Y], initializers or []))


def structure(graph: onnx.GraphProto | onnx.FunctionProto) -> list[object]:
    """Everything of a graph but numbers, subgraphs included."""
    out: list[object] = []
    for node in graph.node:
        out.append((node.op_type, node.domain, node.name, tuple(node.input), tuple(node.output)))
        for attribute in node.attribute:
            out.append((attribute.name, attribute.type))
            out += structure(attribute.g) if attribute.HasField("g") else []
            out += [item for inner in attribute.graphs for item in structure(inner)]
    if isinstance(graph, onnx.GraphProto):
        out += [(value.SerializeToString()) for value in (*graph.input, *graph.output, *graph.value_info)]
        out += [(tensor.name, tensor.data_type, tuple(tensor.dims)) for tensor in graph.initializer]
    return out


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_structure_survives(path: Path) -> None:
    with opened(path) as buffer:
        small = onnx.load_from_string(slim.onnx(buffer).data)
    assert structure(small.graph) == structure(onnx.load(path).graph)


def test_structure_of_the_papers_models_survives(paper_models: Path) -> None:
    for path in paper_models.glob("*.onnx"):
        with opened(path) as buffer:
            result = slim.onnx(buffer)
        whole = onnx.load(path)
        small = onnx.load_from_string(result.data)
        assert structure(small.graph) == structure(whole.graph)
        assert small.opset_import == whole.opset_import
        assert (small.producer_name, small.ir_version) == (whole.producer_name, whole.ir_version)


def test_large_and_external_tensors_keep_name_type_and_shape_only() -> None:
    large = numpy_helper.from_array(np.ones((64, 64), np.float32), "large")
    typed = helper.make_tensor("typed", TensorProto.INT64, [5000], list(range(5000)))
    little = numpy_helper.from_array(np.arange(4, dtype=np.int64), "little")
    away = onnx.TensorProto(name="away", data_type=TensorProto.FLOAT, dims=[9, 9])
    away.data_location = TensorProto.EXTERNAL
    away.external_data.add(key="location", value="missing.bin")
    nodes = [helper.make_node("Add", ["x", "large"], ["y"])]
    result = slim.onnx(model(nodes, [large, typed, little, away]).SerializeToString())
    tensors = {tensor.name: tensor for tensor in onnx.load_from_string(result.data).graph.initializer}
    assert {name: tuple(tensor.dims) for name, tensor in tensors.items()} == {
        "large": (64, 64),
        "typed": (5000,),
        "little": (4,),
        "away": (9, 9),
    }
    assert not tensors["large"].raw_data
    assert not tensors["typed"].int64_data
    assert tensors["little"].raw_data == little.raw_data
    assert not tensors["away"].external_data and tensors["away"].data_location == TensorProto.DEFAULT


def test_tensors_in_attributes_subgraphs_and_functions_are_left_out_too() -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(999, np.float32)))
    then = helper.make_graph([constant], "then", [], [Y], [numpy_helper.from_array(np.ones(999), "w")])
    branch = helper.make_node("If", ["x"], ["y"], then_branch=then, else_branch=then)
    whole = model([branch])
    whole.functions.append(
        helper.make_function("org", "F", ["x"], ["c"], [constant], [helper.make_opsetid("", 18)], [], [])
    )
    small = onnx.load_from_string(slim.onnx(whole.SerializeToString()).data)
    assert structure(small.graph) == structure(whole.graph)
    for attribute in small.graph.node[0].attribute:
        assert list(attribute.g.initializer[0].dims) == [999] and not attribute.g.initializer[0].raw_data
        assert not attribute.g.node[0].attribute[0].t.raw_data
    assert list(small.functions[0].node[0].attribute[0].t.dims) == [999]
    assert not small.functions[0].node[0].attribute[0].t.raw_data


def test_long_lists_are_cut_counted_and_said() -> None:
    lists = {"ints": list(range(-5, 70_000)), "floats": [0.5] * 1000, "texts": [f"word {i}" for i in range(300)]}
    node = helper.make_node("TreeEnsembleClassifier", ["x"], ["y"], "forest", domain="ai.onnx.ml", few=[1, 2], **lists)
    node.doc_string = "kept"
    result = slim.onnx(model([node]).SerializeToString())
    found = {cut.attribute: (cut.node, cut.op_type, cut.kept, cut.total) for cut in result.shortened}
    assert found == {
        name: ("forest", "TreeEnsembleClassifier", slim.LIST_KEPT, len(values)) for name, values in lists.items()
    }
    small = onnx.load_from_string(result.data).graph.node[0]
    kept = {attribute.name: helper.get_attribute_value(attribute) for attribute in small.attribute}
    assert list(kept["ints"]) == lists["ints"][: slim.LIST_KEPT]
    assert list(kept["floats"]) == lists["floats"][: slim.LIST_KEPT]
    assert [text.decode() for text in kept["texts"]] == lists["texts"][: slim.LIST_KEPT]
    assert list(kept["few"]) == [1, 2]
    assert small.doc_string.startswith("kept\n") and "ints: first 16 of 70,005 values" in small.doc_string


@pytest.mark.parametrize(("number", "kind"), [(7, "f"), (8, "q")])
def test_packed_lists_are_cut_like_unpacked_ones(number: int, kind: str) -> None:
    values = [float(i) for i in range(400)] if kind == "f" else list(range(0, 400_000, 1000))
    packed = struct.pack("<400f", *values) if kind == "f" else b"".join(varint(int(value)) for value in values)
    attribute = field(1, b"list") + field(number, packed) + varint(20 << 3) + varint(6 if kind == "f" else 7)
    graph = field(1, field(4, b"Op") + field(5, attribute))
    data = varint(1 << 3) + varint(8) + field(7, graph)
    result = slim.onnx(data)
    assert [(cut.kept, cut.total) for cut in result.shortened] == [(slim.LIST_KEPT, 400)]
    node = onnx.load_from_string(result.data).graph.node[0]
    assert list(helper.get_attribute_value(node.attribute[0])) == values[: slim.LIST_KEPT]


def test_long_text_is_cut_between_characters() -> None:
    whole = model([helper.make_node("Relu", ["x"], ["y"])])
    whole.doc_string = "ä" * 500_000
    whole.metadata_props.add(key="k", value="✓" * 500_000)
    whole.producer_name = "日本語 exporter"
    data = slim.onnx(whole.SerializeToString()).data
    small = onnx.load_from_string(data)
    assert len(data) < 4 * slim.TEXT_LIMIT
    assert small.doc_string == "ä" * (slim.TEXT_LIMIT // 2) + "…"
    assert small.metadata_props[0].value == "✓" * (slim.TEXT_LIMIT // 3) + "…"
    assert small.producer_name == "??? exporter"  # Netron refuses a model whose producer has such letters


def test_hostile_nesting_is_an_error_not_a_crash() -> None:
    graph = b""
    for _ in range(5000):
        graph = field(1, field(4, b"If") + field(5, field(1, b"b") + field(6, graph)))
    with pytest.raises(WireError, match="nested"):
        slim.onnx(varint(1 << 3) + varint(8) + field(7, graph))


def test_a_model_that_is_all_structure_is_refused_in_words() -> None:
    node = field(1, field(1, b"n" * 4000) + field(4, b"Relu"))
    with pytest.raises(UnsupportedModel, match="structure alone"):
        slim.onnx(varint(1 << 3) + varint(8) + field(7, node * 9000))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_an_error_a_person_can_read(data: st.DataObject) -> None:
    ints = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], "t", ints=list(range(300)), floats=[1.0] * 300)
    weights = helper.make_tensor("w", TensorProto.FLOAT, [400], [0.5] * 400)
    raw = bytearray(model([ints], [weights]).SerializeToString())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(1, len(raw)))]
    try:
        result = slim.onnx(bytes(raw))
    except WorkbenchError as error:
        assert str(error)
    else:
        assert len(result.data) < 2 * len(raw) + 2000


def test_hdf5_keeps_shapes_and_reads_no_other_file(tmp_path: Path) -> None:
    import h5py

    secret = tmp_path / "secret.bin"
    secret.write_bytes(b"secret!!" * 4)
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "{}"
        file.create_dataset("dense/kernel", data=np.ones((300, 200), np.float32))
        file.create_dataset("dense/bias", data=np.arange(5, dtype=np.float32))
        file.create_dataset("away", (4,), "f8", external=[(str(secret), 0, 32)])
        file["ring"] = h5py.SoftLink("/dense")
        file["outside"] = h5py.ExternalLink("other.h5", "/")
    data = slim.hdf5(path).data
    assert len(data) < 20_000 < path.stat().st_size
    assert b"secret!!" not in data
    import io

    with h5py.File(io.BytesIO(data)) as file:
        assert file.attrs["model_config"] == "{}"
        assert file["dense/kernel"].shape == (300, 200)
        assert list(file["dense/bias"][...]) == [0, 1, 2, 3, 4]
        assert file["away"].shape == (4,)
        assert "ring" not in file and "outside" not in file


def test_archives_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    import zipfile
    import zlib

    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/data.pkl", bytes(slim.OUTPUT_LIMIT + 1))
    with pytest.raises(UnsupportedModel):
        slim.pytorch(path)
    with pytest.raises(UnsupportedModel):
        slim.inflated(zlib.compress(bytes(slim.OUTPUT_LIMIT + 1)))
    with pytest.raises(UnreadableFile):
        slim.inflated(zlib.compress(b"x" * 1000)[:1] + b"\x9c junk")


def test_a_tflite_file_with_offsets_outside_it_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="offset"):
        slim.tflite(b"\xf0\xff\xff\x00TFL3" + bytes(64))


def test_tensorflows_graphs_keep_their_nodes_and_lose_their_large_constants(tmp_path: Path) -> None:
    def constant(name: bytes, size: int) -> bytes:
        tensor = b"\x08\x01" + field(2, field(2, b"\x08" + varint(size // 4))) + field(4, b"\x77" * size)
        value = field(5, field(1, b"value") + field(2, field(8, tensor)))
        return field(1, field(1, name) + field(2, b"Const") + value)

    relu = field(1, field(1, b"r") + field(2, b"Relu") + field(3, b"large"))
    graph_def = constant(b"small", 400) + constant(b"large", 2 << 20) + relu
    for name, whole in (("graph_def", graph_def), ("saved_model", b"\x08\x01" + field(2, field(2, graph_def)))):
        (tmp_path / name).write_bytes(whole)
        with opened(tmp_path / name) as buffer:
            small = getattr(slim, name)(buffer).data
        nodes = constant(b"small", 400) + relu
        assert len(nodes) < len(small) < len(nodes) + 200
        assert nodes[: -len(relu)] in small and relu in small  # as they were, byte for byte
        assert small.count(b"Const") == 2 and b"large" in small and small.count(b"\x77") == 400
