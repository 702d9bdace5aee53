"""A first inference: real rows through a model, and its answers beside the right ones."""

from __future__ import annotations

import base64
import io
import os
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedModel
from ..kind import ENGINE_NAMES
from ..paper.data import Dataset, rows_for
from ..words import escape

if TYPE_CHECKING:
    import numpy as np
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
    """

    path: str
    engine: str
    version: str
    why: str
    data: Dataset
    predicted: tuple[str, ...]
    score: np.ndarray | None

    @property
    def expected(self) -> tuple[str, ...]:
        """The right class of each row."""
        return tuple(self.data.class_names[int(target)] for target in self.data.targets)

    @property
    def right(self) -> int:
        """How many rows were named rightly."""
        return sum(ours == theirs for ours, theirs in zip(self.predicted, self.expected, strict=True))

    @property
    def frame(self) -> pd.DataFrame:
        """A row per row: features (where there are columns), predicted, expected, score."""
        import pandas as pd

        frame = pd.DataFrame(
            self.data.inputs if self.data.feature_names else None,
            columns=list(self.data.feature_names) or None,
            index=range(len(self.predicted)),
        )
        frame["predicted"], frame["expected"] = self.predicted, self.expected
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
            "expected": list(self.expected),
            "score": None if self.score is None else [float(value) for value in self.score],
            "source": self.data.source,
        }

    def _repr_html_(self) -> str:
        total = len(self.predicted)
        rows = "".join(self._row(index) for index in range(min(SHOWN, total)))
        asked = "picture" if self.data.images is not None else "row"
        columns = [asked, *(escape(name) for name in self.data.feature_names), "model says", "truth", "verdict"]
        if self.score is not None:
            columns.insert(-2, "score")
        head = "".join(f"<th>{name}</th>" for name in columns)
        more = f" The first {SHOWN} are shown." if total > SHOWN else ""
        engine = ENGINE_NAMES.get(self.engine, self.engine)
        return (
            f"{_STYLE}<div class='wb-first'><h2>First inference</h2>"
            f"<p><b>{self.right} of {total} right</b> in {escape(engine)} {escape(self.version)}. "
            f"{escape(self.data.source)}{more}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        )

    def _row(self, index: int) -> str:
        predicted, expected = self.predicted[index], self.expected[index]
        cells = [_picture(self.data.images[index]) if self.data.images is not None else str(index + 1)]
        if self.data.feature_names:
            cells += [f"{value:.3g}" for value in self.data.inputs[index]]
        cells.append(f"<b>{escape(predicted)}</b>")
        if self.score is not None:
            cells.append(f"{float(self.score[index]):.2f}")
        cells += [escape(expected), "right" if predicted == expected else "<b>wrong</b>"]
        return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


_STYLE = """<style>
.wb-first{font:14px/1.5 system-ui,sans-serif;max-width:72rem;color:inherit}
.wb-first h2,.jp-RenderedHTMLCommon .wb-first h2{margin:.8rem 0 .2rem;font-size:1rem;font-weight:600;border:0;padding:0}
.wb-first p{margin:.2rem 0 .5rem}
.wb-first table{border-collapse:collapse;font-size:13px;margin:0}
.wb-first th,.wb-first td{text-align:left!important;padding:.2rem 1rem .2rem 0;vertical-align:middle;
  border-bottom:1px solid rgba(128,128,128,.25)}
.wb-first th{font-weight:600;opacity:.75}
.wb-first tr{background:none!important}
.wb-first img{width:42px;height:42px;image-rendering:pixelated;margin:0;display:block}
</style>"""


def _picture(image: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return f'<img alt="handwritten digit" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def first_inference(path: str | os.PathLike[str], *, cancel: threading.Event | None = None) -> FirstInference:
    """Run a model on rows of the paper's data that fit its input, in a worker process.

    Args:
        path: an ONNX file.
        cancel: set it from another thread to give up.

    Raises:
        UnsupportedModel: no rows at hand fit its input, or its outputs name no class.
        WorkbenchError: the model cannot be read or run, or took too long or too much memory.
    """
    from .. import sandbox

    name = os.fspath(path)
    size = os.path.getsize(name) if os.path.isfile(name) else 0
    return sandbox.run(
        _infer,
        name,
        timeout=TIMEOUT + size / 1e6,
        # Weights in memory, ONNX Runtime's optimised copy of them, and the libraries.
        memory_mib=700 + 4 * size / 2**20,
        cancel=cancel,
        what="A first inference",
    )


def _infer(path: str) -> FirstInference:
    from ..engines import load_engine
    from ..frameworks.spiking.engine import SpikingEngine

    with load_engine(path) as engine:
        data = rows_for(path)
        if data is None:
            takes = "; ".join(f"{v.name}: {v.dtype} {list(v.shape or ())}" for v in engine.inputs)
            raise UnsupportedModel(
                f"No rows of the paper's data fit this model's input ({takes}); ask it with your own: "
                "load_engine(path).run(array)."
            )
        outputs = engine.run(data.inputs)
        if isinstance(engine, SpikingEngine):
            outputs = engine.settled(outputs)
            data = replace(data, source=" ".join([data.source, *engine.network.notes]))
        predicted, score = _named(outputs, data)
        return FirstInference(path, engine.name, engine.version, engine.why, data, predicted, score)


def _named(outputs: dict[str, np.ndarray], data: Dataset) -> tuple[tuple[str, ...], np.ndarray | None]:
    """The class each row is given, and its score.

    A label output (integers or strings, one a row) is taken at its word; else the largest of a row of scores.
    """
    import numpy as np

    rows = len(data.inputs)
    labels = next((a for a in outputs.values() if a.dtype.kind in "iuUSO" and a.size == rows), None)
    scores = next((a for a in outputs.values() if a.dtype.kind == "f" and a.ndim >= 2 and a.size > rows), None)
    if scores is not None:
        scores = scores.reshape(rows, -1)
        if labels is None and scores.shape[1] != len(data.class_names):
            scores = None
    if labels is None and scores is None:
        raise UnsupportedModel(
            f"Its outputs ({', '.join(outputs)}) name no class, so there is nothing to hold against the right answers."
        )
    found = np.argmax(scores, axis=1) if labels is None else labels.reshape(rows)  # type: ignore[arg-type]
    names = data.class_names
    predicted = tuple(
        names[int(value)] if isinstance(value, int | np.integer) and 0 <= value < len(names) else str(value)
        for value in found
    )
    score = None if scores is None or scores.shape[1] != len(names) else scores.max(axis=1)
    return predicted, score
