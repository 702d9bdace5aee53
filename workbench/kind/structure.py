"""What an ONNX graph does, as far as kinds go: read from op_types, names and the flow of values.

`rule.py` turns what is found here into a verdict. Nothing here looks at weights: a value computed from stored
tensors alone counts as learnt, whatever its numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

from ..files.header import Function, Graph, Header, Node
from ..files.wire import Steps
from .dynamics import Dynamics
from .operators import ACTIVATIONS, COMPARISONS, FEATURES, LAYERS, PREDICTORS, PRODUCTS, STANDARD_DOMAINS, TRIVIAL

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
# Words of a name somebody gave a node, whatever the node is.
_NEURON_NAMES = re.compile(
    r"(?<![a-z])(?:soft|adaptive|cuba|coba|[apg])?_?lif(?:rate|node|cell|neuron|s)?(?![a-z])|izhikevich|(?<![a-z])spiking",
    re.IGNORECASE,
)
# A function that calls itself a neuron and holds none of these is something else of that name.
_NEURON_BODY = {*COMPARISONS, "ThresholdedRelu", "Floor", "Sign", "Where", "Scan", "Loop", "Log", "Softplus"}

# What skl2onnx calls the tensors it makes: <prefix>_<op_type>cst from its operator algebra, and these; the weaker
# ones count only beside an output name of its own.
_SKLEARN_PAIRS = ({"coefficient", "intercepts"}, {"coef", "offset"}, {"quantiles", "references"})
_SKLEARN_NAMES = {"transform_matrix", "classes_tensor", "shape_tensor", "column_indices"}
_SKLEARN_OUTPUTS = {
    "variable", "label", "probabilities", "output_label", "output_probability", "scores", "GPmean", "distance", "index",
}  # fmt: skip
_FRAMEWORK_NAMES = re.compile(
    r".*/(?:ReadVariableOp|BiasAdd)\b|const_fold_opt__\d+\Z|(?:\w+\.)+(?:weight|bias|running_mean)\Z"
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
    spiking_names: dict[str, list[str]] = field(default_factory=dict)
    """Names of nodes that are no spiking neurons which speak of one, such as ``Relu_1_softlif``."""
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
    weighs: bool = False
    """It holds a layer or a matrix product, whatever that is made of."""
    plain_linear: bool = False
    """Nothing but one product and operators that leave it linear, or squash its result."""
    common: list[str] = field(default_factory=list)
    unused_functions: list[str] = field(default_factory=list)
    complete: bool = True
    """Whether the steps sufficed to follow all values through all bodies, and all thresholds."""


_Call = tuple[str, str, str]
"""(domain, op_type, overload): what a node calls, and what a function is called."""


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


def examine(header: Header, steps: Steps) -> Structure:
    """Gather every structural signal of a model in one walk over its reachable nodes.

    Args:
        header: what was read of it; reading it has paid for looking at each of its nodes once.
        steps: for bodies that are gone through again, and for `Dynamics`.
    """
    out = Structure()
    functions = {function.called_as: function for function in header.functions}
    used: dict[_Call, None] = {}
    graphs: list[Graph] = []
    groups: dict[_Call, list[str] | None] = {}
    counts: Counter[tuple[str, str]] = Counter()
    todo = [header.graph]
    while todo:
        graph = todo.pop()
        graphs.append(graph)
        for index, node in enumerate(graph.nodes):
            call = node.calls
            counts[node.key] += 1
            if call not in groups:
                groups[call] = _group(call, out, functions)
                if call in functions:
                    used[call] = None
                    todo.append(functions[call].body)
            if (names := groups[call]) is not None:
                names.append(node.name or f"{node.op_type}[{index}]")
            todo += node.subgraphs
    out.unused_functions = [":".join(filter(None, call)) for call in functions if call not in used]
    ops: Counter[str] = Counter()
    for (domain, op_type), count in counts.items():
        ops[op_type] += count
        if domain in STANDARD_DOMAINS and op_type in ACTIVATIONS:
            out.activations += count
    out.total = ops.total()
    out.common = [op_type for op_type, _ in ops.most_common(6)]
    _Flow(out, {call: functions[call].body for call in used}, steps).graph(header.graph, {})
    out.weighs = bool(PRODUCTS & ops.keys() or LAYERS & ops.keys())
    _distances(out, ops)
    out.plain_linear = out.products <= 1 and set(ops) <= TRIVIAL | PRODUCTS
    _names(header, out)
    if not out.neurons:
        dynamics = Dynamics(graphs, steps)
        out.reset_nodes = dynamics.resets
        out.spike_resets = len(out.reset_nodes)
        out.complete &= dynamics.complete
    return out


def _claims_falsely(function: Function, functions: dict[_Call, Function]) -> bool:
    """Whether a neuron's name is contradicted by a body in the file that neither compares nor loops."""
    inside = {inner.op_type for graph in function.body.walk() for inner in graph.nodes}
    calls = any(inner.calls in functions for inner in function.body.nodes)
    return not calls and not inside & _NEURON_BODY and not any(is_spiking(op_type, "") for op_type in inside)


def _group(call: _Call, out: Structure, functions: dict[_Call, Function]) -> list[str] | None:
    """Where to note the names of an op_type's nodes; None where it belongs to no group."""
    domain, op_type, _ = call
    group: dict[str, list[str]] | None = None
    if is_spiking(op_type, domain) and not (call in functions and _claims_falsely(functions[call], functions)):
        group = out.neurons
    elif domain == "ai.onnx.ml":
        if op_type in PREDICTORS:
            group = out.predictors
        elif op_type in FEATURES:
            group = out.features
        elif op_type == "ArrayFeatureExtractor":
            group = out.extractors
    elif domain in STANDARD_DOMAINS:
        if op_type in LAYERS:
            group = out.layers
        elif op_type in ("TfIdfVectorizer", "CDist"):
            group = out.features if op_type == "TfIdfVectorizer" else out.distances
    return None if group is None else group.setdefault(op_type if domain == "" else f"{domain}:{op_type}", [])


