"""Chapter 4: a neuron's rate, what a network remembers, neurons that tire, and few steps."""

from __future__ import annotations

import os
from typing import Any

from . import Verdict, not_yet, right

WANTED_SPIKES = 50
WANTED_ACCURACY = 0.90
FEW_STEPS = 5
TIRED = 0.9
"""Spikes of the second half for each of the first: fewer are "clearly less"."""


def _current(answer: Any) -> Verdict:
    import nengo
    import numpy as np

    current = np.asarray(answer, dtype=float)
    if current.size != 1:
        return not_yet(f"One current is wanted, and these are {current.size} numbers.")
    if not np.isfinite(current).all():
        return not_yet(f"A current is a number, and this is {current.item()}.")
    voltage, rest, out, spikes = np.zeros(1), np.zeros(1), np.zeros(1), 0
    for _ in range(1000):
        nengo.LIF().step(0.001, current.reshape(1), out, voltage, rest)
        spikes += int(out[0] > 0)
    if spikes == WANTED_SPIKES:
        return right(f"With a current of {float(current.item()):g} the neuron fires {spikes} times in a second.")
    if not spikes:
        return not_yet("With this current the voltage never passes 1: the leak takes away what flows in.")
    much = "more than wanted: make the current weaker" if spikes > WANTED_SPIKES else "fewer: make it stronger"
    return not_yet(f"With this current the neuron fires {spikes} times in 1,000 steps, which is {much}.")


def _remembered(answer: Any) -> Verdict:
    import numpy as np

    from workbench.frameworks.spiking.load import load_network
    from workbench.paper.models import make_sample

    network = load_network(make_sample("snn-digits", "models"))
    if np.size(answer) != 1 or isinstance(answer, dict | str) or answer is None:
        return not_yet("One number is wanted: how many numbers all arrays in engine.state hold.")
    said = int(answer)
    wanted = sum(node.size * len(node.states) for node in network.nodes)
    neurons = sum(node.size for node in network.neurons())
    in_neurons = sum(node.size * len(node.states) for node in network.neurons())
    arrays = sum(len(node.states) for node in network.nodes)
    parameters = sum(
        array.size for node in network.nodes if node.op in ("Conv", "Gemm") for array in node.weights.values()
    )
    if said == wanted:
        return right("Every neuron keeps its voltage and its time of rest, and the output's filter its levels.")
    if said == neurons:
        return not_yet("That is how many neurons there are, and a LIF neuron remembers more than one number.")
    if said == in_neurons:
        return not_yet("That is what the neurons remember; look for one more name in engine.state.")
    if said == arrays:
        return not_yet("That is how many arrays engine.state holds; count the numbers in them.")
    if said == parameters:
        return not_yet("Those are the weights and biases, which stay the same from step to step.")
    if said == 4 * wanted:
        return not_yet("That is how many bytes they take, or the state of 4 pictures; count the numbers of one.")
    if said == 30 * wanted:
        return not_yet("That is 30 times as many: what is kept from one step to the next counts once, not once a step.")
    if said % wanted == 0 and said:
        return not_yet(f"That is the state of {said // wanted} pictures at once; run one.")
    return not_yet("Add up the sizes of all arrays in engine.state, after a run of one picture.")


def _tired(answer: Any) -> Verdict:
    import numpy as np

    from workbench import detect, load_engine

    if not isinstance(answer, str | os.PathLike):
        return not_yet("The path of an ONNX file is wanted, such as convert was given.")
    if not os.path.exists(answer):
        return not_yet("There is no such file: did convert write it?")
    kind = detect(answer).kind
    if kind != "SNN":
        return not_yet(f"detect says {kind or 'no kind'} of this file: are there spiking neurons in it?")
    engine: Any  # for spiking networks engines take steps and spikes, too
    with load_engine(answer, "onnxruntime") as engine:
        size = engine.inputs[0].shape[-1]
        ops = {node.op for node in engine.network.neurons()}
        rates = sorted(op for op in ops if op.endswith(("Rate", "RectifiedLinear")) and "Spiking" not in op)
        if rates:
            return not_yet(f"{', '.join(rates)} gives a rate at every step, no spikes: choose a type that spikes.")
        fired = engine.run(np.ones((1, size), np.float32), steps=1000, spikes=engine.layers)
        trains = [np.asarray(fired[layer])[0] != 0 for layer in engine.layers]
    first, second = (int(sum(train[part].sum() for train in trains)) for part in (slice(0, 500), slice(500, 1000)))
    counted = f"{first:,} spikes in the first half second and {second:,} in the second"
    names = ", ".join(sorted(ops))
    if not first:
        return not_yet("These neurons do not fire at all under a constant input of 1.")
    if second < TIRED * first:
        return right(f"{names}: {counted}, under a constant input of 1, in ONNX Runtime.")
    if ops == {"LIF"}:
        return not_yet(f"This layer is still made of LIF neurons: {counted}.")
    way = "It has parameters, too." if second < 0.99 * first else "They hardly tire: look for another type."
    return not_yet(f"{names}: {counted}. Clearly less would be under {TIRED:.0%} of the first half. {way}")


def _few_steps(answer: Any) -> Verdict:
    import nengo

    from workbench import latency, load_engine
    from workbench.frameworks.spiking.network import SpikingNetwork
    from workbench.paper.data import dataset

    test = dataset("digits", "test")
    if not isinstance(answer, SpikingNetwork | nengo.Network | os.PathLike):
        return not_yet("The network itself is wanted: what spiking gives.")
    engine: Any
    with load_engine(answer, "onnxruntime") as engine:
        if not hasattr(engine, "layers"):
            return not_yet("No neuron spikes in this network. Give relu_path to spiking; what that gives is wanted.")
        if engine.inputs[0].shape[-1] != test.inputs.shape[-1]:
            return not_yet("This network reads other pictures, not digits of 8 × 8 pixels: give relu_path to spiking.")
    (row,) = latency({"answer": answer}, test.inputs, test.targets, steps=(FEW_STEPS,)).rows
    said, each = row.accuracy, row.spikes
    told = f"{said:.1%} of the test digits after {FEW_STEPS} steps, with {each:.0f} spikes for a digit"
    if said >= WANTED_ACCURACY:
        return right(f"It reads {told}.")
    if each < 20:
        return not_yet(f"It reads {told}: so few spikes tell little. What makes neurons fire sooner?")
    return not_yet(f"It reads {told}. Which parameter says after how many steps the answer is wanted?")


EXERCISES = {"4.1": _current, "4.2": _remembered, "4.3": _tired, "4.4": _few_steps}
