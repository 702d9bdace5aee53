"""Folders for a while, and full disks: what was left behind goes, and the sentence names the folder that is full."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hostile import endless_keras

from workbench.safety.trust import cleared

OPEN = """
import sys
from pathlib import Path
from workbench.safety.trust import cleared
with cleared(Path(sys.argv[1]), trust=True) as copy:
    print(copy, flush=True)
    input()
"""


def test_a_copy_that_a_killed_process_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = endless_keras(tmp_path / "model.bin")  # a name that Keras would not open
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    opening = [
        subprocess.Popen([sys.executable, "-c", OPEN, str(model)], stdin=-1, stdout=-1, text=True) for _ in range(2)
    ]
    left, held = (Path(process.stdout.readline().strip()) for process in opening if process.stdout is not None)
    try:
        opening[0].kill()
        opening[0].wait()
        for copy in (left, held):
            os.utime(copy.parent.parent, (0, 0))
        assert left.exists() and held.exists()
        with cleared(model, trust=True) as copy:
            assert (copy.exists(), left.exists(), held.exists()) == (True, False, True)
    finally:
        for process in opening:
            process.communicate("")
    assert list((tmp_path / "temporary").iterdir()) == []


FULL = """
import os, subprocess, sys, tempfile
from pathlib import Path
import joblib
from sklearn.ensemble import RandomForestClassifier
from workbench import WorkbenchError, convert, load_engine
from workbench.convert.output import no_half_files

small, large = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
rows = [[float(row)] for row in range(200)]
forest = RandomForestClassifier(100, random_state=0).fit(rows, [row % 7 % 2 for row in range(200)])
path = os.path.join(large, "forest.joblib")
joblib.dump(forest, path)


def library():
    # A converter's own temporary file, which is gone by the time that anyone asks why.
    with no_half_files(Path(large, "out.onnx")), tempfile.TemporaryFile(buffering=0) as file:
        while file.write(bytes(4096)):
            pass


for temporary, work in (
    (small, library),
    (small, lambda: convert(path, os.path.join(large, "out.onnx"), trust=True)),
    (small, lambda: load_engine(path)),
    (large, lambda: convert(forest, os.path.join(small, "out.onnx"))),
):
    os.environ["TMPDIR"], tempfile.tempdir = temporary, None
    try:
        work()
    except WorkbenchError as error:
        print(error)
print(os.listdir(small))
"""


@pytest.mark.skipif(
    subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode != 0,
    reason="this system lets nobody mount a small disk",
)
def test_the_folder_that_is_full_is_named_be_it_the_temporary_one_or_the_outputs(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    command = ["unshare", "-rm", sys.executable, "-c", FULL, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    library, copied, opened, written, left = done.stdout.splitlines()
    full = f"No room is left to write in {small}; free some space"
    assert library == copied == opened == f"{full} there, or name another folder in TMPDIR and try again."
    assert written == f"{full} and try again."
    assert left == "[]"
