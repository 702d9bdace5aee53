"""What an ONNX graph does, as far as kinds go: read from op_types, names and the flow of values.

`kind.py` turns what is found here into a verdict. Nothing here looks at weights: a value computed from stored
tensors alone counts as learnt, whatever its numbers.
"""

from __future__ import annotations

import re
from collections import ChainMap, Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from .dynamics import Dynamics
from .header import Function, Graph, Header, Node
from .operators import (
    ACTIVATIONS,
    COMPARISONS,
    FEATURES,
    LAYERS,
    PREDICTORS,
    PRODUCTS,
    STANDARD_DOMAINS,
    TRIVIAL,
)

# Tokens of an op_type that name a spiking neuron wherever they stand (SoftLIFRate, lif_cell, CubaLIF, SpikingReLU).
_NEURON_TOKENS = {"lif", "Lif", "LIF", "ALIF", "PLIF", "Izhikevich", "izhikevich", "Spiking", "spiking"}
# Unless another token takes it back.
_NOT_TOKENS = {"not", "non", "no", "de", "remove", "free", "anti", "without"}
# Names that mean a neuron only where the domain speaks of spikes.
_NEURON_IN_DOMAIN = {
    "if", "li", "iaf", "leaky", "synaptic", "alpha", "rleaky", "rsynaptic", "spike", "neuron", "threshold", "lapicque",
    "adex", "alif", "plif", "glif", "ifnode", "ifneuron", "lifnode", "cubali",
}  # fmt: skip
_SPIKING_DOMAINS = {
    "nengo", "snn", "snntorch", "norse", "sinabs", "spiking", "spikingjelly", "spikes", "nir", "brian", "brian2",
    "bindsnet", "rockpool", "nest", "loihi", "neuromorphic",
}  # fmt: skip
# A function that calls itself a neuron and holds none of these is something else of that name.
_NEURON_BODY = {*COMPARISONS, "ThresholdedRelu", "Floor", "Sign", "Where", "Scan", "Loop", "Log", "Softplus"}

# What skl2onnx calls the tensors it makes: <prefix>_<op_type>cst from its operator algebra, and these; the weaker
# ones count only beside an output name of its own.
_SKLEARN_CST = re.compile(r"\w*_[A-Z]\w*?cst\d*")
_SKLEARN_PAIRS = ({"coefficient", "intercepts"}, {"coef", "offset"}, {"quantiles", "references"})
_SKLEARN_NAMES = {"transform_matrix", "classes_tensor", "shape_tensor", "column_indices"}
_SKLEARN_OUTPUTS = {
    "variable", "label", "probabilities", "output_label", "output_probability", "scores", "GPmean", "distance", "index",
}  # fmt: skip
_FRAMEWORK_NAMES = re.compile(
    r".*/(?:ReadVariableOp|BiasAdd)\b.*|const_fold_opt__\d+|(?:\w+\.)+(?:weight|bias|running_mean)"
)


@dataclass
class Structure:
    """What `examine` found; each group maps an op_type to the names of its nodes."""

    total: int = 0
    neurons: dict[str, list[str]] = field(default_factory=dict)
    predictors: dict[str, list[str]] = field(default_factory=dict)
    features: dict[str, list[str]] = field(default_factory=dict)
    layers: dict[str, list[str]] = field(default_factory=dict)
    distances: dict[str, list[str]] = field(default_factory=dict)
    extractors: dict[str, list[str]] = field(default_factory=dict)
    sklearn_names: dict[str, list[str]] = field(default_factory=dict)
    framework_names: dict[str, list[str]] = field(default_factory=dict)
    products: int = 0
    """Matrix products with a stored operand."""
    activations: int = 0
    decisions: int = 0
    """Comparisons of values that come of learnt products or tables, as in a decision tree."""
    embeddings: int = 0
    depth: int = 0
    """Most learnt products on one path with a nonlinearity between each two: 2 makes a multi-layer network."""
    chain: list[str] = field(default_factory=list)
    spike_resets: int = 0
    reset_nodes: list[str] = field(default_factory=list)
    plain_linear: bool = False
    """Nothing but one product and operators that leave it linear, or squash its result."""
    common: list[str] = field(default_factory=list)
    unused_functions: list[str] = field(default_factory=list)


