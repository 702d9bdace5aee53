"""ONNX models in other forms than their own file: text, gzip, zip, ONNX Runtime's; and data files beside a model."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from playwright.sync_api import Browser

from workbench import convert, detect, graph, load_engine
from workbench.errors import UnreadableFile, UnsupportedModel, WorkbenchError
from workbench.files.formats import identify
from workbench.files.wire import encode_varint

WEIGHTS = np.arange(12, dtype=np.float32).reshape(4, 3) - 5
ROWS = np.eye(4, dtype=np.float32)


def model() -> onnx.ModelProto:
    """The positive part of x times `WEIGHTS`."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])
    inside = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(WEIGHTS, "w")])
    return helper.make_model(inside, opset_imports=[helper.make_opsetid("", 18)], ir_version=9, producer_name="t")


def external(folder: Path) -> Path:
    """The model with its weights beside it."""
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(model(), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    return path


def written(path: Path, form: str, whole: onnx.ModelProto | None = None) -> Path:
    """A file of the model, the one above unless it is another, in one of the forms."""
    whole = whole or model()
    if form == "camel JSON":
        # As other tools' protobuf writes its fields.
        snakes = onnx.serialization.registry.get("json").serialize_proto(whole).decode()
        path.write_text(re.sub(r'"\w+":', lambda key: re.sub("_(.)", lambda part: part[1].upper(), key[0]), snakes))
    elif form == "gzip":
        path.write_bytes(gzip.compress(whole.SerializeToString()))
    elif form == "zip":
        beside = external(path.parent / "beside")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in (beside, beside.with_name("model.onnx.data")):
                archive.write(file, f"inside/{file.name}")
    elif form == "ort":
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        options.add_session_config_entry("session.save_model_format", "ORT")
        onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    elif form == "text beside its weights":
        bare = onnx.load(external(path.parent), load_external_data=False)
        path.write_bytes(onnx.serialization.registry.get("textproto").serialize_proto(bare))
    else:
        onnx.save(whole, path, format=form)
    return path


FORMS = {
    "textproto": "ONNX text", "onnxtxt": "ONNX text", "json": "ONNX text", "camel JSON": "ONNX text",
    "text beside its weights": "ONNX text", "gzip": "ONNX packed", "zip": "ONNX packed", "ort": "ORT",
}  # fmt: skip


@pytest.mark.parametrize(("form", "name"), FORMS.items())
def test_a_model_in_another_form_is_named_run_and_drawn(tmp_path: Path, form: str, name: str) -> None:
    path = written(tmp_path / "m.bin", form)  # the content tells, not the name
    assert identify(path).name == name
    with load_engine(path) as engine:
        assert engine.path == str(path) and type(engine).__name__ == "WorkerEngine"
        np.testing.assert_array_equal(engine.run(ROWS)["y"], np.maximum(WEIGHTS, 0))
    view = graph(path)
    assert view.reason is None and view.nodes == (None if form == "ort" else 2)


@pytest.mark.parametrize("form", ["textproto", "onnxtxt", "json", "camel JSON", "gzip"])
def test_the_kind_of_a_model_in_another_form_is_told_by_its_content(tmp_path: Path, form: str) -> None:
    spiking = onnx.load(Path(__file__).parent / "data" / "snn_leaky.onnx")
    for whole, kind in ((spiking, "SNN"), (model(), "unknown")):
        path = written(tmp_path / "m.bin", form, whole)
        found = detect(path)
        assert (found.kind, found.format, found.size_bytes) == (kind, FORMS[form], path.stat().st_size)
        assert found.components is not None and found.components["producer_name"] == whole.producer_name


def test_a_form_that_does_not_open_is_of_unknown_kind_for_that_reason(tmp_path: Path) -> None:
    path = written(tmp_path / "m.textproto", "textproto")
    path.write_text(path.read_text()[:-9])
    found = detect(path)
    assert found.kind == "unknown" and str(path) in found.because


@pytest.mark.browser
def test_netron_draws_onnx_runtimes_own_form(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    page.set_content(graph(written(tmp_path / "m.ort", "ort")).page())
    page.locator("html[data-netron=ready]").wait_for(state="attached", timeout=60_000)
    assert page.locator(".node-item-type > text").count() >= 2
    page.close()


def test_forms_are_compared_like_any_model(tmp_path: Path) -> None:
    packed, own = written(tmp_path / "m.onnx.gz", "gzip"), written(tmp_path / "m.ort", "ort")
    command = [sys.executable, "-m", "workbench", "compare", packed, own, "--seconds", "0.1", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert json.loads(said)["agreement"]["within_tolerance"]


def test_what_only_looks_like_a_form_is_not_taken_for_one(tmp_path: Path) -> None:
    def named(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return identify(tmp_path / name).name

    assert named("a.json", b'{"graph": {"nodes": []}, "version": 3}') == "text"
    assert named("a.textproto", b"node {\n  name: 'x'\n  op: 'Relu'\n}\nversions {\n  producer: 27\n}\n") == "text"
    assert named("a.onnxtxt", b"<html><body>404</body></html>") == "text"
    assert named("a.onnx.gz", gzip.compress(b"notes on a model\n" * 99)) == "unknown"
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("one.onnx", model().SerializeToString())
        archive.writestr("two.onnx", model().SerializeToString())
    assert identify(tmp_path / "two.zip").name == "zip archive"


@pytest.mark.parametrize("form", ["gzip", "zip"])
def test_a_bomb_is_stopped_where_no_model_would_go_on(tmp_path: Path, form: str) -> None:
    path, zeros = tmp_path / "bomb", bytes(1 << 24)
    # A description of 128 MiB of nothing: some 130 kB packed.
    parts = [model().SerializeToString(), b"\x32" + encode_varint(8 << 24), *[zeros] * 8]
    with ExitStack() as opened:
        if form == "gzip":
            inside = opened.enter_context(gzip.open(path, "wb"))
        else:
            archive = opened.enter_context(zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED))
            inside = opened.enter_context(archive.open("m.onnx", "w"))
        inside.writelines(parts)
    assert identify(path).name == "ONNX packed" and path.stat().st_size < 1 << 18
    for door in (load_engine, graph):
        with pytest.raises(UnreadableFile, match="unpacks to more than"):
            door(path)


def test_an_archive_writes_nothing_outside_its_folder(tmp_path: Path) -> None:
    bad = TensorProto(name="w", dims=[4, 3], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    bad.external_data.add(key="location", value="../../evil.bin")
    whole = model()
    whole.graph.initializer[0].CopyFrom(bad)
    path = tmp_path / "slip.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m.onnx", whole.SerializeToString())
        archive.writestr("../../evil.bin", bytes(48))
    with pytest.raises(UnsupportedModel, match="outside its own folder"):
        load_engine(path)
    assert not list(Path(tempfile.gettempdir()).glob("evil.bin")) and not list(tmp_path.parent.glob("evil.bin"))


@pytest.mark.parametrize(
    ("form", "damage"),
    [
        ("textproto", lambda data: data[:200] + b"graph {\n" + b"node { attribute { g { " * 3000),
        ("onnxtxt", lambda data: data + b"(" * 100_000),
        ("json", lambda data: data[:-20]),
        ("gzip", lambda data: gzip.compress(gzip.decompress(data) + b"\x3a" + b"\x80\x80\x04" + bytes(100))),
        ("ort", lambda data: data[:100] + b"\xff" * 64 + data[164:]),
    ],
)
def test_a_damaged_form_ends_in_a_sentence_that_names_the_file(tmp_path: Path, form: str, damage: object) -> None:
    path = written(tmp_path / "m.bin", form)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(WorkbenchError) as caught:
        load_engine(path)
    assert "m.bin" in str(caught.value) and "workbench-form" not in str(caught.value)


def test_a_data_file_is_named_for_the_model_that_reads_it(tmp_path: Path) -> None:
    path = external(tmp_path / "folder")
    data = path.with_name("model.onnx.data")
    found = detect(data)
    assert found.kind is None and "weights of model.onnx" in found.because
    for door in (load_engine, graph, convert):
        with pytest.raises(UnsupportedModel, match=r"weights of model\.onnx, the model beside it"):
            door(data)
    data.rename(tmp_path / "other.data")
    assert "weights" not in detect(tmp_path / "other.data").because
