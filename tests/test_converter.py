"""The panel that converts: real files and real conversions, asked for through its own controls."""

from __future__ import annotations

import os
import pickle
import re
import resource
import time
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import cloudpickle
import joblib
import onnx
import onnxruntime
import pytest
import skops.io
from hostile import Runs
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from workbench import BadInput, NeedsTrust, WorkbenchError, convert, safety
from workbench.convert import batch
from workbench.convert.options import chosen, options_for
from workbench.files.registry import FORMATS
from workbench.frameworks.spiking.nir import read_nir
from workbench.frameworks.spiking.plain import plain
from workbench.frameworks.tensorflow import convert_graph_def as graph_def
from workbench.frameworks.tensorflow import convert_saved_model as saved_model
from workbench.frameworks.tensorflow import convert_tflite as tflite
from workbench.paper.data import dataset
from workbench.session import Session
from workbench.widgets.converter import Converter
from workbench.widgets.job import JobBar

FLOWERS = dataset("iris")
TREE = DecisionTreeClassifier(random_state=0).fit(FLOWERS.inputs, FLOWERS.targets)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    skops.io.dump(TREE, tmp_path / "tree.skops")
    joblib.dump(TREE, tmp_path / "tree.joblib")
    yield tmp_path
    assert not list(tmp_path.glob(".workbench-*")), "a half-written folder was left"


def panel(path: Path) -> Converter:
    return Converter(Session(path, root=path.parent))


def wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 600
    while not until():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.02)


def ended(shown: Converter) -> None:
    """Until the work is done, and all who look on were told."""
    wait(lambda: not shown.session.job)
    with shown.session._lock:
        pass


def converted(shown: Converter) -> Converter:
    shown.button.click()
    ended(shown)
    return shown


def put(shown: Converter, **values: Any) -> None:
    for name, value in values.items():
        shown.choices[name].field.value = value


def visible(widget: Any, within: Any) -> bool:
    """Whether it is shown: neither itself nor what holds it is hidden."""
    parts = getattr(within, "children", ())
    return within.layout.display != "none" and (within is widget or any(visible(widget, part) for part in parts))


# --- options -------------------------------------------------------------------------------------------------------


def test_every_format_that_can_be_converted_has_options_and_no_other() -> None:
    assert {name for name, record in FORMATS.items() if record.options} == {
        name for name, record in FORMATS.items() if record.converts
    }


@pytest.mark.parametrize(
    ("format_name", "taker"),
    [("SavedModel", saved_model.draft), ("GraphDef", graph_def.draft), ("TFLite", tflite.draft), ("NIR", read_nir)],
)
def test_the_options_offered_are_those_the_converter_takes(format_name: str, taker: Callable[..., Any]) -> None:
    takes = {
        name for name, parameter in signature(taker).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY
    }
    options = {option.name: option for option in options_for(format_name)}
    # How a network is written is for whoever writes it, not for the reader of the source.
    written = {"form"} if format_name == "NIR" else {"opset", "batch"}
    assert set(options) == takes | written
    hints = get_type_hints(plain) | get_type_hints(taker)
    for name, option in options.items():
        if option.kind == "choice":
            hint = next(hint for hint in (hints[name], *get_args(hints[name])) if get_origin(hint) is Literal)
            assert option.choices == get_args(hint)


@pytest.mark.parametrize("value", [0, -1, True, 2.5, "4"])
def test_a_number_of_rows_that_cannot_be_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="'batch' is a whole number from 1 up, not"):
        chosen(options_for("joblib"), {"batch": value}, "joblib")


def test_a_model_that_does_not_begin_with_its_rows_takes_no_batch() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[N, 4] x, float[3] y) => (float[N, 4] z) { z = Identity(x) }'
    )
    with pytest.raises(BadInput, match=r"'y' has the shape \[3, …\], so the model cannot take 8 rows at a time"):
        batch.fix(model.graph, 8)


