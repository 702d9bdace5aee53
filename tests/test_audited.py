"""The audit on the screen: what is shown of a folder's files, how it goes on after a cancel or a new kernel, and what
differs between two of its files."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from test_audit import DATA, network, write

from workbench import BadInput, diff
from workbench.audit import Audit
from workbench.sandbox import Cancelled
from workbench.session import Session
from workbench.session.audited import Audited, Wanted, audited
from workbench.widgets import AuditPanel
from workbench.widgets.audit import PAGE


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of its own, with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for seed in range(12):
        write(folder / f"{seed}.onnx", network(seed=seed, doc="ada@example.org" if seed % 2 else ""))
    (folder / "cut.onnx").write_bytes((DATA / "gru.onnx").read_bytes()[:-2000])
    (folder / "notes.txt").write_text("none")
    return folder


@pytest.fixture(scope="module")
def found(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        return Session(root=folder).audit()


def names(audit: Audit) -> list[str]:
    return [Path(row.path).name for row in audit.rows]


def test_a_table_is_filtered_and_sorted_by_what_is_wanted(found: Audited) -> None:
    assert names(found.chosen(Wanted()))[0] == "cut.onnx"  # the worst before
    assert names(found.chosen(Wanted(order="file", down=False))) == sorted(names(found.audit))
    sizes = [row.size for row in found.chosen(Wanted(order="size")).rows]
    assert sizes == sorted(sizes, reverse=True)
    mails = found.chosen(Wanted(finding="text-email")).rows
    assert len(mails) == 6 == found.choices["finding"]["text-email"]
    assert {row.path for row in mails} == {row.path for row in found.chosen(Wanted(text="ADA@example")).rows}
    assert names(found.chosen(Wanted(kind="no model", format="text"))) == ["notes.txt"]
    assert names(found.chosen(Wanted(finding="warning", kind="DL"))) == []
    # Each choice leads to as many files as it says.
    for part, counts in found.choices.items():
        for value, count in counts.items():
            assert len(found.chosen(Wanted(**{part: value})).rows) == count, (part, value)


def test_the_files_wanted_are_exported_and_no_others(found: Audited, folder: Path, tmp_path: Path) -> None:
    session = Session(root=tmp_path)
    with pytest.raises(BadInput):
        session.export(".csv")
    session.audited = found
    assert len(session.export(".csv", Wanted(finding="text-email")).read_text().splitlines()) == 1 + 6
    assert session.export(".csv").name == "audit-2.csv"  # nothing is overwritten
    assert '"text-email"' not in session.export(".sarif", Wanted(finding="damaged")).read_text()


def test_an_audit_that_was_cancelled_goes_on_in_the_next_kernel(folder: Path, found: Audited, cache: Path) -> None:
    with pytest.raises(Cancelled):
        audited(str(folder), False, lambda message: None, _AfterRows(cache))
    (results,) = (cache / "onnx-workbench" / "audits").glob("*")
    before = results.read_text().splitlines()
    assert before
    again = Session(root=folder).audit()
    assert again.earlier is not None and names(again.audit) == names(found.audit)
    # Only what was missing was read and written.
    assert results.read_text().splitlines()[: len(before)] == before
    assert len(results.read_text().splitlines()) == len(again.audit.rows)
    assert Session(root=folder).audit(anew=True).earlier is None
    # Rows that another version kept are read anew, too.
    results.write_text('{"path": "rows of another shape"}\n')
    again = Session(root=folder).audit()
    assert again.earlier is None and names(again.audit) == names(found.audit)


class _AfterRows(threading.Event):
    """Set once a row was kept."""

    def __init__(self, cache: Path) -> None:
        super().__init__()
        self._cache = cache

    def is_set(self) -> bool:
        return any(file.stat().st_size for file in (self._cache / "onnx-workbench" / "audits").glob("*"))


def test_an_audit_runs_where_nothing_can_be_kept(folder: Path, found: Audited, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the cache's place")
    assert names(Session(root=folder).audit().audit) == names(found.audit)


def test_a_cancelled_audit_says_what_is_kept_and_the_next_work_runs(folder: Path) -> None:
    session = Session(root=folder)
    ended = threading.Event()
    session.observe(lambda change: ended.set() if not change.new else None, "job")
    session.start("audit", folder)
    session.cancel()
    assert ended.wait(60)
    assert session.audited is None and "goes on" in session.said and "nothing was written" not in session.said
    assert len(session.audit().audit.rows) == 14


def test_a_folder_that_is_gone_is_a_row_and_no_end(tmp_path: Path) -> None:
    (row,) = Session(root=tmp_path).audit(tmp_path / "gone").audit.rows
    assert [finding.id for finding in row.findings] == ["not-there"]


@pytest.fixture
def panel(found: Audited, folder: Path, tmp_path: Path) -> AuditPanel:
    """Of 10,000 files, all of which are the first."""
    (row,) = (row for row in found.audit.rows if row.path.endswith("/0.onnx"))
    rows = [row, *(dataclasses.replace(row, path=str(folder / f"n{at}.onnx"), size=at) for at in range(9_999))]
    session = Session(root=tmp_path)
    panel = AuditPanel(session, bar=False)
    assert panel.table.layout.display == "none"
    session.audited = Audited(str(folder), Audit(tuple(rows)))
    return panel


def ask(panel: AuditPanel, **content: Any) -> None:
    table = panel.table
    table._handle_custom_msg({"audit": table.audits, **content}, [])


def test_of_10000_files_the_browser_holds_a_hundred(panel: AuditPanel) -> None:
    table = panel.table
    assert table.layout.display is None
    assert (len(table.rows), table.matching, table.total) == (PAGE, 10_000, 10_000)
    table.wanted = {**table.wanted, "order": "size", "down": True}
    assert table.rows[0][1] == "n9998.onnx"
    table.page = 99
    assert len(table.rows) == PAGE and table.rows[-1][1] == "n0.onnx"
    table.wanted = {**table.wanted, "text": "n123."}
    assert [row[1] for row in table.rows] == ["n123.onnx"] and (table.page, table.matching) == (0, 1)
    ask(panel, type="export", ending=".csv")
    assert len((Path(panel.session.root) / "audit.csv").read_text().splitlines()) == 2


def test_a_row_opens_its_file_also_when_the_table_has_changed_since(panel: AuditPanel, folder: Path) -> None:
    table = panel.table
    (number,) = (row[0] for row in table.rows if row[1] == "0.onnx")
    table.wanted = {**table.wanted, "order": "size"}
    ask(panel, type="open", row=number)
    assert panel.session.path == str(folder / "0.onnx") and table.current == number
    # Of a table that is no more nothing is opened.
    panel.session.path = ""
    ask(panel, type="open", row=number, audit=table.audits - 1)
    ask(panel, type="close")
    ask(panel, type="open", row=number)
    assert panel.session.path == "" and table.layout.display == "none"


def test_what_cannot_be_exported_is_a_sentence(panel: AuditPanel, tmp_path: Path) -> None:
    panel.session.root = str(tmp_path / "no" / "folder")
    ask(panel, type="export", ending=".csv")
    assert "alert" in panel.children[1].value and panel.children[2].path == ""


# --- what differs between two of its files ----------------------------------------------------------------------------


def end(session: Session) -> threading.Event:
    """Set when the work under way next ends."""
    ended = threading.Event()
    session.observe(lambda change: ended.set() if not change.new else None, "job")
    return ended


def ask_what_differs(panel: AuditPanel, *names: str) -> None:
    numbers = {Path(row.path).name: number for number, row in enumerate(panel.session.audited.audit.rows)}
    panel.table.marked = [numbers[name] for name in names]
    assert panel.table.names == list(names)
    ask(panel, type="diff")


@pytest.fixture
def own(found: Audited, tmp_path: Path) -> AuditPanel:
    """Of the folder's own files."""
    session = Session(root=tmp_path)
    panel = AuditPanel(session)
    session.audited = found
    return panel


