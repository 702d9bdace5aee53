"""What an ONNX graph does, as far as kinds go: read from op_types, names and the flow of values.

`kind.py` turns what is found here into a verdict. Nothing here looks at weights: a value computed from stored
tensors alone counts as learnt, whatever its numbers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from .header import Graph, Header, Node

# ai.onnx.ml operators that predict. Source: onnx/docs/Operators-ml.md.
PREDICTORS = {
    "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor", "LinearClassifier", "LinearRegressor",
    "SVMClassifier", "SVMRegressor",
}  # fmt: skip
# ai.onnx.ml operators that prepare features. LabelEncoder, CategoryMapper, CastMap and ZipMap are left out: they
# translate labels and tokens for networks as well.
FEATURES = {"Scaler", "Imputer", "Normalizer", "OneHotEncoder", "Binarizer", "DictVectorizer", "FeatureVectorizer"}
# Operators only neural networks use, in ONNX itself and in ONNX Runtime's com.microsoft and nchwc domains.
LAYERS = set(
    "Conv ConvTranspose ConvInteger QLinearConv FusedConv NhwcConv NhwcFusedConv DeformConv LSTM GRU RNN "
    "DynamicQuantizeLSTM BatchNormalization InstanceNormalization LayerNormalization GroupNormalization GroupNorm "
    "SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization RMSNormalization "
    "MeanVarianceNormalization LRN Attention MultiHeadAttention GroupQueryAttention QAttention "
    "PagedAttention RotaryEmbedding EmbedLayerNormalization MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool "
    "GlobalLpPool QLinearAveragePool QLinearGlobalAveragePool MaxUnpool MaxRoiPool RoiAlign Dropout Upsample "
    "DepthToSpace SpaceToDepth GridSample Gelu FastGelu BiasGelu QuickGelu FusedGemm MatMulNBits CausalConvWithState "
    "LinearAttention NonMaxSuppression".split()
)
ACTIVATIONS = set(
    "Relu LeakyRelu PRelu Elu Selu Celu Tanh Sigmoid HardSigmoid HardSwish Swish Softplus Softsign ThresholdedRelu "
    "Mish Erf Sin Clip QLinearSigmoid QLinearLeakyRelu".split()
)
PRODUCTS = set(
    "MatMul Gemm Einsum MatMulInteger MatMulIntegerToFloat QLinearMatMul QGemm DynamicQuantizeMatMul FusedMatMul "
    "TransposeMatMul".split()
)
COMPARISONS = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
# Through these a value keeps its place: neuron state passes from one time step to the next through nothing else.
POINTWISE = set(
    "Add Sub Mul Div Neg Abs Cast CastLike Identity Where Clip Relu Max Min Sum Exp Sigmoid Reshape Squeeze Unsqueeze "
    "Not And Or Expand".split()
)
# Operators that leave a lone matrix product what it is.
TRIVIAL = set(
    "Add Sub Mul Div Identity Cast Reshape Flatten Squeeze Unsqueeze Transpose Softmax LogSoftmax Sigmoid Shape "
    "Constant Exp ArgMax Concat Gather Slice".split()
)
STANDARD_DOMAINS = {"", "com.microsoft", "com.microsoft.nchwc"}

# Tokens of an op_type that name a spiking neuron wherever they stand (SoftLIFRate, lif_cell, CubaLIF, SpikingReLU).
_NEURON_TOKENS = {
    "lif", "alif", "plif", "glif", "alifrate", "izhikevich", "spiking", "iaf", "adex", "lapicque", "cubalif", "lifrate",
    "adaptivelif", "adaptivelifrate", "softlifrate", "lifnode", "ifnode", "lifneuron", "ifneuron", "lifcell",
}  # fmt: skip
# Names that mean a neuron only where the domain speaks of spikes.
_NEURON_IN_DOMAIN = {"if", "li", "leaky", "synaptic", "alpha", "rleaky", "rsynaptic", "spike", "neuron", "threshold"}
_SPIKING_DOMAIN = re.compile(
    r"nengo|snn|norse|sinabs|spik|lava|\bnir\b|brian|neuromorph|bindsnet|rockpool|\bnest\b|loihi", re.I
)

# What skl2onnx calls the tensors it makes: <two letters>_<op_type>cst from its operator algebra, and these.
_SKLEARN_CST = re.compile(r"\w*_[A-Z]\w*?cst\d*")
_SKLEARN_NAMES = {
    "coefficient", "intercepts", "transform_matrix", "classes_tensor", "shape_tensor", "coef", "quantiles", "classes",
}  # fmt: skip
_SKLEARN_OUTPUTS = {
    "variable", "label", "probabilities", "output_label", "output_probability", "scores", "GPmean", "distance", "index",
}  # fmt: skip
_FRAMEWORK_NAMES = re.compile(
    r".*/(?:ReadVariableOp|BiasAdd)\b.*|const_fold_opt__\d+|onnx::\w+_\d+|(?:[\w]+\.)+(?:weight|bias|running_mean)"
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
    comparisons: int = 0
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


@lru_cache(4096)  # a graph repeats a few op_types many times
def is_spiking(op_type: str, domain: str) -> bool:
    """Whether an op_type names a spiking neuron model, in whatever domain."""
    leaf = op_type.rsplit(".", 1)[-1]
    if leaf == "If" and domain == "":
        return False
    tokens = [token.lower() for token in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", leaf)]
    if _NEURON_TOKENS & {*tokens, "".join(tokens)}:
        return True
    return bool(_SPIKING_DOMAIN.search(domain)) and bool(_NEURON_IN_DOMAIN & {*tokens, "".join(tokens)})


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
            _classify(node, index, out)
    out.total = counts.total()
    out.common = [op_type for op_type, _ in counts.most_common(6)]
    _Flow(out, {key: functions[key].body for key in used}).graph(header.graph, {})
    _distances(out, counts)
    out.plain_linear = out.products <= 1 and set(counts) <= TRIVIAL | PRODUCTS
    _names(header, out)
    if out.comparisons and not out.neurons:
        for graph in graphs:
            _spike_resets(graph, out)
    return out


def _classify(node: Node, index: int, out: Structure) -> None:
    """Put one node into the groups its op_type belongs to."""
    domain, op_type = node.key
    name = node.name or f"{op_type}[{index}]"

    def note(group: dict[str, list[str]]) -> None:
        group.setdefault(op_type if domain == "" else f"{domain}:{op_type}", []).append(name)

    if is_spiking(op_type, domain):
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
        out.comparisons += op_type in COMPARISONS


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
    stored = [name for graph in header.graphs() for name in graph.initializers]
    outputs = {value.name for value in header.graph.outputs}
    if outputs & _SKLEARN_OUTPUTS:
        for name in stored:
            plain = name.rstrip("0123456789")
            if _SKLEARN_CST.fullmatch(name) or plain in _SKLEARN_NAMES:
                out.sklearn_names.setdefault(plain, []).append(name)
    if not out.sklearn_names:
        for name in (*stored, *(node.name for node in header.graph.nodes)):
            if len(name) < 400 and _FRAMEWORK_NAMES.fullmatch(name):
                out.framework_names.setdefault(name, []).append(name)


_STORED = -1  # a value that depends on stored tensors alone

# (learnt products behind a value or _STORED, whether a nonlinearity came after the last one)
_Value = tuple[int, bool]


class _Flow:
    """Follows how many learnt products, with a nonlinearity between each two, lie behind every value."""

    def __init__(self, out: Structure, functions: dict[tuple[str, str], Graph]) -> None:
        self.out = out
        self.functions = functions
        # Bodies within bodies multiply: a hostile file of nested loops must not take for ever.
        self.left = 1_000_000
        self.counted: set[int] = set()

    def graph(self, graph: Graph, outer: dict[str, _Value], depth: int = 0) -> dict[str, _Value]:
        """The values of one graph, by name."""
        values = dict(outer)
        values.update(dict.fromkeys(graph.initializers, (_STORED, False)))
        self.left -= len(graph.nodes) + len(outer)
        if self.left > 0:
            for node in graph.nodes:
                result = self._node(node, values, depth)
                values.update(dict.fromkeys(filter(None, node.outputs), result))
        return values

    def _node(self, node: Node, values: dict[str, _Value], depth: int) -> _Value:
        domain, op_type = node.key
        inputs = [values.get(name, (0, False)) for name in node.inputs if name]
        if node.subgraphs:
            return self._subgraphs(node, inputs, values, depth)
        body = self.functions.get(node.key)
        if body is not None and depth < 8:
            given = [values.get(name, (_STORED, False) if not name else (0, False)) for name in node.inputs]
            scope = dict(zip((value.name for value in body.inputs), given, strict=False))
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
            return stack, False
        if op_type in ACTIVATIONS:
            return stack, stack > 0 or bent
        if op_type == "Gather" and inputs and inputs[0][0] == _STORED and len(moving) == 1:
            self._count(node, "embeddings")
            return max(stack, 1), True
        return stack, bent

    def _count(self, node: Node, what: str) -> None:
        if id(node) not in self.counted:
            self.counted.add(id(node))
            setattr(self.out, what, getattr(self.out, what) + 1)

    def _subgraphs(self, node: Node, inputs: list[_Value], values: dict[str, _Value], depth: int) -> _Value:
        """Loop and Scan bodies run twice, so that what their state carries round is seen; If branches run once."""
        best = max((value for value in inputs if value[0] != _STORED), default=(0, False))
        for body in node.subgraphs:
            for _ in range(1 if node.op_type == "If" or depth > 2 else 2):
                scope = {**values, **{value.name: best for value in body.inputs}}
                best = max(best, self._ends(body, self.graph(body, scope, depth + 1)))
        return best

    @staticmethod
    def _ends(body: Graph, values: dict[str, _Value]) -> _Value:
        ends = [values.get(value.name, (0, False)) for value in body.outputs]
        return max([end for end in ends if end[0] != _STORED], default=(0, False))


# --- spiking dynamics without a spiking op_type ------------------------------------------------------------------


def _spike_resets(graph: Graph, out: Structure, most: int = 64, reach: int = 400) -> None:
    """Count integrate-and-fire steps written in plain operators.

    A spiking network unrolled by PyTorch has no neuron operator left. What it keeps is the loop of its dynamics:
    a state is compared with a threshold, the comparison becomes a number (the spike), that number is subtracted
    from the state, and the result, through pointwise operators alone, is compared again (one time step later, or
    carried there by a Loop or Scan). Thresholded activations do the first two, and nothing does all four.
    """
    consumers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in dict.fromkeys(node.inputs):
            consumers.setdefault(name, []).append(node)
    carried = _carried(graph)

    def forward(starts: tuple[str, ...]) -> Iterator[tuple[str, Node]]:
        """(value, node that takes it) downstream of `starts` through pointwise operators, nearest first."""
        seen = set(starts)
        todo = list(starts)
        given = 0
        for name in todo:
            if max(len(seen), given) > reach:
                return
            follow = [carried[name]] if name in carried else []
            for node in consumers.get(name, [])[:reach]:
                given += 1
                yield name, node
                if node.op_type in POINTWISE:
                    follow += node.outputs
            fresh = [item for item in follow if item not in seen]
            seen.update(fresh)
            todo += fresh

    for fire in [node for node in graph.nodes if node.op_type in COMPARISONS][:most]:
        numbers = [
            node
            for name, node in forward(fire.outputs)
            if node.op_type in ("Cast", "CastLike") or (node.op_type == "Where" and node.inputs[:1] == (name,))
        ]
        spikes = tuple(output for node in numbers for output in node.outputs)
        weighted = set(spikes)  # the spike itself, or times a threshold
        for name, node in forward(spikes):
            if node.op_type in ("Mul", "Identity", "Unsqueeze", "Reshape") and name in weighted:
                weighted.update(node.outputs)
        resets = [
            node
            for name, node in forward(spikes)
            if name in weighted and node.op_type == "Sub" and name in node.inputs[1:]
        ]
        hits = [node for node in resets if any(after.op_type in COMPARISONS for _, after in forward(node.outputs))]
        if hits:
            out.spike_resets += 1
            out.reset_nodes.append(hits[0].name or hits[0].op_type)


def _carried(graph: Graph) -> dict[str, str]:
    """Body output -> body input, for the state of a Loop (condition first) or Scan body; empty for other graphs."""
    ins = [value.name for value in graph.inputs]
    outs = [value.name for value in graph.outputs]
    if len(ins) < 2 or not outs:
        return {}
    loop = len(ins) >= 3 and graph.inputs[1].dtype == "bool"
    return dict(zip(outs[1:], ins[2:], strict=False)) if loop else dict(zip(outs, ins, strict=False))