@lru_cache(1024)  # a graph repeats a few op_types many times
def is_spiking(op_type: str, domain: str) -> bool:
    """Whether an op_type names a spiking neuron model, in whatever domain."""
    leaf = op_type.rsplit(".", 1)[-1][:100]
    if leaf == "If" and domain == "":
        return False
    tokens = set(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", leaf))
    lower = {token.lower() for token in tokens}
    if lower & _NOT_TOKENS:
        return False
    if _NEURON_TOKENS & tokens:
        return True
    spoken = _SPIKING_DOMAINS & set(re.split(r"[^a-z0-9]+", domain[:200].lower()))
    return bool(spoken) and bool(_NEURON_IN_DOMAIN & {*lower, leaf.lower()})


def examine(header: Header) -> Structure:
    """Gather every structural signal of a model in one walk over its reachable nodes."""
    out = Structure()
    functions = {function.key: function for function in header.functions}
    used: dict[tuple[str, str], None] = {}
    graphs: list[Graph] = []
    todo = [header.graph]
    while todo:
        graph = todo.pop()
        graphs.append(graph)
        for node in graph.nodes:
            todo += node.subgraphs
            if node.key in functions and node.key not in used:
                used[node.key] = None
                todo.append(functions[node.key].body)
    out.unused_functions = [":".join(key) for key in functions if key not in used]
    counts: Counter[str] = Counter()
    for graph in graphs:
        for index, node in enumerate(graph.nodes):
            counts[node.op_type] += 1
            _classify(node, index, out, functions)
    out.total = counts.total()
    out.common = [op_type for op_type, _ in counts.most_common(6)]
    _Flow(out, {key: functions[key].body for key in used}).graph(header.graph, ChainMap())
    _distances(out, counts)
    out.plain_linear = out.products <= 1 and set(counts) <= TRIVIAL | PRODUCTS
    _names(header, out)
    if not out.neurons:
        out.reset_nodes = Dynamics(graphs).resets
        out.spike_resets = len(out.reset_nodes)
    return out


def _claims_falsely(node: Node, functions: dict[tuple[str, str], Function]) -> bool:
    """Whether a neuron's name is contradicted by a body in the file that neither compares nor loops."""
    function = functions.get(node.key)
    if function is None:
        return False
    inside = {inner.op_type for graph in function.body.walk() for inner in graph.nodes}
    calls = any(inner.key in functions for inner in function.body.nodes)
    return not calls and not inside & _NEURON_BODY and not any(is_spiking(op_type, "") for op_type in inside)


def _classify(node: Node, index: int, out: Structure, functions: dict[tuple[str, str], Function]) -> None:
    """Put one node into the groups its op_type belongs to."""
    domain, op_type = node.key
    name = node.name or f"{op_type}[{index}]"

    def note(group: dict[str, list[str]]) -> None:
        group.setdefault(op_type if domain == "" else f"{domain}:{op_type}", []).append(name)

    if is_spiking(op_type, domain) and not _claims_falsely(node, functions):
        note(out.neurons)
    elif domain == "ai.onnx.ml":
        if op_type in PREDICTORS:
            note(out.predictors)
        elif op_type in FEATURES:
            note(out.features)
        elif op_type == "ArrayFeatureExtractor":
            note(out.extractors)
    elif domain in STANDARD_DOMAINS:
        if op_type in LAYERS:
            note(out.layers)
        elif op_type in ("TfIdfVectorizer", "CDist"):
            note(out.features if op_type == "TfIdfVectorizer" else out.distances)
        out.activations += op_type in ACTIVATIONS


def _distances(out: Structure, counts: Counter[str]) -> None:
    """Nearest neighbours, clusters and mixtures: squared distances that something is chosen by."""
    squared = counts["ReduceSumSquare"] or counts["CDist"]
    chosen = [op for op in ("ArgMin", "TopK", "ReduceLogSumExp") if counts[op]]
    if squared and chosen:
        for op_type in ("ReduceSumSquare", *chosen):
            if counts[op_type]:
                out.distances.setdefault(op_type, [op_type] * counts[op_type])


def _names(header: Header, out: Structure) -> None:
    """Tensor names as skl2onnx, TensorFlow and PyTorch give them."""
    # No converter writes longer names, and the patterns below are slow on a long one made for that.
    stored = [name for graph in header.graphs() for name in graph.initializers if len(name) < 200]
    outputs = {value.name for value in header.graph.outputs}
    plain = {name: name.rstrip("0123456789") for name in stored}
    strong = set().union(*(pair for pair in _SKLEARN_PAIRS if pair <= set(plain.values())))
    if outputs & _SKLEARN_OUTPUTS:
        strong |= _SKLEARN_NAMES
    for name in stored:
        if _SKLEARN_CST.fullmatch(name) or plain[name] in strong:
            out.sklearn_names.setdefault(plain[name], []).append(name)
    for name in (*stored, *(node.name for node in header.graph.nodes)):
        if len(name) < 200 and _FRAMEWORK_NAMES.fullmatch(name):
            out.framework_names.setdefault(name, []).append(name)


_STORED = -1  # a value that depends on stored tensors alone

# (learnt products behind a value or _STORED, whether a nonlinearity came after the last one)
_Value = tuple[int, bool]
_Scope: TypeAlias = "ChainMap[str, _Value]"


class _Flow:
    """Follows how many learnt products, with a nonlinearity between each two, lie behind every value."""

    def __init__(self, out: Structure, functions: dict[tuple[str, str], Graph]) -> None:
        self.out = out
        self.functions = functions
        # Bodies within bodies multiply: a hostile file of nested loops must not take for ever.
        self.left = 1_000_000
        self.counted: set[int] = set()

    def graph(self, graph: Graph, outer: _Scope, depth: int = 0) -> _Scope:
        """The values of one graph, by name; those of the graphs around it stay visible."""
        values = outer.new_child(dict.fromkeys(graph.initializers, (_STORED, False)))
        self.left -= len(graph.nodes) + 1
        if self.left > 0:
            for node in graph.nodes:
                result = self._node(node, values, depth)
                values.update(dict.fromkeys(filter(None, node.outputs), result))
        return values

    def _node(self, node: Node, values: _Scope, depth: int) -> _Value:
        domain, op_type = node.key
        inputs = [values.get(name, (0, False)) for name in node.inputs if name]
        if node.subgraphs:
            return self._subgraphs(node, inputs, values, depth)
        body = self.functions.get(node.key)
        if body is not None and depth < 8:
            given = [values.get(name, (_STORED, False) if not name else (0, False)) for name in node.inputs]
            scope: _Scope = ChainMap(dict(zip((value.name for value in body.inputs), given, strict=False)))
            return self._ends(body, self.graph(body, scope, depth + 1))
        if op_type == "Constant" or (inputs and all(stack == _STORED for stack, _ in inputs)):
            return _STORED, False
        moving = [value for value in inputs if value[0] != _STORED]
        stack, bent = max(moving, default=(0, False))
        if domain not in STANDARD_DOMAINS:
            return stack, bent
        if op_type in PRODUCTS:
            if len(moving) == len(inputs):
                return stack, bent  # two computed operands (attention scores, kernels): nothing learnt here
            self._count(node, "products")
            if stack == 0 or bent:
                stack += 1
                if stack > self.out.depth:
                    self.out.depth = stack
                    self.out.chain.append(node.name or op_type)
            return stack, op_type == "FusedGemm"  # which has its activation inside
        if op_type in COMPARISONS and stack > 0:
            self._count(node, "decisions")
        if op_type in ACTIVATIONS or op_type == "QuantizeLinear":  # it clips: optimisers fold a Relu into it
            return stack, stack > 0 or bent
        if op_type == "Gather" and inputs and inputs[0][0] == _STORED and len(moving) == 1:
            self._count(node, "embeddings")
            return max(stack, 1), True
        return stack, bent

    def _count(self, node: Node, what: str) -> None:
        if id(node) not in self.counted:
            self.counted.add(id(node))
            setattr(self.out, what, getattr(self.out, what) + 1)

    def _subgraphs(self, node: Node, inputs: list[_Value], values: _Scope, depth: int) -> _Value:
        """Loop and Scan bodies run twice, so that what their state carries round is seen; If branches run once."""
        best = max((value for value in inputs if value[0] != _STORED), default=(0, False))
        for body in node.subgraphs:
            for _ in range(1 if node.op_type == "If" or depth > 2 else 2):
                scope = values.new_child({value.name: best for value in body.inputs})
                best = max(best, self._ends(body, self.graph(body, scope, depth + 1)))
        return best

    @staticmethod
    def _ends(body: Graph, values: _Scope) -> _Value:
        ends = [values.get(value.name, (0, False)) for value in body.outputs]
        return max([end for end in ends if end[0] != _STORED], default=(0, False))
