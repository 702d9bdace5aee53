"""The paper's tables on today's machine: `tables` runs them again and prints them beside the paper's figures.

Table 3 times five scikit-learn models, Table 4 five networks, each against its own ONNX conversion; Table 1 lists the
weights of the spiking network on both sides, Table 5 its accuracy before and after ONNX. Nothing here is tuned for a
row: models are converted by `workbench.convert` and timed by `workbench.compare`, with the defaults of both.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..agreement import Agreement, finite
from ..compare.comparison import ENOUGH_FOR_INTERVALS, Comparison, duration
from ..errors import BadInput
from ..frameworks.spiking.table import WeightTable
from ..markup import render
from ..publish import make_folder, write_text
from ..words import counted, readable
from .data import Dataset

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[str], object]

TABLE1 = (
    ((3, 3, 1, 32), (784, 10)), ((32,), (10,)), ((3, 3, 32, 64), (3200, 784)), ((64,), (784,)),
    ((3, 3, 64, 128), (128, 64, 3, 3)), ((128,), (128,)), ((3200, 784), (64, 32, 3, 3)), ((784,), (64,)),
    ((784, 10), (32, 1, 3, 3)), ((10,), (32,)),
)  # fmt: skip
"""Shapes of the weights: of the spiking network in forward order, in ONNX in reverse order."""

TABLE3 = {
    "Linear regression": (0.07, 0.04),
    "Logistic regression": (0.053, 0.049),
    "Random forest": (7.47, 0.30),
    "KNN": (1.52, 1.78),
    "K-means": (0.30, 0.08),
}
"""Seconds for the whole data set 1000 times: scikit-learn, ONNX Runtime."""

TABLE4 = {
    "DNN": (0.245, 0.002),
    "LeNet-1": (0.05, 0.01),
    "VGG16": (3.93, 3.75),
    "ResNet50": (1.45, 0.54),
    "DenseNet121": (4.48, 0.95),
}
"""Seconds for 10 inferences: Keras, ONNX Runtime."""

TABLE5 = {"NengoDL, as trained": 0.987, "back in NengoDL": 0.987}
"""Test accuracy on MNIST."""

TIMES3, TIMES4 = 1000, 10
"""Calls the paper's figures are for."""

WORKER_MIB = 2000
"""MiB for a worker that makes, converts or runs one network: what a machine on Binder has."""

QUICK_SECONDS, FULL_SECONDS = (1.2, 5.0), (20.0, 40.0)
"""For the race of one row; of one with a large network, which is asked in four ways, so that a round takes a second."""

Z = 1.96
"""Standard deviations on either side of the middle that hold 95 % of a normal distribution."""

QUICK_DIGITS = 200
NENGO_DIGITS = 10, 500
"""Digits for ``nengo.Simulator``, which takes them one by one: quick, and at most."""


@dataclass(frozen=True)
class SpeedRow:
    """A row of Table 3 or 4.

    Attributes:
        model: as the paper names it.
        native_seconds, onnx_seconds: as the paper counts, by the fastest ordinary call of each side (`native_call`).
        speedup: their ratio; speedup_low, speedup_high: its 95 % interval.
        paper_native, paper_onnx: the paper's figures.
        agreement: how both sides' answers compare.
        comparison: everything that was measured.
        making_mib, converting_mib: peak memory of the worker that made the network (None of an estimator, which is made
            in this process), and of the one that converted it; those of both sides are in `comparison`.
        notes: plain sentences.
    """

    model: str
    native_seconds: float
    onnx_seconds: float
    speedup: float
    speedup_low: float
    speedup_high: float
    paper_native: float
    paper_onnx: float
    native_call: str
    agreement: Agreement
    comparison: Comparison
    making_mib: float | None
    converting_mib: float
    notes: tuple[str, ...] = ()

    @property
    def paper_speedup(self) -> float:
        return self.paper_native / self.paper_onnx

    @property
    def peak_mib(self) -> float:
        """MiB of the worker that needed most."""
        sides = self.comparison.native.peak_mib, self.comparison.onnx.peak_mib
        return max(filter(None, (self.making_mib, self.converting_mib, *sides)))

    @property
    def answers(self) -> str:
        return "agree" if self.agreement.within_tolerance else "differ"

    def to_dict(self) -> dict[str, Any]:
        plain = {name: value for name, value in vars(self).items() if name not in ("agreement", "comparison", "notes")}
        return {
            **plain, "paper_speedup": self.paper_speedup, "peak_mib": self.peak_mib,
            "agreement": self.agreement.to_dict(), "notes": list(self.notes), "comparison": self.comparison.to_dict(),
        }  # fmt: skip


