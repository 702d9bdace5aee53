"""What a comparison keeps of both sides' answers, how a row of them is shown, and the panel that asks for it all."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from html import unescape
from pathlib import Path
from typing import Any

import joblib
import nengo
import numpy as np
import pytest
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from skops import io

from tests.test_compare import graph, times
from tests.test_compare import here as both_here
from workbench import BadInput, compare, convert, load_engine
from workbench.__main__ import main
from workbench.compare import Comparison
from workbench.compare.answers import KEPT_ROWS
from workbench.compare.options import ASKED, Options
from workbench.errors import UnreadableFile
from workbench.sandbox import end_warm_worker
from workbench.session import Session
from workbench.show.answers import row_html
from workbench.widgets.comparison import ELSEWHERE, ComparisonPanel

FLOWERS = load_iris(as_frame=True)
IRIS, SPECIES = FLOWERS.data.to_numpy(np.float32), np.array(FLOWERS.target_names)[FLOWERS.target]
FLOAT = TensorProto.FLOAT
QUICK = {"seconds": 0.2, "repeat": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A forest as skops and as ONNX, another as joblib, and the rows it learnt as a table."""
    folder = tmp_path_factory.mktemp("pairs")
    forest = RandomForestClassifier(5, random_state=0).fit(IRIS, SPECIES)
    convert(forest, folder / "forest.onnx", zipmap=False)
    end_warm_worker()
    io.dump(forest, folder / "forest.skops")
    joblib.dump(forest, folder / "risky.joblib")
    FLOWERS.data.assign(species=SPECIES).to_csv(folder / "flowers.csv", index=False)
    yield folder


@pytest.fixture(scope="module")
def asked(folder: Path) -> Comparison:
    """The forest and its ONNX form, asked all flowers."""
    return here(folder / "forest.skops", folder / "forest.onnx", folder / "flowers.csv", target="species")


def here(*sides: Any, **options: Any) -> Comparison:
    return both_here(*sides, repeat=1, **options)