def test_of_two_marked_files_the_difference_is_shown_and_its_page_written(own: AuditPanel, folder: Path) -> None:
    session, shown = own.session, own.children[-1]
    markable = {row[1] for row in own.table.rows if row[8]}
    assert markable == {f"{seed}.onnx" for seed in range(12)}  # no others are known for ONNX
    ended = end(session)
    ask_what_differs(own, "0.onnx", "1.onnx")
    assert ended.wait(120)
    assert session.difference == diff(folder / "0.onnx", folder / "1.onnx")
    words, buttons, _, download = shown.children
    assert session.difference.says in words.children[0].value
    ended.clear()
    buttons.children[0].click()
    assert ended.wait(120)
    assert session.difference_page == Path(download.path) == Path(session.root) / "difference.html"
    assert session.difference.says in session.difference_page.read_text()
    assert session.diff_page().name == "difference-2.html"  # nothing is overwritten
    # The page written is not another difference's.
    session.diff(folder / "1.onnx", folder / "2.onnx")
    assert own.table.names == ["0.onnx", "1.onnx"]  # whatever was compared from code
    assert download.path == "" and shown.children[0].layout.display is None
    buttons.children[1].click()
    assert session.difference is None and {part.layout.display for part in shown.children} == {"none"}


def test_a_page_marks_no_graph_that_has_changed_since(folder: Path, tmp_path: Path) -> None:
    for name in ("0.onnx", "1.onnx"):
        shutil.copy(folder / name, tmp_path)
    session = Session(root=tmp_path)
    with pytest.raises(BadInput):
        session.diff_page()
    session.diff(tmp_path / "0.onnx", tmp_path / "1.onnx")
    write(tmp_path / "1.onnx", network(seed=5, doc="longer"))
    with pytest.raises(BadInput, match="compare them again"):
        session.diff_page()
    session.diff(tmp_path / "0.onnx", tmp_path / "1.onnx")
    (tmp_path / "0.onnx").unlink()
    with pytest.raises(BadInput, match="compare them again"):
        session.diff_page()
    assert not list(tmp_path.glob("*.html"))


