"""Spiking networks in ONNX's own operators alone: what they answer, and what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nengo
import numpy as np
import onnx
import pytest

from workbench import BadInput, convert, detect, load_engine
from workbench.files.certificate import read
from workbench.frameworks.spiking import plain


def forward() -> nengo.Network:
    with nengo.Network(seed=1) as network:
        given = nengo.Node(np.zeros(3), label="given")
        cells = nengo.Ensemble(20, 3, neuron_type=nengo.LIF())
        summed = nengo.Node(size_in=3)
        nengo.Connection(given, cells, synapse=None)
        nengo.Connection(cells, summed, synapse=0.01)
        nengo.Probe(summed)
        nengo.Probe(cells.neurons)
    return network


def recurrent() -> nengo.Network:
    """A memory, and a second input whose probe gives what a synapse remembers: the same for every sample at first."""
    with nengo.Network(seed=2) as network:
        given, other = nengo.Node(np.zeros(2)), nengo.Node(np.zeros(1))
        memory = nengo.Ensemble(20, 2, neuron_type=nengo.AdaptiveLIF())
        nengo.Connection(given, memory)
        nengo.Connection(memory, memory, synapse=0.1)
        nengo.Probe(memory.neurons)
        nengo.Probe(other, synapse=0.02)
    return network


@pytest.mark.parametrize("form", ["loop", "step"])
@pytest.mark.parametrize("make", [forward, recurrent])
def test_a_plain_form_answers_as_the_network_in_any_batch_and_holds_no_operator_of_our_own(
    make: Any, form: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{form}.onnx"
    network = make()
    conversion = convert(network, path, form=form)
    assert conversion.agreement.within_tolerance
    model = onnx.load(path)
    bodies = [attribute.g for node in model.graph.node for attribute in node.attribute if attribute.HasField("g")]
    nodes = [node for graph in (model.graph, *bodies) for node in graph.node]
    assert {node.domain for node in nodes} == {""} and not model.functions
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 21)]
    assert "Scan" not in (op_types := {node.op_type for node in nodes})
    assert ("Loop" in op_types) == (form == "loop")
    assert detect(path).kind == "SNN" and read({entry.key: entry.value for entry in model.metadata_props})

    convert(network, tmp_path / "functions.onnx")
    with load_engine(tmp_path / "functions.onnx", "nengo") as engine:
        rng = np.random.default_rng(0)
        series = {i.name: rng.uniform(-1, 1, (5, 70, i.shape[-1])).astype(np.float32) for i in engine.inputs}
        expected = engine.run(series)
    answers = plain.answer(path, series, form)
    for name, array in expected.items():
        assert answers[name].shape == array.shape and array.any()
        # Nengo computes in float64: spikes fall in the same steps, and 1 / dt is rounded to float32 here.
        np.testing.assert_allclose(answers[name], array, rtol=2e-6, atol=1e-6)
    if form == "loop":  # an ordinary ONNX file to every other door
        with load_engine(path) as engine:
            heard = engine.run(series)
        assert all(np.array_equal(heard[name], answers[name]) for name in expected)


def test_a_proof_of_a_plain_form_asks_the_plain_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong one is planted: it forgets a state from step to step."""
    made = plain.plain

    def forgets(network: Any, form: str) -> onnx.ModelProto:
        model = made(network, form)
        (node,) = (node for node in model.graph.node if node.output[0].endswith("voltage_out"))
        node.input[0] = next(entry.name for entry in model.graph.input if entry.name.endswith("voltage"))
        return model

    monkeypatch.setattr(plain, "plain", forgets)
    with pytest.raises(Exception, match=r"disagree|differ"):
        convert(forward(), tmp_path / "wrong.onnx", form="step")
    assert not (tmp_path / "wrong.onnx").exists()


def test_a_form_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"form.*loop.*step"):
        convert(forward(), tmp_path / "x.onnx", form="unrolled")
