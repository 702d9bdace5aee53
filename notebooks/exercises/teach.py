"""For teachers: the chapters with their solutions in them, and the scores of a class.

    python notebooks/exercises/teach.py solved FOLDER
    python notebooks/exercises/teach.py scores FOLDER > scores.csv
    python notebooks/exercises/teach.py scores FOLDER --trust > scores.csv

Without ``--trust`` nothing is run: the scores are what the check cells said to the students, as their files hold it,
which anyone can edit. With it each notebook is run from a clean kernel, with the judges of this folder and check cells
of its own, as a student may change those too. It is the students' code, and has your rights: do it in a container, or
on an account that holds nothing else. Whoever means to can still mislead a judge from inside its kernel.
"""

from __future__ import annotations

import argparse
import csv
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from workbench.errors import WorkbenchError
from workbench.show.export import read, running
from workbench.words import first_line, no_formula, visible

NOTEBOOKS = Path(__file__).resolve().parents[1]
MIME = "application/vnd.onnx-workbench.verdict+json"  # as in exercises
NOT_COPIED = shutil.ignore_patterns("models", "solutions", ".*", "__pycache__")
MOST = 5
"""Exercises of a chapter."""

HEAD = ["file", "chapter", *map(str, range(1, MOST + 1)), "points", "of", "shown by", "note"]


def chapters() -> dict[str, Path]:
    """{"3": its notebook}."""
    return {str(int(path.name[:2])): path for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))}


def solutions(path: Path) -> dict[str, tuple[str, str]]:
    """{"3.1": (source of the answer cell, why)} of a chapter."""
    text = (path.parent / "solutions" / f"{path.stem}.md").read_text(encoding="utf-8")
    found = re.findall(r"^\*\*(\d\.\d)\*\*\s+```python\n(.*?)\n```\s+(.*?)(?=^\*\*|\Z)", text, re.MULTILINE | re.DOTALL)
    return {number: (source, why.strip()) for number, source, why in found}


def solved(path: Path) -> NotebookNode:
    """A chapter whose answers are its solutions, each with its reason below."""
    notebook, known = read(path), solutions(path)
    cells: list[NotebookNode] = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.id.startswith("answer-"):
            number = cell.id.removeprefix("answer-").replace("-", ".")
            cell.source, why = known[number]
            word = "해답" if notebook.metadata.get("lang") == "ko" else "Solution"
            cells.append(nbformat.v4.new_markdown_cell(f"**{word}.** {why}", id=f"why-{number.replace('.', '-')}"))
    notebook.cells = cells
    return notebook


def checks(notebook: NotebookNode) -> dict[str, NotebookNode]:
    """{"3.1": its check cell}, by its name for nbgrader: a program that saves a notebook may drop cells' ids."""
    found = {}
    for cell in notebook.cells:
        graded = cell.metadata.get("nbgrader")
        name = str(graded.get("grade_id") if isinstance(graded, dict) else cell.get("id"))
        if cell.cell_type == "code" and (number := re.fullmatch(r"check-(\d)-(\d)", name)):
            found[f"{number[1]}.{number[2]}"] = cell
    return found


def said(cell: NotebookNode) -> str:
    """What a check cell's outputs say: of right, not yet, no answer, failed and not run."""
    for output in cell.outputs:
        if MIME in (data := output.get("data", {})):
            right = data[MIME].get("right") if isinstance(data[MIME], dict) else None
            return "right" if right is True else "not yet" if right is False else "no answer"
    return "failed" if cell.outputs else "not run"


def ran(notebook: NotebookNode, wanted: dict[str, NotebookNode]) -> tuple[NotebookNode, str]:
    """A student's notebook after a run with the chapter's own check cells and judges; why it ended early, if it did."""
    for number, cell in checks(notebook).items():
        if number in wanted:
            cell.source = f'import exercises\nexercises.check("{number}", answer)'
    for cell in notebook.cells:
        if cell.cell_type == "code":  # a wrong answer costs its own points
            cell.metadata["tags"] = ["raises-exception"]
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "notebooks"
        shutil.copytree(NOTEBOOKS, here, ignore=NOT_COPIED)
        nbformat.write(notebook, here / "submission.ipynb")
        with running(here / "submission.ipynb") as run:
            try:
                run.all()
            except WorkbenchError as error:
                return run.notebook, str(error)
            return run.notebook, ""


def score(path: Path, trust: bool) -> dict[str, object]:
    """A row of the table, by `HEAD`."""
    row: dict[str, object] = {"shown by": "a run here" if trust else "what the file says", "points": 0}
    try:
        nbformat.validate(notebook := read(path))
        chapter = next((number.split(".")[0] for number in checks(notebook)), "")
        if chapter not in chapters():
            return row | {"note": "No check cell of a chapter is in this notebook."}
        wanted, note = checks(read(chapters()[chapter])), ""
        if trust:
            notebook, note = ran(notebook, wanted)
    except (WorkbenchError, nbformat.ValidationError) as error:
        return row | {"note": first_line(error)}
    found = checks(notebook)
    words = {number: said(found[number]) if number in found else "missing" for number in wanted}
    row |= {number.split(".")[1]: word for number, word in words.items()}
    points = sum(word == "right" for word in words.values())
    return row | {"chapter": chapter, "points": points, "of": len(words), "note": note}


def scores(folder: Path, trust: bool = False) -> Iterator[dict[str, object]]:
    """A row for each notebook in a folder and those in it.

    Args:
        trust: run them.
    """
    for path in sorted(folder.rglob("*.ipynb")):
        if ".ipynb_checkpoints" not in path.parts:
            if trust:
                print(visible(path), file=sys.stderr)  # each takes as long as its chapter
            yield {"file": str(path.relative_to(folder)), **score(path, trust)}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("solved", help="write the chapters with their solutions").add_argument("folder", type=Path)
    table = verbs.add_parser("scores", help="print the scores of a folder of notebooks as CSV")
    table.add_argument("folder", type=Path)
    table.add_argument("--trust", action="store_true", help="run the notebooks, with your rights")
    asked = parser.parse_args()
    if asked.verb == "solved":
        if asked.folder.exists():
            print(f"{asked.folder} is there already, and would be overwritten; give a new folder.", file=sys.stderr)
            return 1
        shutil.copytree(NOTEBOOKS, asked.folder, ignore=NOT_COPIED)
        for path in (*chapters().values(), *sorted((NOTEBOOKS / "ko").glob("*.ipynb"))):
            nbformat.write(solved(path), asked.folder / path.relative_to(NOTEBOOKS))
        return 0
    if not asked.folder.is_dir():
        print(f"{asked.folder} is no folder; give the one that holds the students' notebooks.", file=sys.stderr)
        return 1
    writer = csv.DictWriter(sys.stdout, HEAD, restval="", lineterminator="\n")
    writer.writeheader()
    for row in scores(asked.folder, asked.trust):
        texts = {name: no_formula(visible(value, keep="")) for name, value in row.items() if isinstance(value, str)}
        writer.writerow({**row, **texts})
    return 0


if __name__ == "__main__":
    sys.exit(main())
