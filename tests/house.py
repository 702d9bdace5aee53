"""The house in figures: ``make house``. `tests/test_house.py` holds what must not change.

Prints lines of Python per room, import circles (imports for annotations counted, those by name through the registry
not), imports from a room to one above it, private names that cross modules, and the longest functions.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "workbench"

ROOMS = (
    ("words", "markup", "errors", "sandbox", "scratch", "many", "frameworks"),
    ("files", "publish"),
    ("safety",),
    ("kind",),
    ("agreement", "lookups"),
    ("graph",),
    ("engines",),
    ("convert",),
    ("sources", "rows", "pictures", "classes", "invented"),
    ("compare",),
    ("inference", "costs"),
    ("audit",),
    ("diff",),
    ("show",),
    ("session",),
    ("frameworks.sklearn",),
    ("frameworks.tensorflow",),
    ("frameworks.spiking", "snn"),
    ("paper",),
    ("widgets",),
    ("", "__main__"),
)
"""From the ground up; a room imports none that stands after it."""

FRAMEWORKS = tuple(room for room in ROOMS if room[0].startswith("frameworks."))
SPINE = tuple(room for room in ROOMS if room not in FRAMEWORKS and room[0] != "paper")
MOST_LINES = 80


@dataclass
class Module:
    """A module: its lines, what it imports ({module: names}), and its functions with their lengths."""

    name: str
    lines: int
    imports: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    functions: list[tuple[int, str]] = field(default_factory=list)


def modules() -> dict[str, Module]:
    """Every module of the package, named without ``workbench.``."""
    paths = {".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    names = {name.removesuffix("__init__").rstrip("."): path for name, path in paths.items()}
    return {name: _read(name, path, set(names)) for name, path in sorted(names.items())}


def _read(name: str, path: Path, known: set[str]) -> Module:
    text = path.read_text("utf-8")
    module = Module(name, text.count("\n"))
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1] + (node.module or "").split(".")
            elif (node.module or "").split(".")[0] == "workbench":
                base = (node.module or "").split(".")[1:]
            else:
                continue
            where = ".".join(part for part in base if part)
            for alias in node.names:
                inside = f"{where}.{alias.name}".lstrip(".")
                if inside in known:
                    module.imports[inside]
                else:
                    module.imports[where].add(alias.name)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            module.functions.append(((node.end_lineno or 0) - node.lineno + 1, f"{name}.{node.name}"))
    return module


def room_of(module: str) -> int:
    """The place of a module's room in `ROOMS`."""
    parts = module.split(".")
    head = ".".join(parts[:2]) if parts[0] == "frameworks" else parts[0]
    return next(place for place, room in enumerate(ROOMS) if head in room)


def circles(known: dict[str, Module]) -> list[list[str]]:
    """Groups of modules that import one another, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    out: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in known[name].imports:
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                out.append(sorted(group))

    for name in known:
        if name not in order:
            visit(name)
    return out


def upward(known: dict[str, Module]) -> list[str]:
    """Imports of a room that stands above; frameworks know those before them, and nothing below knows a framework."""
    return [
        f"{name or 'workbench'} imports {target}"
        for name, module in known.items()
        for target in module.imports
        if room_of(target) > room_of(name)
    ]


def private(known: dict[str, Module]) -> list[str]:
    """Private names that one module takes from another."""
    return [
        f"{name} imports {target}.{taken}"
        for name, module in known.items()
        for target, names in module.imports.items()
        for taken in sorted(names)
        if taken.startswith("_") and not taken.startswith("__")
    ]


def main() -> None:
    known = modules()
    total = dict.fromkeys(range(len(ROOMS)), 0)
    for name, module in known.items():
        total[room_of(name)] += module.lines
    for place, room in enumerate(ROOMS):
        print(f"{total[place]:7,} lines  {', '.join(part or '__init__' for part in room)}")
    spine = sum(total[place] for place, room in enumerate(ROOMS) if room in SPINE)
    print(f"{sum(total.values()):7,} lines in all, {spine:,} of them the spine")
    for title, rows in (
        ("import circles", [" ".join(group) for group in circles(known)]),
        ("imports upward", upward(known)),
        ("private names across modules", private(known)),
        (
            f"functions over {MOST_LINES} lines",
            [f"{lines} {name}" for module in known.values() for lines, name in sorted(module.functions)[::-1]
             if lines > MOST_LINES],
        ),
    ):  # fmt: skip
        print(f"\n{len(rows)} {title}", *rows, sep="\n  ")


if __name__ == "__main__":
    main()
