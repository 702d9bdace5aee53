"""Neurons of other frameworks that remember more than a voltage and a current, found by asking (`island`).

A threshold that spikes raise (spyx's ALIF), and two currents whose difference is the voltage (snnTorch's Alpha): their
parameters are found from single steps, and then the file's neurons and ours are driven by the same currents, small and
large, for many steps. They are taken where every spike is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import UnsupportedModel
from .island import Arriving, Island, close, snapped
from .neurons import NEURONS
from .unroll import Op

STEPS, SCALES = 60, (0.3, 1.0, 3.0, 30.0, 1e6)
"""How long the neurons are driven, and by how many times their thresholds at the most, about."""


@dataclass
class Found:
    """A neuron: its op, what it is given with gains, and by name its bias, parameters and states before the start."""

    op: str
    arriving: Arriving
    parameters: dict[str, np.ndarray]


def several_memories(island: Island) -> Found | None:
    """The neuron that an island is, if it is one of these."""
    if island.voltage is None or len(island.currents) < 2:
        return None
    for kind in (_alpha, _adaptive):
        try:
            if (found := kind(_Asked(island))) is not None and _same_spikes(island, found):
                return found
        except UnsupportedModel:  # it is not even what was asked about
            continue
    return None


class _Asked:
    """An island, asked from any state."""

    def __init__(self, island: Island) -> None:
        assert island.voltage is not None
        self.island, self.voltage = island, island.voltage
        self.threshold = island.threshold()
        below = self.threshold - np.abs(self.threshold) - 1
        self.silent = island.recalled(below)
        self.start = {b: island.starts.get(b, 0.0) for b in island.own}
        self.outside = outside(island)
        self.nothing = dict.fromkeys(self.outside, np.zeros(()))

    def before(self, **cores: tuple[Op, Any]) -> dict[Op, Any]:
        """What is remembered where those currents had those values, all others zero, and nothing fired."""
        values = dict.fromkeys(self.island.currents, 0.0) | dict(cores.values())
        return self.silent | {
            b: self.island.compute(a, {core: np.broadcast_to(value, core.shape)})
            for core, value in values.items()
            for b, a in self.island.currents[core].items()
        }

    def ask(self, op: Op, before: dict[Op, Any], arriving: Any = 0.0) -> np.ndarray:
        """A value of the next step. arriving: the same from everywhere."""
        given = dict.fromkeys(self.outside, np.broadcast_to(arriving, op.shape))
        return self.island.compute(op, before | given)

    def gains(self, op: Op, moving: Op) -> Arriving:
        """What arrives at a value, each with its gain, whatever `moving` was."""
        leaves = self.island.leaves(op)
        return self.island.gains(op, leaves, self.start, lambda value: self.before(at=(moving, value)))


def outside(island: Island) -> list[Op]:
    """What an island is given that it does not remember itself."""
    assert island.voltage is not None
    ends = [island.voltage, *island.own.values()]
    leaves = dict.fromkeys(leaf for end in ends for leaf in island.leaves(end))
    return [leaf for leaf in leaves if leaf not in island.own and leaf not in island.inside]


def _alpha(asked: _Asked) -> Found | None:
    if len(asked.island.currents) != 2:
        return None
    rest = asked.before()
    voltage, fitted = asked.voltage, []
    for core in asked.island.currents:
        bias = asked.ask(core, rest)
        one = asked.before(at=(core, 1.0))
        decay = snapped(asked.ask(core, one) - bias)
        share = asked.ask(voltage, one) - asked.ask(voltage, rest)
        start = asked.ask(core, asked.start) - bias
        arriving = asked.gains(core, core)
        if not (decay.all() and arriving and arriving[0][1].all()):
            return None
        fitted.append((decay, bias, share / decay, start / decay, arriving))
    slow, quick = sorted(fitted, key=lambda one: -float(one[0].mean()))
    turned = quick[4][0][1] / slow[4][0][1]
    same = [leaf for leaf, _ in slow[4]] == [leaf for leaf, _ in quick[4]] and all(
        close(gain * turned, other) for (_, gain), (_, other) in zip(slow[4], quick[4], strict=True)
    )
    if not (same and close(slow[1] * turned, quick[1]) and close(slow[2], -quick[2] * turned)):
        return None
    return Found("LeakyAlpha", slow[4], {
        "bias": slow[1], "decay": slow[0], "quick_decay": quick[0], "scale": snapped(slow[2]),
        "threshold": asked.threshold, "slow": slow[3], "quick": quick[3] / turned, "fired": np.zeros(voltage.shape),
    })  # fmt: skip


def _adaptive(asked: _Asked) -> Found | None:
    island, distance = asked.island, asked.voltage  # how far the voltage is above its threshold
    given = [core for core in island.currents if not set(asked.outside).isdisjoint(island.leaves(core, island.after))]
    kept = [
        core for core, back in island.currents.items()
        if core not in given and not set(back).isdisjoint(island.leaves(core, {*island.currents, *island.after}))
    ]  # fmt: skip
    if len(given) != 1 or len(kept) != 1:
        return None
    (volts,), (raised,) = given, kept
    rest, lower, higher = asked.before(), asked.before(at=(volts, -1.0)), asked.before(at=(raised, 1.0))
    still, arriving = asked.ask(distance, rest) - asked.threshold, asked.gains(distance, volts)
    # The voltage in the unit of the distance; nothing fires on a current below zero.
    unit = (still + asked.threshold - asked.ask(distance, rest, -1.0)) / (
        asked.ask(volts, rest) - asked.ask(volts, rest, -1.0)
    )
    bias = unit * asked.ask(volts, rest)
    threshold = snapped(bias - still)
    decay = snapped((still + asked.threshold - asked.ask(distance, lower)) / unit)
    weight = snapped(still + asked.threshold - asked.ask(distance, higher))
    fading = snapped(asked.ask(raised, higher) - asked.ask(raised, rest))

    def fired(times: float, raise_by: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The voltage that a strong current leads to, what a spike makes of it, and what lies on the threshold then."""
        strong = 3 * times * (np.abs(threshold) + np.abs(weight) + 1) / np.sum([gain for _, gain in arriving], axis=0)
        known = asked.before(at=(raised, raise_by))
        after = {b: asked.ask(a, known, strong) for b, a in island.own.items()}
        level = threshold + weight * asked.ask(raised, known, strong)
        risen = asked.ask(distance, known, strong) - asked.threshold + threshold + weight * raise_by
        return risen, (asked.ask(distance, after) - asked.threshold + level - bias) / decay, level - threshold

    (risen, after, growth), (more, beyond, _), (_, above, _) = fired(1, 0), fired(2, 0), fired(1, 1)
    keep, share = snapped((beyond - after) / (more - risen)), snapped((after - above) / weight)
    if not (decay.all() and fading.all() and weight.all() and close(keep, keep.flat[0])):
        return None
    adapted = weight * asked.ask(raised, asked.start) / fading
    begun = (asked.ask(distance, asked.start) - asked.threshold + threshold + adapted - bias) / decay
    return Found("LeakyAdaptive", arriving, {
        "bias": bias, "decay": decay, "threshold": threshold, "share": share, "keep": keep,
        "reset": snapped(after - keep * risen + share * threshold),
        "fading": fading, "growth": growth, "voltage": snapped(begun), "raised": snapped(adapted),
    })  # fmt: skip


