"""Code in the cells of a notebook, run by a kernel as a person's would be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat


def run(path: Path) -> nbformat.NotebookNode:
    """A notebook's cells run where it lies, and what it is then.

    Jupyter's client runs in a process of its own: after a thousand tests pytest's now and then waited for messages that
    the kernel had sent.
    """
    command = [
        *(sys.executable, "-m", "jupyter", "execute", path.name, "--inplace", "--kernel_name=python3", "--timeout=600"),
        *("--NotebookClient.iopub_timeout=600", "--NotebookClient.raise_on_iopub_timeout=True"),
    ]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return nbformat.read(path, as_version=4)


def outputs_of_cells(cells: list[str], folder: Path) -> list[list[nbformat.NotebookNode]]:
    """What each cell showed."""
    path = folder / "cells.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]), path)
    return [cell.outputs for cell in run(path).cells]
