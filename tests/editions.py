"""The Korean edition beside the English one: ``make korean``.

`notebooks/ko` holds the same notebooks: the same cells under the same ids, code copied, prose translated. A cell of
Korean prose carries, as ``english`` in its metadata, a digest of the English text that it says. ``make korean`` copies
the code, puts new cells in as they are, and names every cell to translate; ``make korean DONE="02_onnx_format:bytes"``
says that the cells named are translated anew, ``DONE=02_onnx_format`` that all of a notebook are. A chapter's solutions
are one text more, called `solutions`, with their digest in the notebook's metadata.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection
from copy import deepcopy
from hashlib import sha256
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
KOREAN = NOTEBOOKS / "ko"
_FENCED = re.compile(r"```.*?```", re.DOTALL)


def digest(text: str) -> str:
    """Enough of SHA-256 to tell one text of a cell from another."""
    return sha256(text.encode()).hexdigest()[:12]


def translated(path: Path, done: Collection[str] = ()) -> tuple[nbformat.NotebookNode, list[str]]:
    """The Korean notebook of an English one as it should be stored, and the ids of the cells that are to be translated.

    Args:
        path: of the English notebook.
        done: ids of cells whose Korean text says what the English one says now.
    """
    english = nbformat.read(path, as_version=4)
    there = KOREAN / path.name
    before = nbformat.read(there, as_version=4) if there.exists() else nbformat.v4.new_notebook()
    old = {cell.id: cell for cell in before.cells}
    korean, missing = deepcopy(english), []
    korean.metadata["lang"] = "ko"
    now = digest(_solutions(NOTEBOOKS, path))
    korean.metadata["solutions"] = now if "solutions" in done else before.metadata.get("solutions", "")
    if korean.metadata["solutions"] != now:
        missing.append("solutions")
    for cell in (cell for cell in korean.cells if cell.cell_type == "markdown"):
        now, known = digest(cell.source), old.get(cell.id)
        says = known.metadata.get("english") if known else None
        cell.source = known.source if known else cell.source
        cell.metadata["english"] = now if cell.id in done else says or ""
        if cell.metadata["english"] != now:
            missing.append(cell.id)
    return korean, missing


def solutions(path: Path) -> str:
    """The Korean solutions of a chapter as they should be stored: with the code of the English ones."""
    code = iter(_FENCED.findall(_solutions(NOTEBOOKS, path)))
    return _FENCED.sub(lambda _: next(code, ""), _solutions(KOREAN, path))


def _solutions(folder: Path, path: Path) -> str:
    return (folder / "solutions" / f"{path.stem}.md").read_text(encoding="utf-8")


def sentences(path: Path) -> list[str]:
    """What a module of judges may say, ``{0}``, ``{1}`` … where values are put in: its texts of three words and more,
    and shorter ones between which ``if`` or ``or`` chooses.

    Left out are docstrings, texts that are only compared with, and what begins with ``<``: markup, and models as text.
    """
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    silent: set[ast.AST] = set()
    chosen: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr | ast.Expr | ast.Compare):
            silent.update(ast.iter_child_nodes(node))
        elif isinstance(node, ast.IfExp):
            chosen.update((node.body, node.orelse))
        elif isinstance(node, ast.BoolOp):
            chosen.update(node.values)
    for node in ast.walk(tree):
        if node not in silent and (text := _template(node)) and not text.startswith("<"):
            found += [text] if len(text.split()) >= 3 or node in chosen else []
    return found


def _template(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    text, values = "", 0
    for part in node.values if isinstance(node, ast.JoinedStr) else ():
        text += f"{{{values}}}" if (value := isinstance(part, ast.FormattedValue)) else _template(part)
        values += value
    return text


def main(done: list[str]) -> None:
    """Bring the Korean notebooks up to the English ones, and print what is to be translated."""
    left = 0
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        ids = ["solutions", *(cell.id for cell in nbformat.read(path, as_version=4).cells)]
        named = {id for id in ids if {path.stem, f"{path.stem}:{id}"} & {*done}}
        korean, missing = translated(path, named)
        nbformat.write(korean, KOREAN / path.name)
        (KOREAN / "solutions" / f"{path.stem}.md").write_text(solutions(path), encoding="utf-8")
        for cell in missing:
            print(f"{path.stem}:{cell}")
        left += len(missing)
    print(f"{left} cells to translate")


if __name__ == "__main__":
    main(sys.argv[1:])
