"""What a page asks of its model, made in a worker process: the model as the page carries it, its inputs as a reader can
set them, and rows with the answers that ONNX Runtime gave to them here.
"""

from __future__ import annotations

import base64
import gzip
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ...agreement import FLOAT32, bounded, is_probability
from ...classes import fits
from ...engines import load_engine
from ...engines.base import STEPS
from ...engines.inputs import CastWarning, cast, named
from ...engines.values import COARSE, CONTAINERS
from ...errors import BadInput, UnsupportedModel
from ...files.header import ValueInfo, read_header
from ...invented import invent
from ...safety.external import whole_size
from ...sources import rows_for
from ...words import label_text, listed, size, visible
from ..answers import pixels, scale

MOST_MODEL = 200 << 20
"""Bytes of a model in a page; browsers hold texts of up to 500 million letters, and this becomes 280."""

MOST_ROWS, MOST_SPIKING = 200, 10
"""Rows in a page with their answers; of a spiking network, whose every row takes a second or so."""

MOST_BYTES = 4 << 20
"""Of these rows and answers, unless a single row is larger."""

MOST_IR = 13
"""The newest version of the file's form that ONNX Runtime Web reads. A newer one is written by onnx of itself, whatever
the model holds; what only it can say, the runtime refuses anyway."""

MOST_FIELDS = 64
"""Numbers of an input, up to which each has a field of its own."""

