"""A fault planted in a converted network is found, and the layer named: real Keras models, real ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from workbench import convert
from workbench.compare.layers import Divergence, first_divergence, story_of
from workbench.frameworks.tensorflow.keras import KerasEngine

# Each network is converted first, in some seconds.
pytestmark = pytest.mark.slow

ROWS = np.random.default_rng(3).random((4, 16, 16, 3), np.float32)


def settled(inputs: Any, outputs: Any) -> Any:
    """A model whose biases and statistics are not zeros and ones, as a trained one's are not."""
    import keras

    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "kernel" not in weight.name:
            weight.assign(rng.uniform(0.3, 1.5, weight.shape))
    return model


def branching() -> Any:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    x = image = keras.Input((16, 16, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv1")(x)
    x = layers.BatchNormalization(name="bn1")(x)
    x = shortcut = layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    x = layers.ReLU(name="relu2")(x)
    x = layers.Conv2D(8, 3, padding="same", name="conv3")(x)
    x = layers.Add(name="add")([shortcut, x])
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Dropout(0.3, name="drop")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(16, activation="relu", name="dense1")(x)
    x = layers.Dense(16, name="dense2")(x)
    x = layers.Softmax(name="softmax")(x)
    return settled(image, x)


class Case:
    """A Keras model, its layers' answers to `rows`, and its ONNX file, to be spoilt."""

    def __init__(self, model: Any, folder: Path, rows: Any = ROWS) -> None:
        self.model, self.rows = model, rows
        self.path = folder / "right.onnx"
        convert(model, self.path)
        with KerasEngine(model) as engine:
            self.layers = engine.layers(rows)
            self.answers = list(engine.run(rows).values())
        self.weights = {layer.name: layer.get_weights() for layer in model.layers}

    def after(self, spoil: Callable[[Any], None] = lambda graph: None, **options: Any) -> Divergence | None:
        model = onnx.load(self.path)
        names = [value.name for value in model.graph.output]
        spoil(model.graph)
        path = self.path.with_name("spoilt.onnx")
        onnx.save(model, path)
        (name,) = (value.name for value in model.graph.input)
        answers = dict(zip(names, self.answers, strict=True))
        options = {"answers": answers, "weights": self.weights, **options}
        return first_divergence(self.layers, path, {name: self.rows}, **options)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(branching(), tmp_path_factory.mktemp("branching"))


def node(graph: Any, op_type: str, name: str) -> Any:
    """By its name, or by that of a weight it reads."""
    return next(
        node
        for node in graph.node
        if node.op_type == op_type and any(name in each for each in (node.name, *node.input))
    )


def stored(graph: Any, of: Any, change: Callable[[Any], Any], index: int = 1) -> None:
    tensor = next(tensor for tensor in graph.initializer if tensor.name == of.input[index])
    array = numpy_helper.to_array(tensor).copy()
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(array)), tensor.name))


def without(graph: Any, gone: Any) -> None:
    """Take a node out: what read it reads what it read."""
    for each in graph.node:
        each.input[:] = [gone.input[0] if name == gone.output[0] else name for name in each.input]
    graph.node.remove(gone)


def test_a_right_conversion_has_no_divergence(case: Case) -> None:
    assert case.after() is None
    assert case.after(answers=None) is None


def one_weight(graph: Any) -> None:
    def change(kernel: Any) -> Any:
        kernel[2, 3, 0, 1] += 0.5
        return kernel

    stored(graph, node(graph, "Conv", "conv2"), change)


def test_the_error_of_each_node_is_that_of_its_layer(case: Case, tmp_path: Path) -> None:
    model = onnx.load(case.path)
    one_weight(model.graph)
    onnx.save(model, tmp_path / "spoilt.onnx")
    stories = [story_of(case.layers, path, {"image": case.rows}) for path in (case.path, tmp_path / "spoilt.onnx")]
    right, wrong = (story.errors() for story in stories if story is not None)
    assert len(right) >= 8 and max(right.values()) < 1e-5  # float32 sums of some hundred products
    fault = next(at for at, each in enumerate(model.graph.node) if "conv2" in each.name)
    places = {name: at for at, each in enumerate(model.graph.node) for name in each.output}
    assert {name for name, error in wrong.items() if error < 1e-5} == {name for name in wrong if places[name] < fault}
    assert sum(places[name] >= fault for name in wrong) >= 4


