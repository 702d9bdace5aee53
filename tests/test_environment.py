"""One environment, said once: pyproject.toml's ranges, environment.yml's pins, what is installed, and `make setup`."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata, util
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from workbench.files.registry import model_suffixes

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())

# The packages the workbench promises in its environment.
PROMISED = {
    "jupyterlab", "ipywidgets", "onnx", "onnxruntime", "netron", "skl2onnx", "tf2onnx", "tensorflow", "nengo-dl",
    "nengo-gui",
}  # fmt: skip


def _named(lines: list[str]) -> dict[str, Requirement]:
    """Requirements by canonical name; a name that appears twice is an error."""
    requirements = [Requirement(line) for line in lines]
    named = {canonicalize_name(requirement.name): requirement for requirement in requirements}
    assert len(named) == len(requirements), f"a package is named twice in {lines}"
    return named


def _pip_section() -> list[str]:
    return next(entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))


def _pin(requirement: Requirement) -> str:
    """The version X of a requirement that says ==X and nothing else."""
    (only,) = requirement.specifier
    assert only.operator == "==" and "*" not in only.version, f"{requirement} is not an exact pin"
    return only.version


RANGES = _named(PROJECT["dependencies"])
PINS = _named(_pip_section())
TEST_TOOLS = _named(PROJECT["optional-dependencies"]["test"])
EXTRAS = _named([line for name, lines in PROJECT["optional-dependencies"].items() if name != "test" for line in lines])


def test_environment_yml_pins_exactly_the_direct_dependencies():
    assert PINS.keys() == RANGES.keys()


@pytest.mark.parametrize("name", sorted(RANGES))
def test_each_pin_lies_in_the_range_of_pyproject(name):
    assert RANGES[name].specifier.contains(_pin(PINS[name]), prereleases=True)


@pytest.mark.parametrize("name", sorted(RANGES))
def test_each_range_has_a_floor_and_a_ceiling_and_room_between(name):
    """A pin in disguise would make the package impossible to install beside others; no ceiling, impossible to trust."""
    assert {part.operator for part in RANGES[name].specifier} == {">=", "<"}


def test_every_promised_package_is_pinned():
    assert PINS.keys() >= PROMISED


def test_conda_gets_the_python_that_pyproject_asks_for_from_conda_forge():
    assert ENVIRONMENT["channels"] == ["conda-forge"]
    conda = [entry for entry in ENVIRONMENT["dependencies"] if isinstance(entry, str)]
    assert conda == ["python=3.11", "pip"]
    assert SpecifierSet(PROJECT["requires-python"]).contains("3.11.0")
    assert not SpecifierSet(PROJECT["requires-python"]).contains("3.12.0")


@pytest.mark.parametrize("requirement", [*PINS.values(), *TEST_TOOLS.values()], ids=str)
def test_what_is_installed_here_is_what_is_pinned(requirement):
    assert metadata.version(requirement.name) == _pin(requirement), "run `make setup`"


def test_python_is_the_version_everything_was_measured_on():
    assert sys.version_info[:2] == (3, 11)


def _third_party_imports(folder: Path) -> dict[str, Path]:
    """Top-level modules imported anywhere in the Python files of a folder, with one file that does."""
    own = {"workbench", "exercises", *(path.stem for path in folder.glob("*.py"))}
    found: dict[str, Path] = {}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            found.update((name.partition(".")[0], path) for name in names)
    return {name: path for name, path in found.items() if name not in own and name not in sys.stdlib_module_names}


# Modules that belong to a declared package although another distribution carries them: TensorFlow *is* Keras 3,
# JupyterLab and ipywidgets *are* IPython and traitlets, ONNX's messages *are* protobuf, ONNX Runtime's own form a
# flatbuffer.
CARRIED = {
    "keras": "tensorflow", "IPython": "ipywidgets", "traitlets": "ipywidgets", "joblib": "scikit-learn",
    "scipy": "scikit-learn", "google": "onnx", "flatbuffers": "onnxruntime",
}  # fmt: skip


@pytest.mark.parametrize(
    ("folder", "declared"), [("workbench", RANGES | EXTRAS), ("tests", RANGES | EXTRAS | TEST_TOOLS)]
)
def test_every_import_comes_from_a_declared_dependency(folder, declared):
    distributions = metadata.packages_distributions()
    undeclared = {
        name: str(path.relative_to(ROOT))
        for name, path in _third_party_imports(ROOT / folder).items()
        if CARRIED.get(name) not in declared
        and canonicalize_name(name) not in declared
        and not any(canonicalize_name(carrier) in declared for carrier in distributions.get(name, ()))
    }
    assert undeclared == {}


def test_the_wheel_carries_the_package_its_data_its_command_and_jupyterlabs_extension(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("onnx_workbench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
        assert "workbench = workbench.__main__:main" in archive.read(entry_points).decode()
        (described,) = (name for name in names if name.endswith("labextensions/onnx-workbench/package.json"))
        load = json.loads(archive.read(described))["jupyterlab"]["_build"]["load"]
        script = archive.read(described.replace("package.json", load)).decode()
        (kernel,) = (name for name in names if name.endswith("kernels/onnx-workbench/kernel.json"))
        assert json.loads(archive.read(kernel))["argv"][:2] == ["python", "-P"]  # not from the folder it starts in
        # The suffixes come of the table of formats, read without any package but Python's own.
        assert script.startswith(f"globalThis.workbenchSuffixes = {json.dumps(model_suffixes())};\n")
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "workbench").rglob("*.py")}
    assert names >= sources | {"workbench/py.typed", "workbench/frameworks/spiking/exported/index.csv"}
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"workbench", "onnx_workbench"}


# `make setup`, run for real on a copy of the three files it reads.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "environment.yml"):
        shutil.copy2(ROOT / name, tmp_path)
    return tmp_path


def _make(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    # Without the variables by which an outer `make test` would speak to this make.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=cwd, env=inherited | environment, capture_output=True, text=True, check=False
    )


def test_make_installs_with_the_pins_of_environment_yml(checkout):
    pins = _make("--silent", "pins", cwd=checkout)
    assert pins.stdout.split() == _pip_section()
    assert "--constraint .venv/pins.txt" in _make("--dry-run", "setup", cwd=checkout).stdout


def test_setup_does_nothing_when_nothing_changed(checkout):
    stamp = checkout / ".venv" / ".setup-done"
    stamp.parent.mkdir()
    stamp.touch()
    assert "pip install" not in _make("--dry-run", "setup", cwd=checkout).stdout
    newer = stamp.stat().st_mtime + 1
    script = checkout / "workbench" / "widgets" / "lab.js"  # JupyterLab's extension is a copy
    script.parent.mkdir(parents=True)
    script.touch()
    for changed in ("pyproject.toml", "environment.yml", script):
        os.utime(stamp, (newer, newer))
        assert "pip install" not in _make("--dry-run", "setup", cwd=checkout).stdout
        newer += 1
        os.utime(checkout / changed, (newer, newer))
        assert "pip install" in _make("--dry-run", "setup", cwd=checkout).stdout


def test_setup_says_what_is_missing_on_a_machine_without_python_3_11(checkout):
    programs = checkout / "bin"
    programs.mkdir()
    for program in ("make", "sh", "rm"):
        (programs / program).symlink_to(shutil.which(program))
    old = programs / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")  # any other Python answers the version question like this
    old.chmod(0o755)
    setup = _make("setup", cwd=checkout, PATH=str(programs))
    assert setup.returncode != 0
    assert "needs Python 3.11" in setup.stderr
    assert not (checkout / ".venv").exists()


def test_a_failed_install_is_tried_again(checkout):
    (checkout / ".venv").mkdir()  # a half-made environment, as a killed run leaves it
    setup = _make("setup", cwd=checkout, PIP_NO_INDEX="1", PIP_FIND_LINKS="")  # nothing can be installed
    assert setup.returncode != 0
    assert (checkout / ".venv" / "bin" / "python").exists()
    assert not (checkout / ".venv" / ".setup-done").exists()


def test_the_readme_and_ci_name_commands_that_exist(checkout):
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for target in ("lab", "test"):
        assert f"make {target}" in readme
        assert _make("--dry-run", target, cwd=checkout).returncode == 0
    assert "make test" in ci.splitlines()
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_browser_tests_share_a_worker_and_so_does_each_file(tmp_path):
    """Two Chromiums with a JupyterLab each time out on two cores, and new pytest or xdist may drop groups silently."""
    shutil.copy2(ROOT / "tests" / "conftest.py", tmp_path)
    suite = """