def _same_spikes(island: Island, found: Found) -> bool:
    """Whether the file's neurons and ours fire in the same steps, from their start, and do fire."""
    model, voltage, threshold = NEURONS[found.op], island.voltage, island.threshold()
    assert voltage is not None
    flat = {key: np.broadcast_to(value, voltage.shape).astype(float).ravel() for key, value in found.parameters.items()}
    if not all(np.isfinite(value).all() for value in flat.values()):
        return False
    said = {key: flat[key] for key in model.weights} | {key: float(flat[key][0]) for key in model.parameters}
    neuron = model.nengo_class()(**said)
    rng, ever = np.random.default_rng(0), False
    unit = np.abs(flat["threshold"]).max() + 1
    for scale in SCALES:
        before: dict[Op, Any] = {b: island.starts.get(b, np.zeros(())) for b in island.own}
        states, output = {key: flat[key].copy() for key in model.states}, np.zeros(len(flat["bias"]))
        for _ in range(STEPS):
            given = {leaf: rng.normal(0.1, 1, voltage.shape) * scale * unit for leaf, _ in found.arriving}
            current = sum((gain * given[leaf] for leaf, gain in found.arriving), np.zeros(voltage.shape))
            neuron.step(1.0, current.ravel() + flat["bias"], output, **states)
            known = before | given
            fires = island.compute(voltage, known) > threshold
            if not np.array_equal(fires.ravel(), output.astype(bool)):
                return False
            before = {b: island.compute(a, known) for b, a in island.own.items()}
            ever = ever or bool(fires.any())
    return ever