@dataclass(frozen=True)
class AccuracyRow:
    """A row of Table 5. `paper` is None where the paper has no such row; digits: how many were read.

    Attributes:
        unseen: the network was trained on none of these digits. On others the figure says nothing of new digits.
        low, high: the 95 % interval of the accuracy on digits like these, after Wilson: honest at 100 %, too.
    """

    where: str
    accuracy: float
    digits: int
    paper: float | None
    unseen: bool

    @property
    def low(self) -> float:
        return self._wilson[0]

    @property
    def high(self) -> float:
        return self._wilson[1]

    @property
    def _wilson(self) -> tuple[float, float]:
        share, z = 1 / (1 + Z**2 / self.digits), Z / self.digits
        middle = share * (self.accuracy + Z * z / 2)
        half = share * z * (self.digits * self.accuracy * (1 - self.accuracy) + Z**2 / 4) ** 0.5
        # At 0 and 1 a rounding must not bring a bound to the wrong side.
        return max(0.0, min(self.accuracy, middle - half)), min(1.0, max(self.accuracy, middle + half))

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Tables:
    """The paper's tables, run again. Tables that were not asked for are empty."""

    table1: WeightTable | None = None
    table3: tuple[SpeedRow, ...] = ()
    table4: tuple[SpeedRow, ...] = ()
    table5: tuple[AccuracyRow, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON of ``workbench tables --json``."""
        return finite(
            {
                "table1": None if self.table1 is None else self.table1.to_dict(),
                "table3": [row.to_dict() for row in self.table3],
                "table4": [row.to_dict() for row in self.table4],
                "table5": [row.to_dict() for row in self.table5],
                "environment": self.environment,
                "notes": list(self.notes),
            }
        )

    def frames(self) -> dict[str, pd.DataFrame]:
        """{"table1": …} as pandas tables, those that were asked for."""
        import pandas as pd

        found = {}
        if self.table1 is not None:
            found["table1"] = self.table1.frame
        for name, rows in (("table3", self.table3), ("table4", self.table4)):
            if rows:
                found[name] = pd.DataFrame([_flat(row) for row in rows]).set_index("model")
        if self.table5:
            found["table5"] = pd.DataFrame([row.to_dict() for row in self.table5]).set_index("where")
        return found

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Write tables.json, a CSV file per table and an SVG plot of Tables 3, 4 and 5.

        Raises:
            BadInput: a file is there already.
        """
        import json

        from . import plots

        target = prepare_folder(folder, overwrite)
        texts = {"tables.json": json.dumps(self.to_dict(), indent=1) + "\n"}
        texts |= {f"{name}.csv": frame.to_csv() for name, frame in self.frames().items()}
        texts |= {f"{name}.svg": svg for name, svg in plots.of(self).items()}
        return [write_text(text, target / name, overwrite=True, inputs=()) for name, text in texts.items()]

    def __str__(self) -> str:
        parts = []
        if self.table1 is not None:
            parts.append(f"Table 1: weights of the spiking network\n{self.table1}")
        for title, rows in self._speed():
            head = f"{'native':>9}{'ONNX':>10}  {'ratio (95 %)':<24}{'answers':<9}{'memory':>9}"
            lines = [title, f"{'':<20}{head}   | paper: native{'ONNX':>8}{'ratio':>8}"]
            for row in rows:
                interval = str(row.comparison.speedup)
                lines.append(
                    f"{row.model:<20}{row.native_seconds:>9.3g}{row.onnx_seconds:>10.3g}  {interval:<24}"
                    f"{row.answers:<9}{row.peak_mib:>5,.0f} MiB   |"
                    f"{row.paper_native:>14.3g}{row.paper_onnx:>8.3g}{row.paper_speedup:>8.3g}"
                )
                lines += [f"  {note}" for note in row.notes]
            parts.append("\n".join(lines))
        if self.table5:
            lines = [
                self._title5(),
                f"{'':<24}{'right (95 %)':<30}{'digits':>7}{'paper':>9}",
            ]
            for found in self.table5:
                paper = "" if found.paper is None else f"{found.paper:.1%}"
                interval = f"{found.accuracy:.2%} ({found.low:.2%} to {found.high:.2%})"
                lines.append(f"{found.where:<24}{interval:<30}{found.digits:>7,}{paper:>9}")
            parts.append("\n".join(lines))
        return "\n\n".join([*parts, *self._legend(), *self.notes])

    def _title5(self) -> str:
        if all(row.unseen for row in self.table5):
            return "Table 5: accuracy of the spiking network on MNIST's test digits"
        return "Table 5: digits the spiking network was trained on, and reads right (not its accuracy on new ones)"

    def _legend(self) -> Iterator[str]:
        """The words of Tables 3 and 4."""
        for row in (self.table3 + self.table4)[:1]:
            threads = self.environment.get("threads")
            yield (
                "native: the library the model was made with, by its fastest ordinary call. ONNX: the same model "
                f"converted to ONNX, in ONNX Runtime {row.comparison.onnx.version}. ratio: native's time divided by "
                "ONNX's; above 1, ONNX is faster. In brackets: the ratio lies between these two with 95 % confidence. "
                "answers: whether both sides give the same ones, within the rounding of their numbers. memory: of the "
                "process that needed most, among those that made, converted and ran the model. Both sides compute with "
                f"{threads} thread{'' if threads == 1 else 's'}, on {self.environment.get('cpu')}."
            )

    def _speed(self) -> Iterator[tuple[str, tuple[SpeedRow, ...]]]:
        if self.table3:
            yield f"Table 3: machine learning, seconds for the whole data set {TIMES3:,} times", self.table3
        if self.table4:
            yield f"Table 4: deep learning, seconds for {TIMES4} inferences", self.table4

    def _repr_html_(self) -> str:
        return render(
            "tables",
            table1=None if self.table1 is None else self.table1._repr_html_(),
            speed=list(self._speed()),
            table5=self.table5,
            title5=self._title5(),
            notes=[*self._legend(), *self.notes],
        )


def tables(
    *,
    quick: bool = False,
    only: tuple[str, ...] = ("table1", "table3", "table4", "table5"),
    threads: int | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Tables:
    """Run the paper's tables.

    Args:
        quick: shorter races and fewer digits; under three minutes on two cores.
        only: the tables wanted.
        threads: on both sides; one per core if None.
        progress: called in this thread with one short sentence at each stage.
        cancel: set it from another thread to give up.

    Raises:
        BadInput: there is no such table.
        WorkbenchError: a conversion disagrees, or a worker failed or was cancelled.
    """
    from ..compare import environment
    from ..compare.sides import usable_cores

    if unknown := [name for name in only if name not in ("table1", "table3", "table4", "table5")]:
        raise BadInput(f"There is no {unknown[0]!r} to run; choose from: table1, table3, table4, table5.")
    run = _Run(QUICK_SECONDS if quick else FULL_SECONDS, threads, progress or (lambda message: None), cancel)
    table3 = tuple(run.estimator(name) for name in TABLE3) if "table3" in only else ()
    table4 = tuple(run.network(name) for name in TABLE4) if "table4" in only else ()
    spiking = "table1" in only or "table5" in only
    weights, table5, notes = run.spiking("table5" in only, quick) if spiking else (None, (), [])
    return Tables(
        table1=weights if "table1" in only else None,
        table3=table3,
        table4=table4,
        table5=table5,
        environment=environment(threads or usable_cores()),
        notes=tuple(notes),
    )


def prepare_folder(folder: str | os.PathLike[str], overwrite: bool) -> Path:
    """The folder for the files of `Tables.save`, made if missing.

    Raises:
        BadInput: it holds earlier ones, and `overwrite` is off; or it cannot be made.
    """
    target = Path(folder)
    if not overwrite and (target / "tables.json").exists():
        raise BadInput(f"{target / 'tables.json'} exists; choose another folder, or say overwrite=True (--force).")
    make_folder(target)
    return target


@dataclass
class _Run:
    """What the rows share."""

    seconds: tuple[float, float]
    threads: int | None
    say: Progress
    cancel: threading.Event | None

    def estimator(self, name: str) -> SpeedRow:
        """A row of Table 3."""
        from ..convert import convert
        from .models import estimator

        with self._row(f"Table 3, {name}") as (folder, say):
            say("fitting")
            fitted, data = estimator(name)
            made = convert(fitted, folder / "model.onnx", cancel=self.cancel, progress=say)
            # K-means numbers its clusters as it likes: there is no right answer to hold them against.
            targets = data.targets if data.class_names and name != "K-means" else None
            found = self._compare(fitted, folder / "model.onnx", data.inputs, say, targets=targets, one_row=True)
            one = found.one_row
            notes = [_data_note(data)]
            if one is not None:
                notes.append(
                    f"One row a call: {duration(one.native_fastest.seconds.median)} and "
                    f"{duration(one.onnx_fastest.seconds.median)}, ratio {one.ratio}."
                )
            return _speed_row(name, found, TABLE3[name], TIMES3, notes, None, made.peak_mib)

    def network(self, name: str) -> SpeedRow:
        """A row of Table 4. Everything that holds the network's weights does so in a worker, one after the other."""
        from .. import sandbox
        from ..convert import convert

        with self._row(f"Table 4, {name}") as (folder, say):
            say("making the network")
            large = name not in ("DNN", "LeNet-1")
            source = folder / "model.keras"
            limits: dict[str, Any] = {"memory_mib": WORKER_MIB}
            note, peak = sandbox.run(
                _make, name, str(source), cancel=self.cancel, warm=True, what=f"Making {name}", **limits
            )
            rows = np.random.default_rng(0).random((2, *((224, 224, 3) if large else (28, 28, 1))), np.float32)
            # It was made here: nothing needs to be looked for in it.
            limits["trust"] = True
            made = convert(source, folder / "model.onnx", sample=rows, cancel=self.cancel, progress=say, **limits)
            found = self._compare(source, folder / "model.onnx", rows[:1], say, large=large, **limits)
            return _speed_row(name, found, TABLE4[name], TIMES4, [note], peak, made.peak_mib)

    def spiking(self, with_accuracy: bool, quick: bool) -> tuple[WeightTable, tuple[AccuracyRow, ...], list[str]]:
        """Tables 1 and 5, and sentences about them."""
        from .. import sandbox

        with self._row("Tables 1 and 5") as (folder, say):
            say("starting NengoDL")
            # All in one worker: what takes longest is to start TensorFlow and to build the network.
            return sandbox.run(
                _spiking, str(folder / "digits.onnx"), with_accuracy, QUICK_DIGITS if quick else None,
                cancel=self.cancel, progress=say, warm=True, what="Running the spiking network",
            )  # fmt: skip

    def _compare(
        self, native: Any, onnx: Path, inputs: np.ndarray, say: Progress, large: bool = False, **options: Any
    ) -> Comparison:
        from ..compare import compare

        found = compare(
            native,
            onnx,
            inputs,
            seconds=self.seconds[large],
            threads=self.threads,
            progress=say,
            cancel=self.cancel,
            **options,
        )
        say(found.speed)
        return found

    @contextmanager
    def _row(self, title: str) -> Iterator[tuple[Path, Progress]]:
        with tempfile.TemporaryDirectory(prefix="workbench-tables-") as folder:
            yield Path(folder), lambda message: self.say(f"{title}: {message}")


def _make(name: str, path: str) -> tuple[str, float]:
    """Write a network of Table 4; returns the sentence about its weights, and the peak memory. Runs in a worker."""
    from ..sandbox import peak_mib
    from .models import save_network

    return save_network(name, path), peak_mib()


def _spiking(
    path: str, with_accuracy: bool, at_most: int | None, progress: Progress
) -> tuple[WeightTable, tuple[AccuracyRow, ...], list[str]]:
    """Write the trained spiking network to ONNX, and read digits with it before and after. Runs in a worker.

    Args:
        at_most: so many digits, for a quick run; all there are if None.
    """
    from ..convert import convert
    from ..engines import load_engine
    from ..frameworks.spiking.table import weight_table
    from . import digits
    from .data import dataset

    with digits.simulator() as trained:
        progress("converting the spiking network")
        convert(trained, path, progress=progress)
        weights = _beside_the_paper(weight_table(trained, path))
    if not with_accuracy:
        return weights, (), []
    data = dataset("mnist", "test")
    unseen = data.name == "mnist"
    count = at_most or len(data.targets)
    rows = []
    for where, open_engine, most in (
        ("NengoDL, as trained", digits.Trained, count),
        ("ONNX Runtime", lambda: load_engine(path, "onnxruntime"), count),
        ("back in NengoDL", lambda: load_engine(path, "nengo_dl"), count // 2 if at_most else count),
        ("back in Nengo", lambda: load_engine(path, "nengo"), NENGO_DIGITS[0 if at_most else 1]),
    ):
        progress(where)

        def tell(message: str, where: str = where) -> None:
            progress(f"{where}: {message}")

        images, labels = data.inputs[:most], data.targets[:most]
        with open_engine() as engine:
            right = digits.accuracy(engine, images, labels, progress=tell)
        rows.append(AccuracyRow(where, right, len(labels), TABLE5.get(where), unseen))
    notes = [f"Table 5: {data.source}"]
    if not unseen:
        notes.append(
            "Table 5: the network was trained on these digits, so the figures say whether the sides read alike, and "
            "nothing of how well new digits are read; with WORKBENCH_MNIST=mnist.npz they are of MNIST's test part."
        )
    if at_most:
        notes.append(f"Table 5: {count} digits tell the accuracy to a percent or two; without --quick, more are read.")
    return weights, tuple(rows), notes


def _beside_the_paper(found: WeightTable) -> WeightTable:
    """Table 1 with a sentence on whether the paper's has the same shapes."""
    ours = [(row.snn_shape, row.onnx_shape) for row in found.rows]
    other = [index for index, pair in enumerate(zip_longest(ours, TABLE1), start=1) if pair[0] != pair[1]]
    note = (
        f"Other than in the paper's table: row {', '.join(map(str, other))}."
        if other
        else f"All {len(ours)} rows are as in the paper's table."
    )
    return replace(found, notes=(*found.notes, note))


def _speed_row(
    name: str,
    found: Comparison,
    paper: tuple[float, float],
    times: int,
    notes: list[str],
    making_mib: float | None,
    converting_mib: float,
) -> SpeedRow:
    ratio = found.speedup
    before = paper[0] / paper[1]
    native = times * found.native.seconds.median
    if ratio.median < before:
        said = (
            f"The paper's ratio was {before:.3g}, by its {paper[0]:g} s of native time; that takes {native:.3g} s today"
        )
        slower = next((call for call in found.native.calls if call.call.startswith("model.predict(")), None)
        if slower is not None and slower.call != found.native.call:
            said += (
                f" with {found.native.call}. With {slower.call}, as the paper asked, the ratio is "
                f"{readable(slower.seconds.median / found.onnx.seconds.median, 3)}"
            )
        notes = [*notes, f"{said}."]
    if found.rounds < ENOUGH_FOR_INTERVALS:
        seen = "the interval is all that was seen" if found.rounds > 1 else "there is no interval"
        notes = [*notes, f"Time allowed for {counted(found.rounds, 'round')}: {seen}."]
    if not found.agreement.within_tolerance:
        notes = [*notes, *(found.agreement.sentences or (found.agreement.says,))]
    return SpeedRow(
        model=name,
        native_seconds=native,
        onnx_seconds=times * found.onnx.seconds.median,
        speedup=ratio.median,
        speedup_low=ratio.low,
        speedup_high=ratio.high,
        paper_native=paper[0],
        paper_onnx=paper[1],
        native_call=found.native.call,
        agreement=found.agreement,
        comparison=found,
        making_mib=making_mib,
        converting_mib=converting_mib,
        notes=tuple(notes),
    )


def _data_note(data: Dataset) -> str:
    return f"{len(data.inputs):,} rows. {data.source}"


def _flat(row: SpeedRow) -> dict[str, Any]:
    found = {name: value for name, value in row.to_dict().items() if not isinstance(value, dict | list)}
    return {
        **found, "max_abs": row.agreement.max_abs, "label_mismatches": row.agreement.label_mismatches,
        "within_tolerance": row.agreement.within_tolerance, "native_peak_mib": row.comparison.native.peak_mib,
        "onnx_peak_mib": row.comparison.onnx.peak_mib,
    }  # fmt: skip
