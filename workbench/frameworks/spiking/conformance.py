"""Other frameworks' networks with what those frameworks answered, held against what is made of them here.

A folder holds files (.onnx, .nir), for each an .npz of the same name with an input ``x0`` and the framework's own
answer ``y``, and ``index.csv``, which says what they are: ``file, framework, neuron, reset, form, reading``. The last
is what `read_nir` is told of a .nir file, as ``key=value`` with commas between.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ... import sandbox
from ...agreement import EXACT
from ...errors import BadInput, WorkbenchError
from .engine_onnxruntime import OnnxRuntimeSnnEngine
from .lift import lifted
from .network import SpikingNetwork
from .nir import read_nir
from .unroll import one_step

if TYPE_CHECKING:
    import pandas as pd

HEAD = ("framework", "neuron", "reset", "answers as the framework's own")
COLUMNS = ("file", "framework", "neuron", "reset", "form", "reading")

RECORDED = Path(__file__).with_name("exported")
"""Such a folder, with files of five frameworks; in the repository a link to the tests' own."""


@dataclass(frozen=True)
class Row:
    """One file.

    Attributes:
        file, framework, neuron, reset, form: as the index says.
        dt: seconds per step, of a .nir file as it was read; an ONNX file counts steps, and has none.
        numbers: how many the framework answered; fired: of them, those that are not zero; different: those that are
            others here, beyond the rounding of float32.
        why: the reason where it was refused.
    """

    file: str
    framework: str
    neuron: str
    reset: str
    form: str
    dt: float | None = None
    numbers: int = 0
    fired: int = 0
    different: int = 0
    why: str = ""

    @property
    def verdict(self) -> str:
        """``exact``, ``3 of 120 differ``, ``refused``, or ``silent``: the framework answered nothing but zeros."""
        if self.why:
            return "refused"
        if self.different:
            return f"{self.different:,} of {self.numbers:,} differ"
        return "exact" if self.fired else "silent"


@dataclass(frozen=True)
class Conformance:
    """A row for each file of a folder."""

    rows: tuple[Row, ...]

    @property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame([{**asdict(row), "verdict": row.verdict} for row in self.rows])

    def to_dict(self) -> dict[str, Any]:
        return {"rows": [{**asdict(row), "verdict": row.verdict} for row in self.rows]}

    def table(self) -> list[tuple[str, ...]]:
        """By framework, neuron and reset: what came of its forms, files that agree in that together."""
        found: dict[tuple[str, ...], dict[str, list[str]]] = {}
        for row in self.rows:
            dt = "" if row.dt is None else f", dt {row.dt:g}"
            verdicts = found.setdefault((row.framework, row.neuron, row.reset), {})
            verdicts.setdefault(row.verdict, []).append(row.form + dt)
        return [
            (*key, "; ".join(f"{verdict} ({', '.join(dict.fromkeys(forms))})" for verdict, forms in verdicts.items()))
            for key, verdicts in found.items()
        ]

    def refusals(self) -> list[str]:
        """A sentence for each neuron that is refused."""
        reasons = {f"{row.framework} {row.neuron} ({row.form}): {row.why}": None for row in self.rows if row.why}
        return list(reasons)

    def markdown(self) -> str:
        """The table, as README has it."""
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, ("---",) * len(HEAD), *self.table()))

    def _repr_html_(self) -> str:
        import pandas as pd

        reasons = pd.DataFrame({"refused": self.refusals()})
        with pd.option_context("display.max_colwidth", None):
            tables = [pd.DataFrame(self.table(), columns=[*HEAD]), reasons]
            return "".join(table.to_html(index=False) for table in tables if len(table))


def conformance(folder: str | os.PathLike[str]) -> Conformance:
    """Hold the files of a folder against what their frameworks answered, in a worker process.

    Raises:
        BadInput: there is no index in the folder, or none that fits.
    """
    place = Path(folder)
    try:
        with (place / "index.csv").open(newline="") as file:
            entries = list(csv.DictReader(file))
    except OSError as error:
        raise BadInput(f"{place} has no index.csv: expected one with the columns {', '.join(COLUMNS)}.") from error
    if not entries or set(entries[0]) != set(COLUMNS):
        raise BadInput(f"{place / 'index.csv'} needs the columns {', '.join(COLUMNS)}.")
    return Conformance(tuple(sandbox.run(_rows, place, entries, warm=True, what=f"Running the files of {place}")))


def _rows(place: Path, entries: Iterable[dict[str, str]]) -> list[Row]:
    return [_row(place / entry["file"], **{key: entry[key] for key in COLUMNS}) for entry in entries]


def _row(path: Path, reading: str, **said: Any) -> Row:
    try:
        network, axis, last, dt = _network(path, reading)
    except WorkbenchError as error:
        return Row(**said, why=str(error))
    with np.load(path.with_suffix(".npz")) as recorded:
        given, answered = recorded["x0"], recorded["y"].astype(np.float32)
    given = given[:, None] if axis is None else np.moveaxis(given, axis, 1)
    answered = answered[:, None] if axis is None or last else np.moveaxis(answered, axis, 1)
    with OnnxRuntimeSnnEngine(network, threads=1) as engine:
        answers = engine.run({network.inputs[0].name: given.reshape(*given.shape[:2], -1).astype(np.float32)})
    ours = answers[network.outputs[0].name][:, -answered.shape[1] :].reshape(answered.shape)
    apart = np.abs(ours - answered) > EXACT * float(np.abs(answered).max(initial=0))
    return Row(**said, dt=dt, numbers=answered.size, fired=int(np.count_nonzero(answered)), different=int(apart.sum()))


def _network(path: Path, reading: str) -> tuple[SpikingNetwork, int | None, bool, float | None]:
    """A file's network, where time lies in what was recorded (None: it is one step), whether the answer comes after the
    last step alone, and its dt, if the file has one."""
    if path.suffix == ".nir":
        how: dict[str, Any] = dict(part.split("=", 1) for part in reading.split(",") if part)
        network = read_nir(path, **how)
        return network, 0, False, network.dt
    step = one_step(onnx.load(path), None, None)
    return lifted(step, 0.001), step.form.axis, bool(step.form.last), None
