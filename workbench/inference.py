"""A first inference: real rows through a model, and its answers beside the right ones; or made-up ones, where no rows
fit, and what it gives.
"""

from __future__ import annotations

import base64
import io
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import sandbox
from .classes import Classes, fits, labels_of, named, scores_of
from .engines import Engine, leans, load_engine
from .errors import BadInput, UnsupportedModel
from .files import registry
from .files.header import read_header
from .invented import first_answered, invent
from .kind import ENGINE_NAMES
from .markup import render
from .safety.external import whole_size
from .sources import Dataset, rows_for
from .words import counted, label_text, listed, readable

if TYPE_CHECKING:
    import pandas as pd

TIMEOUT = 600
"""Seconds for loading a small model and answering a few rows, after which a file was made never to end. It takes one;
on a crowded machine the libraries' imports alone may take sixty, and whoever will not wait that long cancels."""

SHOWN = 10
"""Rows in the table; the numbers are over all."""


@dataclass(frozen=True)
class FirstInference:
    """What a model answered to rows of real data.

    Attributes:
        engine: name and version of the engine that ran it, and why that one.
        data: the rows asked.
        predicted: the class named for each row.
        score: the model's own number for the named class (a probability, mostly), or None.
        fits: the model's classes are as many as the data's, and its labels are theirs, or numbers that meet theirs far
            more often than chance. Where they are not, its answers are shown, and none is called right or wrong.
    """

    path: str
    engine: str
    version: str
    why: str
    data: Dataset
    predicted: tuple[str, ...]
    score: np.ndarray | None
    fits: bool = True

    @property
    def expected(self) -> tuple[str, ...] | None:
        """The right class of each row; None where the model's classes are others (`fits`)."""
        if not self.fits:
            return None
        return tuple(self.data.class_names[int(target)] for target in self.data.targets)

    @property
    def right(self) -> int | None:
        """How many rows were named rightly; None as for `expected`."""
        if self.expected is None:
            return None
        return sum(ours == theirs for ours, theirs in zip(self.predicted, self.expected, strict=True))

    @property
    def says(self) -> str:
        """What came of it, in one sentence."""
        engine = f"{ENGINE_NAMES.get(self.engine, self.engine)} {self.version}"
        if self.right is None:
            return (
                f"{engine} answered {counted(len(self.predicted), 'row')}. Nothing shows that the model's classes are "
                f"those of the data ({listed(self.data.class_names)}), so no answer is called right or wrong."
            )
        return f"{self.right} of {len(self.predicted)} right in {engine}."

    @property
    def frame(self) -> pd.DataFrame:
        """A row per row: features (where there are columns), predicted, expected, score."""
        import pandas as pd

        frame = pd.DataFrame(
            self.data.inputs if self.data.feature_names else None,
            columns=list(self.data.feature_names) or None,
            index=range(len(self.predicted)),
        )
        frame["predicted"] = self.predicted
        if self.expected is not None:
            frame["expected"] = self.expected
        if self.score is not None:
            frame["score"] = self.score
        return frame

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "engine": self.engine,
            "version": self.version,
            "why": self.why,
            "rows": len(self.predicted),
            "right": self.right,
            "predicted": list(self.predicted),
            "expected": None if self.expected is None else list(self.expected),
            "score": None if self.score is None else [float(value) for value in self.score],
            "source": self.data.source,
        }

    def _repr_html_(self) -> str:
        return render(
            "inference",
            says=self.says,
            fits=self.fits,
            total=len(self.predicted),
            data=self.data,
            columns=[
                "picture" if self.data.images is not None else "row", *self.data.feature_names, "model says",
                *(["score"] if self.score is not None else []), *(["truth", "verdict"] if self.fits else []),
            ],
            rows=[self._row(index) for index in range(min(SHOWN, len(self.predicted)))],
        )  # fmt: skip

    def _row(self, index: int) -> dict[str, Any]:
        data = self.data
        return {
            "picture": _picture(data.images[index]) if data.images is not None else "",
            "features": [f"{value:.3g}" for value in data.inputs[index]] if data.feature_names else [],
            "predicted": self.predicted[index], "expected": self.expected[index] if self.expected is not None else None,
            "score": "" if self.score is None else f"{float(self.score[index]):.2f}",
        }  # fmt: skip


