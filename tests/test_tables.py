"""The paper's tables, run again: real models, raced for a moment only."""

from __future__ import annotations

import csv
import json
import threading
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import pytest

from workbench.errors import BadInput
from workbench.paper import plots
from workbench.paper import tables as module
from workbench.paper.tables import TABLE3, TABLE4, WORKER_MIB, AccuracyRow, Tables, prepare_folder, tables
from workbench.sandbox import Cancelled
from workbench.words import readable

ROW = {"model", "native_seconds", "onnx_seconds", "speedup", "paper_native", "paper_onnx", "agreement"}
"""What every row of Tables 3 and 4 promises in JSON."""


@pytest.fixture(scope="module", params=[2, pytest.param(len(TABLE3), marks=pytest.mark.long)])
def table3(request: pytest.FixtureRequest) -> tuple[Tables, list[str]]:
    """Its first rows; chapter 6 runs them all."""
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "QUICK_SECONDS", (0.3, 0.3))
        patch.setattr(module, "TABLE3", dict(islice(TABLE3.items(), request.param)))
        return tables(quick=True, only=("table3",), progress=said.append), said


@pytest.mark.slow
def test_table_3_has_the_papers_rows_beside_todays_and_both_sides_agree(table3: tuple[Tables, list[str]]) -> None:
    found, said = table3
    names = [row.model for row in found.table3]
    assert names == list(TABLE3)[: len(names)]
    assert not found.table4 and not found.table5 and found.table1 is None
    for row in found.table3:
        assert row.agreement.within_tolerance, row.model
        assert row.agreement.label_mismatches == 0
        assert 0 < row.speedup_low <= row.speedup <= row.speedup_high
        assert row.native_seconds / row.onnx_seconds == pytest.approx(row.speedup)
        # As the paper counts, 1000 calls; and the seconds of one call are those of the fastest.
        assert row.native_seconds == pytest.approx(1000 * row.comparison.native.seconds.median)
        assert row.native_seconds <= 1000 * min(call.seconds.median for call in row.comparison.native.calls) * 1.001
        assert row.comparison.one_row is not None
        assert 50 < row.peak_mib < WORKER_MIB
    # Every row begins, and ends with its result.
    for name in names:
        assert f"Table 3, {name}: fitting" in said
        assert sum(line.startswith(f"Table 3, {name}: ") and "times as fast" in line for line in said) == 1


@pytest.mark.slow
def test_saved_tables_carry_the_same_numbers_in_every_file(table3: tuple[Tables, list[str]], tmp_path: Path) -> None:
    found, _ = table3
    written = found.save(tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["tables.json", "table3.csv", "table3.svg"]
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(p.name for p in written)

    plain = json.loads(written[0].read_text())
    assert {"table1", "table3", "table4", "table5"} <= set(plain)
    assert all(set(row) >= ROW for row in plain["table3"])
    assert {"samples", "max_abs", "max_rel", "label_mismatches", "within_tolerance"} <= set(
        plain["table3"][0]["agreement"]
    )
    assert {"cpu", "threads", "versions"} <= set(plain["environment"])

    with written[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == [row.model for row in found.table3]
    assert [float(row["speedup"]) for row in rows] == [row["speedup"] for row in plain["table3"]]
    assert all(float(row["peak_mib"]) > 50 and row["within_tolerance"] == "True" for row in rows)

    texts = "\n".join(ElementTree.fromstring(written[2].read_text()).itertext())
    for row in found.table3:
        assert row.model in texts and f"{readable(row.speedup, 3)}×" in texts
    # What a person reads: the words are explained, each row's memory and agreement shown.
    for text in (str(found), found._repr_html_()):
        assert all(f"{row.peak_mib:,.0f} MiB" in text and row.model in text for row in found.table3)
        assert "above 1, ONNX is faster" in text and "95 % confidence" in text

    # Nothing is overwritten unless told so.
    written[1].write_text("mine")
    with pytest.raises(BadInput, match=r"tables\.json exists"):
        found.save(tmp_path / "new" / "folder")
    assert written[1].read_text() == "mine"
    found.save(tmp_path / "new" / "folder", overwrite=True)
    assert written[1].read_text() != "mine"


def test_the_folder_is_checked_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be made"):
        prepare_folder(tmp_path / "file", overwrite=False)
    assert prepare_folder(tmp_path / "a" / "b", overwrite=False).is_dir()


def test_a_table_that_the_paper_does_not_have_is_named() -> None:
    with pytest.raises(BadInput, match="no 'table2' to run; choose from: table1, table3, table4, table5"):
        tables(only=("table2",))


def test_giving_up_ends_the_tables() -> None:
    cancel = threading.Event()
    said: list[str] = []

    def hear(message: str) -> None:
        said.append(message)
        if "Logistic" in message:
            cancel.set()

    with pytest.raises(Cancelled), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TABLE3", {name: TABLE3[name] for name in ("Logistic regression", "Random forest")})
        tables(quick=True, only=("table3",), cancel=cancel, progress=hear)
    assert not any("Random forest" in message for message in said)


@pytest.mark.slow
def test_a_small_network_of_table_4_is_raced_against_its_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUICK_SECONDS", (0.3, 0.3))
    monkeypatch.setattr(module, "TABLE4", {"LeNet-1": TABLE4["LeNet-1"]})
    (row,) = tables(quick=True, only=("table4",)).table4
    assert row.agreement.within_tolerance
    assert row.native_seconds == pytest.approx(10 * row.comparison.native.seconds.median)
    # The three ways to ask Keras that people use are all timed.
    calls = [call.call for call in row.comparison.native.calls]
    assert any(call.startswith("model.predict(") for call in calls)
    assert "tf.function" in calls and "model(x, training=False)" in calls
    assert row.making_mib and row.converting_mib
    # Keras needs 10 ms where ONNX Runtime needs 0.02: a busy machine changes that by far less than tenfold.
    assert row.speedup > 1


@pytest.mark.long
def test_tables_1_and_5_follow_the_spiking_network_through_onnx_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    found = tables(quick=True, only=("table1", "table5"), progress=said.append)
    assert found.table1 is not None
    assert len(found.table1.rows) == 10 and all(row.unchanged is not None for row in found.table1.rows)
    assert "All 10 rows are as in the paper's table." in found.table1.notes
    assert [row.where for row in found.table5] == [
        "NengoDL, as trained", "ONNX Runtime", "back in NengoDL", "back in Nengo",
    ]  # fmt: skip
    trained, onnx, back, _ = (row.accuracy for row in found.table5)
    # The same network: a digit may be read differently where a voltage comes within a rounding of its threshold.
    # Fewer digits are read on the way back.
    assert trained > 0.95 and abs(onnx - trained) <= 1 / 200 and abs(back - trained) <= 0.03
    assert "back in Nengo: 10 of 10 digits" in "\n".join(said)
    assert set(found.frames()) == {"table1", "table5"}
    assert "MNIST" in str(found) and "MNIST" in found._repr_html_()


@pytest.mark.parametrize("unseen", [True, False])
def test_digits_the_network_was_trained_on_are_not_called_its_accuracy(unseen: bool) -> None:
    found = Tables(table5=(AccuracyRow("ONNX Runtime", 1.0, 200, None, unseen),))
    for shown in (str(found), found._repr_html_(), plots.of(found)["table5"]):
        assert ("trained on" in shown or "of its training" in shown) is not unseen
    assert found.to_dict()["table5"][0]["unseen"] is unseen