MOST_WORDS = 50
"""Words that a field of text proposes."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Given:
    """Rows for the page, and what is known of them; as of `workbench.compare.answers.Answers`.

    Attributes:
        inputs, columns, classes, class_names: see there.
        source: where the rows are from, a sentence.
        tolerance: {relative, absolute, …} of `workbench.agreement.Agreement`; what suits the answers if empty.
    """

    inputs: Arrays
    source: str
    columns: tuple[str, ...] = ()
    classes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    tolerance: Mapping[str, Any] = field(default_factory=dict)


def prepared(path: str, given: Given | None) -> tuple[str, str]:
    """(the model, what the page knows of it), both as gzip in base64, the second of JSON.

    Args:
        path: an ONNX file.
        given: rows to ask; those of the paper that fit, else made-up ones, if None.

    Raises:
        UnsupportedModel, UnreadableFile, BadInput: it cannot be asked in a page.
    """
    if (weight := whole_size(Path(path))) > MOST_MODEL:
        raise UnsupportedModel(f"It weighs {size(weight)}, and a page carries up to {size(MOST_MODEL)}.")
    with load_engine(path, "onnxruntime") as engine, warnings.catch_warnings():
        warnings.simplefilter("ignore", CastWarning)
        if info := next((info for info in engine.inputs if info.dtype in (*CONTAINERS, *COARSE)), None):
            raise UnsupportedModel(f"Input {visible(info.name)!r} is a {info.sort}, which a page cannot give it.")
        over_time: Any = engine if hasattr(engine, "settled") else None
        web = _web_model(path) if over_time is None else _WebModel(over_time.model(over_time.layers))
        asked = _Asked(engine, given or _own_rows(path, engine))
        return _packed(web.data), _packed(json.dumps(asked.told(web.renamed, web.notes)).encode())


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()


def _own_rows(path: str, engine: Any) -> Given:
    data = rows_for(path)
    if data is not None:
        name = engine.inputs[0].name
        answers = engine.run(data.inputs)
        outputs = engine.settled(answers) if hasattr(engine, "settled") else answers
        outputs = {name: array for name, array in outputs.items() if array.ndim}  # no sequences
        known = fits(outputs, data.targets, data.class_names, engine.classes)
        names = data.class_names if known else ()
        return Given({name: data.inputs}, data.source, data.feature_names, class_names=names)
    for fillings in invent(engine.inputs, read_header(path).graph):
        inputs = {filling.name: filling.array for filling in fillings}
        try:
            engine.run(inputs)
        except BadInput:
            continue
        return Given(inputs, f"No rows were at hand, so these are made up: {'; '.join(one.says for one in fillings)}.")
    raise UnsupportedModel("No rows were at hand, and it answers none that were made up.")


class _Asked:
    """An engine asked some rows, one question at a time."""

    def __init__(self, engine: Any, given: Given) -> None:
        self.engine, self.given = engine, given
        self.spiking = hasattr(engine, "settled")
        self.infos: dict[str, ValueInfo] = {info.name: info for info in engine.inputs if info.name in given.inputs}
        fixed = {info.shape[0] for info in self.infos.values() if info.shape and isinstance(info.shape[0], int)}
        self.at_once: int = fixed.pop() if len(fixed) == 1 else 1
        self.count = max((len(array) for array in given.inputs.values() if array.ndim), default=1)
        self.questions: list[Arrays] = []
        self.answers: list[Arrays] = []
        for row in self._chosen():
            self.questions.append(self._question(row))
            self.answers.append(self._answered(self.questions[-1]))

    def _chosen(self) -> Iterator[int]:
        """Rows, evenly over all that there are, as many as the page may hold."""
        places = range(0, max(self.count - self.at_once, 0) + 1, self.at_once)
        first = self._question(0)
        bytes_of_one = sum(array.nbytes for array in chain(first.values(), self._answered(first).values()))
        most = max(1, min(MOST_SPIKING if self.spiking else MOST_ROWS, MOST_BYTES // max(1, bytes_of_one)))
        chosen = np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(int)
        yield from (places[place] for place in chosen)

    def _question(self, row: int) -> dict[str, np.ndarray]:
        feeds = {}
        for name, info in self.infos.items():
            array = self.given.inputs[name]
            array = array[row : row + self.at_once] if array.ndim and len(array) == self.count else array
            if not self.spiking:
                array = cast(array, info)[0]
            feeds[name] = named(array) if info.gaps else array
        return feeds

    def _answered(self, feeds: Arrays) -> dict[str, np.ndarray]:
        if not self.spiking:
            answers: dict[str, np.ndarray] = self.engine.run(feeds)
            return answers
        answers = self.engine.run(feeds, spikes=self.engine.layers)
        spikes = {f"{layer}.spikes": np.array([(answers.pop(layer) != 0).sum()]) for layer in self.engine.layers}
        return answers | spikes

    def told(self, renamed: Mapping[str, str], notes: tuple[str, ...]) -> dict[str, Any]:
        """What the page knows, as JSON: `page.js` reads it."""
        import onnxruntime

        outputs = [output for name in self.answers[0] if (output := self._output(name, renamed)) is not None]
        outputs.sort(key=lambda output: output.get("settled") == "mean")  # a filtered probe is there to be read
        kept = {
            name: np.concatenate([answer[name].reshape(-1) for answer in self.answers])
            for name, array in self.answers[0].items()
            if array.dtype.kind == "f"
        }
        allowed = bounded(FLOAT32, kept)
        tolerance = self.given.tolerance or {"relative": allowed.relative, "absolute": allowed.absolute}
        return {
            "inputs": [self._input(name) for name in self.infos],
            "outputs": outputs,
            "questions": [{name: _data(array) for name, array in feeds.items()} for feeds in self.questions],
            "recorded": [
                {output["name"]: _data(answer[output["of"]]) for output in outputs} for answer in self.answers
            ],
            "of_all": self.count // self.at_once,
            "tolerance": {key: value for key, value in tolerance.items() if key != "reason"},
            "runtime": f"ONNX Runtime {onnxruntime.__version__}",
            "dt": self.engine.network.dt if self.spiking else None,
            "notes": [self.given.source, *notes],
        }

    def _input(self, name: str) -> dict[str, Any]:
        info, every, first = self.infos[name], self.given.inputs[name], self.questions[0][name]
        dims, hold = list(first.shape), 1
        if self.spiking and not (first.ndim == 3 and info.shape is not None and first.shape[2] == info.shape[2]):
            # A picture is held for all steps.
            dims, hold = [1, STEPS, first.size], STEPS
        told = {"name": name, "dtype": info.dtype, "dims": dims, "hold": hold, "size": first.size}
        if self.at_once > 1 or not first.size:
            return told
        row, columns = first.reshape(first.shape[1:] if first.ndim else ()), self.given.columns
        if (picture := _picture(row, every, columns)) is not None:
            return told | {"picture": picture}
        if row.size > MOST_FIELDS:
            return told
        numbered = [name] if row.size == 1 else [f"{name}[{place}]" for place in range(row.size)]
        names = columns if len(columns) == row.size else numbered
        table = np.asarray(every).reshape(-1, row.size)
        return told | {"fields": [_field(name, table[:, place]) for place, name in enumerate(names)]}

    def _output(self, name: str, renamed: Mapping[str, str]) -> dict[str, Any] | None:
        """What the page shows of an output; None of one that it does not get."""
        if (of := renamed.get(name, name)) == "":
            return None
        told: dict[str, Any] = {"name": of, "of": name, "shown": name, "classes": None}
        array = self.answers[0][name]
        if self.spiking and name.endswith(".spikes") and name not in {info.name for info in self.engine.outputs}:
            return told | {"spikes": name.removesuffix(".spikes")}
        if self.spiking:
            settled = self.engine.settled({name: array})[name]
            told["settled"] = "last" if np.array_equal(settled, array[:, -1]) else "mean"
            array = settled
        width = array.size if array.ndim == 2 and len(array) == 1 and array.dtype.kind == "f" else 0
        names = self.given.classes.get(name) or self.engine.classes.get(name) or ()
        if len(self.given.class_names) == width and (
            not names or [*map(str, range(width))] == [*map(label_text, names)]
        ):
            names = self.given.class_names
        if width > 1 and len(names) == width:
            told["classes"] = [label_text(value) for value in names]
        elif width > 1 and is_probability(array):
            told["classes"] = [str(column) for column in range(width)]
        if array.dtype.kind in "iu" and array.size == 1 and self.given.class_names:
            told["labels"] = list(self.given.class_names)
        return told


def _picture(row: np.ndarray, every: np.ndarray, columns: tuple[str, ...]) -> dict[str, Any] | None:
    """How the numbers of a row are pixels; None of a row that is no picture."""
    places = pixels(np.arange(row.size).reshape(row.shape), columns) if row.dtype.kind in "buif" else None
    if places is None:
        return None
    (height, width), (low, high) = places.shape[:2], scale(every)
    return {
        "height": height, "width": width, "channels": places.size // (height * width), "low": low, "high": high,
        "channels_first": not np.array_equal(places.reshape(-1), np.arange(row.size)),
        "dark": bool(np.median(every) < (low + high) / 2),
    }  # fmt: skip


def _field(name: str, column: np.ndarray) -> dict[str, Any]:
    """A number, with what it spans in the rows; or a text, with those in the rows."""
    if column.dtype.kind not in "biuf":
        words = sorted({label_text(value) for value in column})
        return {"name": name, "words": words[:MOST_WORDS]}
    finite = column[np.isfinite(column)] if column.dtype.kind == "f" else column
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return {"name": name, "low": low, "high": high, "whole": column.dtype.kind in "biu"}


def _data(array: np.ndarray) -> Any:
    """An array for the page: {dims, dtype, data}, its numbers in base64, little end first; texts as a list."""
    array = np.asarray(array)
    told = {"dims": list(array.shape)}
    if array.dtype.kind in "OUS":
        return told | {"dtype": "string", "data": [label_text(value) for value in array.flat]}
    data = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return told | {"dtype": array.dtype.name, "data": base64.b64encode(data.tobytes()).decode()}


@dataclass(frozen=True)
class _WebModel:
    """A model as a page asks it.

    Attributes:
        data: the ONNX file.
        renamed: {output: the tensor that stands for it, or "" where none does}.
        notes: sentences for the reader.
    """

    data: bytes
    renamed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _web_model(path: str) -> _WebModel:
    """ONNX Runtime Web returns tensors alone: for a list of {label: score} stands the array that ZipMap made it of. The
    certificate and what people wrote stay out: they may name folders, and are not asked.
    """
    import onnx

    model = onnx.load(path)
    model.ir_version = min(model.ir_version, MOST_IR)
    model.ClearField("metadata_props")
    model.ClearField("doc_string")
    graph, renamed, notes = model.graph, dict[str, str](), list[str]()
    for output in [output for output in graph.output if output.type.WhichOneof("value") != "tensor_type"]:
        source = next((node for node in graph.node if output.name in node.output), None)
        graph.output.remove(output)
        renamed[output.name] = ""
        if source is not None and source.op_type == "ZipMap":
            renamed[output.name] = source.input[0]
            graph.node.remove(source)
            if source.input[0] not in {other.name for other in graph.output}:
                graph.output.append(onnx.helper.make_tensor_value_info(source.input[0], onnx.TensorProto.FLOAT, None))
        else:
            notes.append(f"Output {visible(output.name)!r} is no tensor, so it is not shown here.")
    if not graph.output:
        raise UnsupportedModel(
            f"None of its outputs ({listed(renamed)}) is a tensor, and a page is given nothing else."
        )
    return _WebModel(model.SerializeToString(), renamed, tuple(notes))
