"""TensorFlow's own files: SavedModel folders and frozen ``.pb`` graphs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...engines.base import Arrays, Calls, ModelEngine
from ...errors import BadInput, UnsupportedModel
from ...safety.trust import cleared
from ...words import first_line
from .names import info_of, public_name, unique, unreadable
from .start import start, use_threads
from .tolerance import tolerance_of


class TensorFlowEngine(ModelEngine):
    """A SavedModel or a frozen graph. See `workbench.engines.Engine`.

    Args:
        path: the SavedModel's folder, or the ``.pb`` file.
        signature: of a SavedModel; its ``serving_default`` if None, else its first.
        nodes_in, nodes_out: of a frozen graph, its inputs and outputs; see `FrozenGraph`.
        trust: let the file run code, as SavedModels and operators that read files do.
        threads: for TensorFlow, within an operator and across operators; None leaves the choice to it.
        why: the sentence for `why`.

    Raises:
        NeedsTrust: the file can run code; the message says what a scan found.
        UnreadableFile, UnsupportedModel, BadInput: see `Signature` and `FrozenGraph`; too late for `threads`.
    """

    name = "tensorflow"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        signature: str | None = None,
        nodes_in: Sequence[str] = (),
        nodes_out: Sequence[str] = (),
        trust: bool = False,
        threads: int | None = None,
        why: str = "",
    ) -> None:
        use_threads(threads)
        super().__init__(os.fspath(path), why)
        self.version = start().__version__
        self._model: Signature | FrozenGraph | None
        with cleared(Path(path), trust) as opened:
            if opened.is_dir():
                self._model = Signature.load(opened, signature)
                graph_def = self._model.function.graph.as_graph_def()
            else:
                self._model = FrozenGraph.load(opened, nodes_in, nodes_out)
                graph_def, self._model.graph_def = self._model.graph_def, None
        self.inputs = tuple(info_of(name, spec) for name, spec in self._model.specs.items())
        self.outputs = tuple(info_of(name, tensor) for name, tensor in self._model.gives.items())
        self.tolerance = tolerance_of(graph_def)

    def close(self) -> None:
        super().close()
        self._model = None

    def answer(self, feeds: Arrays) -> Arrays:
        assert self._model is not None
        return self._model.answer(feeds)

    def _calls(self, feeds: Arrays) -> Calls:
        import tensorflow as tf

        assert self._model is not None
        ask, constant, arrays = self._model.ask, tf.constant, list(feeds.values())
        what = "signature(x)" if isinstance(self._model, Signature) else "function(x)"
        return {what: lambda: [value.numpy() for value in ask([constant(array) for array in arrays])]}


@dataclass
class Loaded:
    """A traced function from a file, under names for people.

    Attributes:
        function: the ``ConcreteFunction``.
        ask: its tensors in the order of `specs` to those in the order of `gives`.
        specs: {input name: what has its dtype and shape}; gives: {output name: its tensor in the graph}.
    """

    function: Any
    ask: Callable[[list[Any]], list[Any]]
    specs: dict[str, Any]
    gives: dict[str, Any]

    def answer(self, feeds: Arrays) -> Arrays:
        import tensorflow as tf

        values = self.ask([tf.constant(feeds[name], spec.dtype) for name, spec in self.specs.items()])
        return {name: value.numpy() for name, value in zip(self.gives, values, strict=True)}


@dataclass
class Signature(Loaded):
    """One signature of a SavedModel.

    Attributes:
        name: which; names: all there are.
        loaded: the whole: a signature holds its variables weakly.
    """

    name: str
    names: list[str]
    loaded: Any

    @classmethod
    def load(cls, path: Path, signature: str | None) -> Signature:
        """The signature named, else ``serving_default``, else the first. The folder can run code: ask for trust first.

        Raises:
            UnreadableFile: TensorFlow cannot read it.
            UnsupportedModel: it has no signature.
            BadInput: not the one named.
        """
        tf = start()
        try:
            loaded = tf.saved_model.load(str(path))
        except Exception as error:
            raise unreadable(path, error) from error
        names = sorted(name for name in loaded.signatures if not name.startswith("_"))
        if not names:
            raise UnsupportedModel(
                f"{path.name} has no signature, so its inputs are not known: export it with one (Keras: model.export)."
            )
        chosen = signature or ("serving_default" if "serving_default" in names else names[0])
        if chosen not in names:
            raise BadInput(f"{path.name} has no signature {chosen!r}; choose one of: {', '.join(names)}.")
        function = loaded.signatures[chosen]
        # TensorFlow flattens what a signature takes and gives in the order of the names.
        by_key = function.structured_input_signature[1]
        keys, ends = sorted(by_key), sorted(function.structured_outputs)

        def ask(values: list[Any]) -> list[Any]:
            answer = function(**dict(zip(keys, values, strict=True)))
            return [answer[end] for end in ends]

        specs = {key: by_key[key] for key in keys}
        gives = dict(zip(unique(ends, keys), function.outputs, strict=True))
        return cls(function, ask, specs, gives, chosen, names, loaded)


@dataclass
class FrozenGraph(Loaded):
    """What lies between some nodes of a frozen graph.

    Attributes:
        graph_def: the whole graph; set it to None where it is not needed any more, for it holds the weights.
        feeds, fetches: tensor names (``x:0``) of the inputs and outputs.
    """

    graph_def: Any
    feeds: list[str]
    fetches: list[str]

    @classmethod
    def load(
        cls, path: Path, nodes_in: Sequence[str] = (), nodes_out: Sequence[str] = (), sample: Any = None
    ) -> FrozenGraph:
        """What lies between these nodes or tensors; where not named, the Placeholders and the nodes nobody reads.

        Args:
            sample: arrays for inputs whose rank the graph does not say: one, several in order, or {name: array}.

        Raises:
            UnreadableFile: TensorFlow cannot read it.
            UnsupportedModel: its weights are in another file; there are no inputs or outputs; a rank is not known.
            BadInput: there are no such nodes.
        """
        tf = start()
        graph_def = tf.compat.v1.GraphDef()
        try:
            graph_def.ParseFromString(path.read_bytes())
        except Exception as error:
            raise unreadable(path, error) from error
        feeds = [_tensor(name) for name in nodes_in or _placeholders(graph_def)]
        fetches = [_tensor(name) for name in nodes_out or _ends(graph_def)]
        if not feeds or not fetches:
            missing, sign = ("inputs", "Placeholder node") if not feeds else ("outputs", "node that nothing reads")
            raise UnsupportedModel(
                f"{path.name} has no {sign}: name its {missing} with options={{'{missing}': [...]}}."
            )
        _give_shapes(graph_def, feeds, sample)
        unfrozen = sorted({node.op for node in graph_def.node} & {"VarHandleOp", "VariableV2", "Variable"})
        if unfrozen:
            raise UnsupportedModel(
                f"{path.name} is not frozen: its weights ({', '.join(unfrozen)} nodes) are in another file. "
                "Freeze it, or convert the SavedModel."
            )
        for node in graph_def.node:
            if node.op == "HashTableV2" and not node.attr["shared_name"].s:
                # Every call would have one of its own.
                node.attr["shared_name"].s = f"{path} {node.name}".encode()
        try:
            with tf.device("/cpu:0"):
                whole = tf.compat.v1.wrap_function(partial(tf.import_graph_def, graph_def, name=""), [])
                function = whole.prune(feeds, fetches)
                if fills := [whole.graph.get_operation_by_name(name) for name in _fills(graph_def)]:
                    whole.prune([], fills)()
        except (KeyError, ValueError) as error:
            shown = first_line(error).strip("'\"")
            raise BadInput(f"{path.name} does not hold the inputs or outputs asked for: {shown}") from error
        tensor, takes = whole.graph.get_tensor_by_name, unique(map(public_name, feeds))
        gives = unique(map(public_name, fetches), takes)
        return cls(
            function,
            lambda values: function(*values),
            dict(zip(takes, map(tensor, feeds), strict=True)),
            dict(zip(gives, map(tensor, fetches), strict=True)),
            graph_def,
            feeds,
            fetches,
        )


def _tensor(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def _placeholders(graph_def: Any) -> list[str]:
    # TensorFlow leaves the other ones behind when it takes loops apart; nothing needs them.
    unused = "unused_control_flow_input"
    return [node.name for node in graph_def.node if node.op == "Placeholder" and not node.name.startswith(unused)]


FILLS_TABLE = ("LookupTableImport", "LookupTableImportV2", "InitializeTable", "InitializeTableV2")
"""Operators that put keys and values into a lookup table; they give nothing."""

_NO_RESULT = (
    "Const", "Placeholder", "PlaceholderWithDefault", "NoOp", "Assert", "Print", "PrintV2", "SaveV2", *FILLS_TABLE,
)  # fmt: skip


def _ends(graph_def: Any) -> list[str]:
    """Nodes nobody reads."""
    read = {source.lstrip("^").partition(":")[0] for node in graph_def.node for source in node.input}
    return [node.name for node in graph_def.node if node.name not in read and node.op not in _NO_RESULT]


def _fills(graph_def: Any) -> list[str]:
    return [node.name for node in graph_def.node if node.op in FILLS_TABLE]


def _give_shapes(graph_def: Any, feeds: Sequence[str], sample: Any) -> None:
    """Placeholders of old graphs may not say their rank: take it from the sample.

    Raises:
        UnsupportedModel: there is none.
    """
    nodes = {f"{node.name}:0": node for node in graph_def.node if node.op == "Placeholder"}
    for index, feed in enumerate(feeds):
        if feed not in nodes or not nodes[feed].attr["shape"].shape.unknown_rank:
            continue
        name = public_name(feed)
        if isinstance(sample, Mapping):
            found = sample.get(name, sample.get(feed))
        else:
            found = sample[index] if sample is not None and len(feeds) > 1 else sample
        if found is None:
            raise UnsupportedModel(
                f"The graph does not say the shape of its input {name!r}: give a sample of the inputs."
            )
        shape = nodes[feed].attr["shape"].shape
        shape.Clear()
        for size in (-1, *np.shape(found)[1:]):
            shape.dim.add(size=size)