def test_what_has_no_difference_is_a_sentence(own: AuditPanel) -> None:
    session, ended = own.session, end(own.session)
    for first, second, why in (("notes.txt", "0.onnx", "convert it first"), ("0.onnx", "cut.onnx", "cut.onnx")):
        ended.clear()
        ask_what_differs(own, first, second)
        assert ended.wait(120)
        assert session.difference is None and why in session.said and "inside the workbench" not in session.said
        assert "wb-said" in own.children[1].value
    ended.clear()
    session.observe(lambda change: session.cancel() if change.new else None, "job")  # before the work can end
    ask_what_differs(own, "0.onnx", "1.onnx")
    assert ended.wait(120)
    assert session.difference is None and "cancelled" in session.said
    session.audited = dataclasses.replace(session.audited, earlier=1.0)
    assert not own.table.marked and not own.table.names  # of another audit other numbers


def test_a_difference_of_files_with_hostile_names_is_harmless(folder: Path, tmp_path: Path) -> None:
    hostile = tmp_path / os.fsdecode(b"<img src=x onerror=alert(1)>\xff\xe2\x80\xae.onnx")
    shutil.copy(folder / "0.onnx", hostile)
    session = Session(root=tmp_path)
    panel = AuditPanel(session)
    session.diff(hostile, folder / "1.onnx")
    markup = panel.children[-1].children[0].children[0].value
    markup.encode()  # what cannot be encoded never reaches a page
    assert "onerror" in markup and "<img" not in markup and "\u202e" not in markup
    page = session.diff_page().read_text()
    assert "<img src=x" not in page and "\u202e" not in page
