"""Operators by what they are for: which ones predict, prepare features, make a layer, bend, multiply, compare.

Sources: onnx/docs/Operators.md and Operators-ml.md, onnxruntime/docs/ContribOperators.md.
"""

from __future__ import annotations

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
    "DepthToSpace SpaceToDepth GridSample Gelu FastGelu BiasGelu QuickGelu MatMulNBits CausalConvWithState "
    "LinearAttention NonMaxSuppression".split()
)
ACTIVATIONS = set(
    "Relu LeakyRelu PRelu Elu Selu Celu Tanh Sigmoid HardSigmoid HardSwish Swish Softplus Softsign ThresholdedRelu "
    "Mish Erf Sin Clip QLinearSigmoid QLinearLeakyRelu".split()
)
PRODUCTS = set(
    "MatMul Gemm Einsum MatMulInteger MatMulIntegerToFloat QLinearMatMul QGemm DynamicQuantizeMatMul FusedMatMul "
    "FusedGemm TransposeMatMul".split()
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
