"""How the package is built: imports run one way, rooms keep to themselves, functions stay short."""

from __future__ import annotations

import subprocess
import sys

import pytest
from house import FRAMEWORKS, MOST_LINES, ROOMS, Module, circles, modules, private, room_of, upward


@pytest.fixture(scope="module")
def known() -> dict[str, Module]:
    return modules()


def test_every_module_has_a_room(known: dict[str, Module]) -> None:
    assert len(known) > 100
    assert {room_of(name) for name in known} == set(range(len(ROOMS)))


def test_no_module_imports_itself_through_others(known: dict[str, Module]) -> None:
    assert circles(known) == []


def test_imports_run_downward_and_nothing_below_knows_a_framework(known: dict[str, Module]) -> None:
    assert upward(known) == []
    spine = {
        name for name in known if ROOMS[room_of(name)] not in (*FRAMEWORKS, ("paper",), ("widgets",), ("", "__main__"))
    }
    assert [name for name in spine for target in known[name].imports if target.startswith("frameworks.")] == []


def test_private_names_stay_in_their_module(known: dict[str, Module]) -> None:
    assert private(known) == []


def test_no_function_is_longer_than_a_screen(known: dict[str, Module]) -> None:
    assert [row for module in known.values() for row in module.functions if row[0] > MOST_LINES] == []


def test_a_circle_an_upward_import_and_a_private_name_would_be_found() -> None:
    wrong = {
        "files.wire": Module("files.wire", 1, {"kind": {"detect"}}),
        "kind": Module("kind", 1, {"files.wire": {"_secret"}}),
    }
    assert circles(wrong) == [["files.wire", "kind"]]
    assert upward(wrong) == ["files.wire imports kind"]
    assert private(wrong) == ["kind imports files.wire._secret"]


def test_the_workbench_is_imported_without_any_framework() -> None:
    heavy = ("tensorflow", "keras", "tf_keras", "nengo", "nengo_dl", "sklearn", "onnxruntime", "pandas", "matplotlib")
    script = f"import sys, workbench; print([name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
