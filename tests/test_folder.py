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
from workbench.folder import MOST_ENTRIES, Look, listing, look, search
from workbench.upload import Upload

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


def test_a_file_is_looked_at_again_only_after_it_changed(folder: Path) -> None:
    path = folder / "mlp.onnx"
    assert look(str(path)) == Look("DL", "ONNX")
    assert look(str(path)) is look(str(path))
    path.write_bytes(path.read_bytes()[:300])
    assert look(str(path)).badge == "damaged"
    path.write_bytes(b"")
    assert look(str(path)) == Look("empty", "empty")
    path.unlink()
    assert look(str(path)).badge == "missing"


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
