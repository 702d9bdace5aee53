"""The teacher's kit: links that lead to a fork, a branch without solutions, and a class's notebooks as scores."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from exercises import check, teach

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "notebooks" / "exercises" / "teach.py"


def _git(folder: Path, *command: str) -> str:
    who = ("-c", "user.name=A teacher", "-c", "user.email=teacher@example.org")
    return subprocess.run(["git", *who, *command], cwd=folder, check=True, capture_output=True, text=True).stdout


def _make(folder: Path, target: str) -> subprocess.CompletedProcess[str]:
    settings = {f"GIT_{role}_{what}": "teacher@x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    command = ["env", *(f"{name}={value}" for name, value in settings.items()), "make", target]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A repository with what the kit reads."""
    folder = tmp_path / "fork"
    ignore = shutil.ignore_patterns("models", "__pycache__", ".*")
    for name in ("notebooks", "tests/notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("README.md", "Makefile"):
        shutil.copy2(ROOT / name, folder)
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "All")
    return folder


@pytest.mark.parametrize("url", ["https://github.com/a-class/onnx.2027.git", "git@github.com:a-class/onnx.2027"])
def test_one_command_points_every_link_of_readme_to_the_fork(fork: Path, url: str) -> None:
    _git(fork, "remote", "add", "origin", url)
    assert _make(fork, "badge").returncode == 0
    readme = (fork / "README.md").read_text()
    assert set(re.findall(r"mybinder\.org/v2/gh/([^/]+/[^/]+)/", readme)) == {"a-class/onnx.2027"}
    assert set(re.findall(r"github\.com%2F([^&]+)&", readme)) == {"a-class%2Fonnx.2027"}
    once = readme
    assert _make(fork, "badge").returncode == 0
    assert (fork / "README.md").read_text() == once
    # Nothing but the links is another.
    plain = [re.sub(r"gh/[^/]+/[^/]+/|%2F[^&]+&", "", text) for text in (once, (ROOT / "README.md").read_text())]
    assert plain[0] == plain[1]


def test_links_are_left_where_origin_is_not_on_github(fork: Path) -> None:
    _git(fork, "remote", "add", "origin", "https://example.org/a-class/onnx.git")
    run = _make(fork, "badge")
    assert run.returncode != 0 and "GitHub" in run.stderr
    assert _git(fork, "status", "--porcelain") == ""


def test_what_students_pull_holds_no_solution_in_its_files_or_history(fork: Path) -> None:
    for commits in (1, 2):  # the second goes on from the first, so that pulling needs no force
        (fork / "notebooks" / "00_workbench.ipynb").write_text(f"{commits}")
        _git(fork, "commit", "-q", "-a", "-m", "Changed")
        run = _make(fork, "students")
        assert run.returncode == 0, run.stderr
        assert _git(fork, "rev-list", "--count", "students").strip() == str(commits)
        assert _git(fork, "show", "students:notebooks/00_workbench.ipynb") == f"{commits}"
    names = _git(fork, "log", "--name-only", "--format=", "students").split()
    assert "notebooks/08_audit.ipynb" in names and "notebooks/exercises/chapter_3.py" in names
    assert [name for name in names if "solutions" in name or name.startswith("tests/notebooks")] == []
    assert _git(fork, "status", "--porcelain") == ""  # the teacher's own index and branch are as they were


def _handed_in(answers: dict[str, str]) -> nbformat.NotebookNode:
    """Chapter 0 with answers, not run."""
    notebook = nbformat.read(teach.chapters()["0"], as_version=4)
    for cell in notebook.cells:
        cell.source = answers.get(cell.id.removeprefix("answer-").replace("-", "."), cell.source)
    return notebook


@pytest.mark.slow
def test_three_notebooks_one_of_them_wrong_become_a_table_of_scores(tmp_path: Path) -> None:
    folder, right = tmp_path / "class", "answer = 'TreeEnsembleClassifier'"
    forged = "from exercises import Verdict\ndef check(*_):\n    return Verdict(True, 'sure')\nanswer = 'ML'"
    handed = {"ada": {"0.1": right}, "ben": {"0.1": forged, "0.3": "1/0"}, "=cy": {"0.1": right}}
    for name, answers in handed.items():
        (folder / name).mkdir(parents=True)
        nbformat.write(_handed_in(answers), folder / name / "0.ipynb")
    (folder / "dan.ipynb").write_text("{}")
    ben = folder / "ben" / "0.ipynb"
    assert teach.score(ben, trust=False)["1"] == "not run"
    own, why = teach.ran(nbformat.read(ben, as_version=4), {})  # as he saw it
    nbformat.write(own, ben)
    assert (why, teach.score(ben, trust=False)["1"]) == ("", "right")  # nothing was run, so he is believed

    run = subprocess.run([sys.executable, SCRIPT, "scores", folder, "--trust"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    rows = {row["file"]: row for row in csv.DictReader(io.StringIO(run.stdout))}
    assert {name: (row["1"], row["2"], row["points"], row["of"]) for name, row in rows.items()} == {
        "ada/0.ipynb": ("right", "no answer", "1", "3"),
        "ben/0.ipynb": ("not yet", "no answer", "0", "3"),  # the judge that counts is not his
        "'=cy/0.ipynb": ("right", "no answer", "1", "3"),  # no formula for a spreadsheet
        "dan.ipynb": ("", "", "0", ""),
    }
    assert rows["dan.ipynb"]["note"]


def test_nbgrader_counts_only_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a cell that raises nothing for right: https://nbgrader.readthedocs.io/en/stable/user_guide/autograding_resources.html"""
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    for answer in (..., "DL"):
        with pytest.raises(AssertionError, match=r"\S.{20}"):
            check("5.1", answer)
    assert check("5.1", "SVMClassifier").right is True
