"""The two neuron models of PyTorch's frameworks, and a mean over time, as Nengo neuron types; their records are in
`neurons`.

Nengo has no such neurons. Both simulators run these: NengoDL through its fallback for types it does not know.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nengo.dists import Choice
from nengo.neurons import NeuronType
from nengo.params import NdarrayParam, NumberParam


class _Linear(NeuronType):
    """A neuron type whose rates and intercepts mean nothing."""

    spiking = False

    def gain_bias(self, max_rates: Any, intercepts: Any) -> tuple[Any, Any]:
        """Gain 1 and bias 0: rates and intercepts mean nothing here."""
        return np.ones(len(max_rates)), np.zeros(len(max_rates))

    def max_rates_intercepts(self, gain: Any, bias: Any) -> tuple[Any, Any]:
        return np.zeros(len(gain)), np.zeros(len(gain))

    def rates(self, x: Any, gain: Any, bias: Any) -> Any:
        """The current, for want of a rate."""
        return self.current(x, gain, bias)


class LeakyIntegrator(_Linear):
    """``voltage = decay * voltage + J``, which is its output.

    Args:
        decay: (n,), what is left of the voltage after a step.
    """

    state = {"voltage": Choice([0])}  # noqa: RUF012 (Nengo's class attributes)

    decay = NdarrayParam("decay", shape=("*",))

    def __init__(self, decay: Any, initial_state: dict[str, Any] | None = None) -> None:
        super().__init__(initial_state)
        self.decay = decay

    def step(self, dt: float, J: Any, output: Any, voltage: Any) -> None:
        voltage[...] = self.decay * voltage + J
        output[...] = voltage


class LeakyIntegrateAndFire(LeakyIntegrator):
    """The same; where ``voltage > threshold`` it gives 1 and goes on from ``keep * voltage + reset``, elsewhere 0.

    Args:
        decay, threshold, reset: (n,).
        keep: 0 to reset to a value, 1 to reset by subtraction.
    """

    spiking = True

    threshold = NdarrayParam("threshold", shape=("*",))
    reset = NdarrayParam("reset", shape=("*",))
    keep = NumberParam("keep")

    def __init__(
        self, decay: Any, threshold: Any, reset: Any, keep: float, initial_state: dict[str, Any] | None = None
    ) -> None:
        super().__init__(decay, initial_state)
        self.threshold, self.reset, self.keep = threshold, reset, keep

    def step(self, dt: float, J: Any, output: Any, voltage: Any) -> None:
        risen = self.decay * voltage + J
        spiked = risen > self.threshold
        voltage[...] = np.where(spiked, self.keep * risen + self.reset, risen)
        output[...] = spiked


class RunningMean(_Linear):
    """The mean of J over all steps so far."""

    state = {"elapsed": Choice([0]), "mean": Choice([0])}  # noqa: RUF012

    def step(self, dt: float, J: Any, output: Any, elapsed: Any, mean: Any) -> None:
        elapsed += 1
        mean += (J - mean) / elapsed
        output[...] = mean