def test_what_is_chosen_by_hand_goes_into_the_file(folder: Path) -> None:
    shown = panel(folder / "tree.skops")
    stages = JobBar(shown.session, ["convert"])
    seen: list[list[str]] = []
    stages.observe(lambda change: seen.append(change.new), "stages")
    put(shown, zipmap=True, batch=4)
    shown.output.value = str(folder / "mine.onnx")
    assert shown.session.options == {"zipmap": True, "batch": 4}
    converted(shown)
    assert onnx.load(str(folder / "mine.onnx")).graph.output[1].type.HasField("sequence_type")
    runtime = onnxruntime.InferenceSession(str(folder / "mine.onnx"))
    rows = FLOWERS.inputs[:4].astype("float32")
    assert list(runtime.run(None, {"X": rows})[0]) == list(TREE.predict(rows))
    with pytest.raises(Exception, match="Got: 3 Expected: 4"):
        runtime.run(None, {"X": rows[:3]})
    found = shown.session.conversion
    assert found.agreement.within_tolerance and found.agreement.samples > 100
    assert found.source_bytes == (folder / "tree.skops").stat().st_size
    assert found.output_bytes == (folder / "mine.onnx").stat().st_size == found.to_dict()["output_bytes"]
    longest = max(seen, key=len)
    assert longest[0] == "Starting" and "Asking ONNX Runtime the same" in longest and not stages.running


def test_what_is_chosen_from_code_is_shown(folder: Path) -> None:
    shown = panel(folder / "tree.skops")
    shown.session.options = {"dtype": "float64", "batch": 7, "timeout": 100}
    assert {name: choice.field.value for name, choice in shown.choices.items()} == {
        "opset": "", "batch": 7, "dtype": "float64", "zipmap": False, "cdist": True
    }  # fmt: skip
    # What the panel does not know is not lost, and what is by default is left out.
    put(shown, dtype="", cdist=False)
    assert shown.session.options == {"batch": 7, "timeout": 100, "cdist": False}
    shown.session.options = {"opset": 99}
    assert shown.choices["opset"].field.value == ""
    converted(shown)
    assert "'opset' is a whole number from 9 to 22, not 99" in shown.said["problem"].value.replace("&#x27;", "'")


# --- results -------------------------------------------------------------------------------------------------------


def test_the_result_is_shown_and_leads_on(folder: Path) -> None:
    shown = panel(folder / "tree.skops")
    assert shown.output.placeholder == str(folder / "tree.onnx")
    assert not visible(shown.to_graph, shown) and not visible(shown.to_compare, shown)
    result = converted(shown).said["result"].value + shown.said["headline"].value
    assert "Both sides agree" in result and " became " in result
    assert shown.output.placeholder == str(folder / "tree-2.onnx")
    shown.to_compare.click()
    assert shown.session.step == "compare"
    shown.to_graph.click()
    assert (shown.session.path, shown.session.step) == (str(folder / "tree.onnx"), "graph")
    assert (
        "ONNX already" in shown.said["plan"].value
        and visible(shown.to_compare, shown)
        and not visible(shown.button, shown)
    )
    shown.session.pick(folder / "tree.skops")
    assert shown.said["result"].value + shown.said["headline"].value == result


def test_a_disagreement_shows_the_worst_samples(folder: Path) -> None:
    liar = LogisticRegression(max_iter=1000).fit(FLOWERS.inputs, FLOWERS.targets)
    honest = LogisticRegression(max_iter=1000).fit(FLOWERS.inputs, FLOWERS.targets)
    liar.decision_function = lambda rows: -honest.decision_function(rows)
    (folder / "liar.pkl").write_bytes(cloudpickle.dumps(liar))
    shown = panel(folder / "liar.pkl")
    shown.session.trust = True
    converted(shown)
    assert "gives other answers" in shown.said["problem"].value
    assert "Rows that differ most" in shown.said["result"].value
    assert not visible(shown.to_graph, shown) and not (folder / "liar.onnx").exists()


# --- trust ---------------------------------------------------------------------------------------------------------


def test_a_refused_file_is_converted_once_it_is_trusted(folder: Path) -> None:
    shown = panel(folder / "tree.joblib")
    assert not visible(shown.trust, shown)
    converted(shown)
    assert "trust=True" not in shown.said["scan"].value + shown.said["problem"].value
    assert "picklescan" in shown.said["scan"].value
    assert shown.button.disabled
    shown.trust.value = True
    assert not shown.button.disabled
    converted(shown)
    assert (folder / "tree.onnx").exists() and not shown.session.refused("convert")
    # The next file is another matter.
    joblib.dump(TREE, folder / "other.joblib")
    shown.session.pick(folder / "other.joblib")
    assert not shown.trust.value


