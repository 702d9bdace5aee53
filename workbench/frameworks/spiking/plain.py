"""A spiking network in ONNX's own operators alone, for runtimes that know no model-local functions and no Scan.

Two forms, named as `convert`'s option ``form``:

- ``loop``: the file that `write` makes, its functions put in place and each Scan made a Loop over time. Inputs, outputs
  and states are those of `write`.
- ``step``: one time step; who runs it keeps the time. Inputs are ``(batch, n)``, and a state ``<node>.<state>`` whose
  default is the start value; outputs ``(batch, n)``, and ``<node>.<state>_out`` to be fed to the next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from .network import SpikingNetwork
from .read import attributes_of
from .write import write


def plain(network: SpikingNetwork, form: Literal["loop", "step"]) -> onnx.ModelProto:
    """The ONNX model of a network, every node in the default domain. Equal networks give equal bytes.

    Args:
        form: ``loop`` or ``step``.

    Raises:
        UnsupportedModel: as for `write`.
    """
    from onnx.inliner import inline_local_functions

    model = inline_local_functions(write(network, scan=form == "step"))
    (_scans_to_loops if form == "loop" else _scan_to_step)(model.graph)
    own = [entry for entry in model.opset_import if entry.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(own)
    return model


def _scans_to_loops(graph: onnx.GraphProto) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        nodes += _loop(node) if node.op_type == "Scan" else [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _loop(scan: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The Loop that does what this Scan over the first axis does, and the nodes that count its steps."""
    attributes = attributes_of(scan)
    body, series = attributes["body"], list(scan.input[-attributes["num_scan_inputs"] :])
    own = f"{scan.output[-1]}.loop"  # a name nothing else has: no two nodes give one value
    states = list(body.input[: -len(series)])
    slices = [
        helper.make_node("Gather", [whole, f"{own}.step"], [part.name], name=f"{part.name}.gather", axis=0)
        for whole, part in zip(series, body.input[-len(series) :], strict=True)
    ]
    goes_on = helper.make_node("Identity", [f"{own}.more"], [f"{own}.goes_on"], name=f"{own}.goes_on")
    step = helper.make_graph(
        [*slices, *body.node, goes_on],
        body.name,
        [
            helper.make_tensor_value_info(f"{own}.step", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"{own}.more", TensorProto.BOOL, []),
            *states,
        ],
        [helper.make_tensor_value_info(f"{own}.goes_on", TensorProto.BOOL, []), *body.output],
        list(body.initializer),
    )
    return [
        helper.make_node("Shape", [series[0]], [f"{own}.shape"], name=f"{own}.shape", start=0, end=1),
        helper.make_node("Squeeze", [f"{own}.shape"], [f"{own}.count"], name=f"{own}.count"),
        helper.make_node(
            "Loop", [f"{own}.count", "", *scan.input[: len(states)]], list(scan.output), name=scan.name, body=step
        ),
    ]


def _scan_to_step(graph: onnx.GraphProto) -> None:
    """The step that the one Scan of `write` takes, as the whole graph."""
    (scan,) = (node for node in graph.node if node.op_type == "Scan")
    body = next(attribute.g for attribute in scan.attribute if attribute.name == "body")
    inputs = [entry.name for entry in graph.input if f"{entry.name}.by_time" in scan.input]
    called = {f"{name}.now": name for name in inputs}
    for start, now, after, out in zip(scan.input, body.input, body.output, scan.output, strict=False):
        if out.endswith("_out"):
            called |= {now.name: start, after.name: out}
    called |= {name.name: name.name.removesuffix(".now") for name in body.output if name.name.endswith(".now")}
    nodes = [node for node in graph.node if node.op_type in ("Concat", "Expand")]
    size = helper.make_node("Shape", inputs[:1], ["batch.size"], name="batch.size", start=0, end=1)
    for node in body.node:
        node.input[:] = [called.get(name, name) for name in node.input]
        node.output[:] = [called.get(name, name) for name in node.output]
    del graph.node[:]
    graph.node.extend([size, *nodes, *body.node])
    graph.initializer.extend(body.initializer)
    for entry in (*graph.input, *graph.output):
        dims = entry.type.tensor_type.shape.dim
        if len(dims) > 1 and dims[1].dim_param == "steps":
            del dims[1]


def answer(path: Path, series: Mapping[str, np.ndarray], form: str) -> dict[str, np.ndarray]:
    """What ONNX Runtime gives for a plain file, as anyone would run it.

    Args:
        series: {input: (batch, steps, n)}.

    Returns:
        {output: (batch, steps, n)}, float32.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    states = {entry.name for entry in session.get_overridable_initializers()}
    probes = [name for name in names if name.removesuffix("_out") not in states]
    if form == "loop":
        return dict(zip(probes, session.run(probes, dict(series)), strict=True))
    remembered: dict[str, np.ndarray] = {}
    steps: list[dict[str, np.ndarray]] = []
    for step in range(next(iter(series.values())).shape[1]):
        feeds = {name: np.ascontiguousarray(array[:, step]) for name, array in series.items()}
        answers = dict(zip(names, session.run(names, {**feeds, **remembered}), strict=True))
        remembered = {name: answers[f"{name}_out"] for name in states if f"{name}_out" in answers}
        steps.append(answers)
    return {name: np.stack([answers[name] for answers in steps], axis=1) for name in probes}