@lru_cache(1024)
def _speaks_of_neurons(name: str) -> bool:
    return bool(len(name) < 200 and _NEURON_NAMES.search(name))


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
    # No converter writes longer names.
    stored = [name for graph in header.graphs() for name in graph.initializers if len(name) < 200]
    outputs = {value.name for value in header.graph.outputs}
    plain = {name: name.rstrip("0123456789") for name in stored}
    bases = set(plain.values())
    strong = set().union(*(pair for pair in _SKLEARN_PAIRS if pair <= bases))
    if outputs & _SKLEARN_OUTPUTS:
        strong |= _SKLEARN_NAMES
    for name, base in plain.items():
        if base in strong or (base.endswith("cst") and base.isidentifier() and re.search("_[A-Z]", base[:-3])):
            out.sklearn_names.setdefault(base, []).append(name)
    for node in header.graph.nodes:
        name = node.name or node.op_type
        if not is_spiking(node.op_type, node.domain) and any(map(_speaks_of_neurons, (node.name, node.op_type))):
            out.spiking_names.setdefault(name, []).append(name)
    for name in (*stored, *(node.name for node in header.graph.nodes)):
        if len(name) < 200 and name and _FRAMEWORK_NAMES.match(name):
            out.framework_names.setdefault(name, []).append(name)


# (learnt products behind a value, whether a nonlinearity came after the last one)
_Value = tuple[int, bool]
_STORED = (-1, False)
"""A value that depends on stored tensors alone."""
_NEW = (0, False)


class _Flow:
    """Follows how many learnt products, with a nonlinearity between each two, lie behind every value."""

    def __init__(self, out: Structure, functions: dict[_Call, Graph], steps: Steps) -> None:
        self.out = out
        self.functions = functions
        self.steps = steps
        self.seen: set[int] = set()
        self.costs: dict[int, int] = {}
        self.counted: set[int] = set()
        self.answers: dict[tuple[int, int, tuple[_Value, ...]], _Value] = {}

    def graph(self, graph: Graph, values: dict[str, _Value], depth: int = 0) -> None:
        """Add the values of a graph, by name, to those that are visible in it."""
        if id(graph) in self.seen:
            # Reading it has paid for once. Bodies within bodies multiply.
            self.steps.left -= self._cost(graph)
            if self.steps.left < 0:
                self.out.complete = False
                return
        self.seen.add(id(graph))
        values.update(dict.fromkeys(graph.initializers, _STORED))
        for node in graph.nodes:
            result = self._node(node, values, depth)
            for name in node.outputs:
                if name:
                    values[name] = result

    def _cost(self, graph: Graph) -> int:
        if id(graph) not in self.costs:
            sizes = (3 + len(node.inputs) + len(node.outputs) for node in graph.nodes)
            self.costs[id(graph)] = 10 + len(graph.inputs) + len(graph.outputs) + len(graph.initializers) + sum(sizes)
        return self.costs[id(graph)]

    def _node(self, node: Node, values: dict[str, _Value], depth: int) -> _Value:
        domain, op_type = node.key
        inputs = [values.get(name, _NEW) for name in node.inputs if name]
        moving = [value for value in inputs if value is not _STORED]
        if node.subgraphs:
            return self._subgraphs(node, max(moving, default=_NEW), values, depth)
        if depth < 8 and node.calls in self.functions:
            given = tuple([values.get(name, _NEW) if name else _STORED for name in node.inputs])
            return self._call(self.functions[node.calls], given, depth)
        if op_type == "Constant" or (inputs and not moving):
            return _STORED
        stack, bent = moving[0] if len(moving) == 1 else max(moving, default=_NEW)
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
        if op_type == "Gather" and inputs and inputs[0] is _STORED and len(moving) == 1:
            self._count(node, "embeddings")
            return max(stack, 1), True
        return stack, bent

    def _count(self, node: Node, what: str) -> None:
        if id(node) not in self.counted:
            self.counted.add(id(node))
            setattr(self.out, what, getattr(self.out, what) + 1)

    def _call(self, function: Graph, given: tuple[_Value, ...], depth: int) -> _Value:
        """What a function makes of values, which is the same each time."""
        question = (id(function), depth, given)
        if question not in self.answers:
            scope = dict(zip((value.name for value in function.inputs), given, strict=False))
            self.graph(function, scope, depth + 1)
            self.answers[question] = self._ends(function, scope)
        return self.answers[question]

    def _subgraphs(self, node: Node, best: _Value, values: dict[str, _Value], depth: int) -> _Value:
        """Loop and Scan bodies run twice, so that what their state carries round is seen; If branches run once."""
        for body in node.subgraphs:
            given = [value.name for value in body.inputs]
            own = {*given, *body.initializers, *(name for inner in body.nodes for name in inner.outputs)}
            self.steps.left -= len(own)
            hidden = {name: values[name] for name in own if name in values}
            for _ in range(1 if node.op_type == "If" or depth > 2 else 2):
                values.update(dict.fromkeys(given, best))
                self.graph(body, values, depth + 1)
                before, best = best, max(best, self._ends(body, values))
                for name in own:
                    values.pop(name, None)
                values.update(hidden)
                if best == before:
                    break  # once more would be the same
        return best

    @staticmethod
    def _ends(body: Graph, values: dict[str, _Value]) -> _Value:
        ends = [values.get(value.name, _NEW) for value in body.outputs]
        return max([end for end in ends if end is not _STORED], default=_NEW)