def test_one_changed_weight_is_named_with_its_place_and_values(case: Case) -> None:
    found = case.after(one_weight)
    assert found is not None and found.layer == "conv2" and found.kind == "Conv2D" and found.op_type == "Conv"
    assert found.last_agreed == "bn1" and "conv2" in found.node
    kernel = case.weights["conv2"][0]
    # ONNX keeps (out, in, height, width), Keras (height, width, in, out).
    assert f"1 of 576 weights differs: at (0, 1, 3, 2), {kernel[0, 1, 3, 2]:.4g} natively" in found.cause
    assert found.says.startswith("Layer 'conv2' (Conv2D) is the first that differs by up to 0.")
    # Without the weights at hand the layer is named all the same, and with nothing known of the final answers too.
    for options in ({"weights": None}, {"answers": None}):
        found = case.after(one_weight, **options)
        assert found is not None and found.layer == "conv2"


def test_a_fault_in_a_matrix_is_found_too(case: Case) -> None:
    def change(matrix: Any) -> Any:
        matrix[7, 5] = 1
        return matrix

    found = case.after(lambda graph: stored(graph, node(graph, "MatMul", "dense1"), change))
    assert found is not None and found.layer == "dense1" and "1 of 8,192 weights differs: at (7, 5)" in found.cause


@pytest.mark.parametrize(
    ("layer", "op_type", "change", "cause"),
    [
        ("conv3", "Conv", lambda k: k.transpose(0, 1, 3, 2), "transposed in ONNX, axes in the order (0, 1, 3, 2)"),
        ("conv3", "Conv", lambda k: k.transpose(1, 0, 2, 3), "transposed in ONNX, axes in the order (1, 0, 2, 3)"),
        ("conv2", "Conv", lambda k: k[..., ::-1, ::-1], "flipped in ONNX along axes (2, 3)"),
        ("dense2", "MatMul", lambda k: k.T, "transposed in ONNX, axes in the order (1, 0)"),
        ("conv3", "Conv", lambda k: k * 2, "2 times as large"),
    ],
)
def test_a_transposed_or_flipped_kernel_is_told(
    case: Case, layer: str, op_type: str, change: Callable[[Any], Any], cause: str
) -> None:
    found = case.after(lambda graph: stored(graph, node(graph, op_type, layer), change))
    assert found is not None and found.layer == layer and cause in found.cause


def test_a_missing_activation_is_told(case: Case) -> None:
    found = case.after(lambda graph: without(graph, node(graph, "Relu", "dense1")))
    assert found is not None and found.layer == "dense1" and found.cause.startswith("relu is missing in ONNX")
    found = case.after(lambda graph: without(graph, node(graph, "Relu", "relu2")))
    assert found is not None and found.layer == "relu2" and found.cause.startswith("relu is missing in ONNX")


def softmax_again(graph: Any) -> None:
    last = graph.output[0]
    graph.node.append(helper.make_node("Softmax", [last.name], ["again"], name="again"))
    last.name = "again"


def test_softmax_twice_is_told(case: Case) -> None:
    answers = {"again": case.answers[0]}
    for options in ({"answers": answers}, {"answers": None}):
        found = case.after(softmax_again, **options)
        assert found is not None and found.after and found.layer == "softmax" and found.node == "again"
        assert found.cause == "ONNX applies softmax twice" and found.op_type == "Softmax"
        assert found.says.startswith("All layers agree up to 'softmax' (Softmax), after which ONNX goes on with")


def test_colour_channels_in_reverse_order_are_told(case: Case) -> None:
    def reverse(graph: Any) -> None:
        image = graph.input[0].name
        for each in graph.node:
            each.input[:] = ["bgr" if name == image else name for name in each.input]
        graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 0]), "order"))
        graph.node.insert(0, helper.make_node("Gather", [image, "order"], ["bgr"], axis=3))

    found = case.after(reverse)
    assert found is not None and found.layer == "conv1" and "BGR for RGB" in found.cause


def test_pixels_on_another_scale_are_told(case: Case) -> None:
    def scale(graph: Any) -> None:
        image = graph.input[0].name
        for each in graph.node:
            each.input[:] = ["scaled" if name == image else name for name in each.input]
        graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "most"))
        graph.node.insert(0, helper.make_node("Div", [image, "most"], ["scaled"]))

    found = case.after(scale)
    assert found is not None and found.layer == "conv1" and "pixels from 0 to 255" in found.cause


def test_another_epsilon_of_a_batch_normalisation_is_told(case: Case) -> None:
    gamma, beta, mean, variance = case.weights["bn1"]
    factor = gamma / np.sqrt(variance + 1e-5)

    def spoil(graph: Any) -> None:
        stored(graph, node(graph, "Mul", "bn1"), lambda array: factor.reshape(array.shape))
        stored(graph, node(graph, "Add", "bn1"), lambda array: (beta - mean * factor).reshape(array.shape))

    found = case.after(spoil)
    assert found is not None and found.layer == "bn1" and "another epsilon" in found.cause