@dataclass(frozen=True)
class OutputValue:
    """One output of a `TrialRun`: its name and shape, its dtype as NumPy calls it, and its first values as text."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    first: str


@dataclass(frozen=True)
class TrialRun:
    """What a model gave where no rows with right answers fit: that it runs, and what comes out.

    Attributes:
        engine, version, why: as of `FirstInference`.
        asked: what it was asked, a sentence for each input.
        code: the Python that asks the same.
        outputs: what it gave; nothing in it is right or wrong.
    """

    path: str
    engine: str
    version: str
    why: str
    asked: tuple[str, ...]
    code: str
    outputs: tuple[OutputValue, ...]

    @property
    def says(self) -> str:
        """What came of it, in one sentence."""
        gave = listed(f"{output.name} {_size(output.shape)}" for output in self.outputs)
        return (
            f"It runs in {ENGINE_NAMES.get(self.engine, self.engine)} {self.version} and gives {gave or 'no output'}. "
            "No rows with right answers were at hand for it, so nothing here is right or wrong."
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "outputs": [asdict(output) for output in self.outputs]}

    def _repr_html_(self) -> str:
        outputs = [(output, _size(output.shape)) for output in self.outputs[:SHOWN]]
        return render("trial", trial=self, outputs=outputs, more=max(0, len(self.outputs) - SHOWN))


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "a single value"


def _picture(image: np.ndarray) -> str:
    """A PNG, in base64."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def first_inference(
    path: str | os.PathLike[str],
    *,
    memory_mib: float | None = None,
    progress: Callable[[str], object] | None = None,
    cancel: threading.Event | None = None,
) -> FirstInference | TrialRun:
    """Run a model on rows of the paper's data that fit its input, else on made-up ones, in a worker process.

    A spiking network, too, is asked in ONNX Runtime where that runs it: Nengo, in which `workbench.load_engine` opens
    it, takes a hundred times as long for some fifty rows.

    Args:
        path: an ONNX file.
        memory_mib: MiB for the worker, by the model's size if None.
        progress: called in this thread with a few words at each stage.
        cancel: set it from another thread to give up.

    Raises:
        UnsupportedModel: it answers none of the inputs that were made up for it.
        WorkbenchError: the model cannot be read or run, or took too long or too much memory.
    """
    name = os.fspath(path)
    size = whole_size(Path(name))
    return sandbox.run(
        _infer,
        name,
        timeout=TIMEOUT + size / 1e6,
        # Weights in memory, ONNX Runtime's optimised copy of them, and the libraries.
        memory_mib=memory_mib or 700 + 4 * size / 2**20,
        adjustable=True,
        progress=progress or (lambda message: None),
        cancel=cancel,
        what="A first inference",
    )


def _opened(path: str) -> Engine:
    # A picked file is asked without a word from the person: a large one's weights stay in it.
    options: dict[str, Any] = {"lean": True} if leans(path) else {}
    if registry.runs_over_time(read_header(path)):
        with suppress(BadInput, UnsupportedModel):
            return load_engine(path, "onnxruntime", **options)
    return load_engine(path, **options)


def _infer(path: str, progress: Callable[[str], object]) -> FirstInference | TrialRun:
    progress("opening it")
    with _opened(path) as engine:
        data = rows_for(path)
        asked = "inputs made up for it" if data is None else counted(len(data.inputs), "row")
        progress(f"{asked}, in {ENGINE_NAMES.get(engine.name, engine.name)}")
        if data is None:
            return _tried(path, engine)
        outputs = engine.run(data.inputs)
        if hasattr(engine, "settled"):
            over_time: Any = engine
            outputs = over_time.settled(outputs)
            data = replace(data, source=" ".join([data.source, *over_time.network.notes]))
        rows = len(data.inputs)
        if labels_of(outputs, rows) is None and scores_of(outputs, rows) is None:
            name = engine.inputs[0].name
            return _trial(path, engine, (f"{name}: {data.source}",), f"{{{name!r}: rows}}", outputs)
        predicted, score, fit = _named(outputs, data, engine.classes)
        return FirstInference(path, engine.name, engine.version, engine.why, data, predicted, score, fit)


def _tried(path: str, engine: Engine) -> TrialRun:
    """The first made-up inputs that it answers."""
    fillings, outputs = first_answered(engine.run, invent(engine.inputs, read_header(path).graph))
    asked = tuple(f"{filling.says}." for filling in fillings)
    code = ", ".join(f"{filling.name!r}: {filling.code}" for filling in fillings)
    return _trial(path, engine, asked, f"{{{code}}}", outputs)


def _trial(path: str, engine: Engine, asked: tuple[str, ...], feeds: str, outputs: dict[str, np.ndarray]) -> TrialRun:
    values = tuple(
        OutputValue(name, str(array.dtype), array.shape, listed((_value(v) for v in array.flat[:6]), 6))
        for name, array in outputs.items()
    )
    code = f"load_engine({os.path.basename(path)!r}).run({feeds})"
    return TrialRun(path, engine.name, engine.version, engine.why, asked, code, values)


def _named(
    outputs: dict[str, np.ndarray], data: Dataset, classes: Classes
) -> tuple[tuple[str, ...], np.ndarray | None, bool]:
    """(the class each row is given, its score, whether these classes are the data's)."""
    rows = len(data.inputs)
    scored = scores_of(outputs, rows)
    answers, fit = named(outputs, rows, classes), fits(outputs, data.targets, data.class_names, classes)
    assert answers is not None
    numbered = fit and answers.dtype.kind in "iu"
    predicted = tuple(data.class_names[int(value)] if numbered else label_text(value) for value in answers)
    return predicted, scored[1].max(axis=1) if fit and scored is not None else None, fit


def _value(value: Any) -> str:
    return readable(float(value) + 0) if getattr(value, "dtype", np.dtype(object)).kind == "f" else label_text(value)
