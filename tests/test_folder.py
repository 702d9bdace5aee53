"""Folders as the picker lists them, and files on their way into one."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import UnreadableFile, WorkbenchError
from workbench.session.folder import MOST_ENTRIES, Look, listing, look, search
from workbench.session.upload import Upload

DATA = Path(__file__).parent / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "class"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / ".hidden").mkdir()
    for place in (root, root / "deep" / "deeper", root / ".hidden"):
        shutil.copy(DATA / "mlp.onnx", place)
    (root / "round").symlink_to(root, target_is_directory=True)
    return root


def test_a_large_folder_is_listed_without_a_look_into_its_files_and_what_is_left_out_is_counted(tmp_path: Path) -> None:
    for number in range(MOST_ENTRIES + 3):
        (tmp_path / f"{number}.onnx").touch()
    asked: list[tuple[str, Any]] = []
    listening = [threading.get_ident()]  # a hook stays for as long as the process does

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if threading.get_ident() in listening and event in ("open", "os.scandir", "os.listdir"):
            asked.append((event, arguments[0]))

    sys.addaudithook(hook)
    entries, left_out = listing(tmp_path)
    listening.clear()
    assert asked == [("os.scandir", str(tmp_path))]
    assert (len(entries), left_out) == (MOST_ENTRIES, 3)


def test_folders_come_first_and_a_model_that_is_a_folder_is_a_file(folder: Path) -> None:
    saved = folder / "a_saved_model"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"")
    (folder / "nowhere.onnx").symlink_to(folder / "gone")
    (folder / "loop").symlink_to(folder / "loop")
    found = {entry.name: (entry.folder, entry.size) for entry in listing(folder)[0]}
    assert list(found)[:2] == ["a_saved_model", "deep"]
    assert found["a_saved_model"] == found["nowhere.onnx"] == found["loop"] == (False, None)
    assert found["mlp.onnx"] == (False, (DATA / "mlp.onnx").stat().st_size)
    assert ".hidden" not in found
    with pytest.raises(UnreadableFile, match=r"nothing cannot be listed \(No such file or directory\); choose another"):
        listing(folder / "nothing")


def test_a_search_looks_into_the_folders_below_but_not_round_in_circles(folder: Path) -> None:
    found, all_seen = search(folder, "MLP", threading.Event())
    assert [entry.name for entry in found] == ["mlp.onnx", os.path.join("deep", "deeper", "mlp.onnx")]
    assert all_seen
    given_up = threading.Event()
    given_up.set()
    assert search(folder, "mlp", given_up) == ([], False)


def test_whatever_a_reader_runs_into_is_one_files_damage(folder: Path) -> None:
    path = folder / "mlp.onnx"
    assert look(str(path)) == Look("DL", "ONNX")
    path.write_bytes(path.read_bytes()[:300])
    assert look(str(path)).badge == "damaged"
    path.write_bytes(b"")
    assert look(str(path)) == Look("empty", "empty")
    path.unlink()
    assert look(str(path)).badge == "missing"
    assert look("a\0b").badge == "missing"
    with pytest.raises(UnreadableFile, match="cannot be listed"):
        listing("a\0b")


@pytest.mark.parametrize(
    "fault", [KeyError("x"), RecursionError(), MemoryError(), UnicodeDecodeError("a", b"", 0, 1, "b")]
)
def test_a_fault_of_a_reader_is_one_files_damage_in_lists_and_on_the_command_line(
    fault: Exception, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from workbench import kind
    from workbench.__main__ import main

    good, bad, real = str(folder / "mlp.onnx"), str(folder / "bad.onnx"), kind.detect
    shutil.copy(good, bad)

    def detect(path: str) -> kind.Detection:
        if path == bad:
            raise fault
        return real(path)

    monkeypatch.setattr("workbench.kind.detect", detect)
    monkeypatch.setattr("workbench.session.folder.detect", detect)
    assert (look(bad).badge, look(good).badge) == ("damaged", "DL")
    assert main(["detect", bad, good]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{good}: DL") and err.startswith(f"workbench: {bad} could not be read")
    assert len(err.splitlines()) == 1


def test_an_upload_is_seen_when_it_is_whole_and_takes_no_name_that_is_taken(folder: Path) -> None:
    before = sorted(folder.iterdir())
    upload = Upload(folder, "C:\\models\\mlp.onnx", 6)
    upload.write(b"abc")
    assert [entry.path for entry in listing(folder)[0] if "mlp" in entry.name] == [str(folder / "mlp.onnx")]
    upload.write(memoryview(b"def"))
    path = upload.finish()
    assert (path.name, path.read_bytes()) == ("mlp-2.onnx", b"abcdef")
    given_up = Upload(folder, "late.onnx", 6)
    given_up.write(b"abc")
    given_up.discard()
    assert sorted(folder.iterdir()) == sorted([*before, path])


@pytest.mark.parametrize(
    ("given", "stored"),
    {
        "m\0.onnx": "m_.onnx",
        "..": "upload",
        ".": "upload",
        "": "upload",
        "...": "upload",
        "../../etc/passwd": "passwd",
        "a/b\\..\\c.onnx": "c.onnx",
        "folder/": "upload",
        ".hidden.onnx": "hidden.onnx",
        " . m.onnx . ": "m.onnx",
        "n" * 300 + ".onnx": "n" * 195 + ".onnx",
        "\N{HANGUL SYLLABLE GA}" * 100 + ".onnx": "\N{HANGUL SYLLABLE GA}" * 65 + ".onnx",
        "m." + "x" * 300: "m." + "x" * 19,
        "\udce9caf\ud83d.onnx": "_caf_.onnx",
        "nul": "_nul",
        "COM1.onnx": "_COM1.onnx",
        "console.onnx": "console.onnx",
        "\N{RIGHT-TO-LEFT OVERRIDE}xnno.lkp": "_xnno.lkp",
        "a\nb\x1b[31m.onnx": "a_b_[31m.onnx",
        "\N{ZERO WIDTH SPACE}": "_",
        "Größe (2) — 한글.onnx": "Größe (2) — 한글.onnx",
    }.items(),
)
def test_whatever_a_sender_calls_a_file_it_gets_a_name_in_the_folder(given: str, stored: str, tmp_path: Path) -> None:
    folder = tmp_path / "class"
    folder.mkdir()
    for number in range(3):
        upload = Upload(folder, given, 3)
        upload.write(b"abc")
        path = upload.finish()
        assert path.parent == folder and path.read_bytes() == b"abc"
        assert number or path.name == stored
    assert len(list(folder.iterdir())) == 3 and list(tmp_path.iterdir()) == [folder]


def test_a_full_disk_is_said_before_it_is_full_or_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match=r"^huge.onnx needs 1,000,000.0 GB, but the disk has .* left; free some"):
        Upload(tmp_path, "huge.onnx", 10**15)
    with pytest.raises(WorkbenchError, match=r"^a.onnx is empty \(0 bytes\)"):
        Upload(tmp_path, "a.onnx", 0)
    upload = Upload(tmp_path, "mlp.onnx", 300_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # refuses a write as a quota does
    try:
        with pytest.raises(WorkbenchError, match=r"^mlp.onnx could not be stored \(File too large\): free some disk"):
            upload.write(bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