import os, pathlib, pytest
@pytest.mark.browser
@pytest.mark.parametrize("case", range(4))
def test_browser(case): record("browser")
@pytest.mark.parametrize("case", range(4))
def test_plain(case): record(__name__)
def record(group):
    with open(pathlib.Path(__file__).with_name(f"{group}.group"), "a") as log:
        print(os.environ["PYTEST_XDIST_WORKER"], file=log)
"""
    for name in ("test_one.py", "test_two.py", "test_three.py"):
        (tmp_path / name).write_text(suite)
    arguments = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-n", "2", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=tmp_path, check=True, capture_output=True)
    workers = {log.stem: log.read_text().split() for log in tmp_path.glob("*.group")}
    assert {group: len(runs) for group, runs in workers.items()} == {
        "browser": 12, "test_one": 4, "test_two": 4, "test_three": 4,
    }  # fmt: skip
    assert all(len(set(runs)) == 1 for runs in workers.values())
    assert len({runs[0] for runs in workers.values()}) == 2


def test_what_readme_imports_is_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^from (workbench[\w.]*) import ([\w, ]+)", readme, re.MULTILINE)
    assert len(lines) >= 4
    missing = [
        f"{module}.{name}"
        for module, names in lines
        for name in names.replace(" ", "").split(",")
        # NengoDL takes seconds to import, which tests/test_nengo.py does.
        if name != "nengo_dl"
        and not hasattr(importlib.import_module(module), name)
        and util.find_spec(f"{module}.{name}") is None
    ]
    assert missing == []
