"""Small networks of every layer family, built the same way with Keras 3 and with Keras 2 (``tf_keras``).

`FAMILIES` maps a name to a function that takes the Keras package and returns a model with seeded random weights.
`ONLY_KERAS_3` names those whose layers Keras 2 does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

FAMILIES: dict[str, Callable[[Any], Any]] = {}
ONLY_KERAS_3: set[str] = set()


def family(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    FAMILIES[function.__name__] = function
    return function


def only_keras_3(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    ONLY_KERAS_3.add(function.__name__)
    return family(function)


def build(name: str, k: Any) -> Any:
    """The model, every weight random: fresh biases, moving means and variances would hide a swapped one."""
    import numpy as np

    k.backend.clear_session()
    k.utils.set_random_seed(1)
    model = FAMILIES[name](k)
    rng = np.random.default_rng(1)
    weights = [
        value + rng.uniform(0.05, 0.3, value.shape).astype(value.dtype) if value.dtype.kind == "f" else value
        for value in model.get_weights()
    ]
    model.set_weights(weights)
    return model


def stack(k: Any, shape: tuple[int | None, ...], *layers: Any, dtype: str | None = None) -> Any:
    return k.Sequential([k.Input(shape, dtype=dtype, name="x"), *layers])


# --- plain ---------------------------------------------------------------------------------------------------------


@family
def dense(k: Any) -> Any:
    l = k.layers
    return stack(k, (7,), l.Dense(16, activation="relu"), l.Dropout(0.5), l.Dense(3, activation="softmax"))


@family
def dense_on_sequences(k: Any) -> Any:
    return stack(k, (5, 7), k.layers.Dense(4, activation="tanh"), k.layers.Dense(2))


@family
def dense_above_the_size_kept_out_of_the_graph(k: Any) -> Any:
    # 200 x 300 x 4 bytes: both kernels travel as inputs.
    return stack(k, (200,), k.layers.Dense(300, activation="relu"), k.layers.Dense(200, activation="sigmoid"))


@family
def activations(k: Any) -> Any:
    x = inputs = k.Input((6,), name="x")
    names = "relu elu selu softplus softsign tanh sigmoid exponential linear swish hard_sigmoid gelu softmax".split()
    return k.Model(inputs, k.layers.Concatenate()([k.layers.Activation(name)(x) for name in names]))


@family
def activation_layers(k: Any) -> Any:
    l = k.layers
    x = inputs = k.Input((6,), name="x")
    kinds = [
        l.LeakyReLU(),
        l.PReLU(),
        l.ELU(0.7),
        l.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
        l.Softmax(),
    ]
    return k.Model(inputs, l.Concatenate()([layer(x) for layer in kinds]))


@only_keras_3
def newer_activations(k: Any) -> Any:
    x = inputs = k.Input((6,), name="x")
    names = "silu mish log_softmax relu6 celu glu hard_silu log_sigmoid squareplus tanh_shrink sparse_plus".split()
    return k.Model(inputs, k.layers.Concatenate()([k.layers.Activation(name)(x) for name in names]))


@only_keras_3
def gelu_approximate_and_exact(k: Any) -> Any:
    inputs = k.Input((6,), name="x")
    outputs = [k.ops.gelu(inputs, approximate=True), k.ops.gelu(inputs, approximate=False)]
    return k.Model(inputs, outputs)


# --- images --------------------------------------------------------------------------------------------------------


@family
def lenet_1(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (28, 28, 1), l.Conv2D(4, 5, padding="same", activation="tanh"), l.AveragePooling2D(2),
        l.Conv2D(12, 5, activation="tanh"), l.AveragePooling2D(2), l.Flatten(), l.Dense(10, activation="softmax"),
    )  # fmt: skip


@family
def conv1d(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (20, 3), l.Conv1D(8, 3, padding="causal", activation="relu"), l.Conv1D(4, 3, strides=2),
        l.MaxPooling1D(2), l.AveragePooling1D(2), l.GlobalMaxPooling1D(),
    )  # fmt: skip


@family
def conv2d(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (17, 15, 4), l.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
        l.Conv2D(8, (3, 2), dilation_rate=2), l.Conv2D(6, 1, groups=2), l.GlobalAveragePooling2D(),
    )  # fmt: skip


@family
def conv2d_above_the_size_kept_out_of_the_graph(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (8, 8, 32), l.Conv2D(64, 3, padding="same", use_bias=False), l.BatchNormalization(), l.ReLU(),
        l.Conv2D(64, 3, strides=2), l.GlobalAveragePooling2D(),
    )  # fmt: skip


@family
def conv3d(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (6, 6, 6, 2), l.Conv3D(4, 3, activation="relu"), l.MaxPooling3D(2), l.Conv3DTranspose(3, 2, strides=2),
        l.AveragePooling3D(2), l.GlobalAveragePooling3D(),
    )  # fmt: skip


@family
def depthwise_and_separable(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (12, 12, 3), l.DepthwiseConv2D(3, depth_multiplier=2, activation="relu"), l.SeparableConv2D(5, 3),
        l.BatchNormalization(), l.ReLU(6.0), l.GlobalMaxPooling2D(),
    )  # fmt: skip


@family
def separable_1d(k: Any) -> Any:
    return stack(k, (12, 3), k.layers.SeparableConv1D(5, 3, activation="relu"), k.layers.DepthwiseConv1D(3))


@family
def transposed(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (5, 7, 3), l.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu"), l.Conv2DTranspose(2, 3),
    )  # fmt: skip


@family
def transposed_1d(k: Any) -> Any:
    return stack(k, (5, 3), k.layers.Conv1DTranspose(4, 3, strides=2))


@family
def any_image_size(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (None, None, 3), l.Conv2D(4, 3, padding="same"), l.UpSampling2D(2), l.MaxPooling2D(2),
        l.GlobalAveragePooling2D(), l.Dense(2),
    )  # fmt: skip


@family
def up_pad_crop(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (6, 6, 2), l.ZeroPadding2D(((1, 2), (0, 1))), l.UpSampling2D(2), l.UpSampling2D(2, interpolation="bilinear"),
        l.Cropping2D(((1, 0), (2, 1))),
    )  # fmt: skip


@family
def up_pad_crop_1d_3d(k: Any) -> Any:
    l = k.layers
    a, b = k.Input((6, 2), name="a"), k.Input((4, 4, 4, 2), name="b")
    one = l.Cropping1D(1)(l.UpSampling1D(2)(l.ZeroPadding1D(1)(a)))
    three = l.Cropping3D(1)(l.UpSampling3D(2)(l.ZeroPadding3D(1)(b)))
    return k.Model([a, b], [one, three])


@family
def residual(k: Any) -> Any:
    l = k.layers
    inputs = k.Input((16, 16, 3), name="image")
    x = l.ReLU()(l.BatchNormalization()(l.Conv2D(8, 3, padding="same", use_bias=False)(inputs)))
    y = l.BatchNormalization(scale=False)(l.Conv2D(8, 3, padding="same")(x))
    x = l.ReLU()(l.Add()([x, y]))
    return k.Model(inputs, l.Dense(4, activation="softmax", name="label")(l.GlobalAveragePooling2D()(x)))


@family
def densely_connected(k: Any) -> Any:
    l = k.layers
    x = inputs = k.Input((16, 16, 3), name="image")
    for _ in range(3):
        y = l.Conv2D(4, 3, padding="same")(l.ReLU()(l.BatchNormalization()(x)))
        x = l.Concatenate()([x, y])
    return k.Model(inputs, l.AveragePooling2D(2)(x))


# --- normalisation -------------------------------------------------------------------------------------------------


@family
def batch_normalisation(k: Any) -> Any:
    l = k.layers
    return stack(k, (6, 4), l.BatchNormalization(), l.BatchNormalization(axis=1, center=False))


@family
def layer_normalisation(k: Any) -> Any:
    l = k.layers
    return stack(k, (6, 4), l.LayerNormalization(), l.LayerNormalization(axis=[1, 2]), l.Dense(3))


@family
def group_and_unit_normalisation(k: Any) -> Any:
    l = k.layers
    return stack(k, (8, 8, 6), l.GroupNormalization(3), l.GroupNormalization(-1), l.UnitNormalization())


@only_keras_3
def spectral_and_rms_normalisation(k: Any) -> Any:
    l = k.layers
    return stack(k, (8,), l.SpectralNormalization(l.Dense(6)), l.RMSNormalization())


@family
def data_normalisation(k: Any) -> Any:
    layer = k.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[0.5, 2.0, 1.0])
    return stack(k, (3,), layer, k.layers.Dense(2))


@family
def data_normalisation_adapted(k: Any) -> Any:
    import numpy as np

    layer = k.layers.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 3)).astype("float32"))
    return stack(k, (3,), layer, k.layers.Dense(2))


# --- sequences -----------------------------------------------------------------------------------------------------


@family
def lstm(k: Any) -> Any:
    return stack(k, (9, 4), k.layers.LSTM(6, return_sequences=True), k.layers.LSTM(5), k.layers.Dense(2))


@family
def lstm_of_any_length(k: Any) -> Any:
    return stack(k, (None, 4), k.layers.LSTM(6, return_sequences=True), k.layers.Dense(2))


@family
def lstm_above_the_size_kept_out_of_the_graph(k: Any) -> Any:
    return stack(k, (5, 20), k.layers.LSTM(80))


@family
def gru(k: Any) -> Any:
    return stack(k, (9, 4), k.layers.GRU(6, return_sequences=True), k.layers.GRU(5), k.layers.Dense(2))


@family
def gru_reset_before(k: Any) -> Any:
    return stack(k, (9, 4), k.layers.GRU(5, reset_after=False))


@family
def simple_rnn(k: Any) -> Any:
    return stack(k, (9, 4), k.layers.SimpleRNN(6, return_sequences=True), k.layers.SimpleRNN(5))


@family
def bidirectional(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (9, 4), l.Bidirectional(l.LSTM(6, return_sequences=True)), l.Bidirectional(l.GRU(5), merge_mode="sum")
    )


@family
def recurrent_states(k: Any) -> Any:
    inputs = k.Input((9, 4), name="x")
    sequence, h, c = k.layers.LSTM(6, return_sequences=True, return_state=True, go_backwards=True)(inputs)
    return k.Model(inputs, [sequence, h, c])


@family
def stacked_cells(k: Any) -> Any:
    l = k.layers
    return stack(k, (9, 4), l.RNN([l.LSTMCell(6), l.GRUCell(5)]))


@family
def conv_lstm(k: Any) -> Any:
    return stack(k, (4, 8, 8, 2), k.layers.ConvLSTM2D(3, 3, padding="same"))


@family
def time_distributed(k: Any) -> Any:
    l = k.layers
    return stack(k, (4, 8, 8, 2), l.TimeDistributed(l.Conv2D(3, 3)), l.TimeDistributed(l.Flatten()))


@family
def embedding(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (7,), l.Embedding(50, 8), l.GlobalAveragePooling1D(), l.Dense(1, activation="sigmoid"), dtype="int32"
    )


@family
def embedding_above_the_size_kept_out_of_the_graph(k: Any) -> Any:
    return stack(k, (7,), k.layers.Embedding(3000, 16), k.layers.GlobalMaxPooling1D(), dtype="int64")


@family
def masked_lstm(k: Any) -> Any:
    l = k.layers
    return stack(k, (7,), l.Embedding(10, 8, mask_zero=True), l.LSTM(6), dtype="int32")


@family
def masking(k: Any) -> Any:
    l = k.layers
    return stack(k, (7, 3), l.Masking(0.0), l.GRU(6, return_sequences=True))


@family
def masked_bidirectional(k: Any) -> Any:
    l = k.layers
    return stack(k, (7,), l.Embedding(10, 8, mask_zero=True), l.Bidirectional(l.LSTM(6)), dtype="int32")


# --- attention -----------------------------------------------------------------------------------------------------


@family
def attention(k: Any) -> Any:
    l = k.layers
    query, value = k.Input((5, 8), name="query"), k.Input((7, 8), name="value")
    return k.Model([query, value], [l.Attention(use_scale=True)([query, value]), l.AdditiveAttention()([query, value])])


@family
def multi_head_attention(k: Any) -> Any:
    l = k.layers
    inputs = k.Input((6, 8), name="x")
    y = l.MultiHeadAttention(2, 4)(inputs, inputs)
    x = l.LayerNormalization()(l.Add()([inputs, y]))
    return k.Model(inputs, l.Dense(8, activation="gelu")(x))


@family
def causal_attention(k: Any) -> Any:
    inputs = k.Input((None, 8), name="x")
    return k.Model(inputs, k.layers.MultiHeadAttention(2, 4)(inputs, inputs, use_causal_mask=True))


@family
def masked_attention(k: Any) -> Any:
    inputs, mask = k.Input((6, 8), name="x"), k.Input((6, 6), dtype="bool", name="mask")
    return k.Model([inputs, mask], k.layers.MultiHeadAttention(2, 4)(inputs, inputs, attention_mask=mask))


@only_keras_3
def grouped_query_attention(k: Any) -> Any:
    inputs = k.Input((6, 8), name="x")
    return k.Model(inputs, k.layers.GroupQueryAttention(4, 4, 2)(inputs, inputs))


# --- merging, shapes, several inputs and outputs -------------------------------------------------------------------


@family
def merging(k: Any) -> Any:
    l = k.layers
    a, b = k.Input((5,), name="a"), k.Input((5,), name="b")
    kinds = [l.Add, l.Subtract, l.Multiply, l.Average, l.Maximum, l.Minimum, l.Concatenate]
    return k.Model([a, b], l.Concatenate()([kind()([a, b]) for kind in kinds] + [l.Dot(1)([a, b])]))


@family
def shapes(k: Any) -> Any:
    l = k.layers
    return stack(k, (12,), l.Reshape((3, 4)), l.Permute((2, 1)), l.Flatten(), l.RepeatVector(2))


@family
def several_inputs_and_outputs(k: Any) -> Any:
    l = k.layers
    image, age = k.Input((8, 8, 1), name="image"), k.Input((1,), name="age")
    x = l.Concatenate()([l.Flatten()(l.Conv2D(2, 3)(image)), age])
    return k.Model([image, age], [l.Dense(3, "softmax", name="kind")(x), l.Dense(1, name="weight")(x)])


@family
def inputs_and_outputs_by_name(k: Any) -> Any:
    l = k.layers
    inputs = {"b": k.Input((3,), name="b"), "a": k.Input((4,), name="a")}
    outputs = {"z": l.Dense(2)(inputs["a"]), "y": l.Dense(3)(inputs["b"])}
    return k.Model(inputs, outputs)


@family
def an_output_twice_and_an_input_as_output(k: Any) -> Any:
    inputs = k.Input((3,), name="x")
    y = k.layers.Dense(2, name="y")(inputs)
    return k.Model(inputs, [y, y, inputs])


@family
def shared_layers(k: Any) -> Any:
    l = k.layers
    a, b = k.Input((40, 40, 2), name="a"), k.Input((40, 40, 2), name="b")
    conv, dense = l.Conv2D(128, 9), l.Dense(4)
    return k.Model([a, b], [dense(l.GlobalMaxPooling2D()(conv(a))), dense(l.GlobalMaxPooling2D()(conv(b)))])


@family
def nested_models(k: Any) -> Any:
    l = k.layers
    inner = k.Sequential([k.Input((6,)), l.Dense(5, activation="relu"), l.BatchNormalization()], name="inner")
    middle_in = k.Input((6,), name="middle_in")
    middle = k.Model(middle_in, l.Add()([inner(middle_in), l.Dense(5)(middle_in)]), name="middle")
    inputs = k.Input((6,), name="x")
    return k.Model(inputs, l.Dense(2, name="score")(middle(inputs)))


@family
def fixed_batch(k: Any) -> Any:
    return k.Sequential([k.Input(batch_shape=(2, 5), name="x"), k.layers.Dense(3)])


@family
def unnamed_input(k: Any) -> Any:
    model = k.Sequential([k.layers.Dense(3, name="score")])
    model.build((None, 5))
    return model


# --- preprocessing -------------------------------------------------------------------------------------------------


@family
def rescaling_and_resizing(k: Any) -> Any:
    l = k.layers
    return stack(k, (10, 12, 3), l.Rescaling(1 / 255, offset=-0.5), l.Resizing(7, 5), l.CenterCrop(4, 4))


@family
def augmentation_is_inactive(k: Any) -> Any:
    l = k.layers
    return stack(
        k, (8, 8, 3), l.RandomFlip(), l.RandomRotation(0.2), l.RandomZoom(0.2), l.RandomContrast(0.2),
        l.RandomTranslation(0.1, 0.1), l.GaussianNoise(0.5), l.GaussianDropout(0.2), l.SpatialDropout2D(0.2),
        l.Conv2D(2, 3),
    )  # fmt: skip


@family
def categories(k: Any) -> Any:
    l = k.layers
    return stack(k, (1,), l.CategoryEncoding(6, output_mode="one_hot"), l.Dense(2), dtype="int32")


@family
def discretization(k: Any) -> Any:
    return stack(k, (4,), k.layers.Discretization(bin_boundaries=[-0.5, 0.0, 1.0]))


@family
def string_lookup(k: Any) -> Any:
    l = k.layers
    return stack(k, (2,), l.StringLookup(vocabulary=["red", "green", "blue"]), dtype="string")


@family
def integer_lookup(k: Any) -> Any:
    return stack(k, (2,), k.layers.IntegerLookup(vocabulary=[1, 3, 5]), dtype="int64")


# --- operations ----------------------------------------------------------------------------------------------------


@only_keras_3
def operations(k: Any) -> Any:
    ops = k.ops
    x = inputs = k.Input((4, 6), name="x")
    pieces = [
        ops.mean(x, axis=1), ops.max(x, axis=1), ops.logsumexp(x, axis=1), ops.sqrt(ops.abs(x))[:, 0],
        ops.cumsum(x, axis=1)[:, -1], ops.clip(x, -1, 1)[:, 1], ops.einsum("nij,nkj->nik", x, x)[:, :, 0],
        ops.sort(x, axis=-1)[:, 0], ops.sin(x)[:, 2] + ops.cos(x)[:, 2], ops.norm(x, axis=-1),
        ops.where(x > 0, x, ops.exp(x))[:, 3], ops.floor(x)[:, 1], ops.std(x, axis=1),
    ]  # fmt: skip
    return k.Model(inputs, [ops.concatenate(pieces, axis=-1), ops.argmax(x, axis=-1), ops.top_k(x, 2)[0]])


@family
def mixed_precision(k: Any) -> Any:
    l = k.layers
    return stack(k, (6,), l.Dense(300, activation="relu", dtype="mixed_float16"), l.Dense(3, dtype="float32"))


@family
def float64(k: Any) -> Any:
    return stack(k, (6,), k.layers.Dense(5, activation="tanh", dtype="float64"), dtype="float64")
