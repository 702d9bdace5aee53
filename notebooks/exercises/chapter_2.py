"""Chapter 2, the ONNX format: fields, operators, graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from workbench import WorkbenchError, detect, graph, load_engine
from workbench.graph.facts import Facts
from workbench.paper.data import dataset

from . import Verdict, not_yet, right

_BYTE = 0x2A
_ONNX_ML = "ai.onnx.ml"


def _field_of_a_byte(answer: object) -> Verdict:
    here = onnx.GraphProto.DESCRIPTOR.fields_by_number
    name = str(answer).strip().lower()
    if name == here[_BYTE >> 3].name:
        return right(
            f"{_BYTE:#x} is {_BYTE} = {_BYTE >> 3} × 8 + {_BYTE & 7}, and field {_BYTE >> 3} of a graph is {name}."
        )
    if name == onnx.ModelProto.DESCRIPTOR.fields_by_number[_BYTE >> 3].name:
        return not_yet(
            "The field number is right, but that is its name in a model. Each sort of message has its own list."
        )
    if name.isdigit():
        return not_yet("That is a number. Which name does the standard give to it, in a graph?")
    for number, field in here.items():
        if field.name == name:
            return not_yet(
                f"{name} is field {number} of a graph; written with wire type 2, it begins with {number * 8 + 2:#x}."
            )
    return not_yet(f"No field of a graph has the name {name[:40]!r}.")


def _operator_of_the_trees(answer: object) -> Verdict:
    if not isinstance(answer, str):
        return not_yet("The answer is a text: the op_type.")
    asked = answer.rpartition(":")[2].strip().lower()
    known = {schema.name.lower(): schema for schema in onnx.defs.get_all_schemas() if schema.domain in ("", _ONNX_ML)}
    if asked not in known:
        return not_yet(
            f"There is no operator {answer[:40]!r} in the standard. Copy the name from the op_types of the file."
        )
    schema = known[asked]
    if schema.domain != _ONNX_ML:
        return not_yet(
            f"{schema.name} is a calculation with tensors, of the family for networks. Look for one of ONNX-ML."
        )
    if not schema.name.startswith("TreeEnsemble"):
        first = (schema.doc or "").strip().partition("\n")[0].strip().removesuffix("<br>")
        return not_yet(f"{schema.name} is of ONNX-ML, but it is for something else: {first}")
    if schema.name.endswith("Regressor"):
        return not_yet(f"{schema.name} is for trees that answer with numbers. Which one is in your file?")
    return right(f"One {schema.name} holds all the trees, however many: as long lists in its attributes, not as nodes.")


def _without_softmax(answer: object) -> Verdict:
    path = Path(str(answer))
    original = path.parent / "network.onnx"
    if not path.is_file() or not original.is_file():
        return not_yet("The answer is the path of a file in the folder where network.onnx is.")
    if path.name == original.name:
        return not_yet("This is network.onnx itself. Save the changed model under another name.")
    if ":Softmax" in (detect(path).components or {"op_types": {}})["op_types"]:
        return not_yet("There is still a Softmax in this file.")
    rows = dataset("iris").inputs
    scores, probabilities = _only_answer(path, rows), _only_answer(original, rows)
    if isinstance(scores, str) or isinstance(probabilities, str):
        return not_yet(f"It does not run: {scores if isinstance(scores, str) else probabilities}")
    if scores.shape != probabilities.shape:
        return not_yet(
            f"It gives an array of shape {scores.shape}, not the {probabilities.shape} scores before the Softmax."
        )
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    if not np.allclose(powers / powers.sum(axis=1, keepdims=True), probabilities, atol=1e-5):
        return not_yet("It runs, but what it gives is not what the Softmax read: an output of another node, perhaps.")
    return right(
        "A Softmax after your scores gives the old probabilities again, and the largest score of a row is in the same "
        "place as its largest probability: for naming the species the last node was not needed."
    )


def _to_fahrenheit(answer: object) -> Verdict:
    path = Path(str(answer))
    if not path.is_file():
        return not_yet("The answer is the path of the file.")
    found = detect(path)
    if found.header is None:
        return not_yet(f"{path.name} is {found.format}, not ONNX.")
    if len(found.header.graph.inputs) != 1:
        return not_yet("The model is to have one input: the temperatures.")
    rank = len(found.header.graph.inputs[0].shape or (None,))
    for count in (5, 1, 12):
        celsius = np.linspace(-40, 100, count, dtype=np.float32)
        given = _only_answer(path, celsius.reshape(-1, *[1] * (rank - 1)))
        if isinstance(given, str):
            return not_yet(f"With a batch of {count} it fails: {given}")
        if given.size != count:
            return not_yet(f"For {count} temperatures it gives {given.size} numbers.")
        if not np.allclose(given.ravel(), celsius * 1.8 + 32, rtol=1e-5, atol=1e-3):
            return not_yet(_what_instead(celsius, given.ravel()))
    if not found.header.producer_name.strip():
        return not_yet("It calculates rightly. Now put your name into producer_name.")
    return right(
        f"A model by {found.header.producer_name[:60]}, made by no framework, and detect says of its kind: "
        f"{found.kind}. It does what it should, and no one trained it."
    )


def _costs_of_a_wide_network(answer: object) -> Verdict:
    if isinstance(answer, bool) or not isinstance(answer, int | float | np.number):
        return not_yet("The answer is a number: how many multiply-accumulates.")
    wide, narrow = _network(64), _network(16)
    layers = [node.macs for node in wide.nodes if node.macs]
    if answer == wide.total["macs"]:
        return right(
            f"{layers[0]} in the first product and {layers[1]} in the second. With 16, {narrow.total['macs']} were "
            f"enough: {wide.total['macs'] / narrow.total['macs']:g} times as many neurons, and as many times the work."
        )
    for says, other in {
        "That is the network with 16 hidden neurons.": narrow.total["macs"],
        "That is one of its layers. The answer is for all nodes together.": None,
        "Those are the parameters. A bias is stored and added, but multiplied with nothing.": wide.total["parameters"],
    }.items():
        if answer == other or (other is None and answer in layers):
            return not_yet(says)
    return not_yet("For each of the 64 neurons, 4 lengths are multiplied and added up. Go on from there.")


def _network(hidden: int) -> Facts:
    """What a network of so many hidden neurons costs, for the flowers of this chapter."""
    shapes = {"w1": (4, hidden), "b1": (hidden,), "w2": (hidden, 3), "b2": (3,)}
    steps = [("MatMul", "x w1"), ("Add", "0 b1"), ("Relu", "1"), ("MatMul", "2 w2"), ("Add", "3 b2"), ("Softmax", "4")]
    nodes = [onnx.helper.make_node(op, reads.split(), [str(at)]) for at, (op, reads) in enumerate(steps)]
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", width])
        for name, width in (("x", 4), ("5", 3))
    )
    held = [onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()]
    return graph(onnx.helper.make_model(onnx.helper.make_graph(nodes, "network", [x], [y], held))).costs()


def _what_instead(celsius: np.ndarray, given: np.ndarray) -> str:
    for says, wrong in {
        "It only doubles, as before.": celsius * 2,
        "The scale is right, but Fahrenheit does not begin where Celsius begins.": celsius * 1.8,
        "It adds before it multiplies.": (celsius + 32) * 1.8,
        "It turns Fahrenheit into Celsius, the other way round.": (celsius - 32) / 1.8,
        "It doubles and adds 32, which is a rule of thumb. It is to be exact.": celsius * 2 + 32,
    }.items():
        if np.allclose(given, wrong, rtol=1e-4, atol=1e-3):
            return says
    return f"For {celsius[0]:g} °C it gives {given[0]:g}, which is not that temperature in Fahrenheit."


def _only_answer(path: Path, rows: np.ndarray) -> np.ndarray | str:
    """A model's only output; or, in a sentence, why there is none."""
    try:
        with load_engine(path, "onnxruntime") as engine:
            answers = list(engine.run(rows).values())
    except WorkbenchError as error:
        return str(error)
    return np.asarray(answers[0]) if len(answers) == 1 else f"it has {len(answers)} outputs, and one is expected."


EXERCISES = {
    "2.1": _field_of_a_byte,
    "2.2": _operator_of_the_trees,
    "2.3": _without_softmax,
    "2.4": _to_fahrenheit,
    "2.5": _costs_of_a_wide_network,
}