def test_a_dropped_bias_is_told(case: Case) -> None:
    found = case.after(lambda graph: without(graph, node(graph, "Add", "dense2")))
    assert found is not None and found.layer == "dense2" and found.cause == "its bias of 16 numbers is not in ONNX"
    found = case.after(lambda graph: without(graph, node(graph, "Add", "dense2")), weights=None)
    assert found is not None and found.layer == "dense2" and "a bias is dropped" in found.cause
    # An activation behind it hides the difference, but not that its numbers are nowhere.
    found = case.after(lambda graph: without(graph, node(graph, "Add", "dense1")))
    assert found is not None and found.layer == "dense1" and "bias of 16 numbers is not in ONNX" in found.cause


def test_names_of_nodes_are_not_needed(case: Case) -> None:
    def nameless(graph: Any) -> None:
        one_weight(graph)
        kept = {value.name for value in (*graph.input, *graph.output)}
        new = {}
        for each in graph.node:
            each.name = ""
            each.input[:] = [name if name in kept else new.setdefault(name, f"t{len(new)}") for name in each.input]
            each.output[:] = [name if name in kept else new.setdefault(name, f"t{len(new)}") for name in each.output]
        for tensor in graph.initializer:
            tensor.name = new[tensor.name]

    found = case.after(nameless)
    assert found is not None and found.layer == "conv2" and found.op_type == "Conv"
    assert "1 of 576 weights differs" in found.cause


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Twenty convolutions and as many normalisations, in residual blocks, as ResNet20 has them."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(2)
    x = image = keras.Input((16, 16, 3), name="image")
    for block in range(7):
        shortcut = x
        for part in range(3):
            x = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"conv{block}{part}")(x)
            x = layers.BatchNormalization(name=f"bn{block}{part}")(x)
            x = layers.ReLU(name=f"relu{block}{part}")(x)
        if block:
            x = layers.Add(name=f"add{block}")([shortcut, x])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(10, name="head")(x)
    return Case(settled(image, x), tmp_path_factory.mktemp("residual"))


def test_float_noise_of_twenty_layers_is_not_reported_and_fused_layers_are_not_missed(residual: Case) -> None:
    operators = [node.op_type for node in onnx.load(residual.path).graph.node]
    # The normalisations went into the convolutions: what a convolution alone gives is nowhere in the graph.
    assert operators.count("Conv") == 21 and not {"Mul", "BatchNormalization"} & {*operators}
    assert residual.after() is None
    assert residual.after(answers=None) is None


def test_a_fault_in_a_fused_layer_names_what_it_is_fused_with(residual: Case) -> None:
    def spoil(graph: Any) -> None:
        stored(graph, node(graph, "Conv", "conv31"), lambda kernel: kernel * np.float32(1.01))

    found = residual.after(spoil)
    assert found is not None and (found.layer, found.together) == ("bn31", ("conv31",))
    assert found.last_agreed == "relu30" and "per channel" in found.cause
    assert "together with 'conv31' is the first that differs" in found.says


def test_nested_models_are_followed_inside(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(3)
    part = keras.Input((16, 16, 3))
    inner = keras.Model(
        part,
        layers.Conv2D(4, 3, name="deep")(layers.Conv2D(4, 3, activation="tanh", name="shallow")(part)),
        name="part",
    )
    image = keras.Input((16, 16, 3), name="image")
    case = Case(settled(image, layers.Dense(3, name="head")(layers.Flatten()(inner(image)))), tmp_path)
    assert case.after() is None
    found = case.after(lambda graph: stored(graph, node(graph, "Conv", "deep"), lambda kernel: kernel * 1.5))
    assert found is not None and found.layer == "part/deep" and found.last_agreed == "part/shallow"
    found = case.after(lambda graph: without(graph, node(graph, "Tanh", "shallow")))
    assert found is not None and found.layer == "part/shallow" and found.cause.startswith("tanh is missing")


def test_little_memory_means_fewer_rows_and_then_fewer_layers(case: Case) -> None:
    one_row = sum(layer.array.size // 4 for layer in case.layers)
    found = case.after(one_weight, budget=4 * 4 * one_row)
    assert found is not None and found.layer == "conv2" and "compared on the first 1 of 4 rows" in found.notes[0]
    found = case.after(one_weight, budget=20_000)
    assert found is not None and "layers were left out" in found.notes[0]
    # The convolutions are among those left out, so the first layer behind them is named.
    assert found.layer in ("pool", "drop", "flat", "dense1")


def test_a_layer_of_equal_numbers_matches_nothing(case: Case) -> None:
    """All zeros are found wherever something else is all zeros: a dead layer decides nothing either way."""
    with KerasEngine(case.model) as engine:
        dead = np.zeros_like(ROWS)
        assert first_divergence(engine.layers(dead), case.path, {"image": dead}) is None
    assert first_divergence([], case.path, {"image": dead[:0]}) is None
