"""Graphs that Netron's layout never ends with are not laid out, whatever format they are in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import onnxruntime
import pytest

from tests.test_graph import reading_all_before
from workbench import graph
from workbench.errors import UnreadableFile
from workbench.files.certificate import delimited
from workbench.files.wire import StepsSpent
from workbench.graph import MAX_SPANNED, layouts

DENSE, CHAIN = (240, 31), (300, 1)
"""(nodes, how many before it each reads)"""


def graph_def(nodes: int, most: int) -> bytes:
    def node(name: str, op: str, reads: list[str]) -> bytes:
        texts = [(1, name), (2, op), *((3, read) for read in reads)]
        return delimited(1, b"".join(delimited(number, text.encode()) for number, text in texts))

    written = [node("v0", "Placeholder", [])]
    for place in range(1, nodes):
        written.append(node(f"v{place}", "AddN", [f"v{i}:0" for i in range(max(0, place - most), place)]))
    return b"".join(reversed(written))  # the order in the file says nothing


def saved_model(nodes: int, most: int) -> bytes:
    return b"\x08\x01" + delimited(2, delimited(2, graph_def(nodes, most)))


def ort(nodes: int, most: int) -> bytes:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.optimized_model_filepath = str(Path("written.ort"))
    model = reading_all_before(nodes, most)
    model.ir_version, model.opset_import[0].version = 9, 18
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Path("written.ort").read_bytes()


def tflite(nodes: int, most: int) -> bytes:
    builder = flatbuffers.Builder(1024)

    def numbers(values: list[int]) -> int:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            builder.PrependInt32(value)
        return int(builder.EndVector())

    def table(size: int, fields: dict[int, int]) -> int:
        builder.StartObject(size)
        for index, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(index, offset, 0)
        return int(builder.EndObject())

    def tables(offsets: list[int]) -> int:
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())

    each = [table(3, {1: numbers([*range(max(0, at - most), at)]), 2: numbers([at])}) for at in range(1, nodes)]
    builder.Finish(table(7, {2: tables([table(4, {3: tables(each)})])}), b"TFL3")
    return bytes(builder.Output())


FORMS: dict[str, tuple[str, Callable[[int, int], bytes]]] = {
    "GraphDef": ("m.pb", graph_def),
    "SavedModel": ("saved_model.pb", saved_model),
    "ORT": ("m.ort", ort),
    "TFLite": ("m.tflite", tflite),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_graph_that_netron_never_ends_with_is_not_laid_out(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, make = FORMS[form]
    for (nodes, most), drawn in ((CHAIN, True), (DENSE, False)):
        path = tmp_path / name
        path.write_bytes(make(nodes, most))
        view = graph(path)
        assert (view.format, view.reason is None) == (form, drawn), view.reason
        assert drawn or "span" in str(view.reason)


def test_a_flatbuffer_that_points_at_itself_again_and_again_is_left_soon() -> None:
    data = bytearray(tflite(300, 1))
    flat = layouts.Flat(data, "TFLite")
    (subgraph,) = flat.tables(flat.number(0), 2)
    vector = flat.elements(subgraph, 3)
    first = vector[0] + flat.number(vector[0])
    reads = flat.elements(first, 1)
    # Each operator is the same one, and it reads the whole file.
    data[reads.start - 4 : reads.start] = (1 << 30).to_bytes(4, "little")
    data += bytes(4 * (1 << 16))
    for at in vector:
        data[at : at + 4] = (first - at).to_bytes(4, "little", signed=True)
    with pytest.raises((StepsSpent, UnreadableFile)):
        layouts.tflite(bytes(data))
    assert MAX_SPANNED < layouts.MOST


@pytest.mark.parametrize("form", ["TFLite", "ORT"])
def test_what_is_cut_short_is_left_to_netron(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name, make = FORMS[form]
    (tmp_path / name).write_bytes(make(*CHAIN)[:-300])
    assert graph(tmp_path / name).reason is None