def test_what_a_scan_found_is_shown_as_text_and_nothing_ran(folder: Path) -> None:
    path = folder / "<img src=x>.pkl"
    path.write_bytes(pickle.dumps(Runs(os.system, f"touch {folder}/it-ran")))
    shown = converted(panel(path))
    assert "<li>posix.system</li>" in shown.said["scan"].value
    assert "<img" not in "".join(widget.value for widget in shown.said.values())
    assert not (folder / "it-ran").exists()


def test_a_refusal_keeps_its_scan_on_its_way_between_processes(folder: Path) -> None:
    found = safety.scan(folder / "tree.joblib")
    again = pickle.loads(pickle.dumps(NeedsTrust("No.", found)))
    assert (str(again), again.scan) == ("No.", found)


# --- what goes wrong -----------------------------------------------------------------------------------------------


def spoil_nothing(path: Path) -> None:
    """It is the limit that is wrong."""


def garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[300:400] = bytes(100)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "options", "says"),
    [
        (Path.unlink, {}, "No such file|no file|does not exist"),
        (garble, {}, "cannot be opened .* it is damaged"),
        (spoil_nothing, {"memory_mib": 10}, "MiB of memory, more than the 10 MiB it was given"),
    ],
)
def test_a_failure_is_one_sentence_and_the_panel_goes_on(
    folder: Path, spoil: Callable[[Path], object], options: dict[str, Any], says: str
) -> None:
    good = (folder / "tree.skops").read_bytes()
    shown = panel(folder / "tree.skops")
    shown.session.options = options
    spoil(folder / "tree.skops")
    converted(shown)
    problem = shown.session.problems["convert"]
    assert re.search(says, problem), problem
    assert "\n" not in problem and "inside the workbench" not in problem
    assert 'role="alert"' in shown.said["problem"].value and not (folder / "tree.onnx").exists()
    (folder / "tree.skops").write_bytes(good)
    shown.session.options = {}
    converted(shown)
    assert (folder / "tree.onnx").exists() and not shown.said["problem"].value


def test_a_full_disk_is_one_sentence(folder: Path) -> None:
    shown = panel(folder / "tree.skops")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        converted(shown)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert shown.session.problems["convert"].startswith("No room is left to write ")
    assert "free some space" in shown.said["problem"].value and not shown.button.disabled


def test_a_cancelled_conversion_leaves_nothing(folder: Path) -> None:
    path = folder / "loop.pkl"
    path.write_bytes(pickle.dumps(Runs(exec, "while True: pass")))
    shown = panel(path)
    shown.session.trust = True
    bar = JobBar(shown.session)
    shown.button.click()
    wait(lambda: "Loading the model" in bar.stages)
    assert bar.running and shown.button.disabled and "is under way" in shown.said["reason"].value
    bar._handle_custom_msg({"type": "cancel"}, [])
    ended(shown)
    assert not list(folder.glob("*.onnx")) and not bar.running
    assert "cancelled" in shown.session.said and not shown.button.disabled


def test_ten_clicks_are_one_conversion(folder: Path) -> None:
    shown = panel(folder / "tree.skops")
    begun: list[str] = []
    shown.session.observe(lambda change: begun.append(change.new), "job")
    for _ in range(10):
        shown.button.click()
    ended(shown)
    assert begun == ["convert", ""] and sorted(path.name for path in folder.glob("*.onnx")) == ["tree.onnx"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("", "Pick a model file first."), ("mlp.pt2", "torch.onnx.export"), ("SOURCES.md", "give a model file")],
)
def test_what_cannot_be_converted_is_said_in_a_sentence(tmp_path: Path, name: str, says: str) -> None:
    shown = Converter(Session(Path(__file__).parent / "data" / name if name else None, root=tmp_path))
    assert says in shown.said["plan"].value and not visible(shown.button, shown)


def test_the_sentence_without_a_panel_is_the_same() -> None:
    with pytest.raises(WorkbenchError, match=r"export it from PyTorch itself"):
        convert(Path(__file__).parent / "data" / "mlp.pt2")