def classifier(path: Path, weights: np.ndarray) -> Path:
    """Probabilities of three classes."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["probabilities"])]
    return graph(path, nodes, {"probabilities": (FLOAT, ["n", 3])}, weights={"w": weights.astype(np.float32)})


def wait(session: Session) -> None:
    end = time.monotonic() + 600
    while session.job and time.monotonic() < end:
        time.sleep(0.02)
    assert not session.job
    with session._lock:  # until all who look on were told
        pass


# --- answers as tables ---------------------------------------------------------------------------------------------


def test_the_frame_holds_both_sides_answers_row_by_row(asked: Comparison, folder: Path) -> None:
    with load_engine(folder / "forest.skops") as engine:
        native = engine.run(IRIS)
    with load_engine(folder / "forest.onnx") as engine:
        onnx = engine.run(IRIS)
    frame = asked.frame
    assert list(frame["row"]) == list(range(150)) and list(frame["target"]) == list(SPECIES)
    assert list(frame["native label"]) == list(native["label"]) and list(frame["onnx label"]) == list(onnx["label"])
    for column in range(3):
        assert np.array_equal(frame[f"native probabilities[{column}]"], native["probabilities"][:, column])
        assert np.array_equal(frame[f"onnx probabilities[{column}]"], onnx["probabilities"][:, column])
    assert np.allclose(frame["native score"], native["probabilities"].max(axis=1))
    apart = np.abs(native["probabilities"].astype(np.float64) - onnx["probabilities"]).max(axis=1)
    assert np.allclose(frame["largest difference"], apart) and frame["agrees"].all()


def test_the_times_are_a_table_with_a_line_for_each_call(asked: Comparison) -> None:
    table = asked.times
    assert list(table["side"].unique()) == ["native", "onnx"] and (table["low"] <= table["high"]).all()
    fastest = table[table["fastest"]].set_index("side")
    assert fastest.loc["native", "seconds"] / fastest.loc["onnx", "seconds"] == pytest.approx(asked.speedup.median)
    assert set(table["accuracy"]) == {asked.native.accuracy}


def test_all_rows_agree_in_the_frame_where_the_verdict_says_so_and_only_there(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((20, 4), np.float32)
    one, off = times(tmp_path / "one.onnx", 1), times(tmp_path / "off.onnx", [1, 1, 1, 1.5])
    two = graph(
        tmp_path / "two.onnx",
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["more"])],
        {"y": (FLOAT, ["n", 4]), "more": (FLOAT, ["n", 4])},
    )
    mean = graph(
        tmp_path / "m.onnx", [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1])], {"y": (FLOAT, ["n", 1])}
    )
    zero = x.copy()
    zero[3:] = 0
    for native, onnx, rows, differing in (
        (one, one, x, []),
        (one, off, x, range(20)),
        (one, off, zero, [0, 1, 2]),
        (two, one, x, range(20)),  # an output without partner is no row's fault
        (one, mean, x, range(20)),  # nor is another shape
    ):
        found = here(native, onnx, rows)
        assert found.frame["agrees"].all() == found.agreement.within_tolerance == (not differing)
        assert list(found.frame["row"][~found.frame["agrees"]]) == list(differing)


def test_of_many_rows_the_first_are_kept_and_all_that_differ_most(tmp_path: Path) -> None:
    x = np.zeros((1000, 4), np.float32)
    x[300], x[900] = 1, 2
    found = here(times(tmp_path / "one.onnx", 1), times(tmp_path / "two.onnx", 2), x)
    answers = found.answers
    assert answers is not None and len(answers.rows) == KEPT_ROWS and {300, 900} < set(answers.rows)
    assert answers.furthest == 900 and answers.first_differing == 300 and answers.place(10**6) == KEPT_ROWS - 1
    assert "answers" not in found.to_dict() and "answers" not in repr(found)


# --- what is asked -------------------------------------------------------------------------------------------------


def test_rows_come_from_a_file_the_papers_data_or_chance(asked: Comparison, folder: Path, tmp_path: Path) -> None:
    pair = folder / "forest.skops", folder / "forest.onnx"
    assert asked.agreement.samples == 150 and asked.native.accuracy == asked.onnx.accuracy > 0.9
    found = here(*pair, folder / "flowers.csv", target="species", rows=7, batch=3)
    assert (found.agreement.samples, found.rows) == (7, 3) and "The first 7 of 150 rows were asked." in found.warnings
    paper = here(*pair, "paper")
    assert paper.agreement.samples == 38 and paper.native.accuracy is not None and "Iris" in paper.warnings[0]
    chance = here(*pair, "random", rows=9)
    assert chance.agreement.samples == 9 and chance.native.accuracy is None and "target" not in chance.frame
    # A regression of four numbers has no flowers to name.
    assert here(*[times(tmp_path / "m.onnx", 1)] * 2, "paper").native.accuracy is None


def test_what_cannot_be_asked_is_said_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    pair = folder / "forest.skops", folder / "forest.onnx"
    wide = times(tmp_path / "wide.onnx", 1, shape=["n", 5])
    for sides, given, options, match in (
        ((wide, wide), "paper", {}, r"fit input 'x' \(float32 \['n', 5\]\): choose made-up ones, or a file"),
        (pair, folder / "none.csv", {}, "no such file"),
        (pair, "paper", {"target": "species"}, "target names a column of a file"),
        (pair, "random", {"rows": 5, "batch": 6}, "cannot hold 6 rows where 5 are asked"),
        (pair, "random", {"rows": 0}, "rows is a whole number from 1"),
    ):
        with pytest.raises((BadInput, UnreadableFile), match=match):
            here(*sides, given, **options)
    four = times(tmp_path / "four.onnx", 1, shape=[4, 4])
    assert here(four, four, rows=10).agreement.samples == 8  # whole batches
    with pytest.raises(BadInput, match="takes 4 rows at a time, so a timed call cannot hold 2"):
        here(four, four, rows=10, batch=2)


# --- one row ---------------------------------------------------------------------------------------------------------


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.S)).split())


def test_a_row_shows_what_was_asked_and_both_answers(asked: Comparison) -> None:
    said = words(row_html(asked, 60))
    row = asked.frame.loc[60]
    assert f"both sides say {row['native label']}" in said
    assert f"sepal length (cm) {IRIS[60, 0]:.4g}" in said
    best = f"{row['native label']} highest on both sides"
    assert best in said and f"{row['native score']:.4g} {row['onnx score']:.4g}" in said


def test_a_label_that_flips_is_said_in_words(tmp_path: Path) -> None:
    weights = np.eye(4, 3)
    left = classifier(tmp_path / "left.onnx", weights)
    right = classifier(tmp_path / "right.onnx", weights[:, [1, 0, 2]])
    found = here(left, right, np.eye(4, dtype=np.float32)[:3], targets=[0, 1, 2])
    assert "the first model says 0 , the second model says 1 : the label flips; the right answer is 0" in words(
        row_html(found, 0)
    )
    assert "both sides say 2 , which is right" in words(row_html(found, 2))


def test_numbers_that_are_no_classes_are_a_table_with_their_differences(tmp_path: Path) -> None:
    found = here(
        times(tmp_path / "a.onnx", 1), times(tmp_path / "b.onnx", [1, 1, 1, 2]), np.full((3, 4), 0.5, np.float32)
    )
    said = words(row_html(found, 1))
    assert (
        "y place first second difference [0] 0.5 0.5 0" in said
        and "[3] 0.5 1 0.5" in said
        and "the sides differ" in said
    )


def test_pictures_are_shown_as_pictures_in_any_layout(tmp_path: Path) -> None:
    for row in ([28, 28], [28, 28, 1], [3, 16, 16], [784]):
        path = times(tmp_path / "m.onnx", 1, shape=["n", *row])
        page = row_html(here(path, path, np.random.default_rng(0).random((2, *row), np.float32)), 0)
        assert 'src="data:image/png;base64,' in page and "pixels" in page
    table = times(tmp_path / "t.onnx", 1, shape=["n", 9])
    assert "<img" not in row_html(here(table, table, rows=2), 0)


def test_names_from_a_model_or_a_table_reach_the_page_escaped(asked: Comparison) -> None:
    evil = "<img src=x onerror=alert(1)>"
    answers = replace(asked.answers, columns=(evil,) * 4, files=(evil,) * 150, classes={"probabilities": (evil,) * 3})
    page = row_html(replace(asked, answers=answers), 0)
    assert evil not in page and "&lt;img src=x" in page


# --- spikes ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spiking(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    with nengo.Network(seed=0) as net:
        stimulus = nengo.Node(np.zeros(2), label="x")
        first, second = nengo.Ensemble(20, 2, label="first"), nengo.Ensemble(12, 2, label="second")
        nengo.Connection(stimulus, first, synapse=None)
        nengo.Connection(first, second, synapse=0.005)
        nengo.Probe(second, synapse=0.01, label="read")
    path = tmp_path_factory.mktemp("spiking") / "net.onnx"
    convert(net, path)
    end_warm_worker()
    with load_engine(path, "nengo", threads=1) as theirs, load_engine(path, "onnxruntime", threads=1) as ours:
        found = compare(theirs, ours, np.full((3, 2), 0.5, np.float32), threads=1, **QUICK)
        spikes = found.answers.spikes
        assert np.array_equal(spikes.native, theirs.run(np.full((3, 2), 0.5), spikes=["second"])["second"] != 0)
    return found


def test_a_spiking_network_keeps_the_spikes_of_its_last_layer(spiking: Comparison) -> None:
    spikes = spiking.answers.spikes
    assert (spikes.layer, spikes.dt, spikes.onnx.shape) == ("second", 0.001, (3, 30, 12)) and spikes.native.any()
    assert spiking.frame["agrees"].all() and "native read[1]" in spiking.frame


def test_spikes_of_both_sides_stand_over_one_axis_of_time(spiking: Comparison) -> None:
    spikes = spiking.answers.spikes
    same = replace(spikes, onnx=spikes.native)
    page = row_html(replace(spiking, answers=replace(spiking.answers, spikes=same)), 0)
    strokes = re.findall(r'<path d="((?:M[\d.]+ [\d.]+v5)+)"', page)
    fired = int(spikes.native[0].sum())
    assert [path.count("M") for path in strokes] == [fired, fired] and "time in ms" in page and "<circle" not in page
    moved = spikes.native.copy()
    step, neuron = np.argwhere(moved[0])[0]
    moved[0, step, neuron], moved[0, step + 1, neuron] = False, True
    page = row_html(replace(spiking, answers=replace(spiking.answers, spikes=replace(spikes, onnx=moved))), 0)
    assert page.count("<circle") == 2 and "2 of them on one side only" in page


# --- the panel -------------------------------------------------------------------------------------------------------


def shown(widget: Any) -> bool:
    return widget.layout.display != "none"


def panel_of(path: Path) -> ComparisonPanel:
    panel = ComparisonPanel(path)
    panel.session.seconds, panel.session.repeats, panel.session.threads = 0.2, 2, 1
    return panel


def test_a_pair_is_compared_after_a_cancelled_try_and_walked_through_row_by_row(folder: Path) -> None:
    panel = panel_of(folder / "forest.skops")
    session = panel.session
    assert "forest.onnx lies beside forest.skops" in panel.said["plan"].value and not shown(panel.convert)
    panel.fields["data"].value = str(folder / "flowers.csv")
    panel.fields["target"].value = "species"
    panel.fields["rows"].value = 10
    assert (session.data, session.target, session.rows) == (str(folder / "flowers.csv"), "species", 10)
    panel.button.click()
    assert panel.button.disabled and "under way" in panel.said["reason"].value
    session.cancel()
    wait(session)
    assert session.comparison is None and "cancelled" in session.said and not shown(panel._result)
    panel.button.click()
    panel.button.click()  # a second click starts nothing more
    wait(session)
    assert not session.problems and not panel.button.disabled
    assert "Both sides agree" in panel.said["headline"].value and "Right answers" in panel.said["headline"].value
    assert "<b>Row 0</b>" in panel.said["row"].value and panel.steps["previous"].disabled
    panel.steps["next"].click()
    assert session.row == 1 and "<b>Row 1</b>" in panel.said["row"].value
    session.row = 500
    assert "<b>Row 9</b>" in panel.said["row"].value and panel.steps["next"].disabled
    panel.steps["furthest"].click()
    assert session.row == session.comparison.answers.furthest and not shown(panel.steps["first"])
    panel.session.data = str(folder / "none.csv")
    panel.button.click()
    wait(session)
    problem = panel.said["problem"].value
    assert "none.csv cannot be read as rows" in problem and 'role="alert"' in problem and not panel.button.disabled


def test_a_file_that_can_run_code_is_compared_once_it_is_trusted(folder: Path) -> None:
    panel = panel_of(folder / "risky.joblib")
    assert "no ONNX file of this model yet" in panel.said["plan"].value and shown(panel.convert)
    panel.convert.click()
    assert panel.session.step == "convert"
    panel.fields["partner"].value = str(folder / "forest.onnx")
    assert panel.session.partner == str(folder / "forest.onnx") and not shown(panel.convert)
    panel.button.click()
    wait(panel.session)
    assert "can run code when it is opened" in panel.said["scan"].value and panel.button.disabled
    panel.fields["trust"].value = True
    panel.button.click()
    wait(panel.session)
    assert panel.session.comparison is not None and not panel.said["scan"].value and not panel.said["problem"].value


def test_a_file_elsewhere_is_typed_and_choices_from_code_are_shown(folder: Path, tmp_path: Path) -> None:
    panel = ComparisonPanel(folder / "forest.skops")
    panel.fields["data"].value = ELSEWHERE
    assert panel.button.disabled and shown(panel.elsewhere)
    panel.elsewhere.value = str(tmp_path / "rows.npy")
    assert panel.session.data == str(tmp_path / "rows.npy") and not panel.button.disabled
    panel.session.data = "paper"
    assert panel.fields["data"].value == "paper" and not shown(panel.elsewhere)
    panel.session.threads, panel.session.scale = 3, 1 / 255
    assert panel.fields["threads"].value == 3 and panel.fields["scale"].value == 1 / 255
    panel.session.pick(folder / "forest.onnx")
    assert panel.fields["data"].value == "" and panel.session.data == "" and not panel.elsewhere.value


def test_an_option_of_the_comparison_stands_in_command_session_and_form(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    panel, asked_for = ComparisonPanel(folder / "forest.skops"), {each.name: each.metadata for each in fields(Options)}
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    flags = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    # Every field that the command asks for but those with controls of their own.
    assert {name for name, meta in asked_for.items() if "command" in meta} - {"engines", "trust"} == {*ASKED} - {
        "target"
    }
    for name, option in ASKED.items():
        assert f"--{'memory' if name == 'memory_mib' else name.replace('_', '-')}" in flags | {"--target"}
        choice, value = panel.choices[option.name], {"bool": True, "text": "species"}.get(option.kind, 2)
        assert getattr(panel.session, option.name) == (option.default or type(value)())
        choice.field.value = next((given for _, given in getattr(choice.field, "options", ()) if given), value)
        assert getattr(panel.session, option.name) == choice.field.value
        panel.session.set_trait(option.name, value)
        assert choice.field.value == value and option.help in unescape(choice.children[1].value)


def test_what_a_comparison_lacks_is_said_in_a_line(tmp_path: Path) -> None:
    panel = ComparisonPanel(Session(root=tmp_path))
    assert "Pick a model file first." in panel.said["plan"].value and not shown(panel._form)
    panel.session.pick(times(tmp_path / "alone.onnx", 1))
    assert "not in its folder" in panel.said["plan"].value and not shown(panel.convert)
    (tmp_path / "gone.onnx").write_bytes(b"")
    panel.session.pick(tmp_path / "gone.onnx")
    assert "gone.onnx: It holds nothing." in panel.said["plan"].value
