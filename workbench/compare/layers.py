"""The first layer at which a network and its ONNX file part.

ONNX has no layers: converters rename, split and fuse them. So a layer is looked for by its numbers: it agrees if any
tensor inside the ONNX graph holds what it gave, channels first or last. A layer that is found nowhere was either fused
into the next one, which then is found, or diverges: then nothing after it is found either. The first such layer in
order of execution is where the fault lies, and a few simple tests (`faults`) may prove which fault it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ..agreement import FLOAT32, Tolerance, distance, rows_of
from ..engines import LayerOutput
from .faults import activation, found_in, nearest, per_channel, says_nothing, weights_changed
from .inside import Inside

Arrays = Mapping[str, np.ndarray]
Weights = Mapping[str, Sequence[np.ndarray]]


BUDGET = 256 << 20
"""Bytes of both sides' layers that are held at once; twice that for a single row, before layers are left out. ResNet50
needs 325 MiB for one picture."""


@dataclass(frozen=True)
class Divergence:
    """Where two sides part.

    Attributes:
        layer, kind: the first layer whose answer ONNX does not give; with `after`, the last one whose answer it does.
        after: all layers agree, and ONNX goes on after the last.
        together: layers before it that ONNX has no node of their own for: the fault may be in one of them.
        node, op_type, tensor: the counterpart in ONNX; "" where none can be told.
        between: op_types of the ONNX nodes from what last agreed to the counterpart.
        difference: largest difference between the layer and its counterpart; inf without one of its size.
        largest: the layer's largest number.
        last_agreed: the layer that agrees before it; "" where none does.
        matched, layers: how many layers were found in ONNX, of how many that could be.
        cause: a sentence, where a test proves one; else "".
        notes: plain sentences about what was left out.
    """

    layer: str
    kind: str
    after: bool
    together: tuple[str, ...]
    node: str
    op_type: str
    tensor: str
    between: tuple[str, ...]
    difference: float
    largest: float
    last_agreed: str
    matched: int
    layers: int
    cause: str
    notes: tuple[str, ...] = ()

    @property
    def says(self) -> str:
        """All of it in one sentence."""
        there = f"node {self.node or self.tensor!r} ({self.op_type})" if self.op_type else "no node that can be told"
        if self.after:
            text = f"All layers agree up to {self.layer!r} ({self.kind}), after which ONNX goes on with {there}"
        else:
            fused = f" together with {', '.join(map(repr, self.together))}" if self.together else ""
            by = f" by up to {self.difference:.3g}" if self.difference < float("inf") else ""
            text = (
                f"Layer {self.layer!r} ({self.kind}){fused} is the first that differs{by}, where its largest number is "
                f"{self.largest:.3g}; in ONNX it is {there}"
            )
            text += f", and {self.last_agreed!r} before it agrees" if self.last_agreed else ""
        return f"{text} ({self.matched} of {self.layers} layers found){f': {self.cause}' if self.cause else ''}."


def first_divergence(
    native: Sequence[LayerOutput],
    onnx_path: str | os.PathLike[str],
    onnx_inputs: Arrays,
    tolerance: Tolerance = FLOAT32,
    *,
    answers: Arrays | None = None,
    weights: Weights | None = None,
    budget: int = BUDGET,
) -> Divergence | None:
    """The first layer whose answer, and those of all layers after it, ONNX does not give.

    Args:
        native: what every layer gave for these inputs, in order of execution.
        onnx_path: the ONNX file.
        onnx_inputs: {input name: array}, the same rows in ONNX's layout. Put the rows that differ most first: only as
            many are asked as fit `budget`.
        tolerance: a layer is found where all its numbers are within ``relative`` of its largest, plus ``absolute``.
        answers: the native model's answers under the ONNX outputs' names. Where all agree there is no divergence;
            without them, the layers that no other reads are taken for the answers.
        weights: {layer name: its weights}, for naming a weight that is wrong.
        budget: bytes of both sides' layers held at once; layers are left out, with a note, where one row needs twice
            as many.

    Returns:
        None where no layer diverges. Where the outputs differ all the same, ONNX Runtime's optimiser made the
        difference: here it is off.

    Raises:
        UnreadableFile, UnsupportedModel: the ONNX file does not load.
        BadInput: it does not run on these inputs.
    """
    story = story_of(native, onnx_path, onnx_inputs, tolerance, weights, budget)
    if story is None:
        return None
    tensors = story.side.tensors
    rows = story.rows
    outputs = [name for name in story.side.outputs if name in tensors]
    kept = {name: answers[name][:rows] for name in outputs if name in answers} if answers else {}
    differing = [name for name, array in kept.items() if not found_in(array, tensors[name], tolerance)]
    if kept and not differing:
        return None
    return story.first() or story.after(differing if kept else None)


def apart(reference: np.ndarray, other: np.ndarray) -> float | None:
    """The largest difference of two arrays of one shape, as a share of the reference's largest size. None where that
    says nothing: one is not finite, or the reference is zero everywhere and the other is not."""
    if not reference.size:
        return 0.0
    difference, largest = float(distance(reference, other).max()), float(np.abs(reference).max())
    if not np.isfinite(difference) or not np.isfinite(largest):
        return None
    return difference / largest if largest else (None if difference else 0.0)


def story_of(
    native: Sequence[LayerOutput], onnx_path: str | os.PathLike[str], onnx_inputs: Arrays,
    tolerance: Tolerance = FLOAT32, weights: Weights | None = None, budget: int = BUDGET,
) -> Story | None:  # fmt: skip
    """Each layer and where it is in ONNX; None where there is nothing to compare. As for `first_divergence`."""
    side = Inside(os.fspath(onnx_path))
    inner = side.sizes()
    layers, rows, notes = _within(budget, native, inner, rows_of(onnx_inputs), side.fixed_rows(onnx_inputs))
    wanted = {layer.array.size // rows for layer in layers if layer.array.size}
    if not wanted:
        return None
    feeds = {name: array[:rows] if array.ndim else array for name, array in onnx_inputs.items()}
    side.ask([name for name, size in inner.items() if size in wanted or size is None], feeds)
    return Story(side, layers, tolerance, feeds, weights or {}, tuple(notes), rows)


def _within(
    budget: int, native: Sequence[LayerOutput], inner: Mapping[str, int | None], rows: int, fixed: bool
) -> tuple[list[LayerOutput], int, list[str]]:
    """The layers, with as many rows as fit the budget, and how many. Those that cannot be compared keep their place
    without numbers, so that what is between others stays known."""
    usable = [layer.array.dtype.kind == "f" and layer.array.shape[:1] == (rows,) for layer in native]
    sizes = [layer.array.size // max(rows, 1) if use else 0 for layer, use in zip(native, usable, strict=True)]
    largest = max(sizes, default=0)

    def needed(taken: Collection[int]) -> int:
        there = sum(largest if size is None else size for size in inner.values() if size is None or size in taken)
        return 4 * (sum(size for size in sizes if size in taken) + there)

    taken = {size for size in sizes if size}
    while len(taken) > 1 and needed(taken) * (rows if fixed else 1) > 2 * budget:
        taken.remove(max(taken))
    notes = []
    if left_out := sum(size > 0 and size not in taken for size in sizes):
        notes.append(
            f"{left_out} of {len(native)} layers were left out: all of them need more than {2 * budget >> 20} MiB."
        )
    fit = max(1, budget // max(1, needed(taken)))
    if not fixed and rows > fit:
        notes.append(
            f"Layers were compared on the first {fit} of {rows} rows, to hold no more than {budget >> 20} MiB."
        )
        rows = fit
    kept = [
        replace(layer, array=layer.array[:rows] if size in taken else layer.array.reshape(-1)[:0])
        for layer, size in zip(native, sizes, strict=True)
    ]
    return kept, rows, notes


# --- which layer is which tensor -----------------------------------------------------------------------------------


@dataclass
class Story:
    """Layers in order of execution, and where each is found in ONNX.

    Attributes:
        feeds: what ONNX was asked; rows: how many of it; notes: what was left out.
        found: layer's place -> the tensors that hold its numbers, those with its name first.
        readers: layer's place -> places of the layers that read it.
    """

    side: Inside
    layers: list[LayerOutput]
    tolerance: Tolerance
    feeds: Arrays
    weights: Weights
    notes: tuple[str, ...]
    rows: int

    def __post_init__(self) -> None:
        side, layers, tolerance = self.side, self.layers, self.tolerance
        self.silent = {at for at, layer in enumerate(layers) if says_nothing(layer.array, tolerance)}
        self.found: dict[int, list[str]] = {}
        for at, layer in enumerate(layers):
            if at not in self.silent:
                same = [name for name, tensor in side.tensors.items() if found_in(layer.array, tensor, tolerance)]
                if same:
                    self.found[at] = same
        # Keras 3 writes layer ``conv`` as ``conv_1``, so the layers found tell how a file spells them.
        spellings = {}
        for self.spelt in ("", "_1"):
            named = [{*self._named(at)} for at in range(len(layers))]
            spellings[self.spelt] = (
                sum(bool(named[at] & {*same}) for at, same in self.found.items()),
                sum(map(bool, named)),
            )
        self.spelt = max(spellings, key=lambda suffix: spellings[suffix])
        for at, same in self.found.items():
            own = self._named(at)
            same.sort(key=lambda name: name not in own)
        self.matched = {name for names in self.found.values() for name in names}
        self.readers = self._readers()

    def _readers(self) -> dict[int, set[int]]:
        places: dict[str, int] = {}
        readers: dict[int, set[int]] = {at: set() for at in range(len(self.layers))}
        for at, layer in enumerate(self.layers):
            for name in layer.inputs:
                if name in places:
                    readers[places[name]].add(at)
            places[layer.name] = at
        for at, layer in enumerate(self.layers):
            if readers[at]:
                continue
            # Nobody reads it by its name. A layer around others gives what the last of them gives, by that one's name;
            # and what is done outside layers is taken to lead to the next one that names none it reads.
            inner = [one for one in range(at) if self.layers[one].name.startswith(f"{layer.name}/")]
            later = range(at + 1, len(self.layers))
            outer = (one for one in later if layer.name.startswith(f"{self.layers[one].name}/"))
            unlinked = (one for one in later if not self.layers[one].inputs)
            if inner and readers[inner[-1]]:
                readers[at] = {one for one in readers[inner[-1]] if one > at}
            elif (after := next(outer, next(unlinked, None))) is not None:
                readers[at].add(after)
        return readers

    def _named(self, at: int) -> list[str]:
        """Tensors of the layer's size that carry its name, or whose node or its weights do; in order of execution."""
        name = _plain_name(self.layers[at])
        for part in dict.fromkeys((name, name.rpartition("/")[2])):
            pattern = re.compile(rf"(?:^|[/;]){re.escape(part)}{self.spelt}(?:$|[/:;])")
            found = []
            for tensor, array in self.side.tensors.items():
                node = self.side.node_of[tensor][1]
                names = [tensor, node.name, *(each for each in node.input if each in self.side.weights)]
                if array.size == self.layers[at].array.size and any(map(pattern.search, names)):
                    found.append(tensor)
            if found:
                return found
        return []

    def first(self) -> Divergence | None:
        """The first layer that, like all layers after it, is found nowhere."""
        reaches: dict[int, bool] = {}
        for at in reversed(range(len(self.layers))):
            reaches[at] = at in self.found or any(reaches[reader] for reader in self.readers[at])
        lost = [at for at in range(len(self.layers)) if not reaches[at] and at not in self.silent]
        if not lost:
            return None
        at, together = lost[0], []
        for before in (one for one in self.found if at in self.readers[one] and not self._named(at)):
            # An activation is never fused into what follows: where its argument is found, it itself is missing.
            argument = self.found[before][0]
            view = nearest(self.layers[before].array, self.side.tensors[argument])[1]
            if view.shape == self.layers[at].array.shape and activation(self.layers[at].array, view, self.tolerance):
                return self._told(at, argument)
        chain = self._chain(at)
        if not self._named(at) and (named := next((one for one in chain if self._named(one)), None)):
            # ONNX has no node of this layer's name and size, but one of a later layer's: they were fused.
            together, at = chain[: chain.index(named)], named
        tensor = self._counterpart(at)
        if tensor:
            for later in self._chain(at)[1:]:
                apart = [_relative(self.layers[i].array, self.side.tensors[tensor]) for i in (at, later)]
                if tensor in (self._named(later) or [tensor]) and apart[1] < apart[0] / 2:
                    together, at = [*together, at], later
        return self._told(at, tensor, together)

    def errors(self) -> dict[str, float]:
        """{value in ONNX: how far `apart` from its layer}; of several layers in one value, the furthest."""
        errors: dict[str, float] = {}
        for at, layer in enumerate(self.layers):
            named = self._named(at) if layer.array.size else []
            names = self.found.get(at) or [name for name in named if name not in self.matched][-1:]
            for name in names:
                view = nearest(layer.array, self.side.tensors[name])[1]
                if (far := apart(layer.array, view)) is not None:
                    errors[name] = max(far, errors.get(name, 0.0))
        return errors

    def _chain(self, at: int) -> list[int]:
        """The layer and those after it, as long as each has one reader that reads nothing else."""
        chain = [at]
        while len(self.readers[chain[-1]]) == 1 and len(chain) < 4:
            (reader,) = self.readers[chain[-1]]
            if len(self.layers[reader].inputs) > 1 or reader in self.silent:
                break
            chain.append(reader)
        return chain

    def _before(self, at: int) -> int | None:
        """The last layer before it that agrees: one that it reads, directly or not, or else any."""
        reads = {at}
        for one in reversed(range(at)):
            if self.readers[one] & reads:
                if one in self.found:
                    return one
                reads.add(one)
        return None

    def _counterpart(self, at: int) -> str:
        """The layer's tensor in ONNX: by name, else the closest of its size after what last agreed."""
        array = self.layers[at].array
        named = [name for name in self._named(at) if name not in self.matched]
        if named:
            return named[-1]
        before = self._before(at)
        start = self.side.node_of[self.found[before][0]][0] if before is not None else -1
        free = [
            name for name, tensor in self.side.tensors.items()
            if tensor.size == array.size and name not in self.matched and self.side.node_of[name][0] > start
        ]  # fmt: skip
        return min(free, key=lambda name: nearest(array, self.side.tensors[name])[0], default="")

    def _told(self, at: int, tensor: str, together: Sequence[int] = (), *, after: bool = False) -> Divergence:
        layer, before = self.layers[at], self._before(at)
        difference, cause = float("inf"), ""
        nodes: list[Any] = []
        node = self.side.node_of[tensor][1] if tensor else None
        if tensor:
            nodes, stored = self.side.behind(tensor, self.matched)
            causes: list[Callable[[], str]] = []
            if self.side.tensors[tensor].size == layer.array.size:
                difference, view = nearest(layer.array, self.side.tensors[tensor])
                causes = [partial(test, layer.array, view, self.tolerance) for test in (activation, per_channel)]
            if before is None:
                causes.insert(1, partial(self._input_changed, layer.array, tensor))
            if not after:
                name = _plain_name(layer)
                given = self.weights.get(name, self.weights.get(name.rpartition("/")[2], ()))
                causes.insert(-1, partial(weights_changed, self.side, nodes, stored, given))
            # What is surest comes first.
            cause = next(filter(None, (test() for test in causes)), "")
        return Divergence(
            layer=layer.name,
            kind=layer.kind,
            after=after,
            together=tuple(self.layers[one].name for one in together),
            node=node.name if node is not None else "",
            op_type=node.op_type if node is not None else "",
            tensor=tensor,
            between=tuple(each.op_type for each in nodes),
            difference=difference,
            largest=float(np.abs(layer.array).max(where=np.isfinite(layer.array), initial=0)),
            last_agreed=self.layers[before].name if before is not None else "",
            matched=len(self.found),
            layers=len(self.layers) - len(self.silent),
            cause=cause,
            notes=self.notes,
        )

    def after(self, differing: Sequence[str] | None) -> Divergence | None:
        """Where all layers agree: what ONNX adds after the last one.

        Args:
            differing: ONNX outputs known to differ; None to take those that no layer gives, after one that gives its
                answer elsewhere in the graph.
        """
        for output in self.side.outputs if differing is None else differing:
            if output in self.matched or output not in self.side.tensors:
                continue
            start = self._sources(output)
            last = [at for at, names in self.found.items() if start & set(names)]
            if differing is None:
                last = [
                    at for at in last
                    if not self.readers[at] and not set(self.found[at]) & set(self.side.outputs)
                    and self.layers[at].array.size == self.side.tensors[output].size
                ]  # fmt: skip
            if last:
                return self._told(last[-1], output, after=True)
        return None

    def _sources(self, output: str) -> set[str]:
        """Matched tensors that the last nodes before an output read."""
        nodes, _ = self.side.behind(output, self.matched)
        return {name for node in nodes for name in node.input if name in self.matched}

    def _input_changed(self, layer: np.ndarray, tensor: str) -> str:
        """A layer before which nothing agrees: does ONNX agree when its pictures are given otherwise?"""
        for name, array in self.feeds.items():
            if array.ndim != 4 or array.dtype.kind != "f":
                continue
            ways = [
                (array * 255, "ONNX wants pixels from 0 to 255 where the layer gets 0 to 1"),
                (array / 255, "ONNX wants pixels from 0 to 1 where the layer gets 0 to 255"),
            ]
            if 3 in (array.shape[1], array.shape[-1]):
                axis = 3 if array.shape[-1] == 3 else 1
                reverse = array.take([2, 1, 0], axis)
                ways.insert(0, (reverse, "ONNX takes the colour channels in reverse order (BGR for RGB)"))
            for other, words in ways:
                answer = self.side.run([tensor], {**self.feeds, name: other.astype(array.dtype)})
                if tensor in answer and found_in(layer, answer[tensor], self.tolerance):
                    return f"{words}: with input {name!r} changed so, it agrees"
        return ""


def _plain_name(layer: LayerOutput) -> str:
    """The name without what tells a second call or a second output."""
    return re.sub(r"[#:]\d+$", "", layer.name)


def _relative(layer: np.ndarray, tensor: np.ndarray) -> float:
    return nearest(layer, tensor)[0] / max(float(np.abs(layer).max()), 1e-30) if layer.size == tensor.size else np.inf
