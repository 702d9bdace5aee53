"""The rule that tells a model's kind, as a table: the first line whose condition holds gives the answer.

What the model does is asked first (`structure` gathers it), and who made it only where structure leaves both answers
open. Where neither tells, the answer is ``unknown`` and why, never a guess. The paper's own rule is
`workbench.kind.paper_rule`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..files.header import Header
from ..words import listed
from .structure import Structure

# producer_name, lower case, as converters write it. Those in neither list decide nothing.
ML_PRODUCERS = ("skl2onnx", "sklearn-onnx", "hummingbird", "xgboost", "lightgbm", "catboost", "sparkml")
DL_PRODUCERS = (
    "tf2onnx", "pytorch", "keras2onnx", "keras", "tensorflow", "paddle", "mxnet", "cntk", "chainer", "jax2onnx",
    "caffe2", "caffe", "mindspore", "matlab", "neural network toolbox", "deep learning toolbox", "onnx-caffe2",
    "onnxruntime.transformers", "nnabla", "optimum", "winmltools", "darknet", "yolo",
)  # fmt: skip


class Facts:
    """What the rule asks of a model, by name.

    Attributes:
        s: its structure.
        producer: the tool that signed it.
        made_ml, made_dl: that is a converter of classical machine learning, a framework of deep learning.
        network: there are layers, or learnt products with nonlinearities between them.
    """

    def __init__(self, header: Header, structure: Structure) -> None:
        self.s = structure
        self.producer = header.producer_name
        signed = self.producer.strip().lower()
        self.made_ml, self.made_dl = signed.startswith(ML_PRODUCERS), signed.startswith(DL_PRODUCERS)
        self.network = bool(structure.layers) or structure.depth >= 2

    def __getitem__(self, word: str) -> str:
        """A word of a sentence: a group of operators or names from the structure, or one of those below."""
        word_of: dict[str, Callable[[], object]] = {
            "producer": lambda: self.producer, "inside": self._inside, "work": self._work, "times": self._times,
            "estimator": lambda: f"estimator {'with a neural network inside' if self.network else 'or transformer'}",
        }  # fmt: skip
        if word in word_of:
            return str(word_of[word]())
        value = getattr(self.s, word)
        return str(value) if isinstance(value, int) else names(value)

    def _inside(self) -> str:
        return names(self.s.layers) if self.s.layers else "matrix products with nonlinearities between them"

    def _times(self) -> str:
        count = self.s.spike_resets
        return f"{'' if self.s.complete else 'at least '}{'once' if count == 1 else f'{count} times'}"

    def _work(self) -> str:
        """What an estimator does, as a clause."""
        if self.network:
            return f"It is an estimator with a neural network inside ({self._inside()})"
        known = self.s.predictors or self.s.features or self.s.distances or self.s.extractors
        if not known:
            return "It is an estimator or a transformer of features"
        return f"It {'predicts' if self.s.predictors else 'computes'} with {names(known)}"


def names(group: Iterable[str]) -> str:
    """``Conv, Gemm and 3 more``."""
    return listed(name.removeprefix("ai.onnx.ml:") for name in group)


@dataclass(frozen=True)
class Line:
    """A line of the rule.

    Attributes:
        condition: in words; holds: the same, asked of a model.
        kind: what the model is then.
        sentence: that a person reads, with words in braces from `Facts`.
        deciding: the signals that settle it (`workbench.kind.Evidence.signal`).
        also: a warning beside it, as `sentence`, where there is a network inside.
    """

    condition: str
    holds: Callable[[Facts], object]
    kind: str
    sentence: str
    deciding: tuple[str, ...] = ()
    also: str = ""


_INSIDE = "There is a neural network inside ({inside})."
_NAMED = "An {estimator}: its tensors carry the names skl2onnx gives ({sklearn_names})."

RULE: tuple[Line, ...] = (
    Line(
        "an operator is a spiking neuron", lambda f: f.s.neurons, "SNN",
        "It holds spiking neurons: {neurons}.", ("op_type",),
    ),
    Line(
        "plain operators integrate, fire and reset, and there is something to weigh spikes by",
        lambda f: f.s.spike_resets and f.s.weighs, "SNN",
        "Its operators integrate, fire and reset: a threshold whose spike is subtracted from the state it came from, "
        "{times}.", ("dynamics",),
    ),
    Line(
        "plain operators integrate, fire and reset, and nothing is weighed", lambda f: f.s.spike_resets, "unknown",
        "Its operators integrate, fire and reset, {times}, but no layer or matrix product weighs anything: a "
        "neuron without its network and a sigma-delta converter of signals look the same.",
    ),
    Line(
        "a converter of classical machine learning made it", lambda f: f.made_ml, "ML",
        "{work}; {producer}, a converter of classical machine learning, made it.",
        ("producer_name", "op_type"), _INSIDE,
    ),
    Line(
        "its tensors carry the names skl2onnx gives, nothing speaks of a framework, and there is a predictor",
        lambda f: f.s.sklearn_names and not (f.s.layers or f.s.framework_names or f.made_dl) and f.s.predictors, "ML",
        _NAMED, ("names", "op_type"), _INSIDE,
    ),
    Line(
        "the same without a predictor",
        lambda f: f.s.sklearn_names and not (f.s.layers or f.s.framework_names or f.made_dl), "ML",
        _NAMED, ("names",), _INSIDE,
    ),
    Line(
        "a classical predictor, and a network before it", lambda f: f.s.predictors and f.network, "DL",
        "It is a neural network ({inside}) with a classical head ({predictors}).", ("op_type", "network"),
        "This model is both: a neural network ({inside}) with a classical head ({predictors}).",
    ),
    Line(
        "a classical predictor", lambda f: f.s.predictors, "ML",
        "It predicts with {predictors}.", ("op_type",),
    ),
    Line(
        "operators that only networks use", lambda f: f.s.layers, "DL",
        "It is built of neural-network layers: {layers}.", ("op_type",),
    ),
    Line(
        "a deep-learning framework made it, and it stacks learnt products", lambda f: f.made_dl and f.network, "DL",
        "{producer} exports neural networks, and it stacks {depth} learnt products with nonlinearities between.",
        ("producer_name", "network"),
    ),
    Line(
        "a framework made it, but it compares what it looks up or multiplies", lambda f: f.made_dl and f.s.decisions,
        "unknown",
        "{producer} made it, but comparisons beside looked-up or multiplied tables and no stacked layers can be a "
        "network as well as decision trees compiled to tensor operators; the file alone cannot tell.",
    ),
    Line(
        "a framework made it, with a learnt product, an activation or an embedding",
        lambda f: f.made_dl and (f.s.products or f.s.activations or f.s.embeddings), "DL",
        "{producer} exports neural networks, and it holds learnt layers or activations.", ("producer_name",),
    ),
    Line(
        "a framework made it, with none of these", lambda f: f.made_dl, "unknown",
        "{producer} made it, but it holds no layer, activation or learnt matrix product: only tensor arithmetic.",
    ),
    Line(
        "stacked products, and a label picked as scikit-learn picks it", lambda f: f.network and f.s.extractors,
        "unknown",
        "It is a small neural network that picks its label with ArrayFeatureExtractor, as converted scikit-learn "
        "classifiers do; the file does not say whether it is one.",
    ),
    Line(
        "stacked products behind classical features", lambda f: f.network and f.s.features, "unknown",
        "Features ({features}) feed a small neural network: a scikit-learn pipeline around an MLP and a network with "
        "its preprocessing look the same, and the file does not say who made it.",
    ),
    Line(
        "stacked products", lambda f: f.network, "DL",
        "It stacks {depth} learnt matrix products with nonlinearities between them.", ("network",),
    ),
    Line(
        "classical feature operators", lambda f: f.s.features, "ML",
        "It computes with classical feature operators: {features}.", ("op_type",),
    ),
    Line(
        "a label picked by ArrayFeatureExtractor", lambda f: f.s.extractors, "ML",
        "It computes with classical feature operators: {extractors}.", ("op_type",),
    ),
    Line(
        "a choice by distance or density", lambda f: f.s.distances, "ML",
        "It decides by distance or density: {distances}.", ("op_type",),
    ),
    Line(
        "learnt products under the names that frameworks give",
        lambda f: f.s.framework_names and f.s.products and (f.s.products > 1 or not f.s.plain_linear), "DL",
        "Its tensors carry the names of a deep-learning framework ({framework_names}).", ("names",),
    ),
    Line("no operators", lambda f: not f.s.total, "unknown", "The graph has no operators."),
    Line(
        "a single matrix product", lambda f: f.s.products and f.s.plain_linear, "unknown",
        "It is a single matrix product: linear regression, PCA and one Dense layer look exactly the same, and nothing "
        "in the file says which it is.",
    ),
    Line(
        "anything else", lambda f: True, "unknown",
        "Its operators ({common}) belong to no kind in particular, and no known tool signed the file.",
    ),
)  # fmt: skip


def first_line_that_holds(facts: Facts) -> Line:
    return next(line for line in RULE if line.holds(facts))
