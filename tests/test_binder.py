"""Binder: what repo2docker makes of this repository. It looks only into ``binder/`` once that folder exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(sys.executable).parent  # the environment's own pip and repo2docker, activated or not


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What Binder gets: the files an installation reads, without this working tree's environment and caches."""
    for name in ("pyproject.toml", "README.md", "LICENSE", "environment.yml"):
        shutil.copy2(ROOT / name, tmp_path)
    for folder in ("workbench", "notebooks", "binder"):
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def _run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=False
    )


def test_repo2docker_builds_on_our_python_and_runs_our_post_build(clone):
    """The Dockerfile repo2docker would build, from repo2docker itself (this needs no Docker)."""
    run = _run("jupyter-repo2docker", "--no-build", "--debug", ".", cwd=clone)
    assert run.returncode == 0, run.stderr
    dockerfile = run.stdout + run.stderr
    (python,) = (p for p in yaml.safe_load((clone / "environment.yml").read_text())["dependencies"] if "=" in p)
    assert f"Building conda environment for {python}\n" in dockerfile
    assert "RUN ./binder/postBuild" in dockerfile
    # Nothing but postBuild installs packages: conda's pip would leave its cache in the image.
    assert "env update" not in dockerfile
    assert "requirements.txt" not in dockerfile


def test_binder_holds_only_files_repo2docker_reads():
    assert {path.name for path in (ROOT / "binder").iterdir()} == {"runtime.txt", "postBuild", ".dockerignore"}
    assert not (ROOT / ".binder").exists()  # repo2docker refuses a repository with both


def test_post_build_is_one_executable_script_that_keeps_no_cache():
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK)
    installs = re.findall(r"^.*\bpip install\b.*$", script.read_text(), re.MULTILINE)
    assert len(installs) == 1
    assert "--no-cache-dir" in installs[0]
    assert "--editable" not in installs[0]


# postBuild itself, run with the real pip: it decides what to install, and stops there. The environment the tests run
# in is the one `make setup` pinned, so whatever pip would add to it or change in it is a difference between the two.
_DECIDE_ONLY = {"PIP_DRY_RUN": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}


def test_binder_gets_the_versions_that_are_tested(clone):
    report = clone / "report.json"
    run = _run("binder/postBuild", cwd=clone, PIP_REPORT=str(report), **_DECIDE_ONLY)
    assert run.returncode == 0, run.stderr
    assert [new["metadata"]["name"] for new in json.loads(report.read_text())["install"]] == ["onnx-workbench"]


def test_binder_follows_a_changed_pin(clone):
    pins = clone / "environment.yml"
    pins.write_text(re.sub(r"- onnx==\S+", "- onnx==1.23.999", pins.read_text()))
    run = _run("binder/postBuild", cwd=clone, **_DECIDE_ONLY)
    assert run.returncode != 0
    assert "onnx==1.23.999" in run.stdout + run.stderr
