"""The neuron models of PyTorch's frameworks and spyx, a mean over time, and neurons that fire at random by numbers that
come again, as Nengo neuron types; their records are in `neurons`.

Nengo has no such neurons. Both simulators run these: NengoDL through its fallback for types it does not know.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from nengo.dists import Choice
from nengo.neurons import NeuronType, RatesToSpikesNeuronType
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


class _Leaky(_Linear):
    """
    Args:
        decay: (n,), what is left of the voltage after a step.
    """

    decay = NdarrayParam("decay", shape=("*",))

    def __init__(self, decay: Any, initial_state: dict[str, Any] | None = None) -> None:
        super().__init__(initial_state)
        self.decay = decay


class LeakyIntegrator(_Leaky):
    """``voltage = decay * voltage + J``, which is its output."""

    state = {"voltage": Choice([0])}  # noqa: RUF012 (Nengo's class attributes)

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


class LeakyVoltage(LeakyIntegrateAndFire):
    """The same, but it gives its voltage, as it is before a spike resets it."""

    spiking = False

    def step(self, dt: float, J: Any, output: Any, voltage: Any) -> None:
        risen = self.decay * voltage + J
        super().step(dt, J, output, voltage)
        output[...] = risen


class LeakyMultiSpike(LeakyIntegrator):
    """A `LeakyIntegrator` that gives how often the threshold fits into the voltage, and takes that away.

    Args:
        decay, threshold: (n,).
    """

    spiking = True

    threshold = NdarrayParam("threshold", shape=("*",))

    def __init__(self, decay: Any, threshold: Any, initial_state: dict[str, Any] | None = None) -> None:
        super().__init__(decay, initial_state)
        self.threshold = threshold

    def step(self, dt: float, J: Any, output: Any, voltage: Any) -> None:
        risen = self.decay * voltage + J
        output[...] = np.floor(np.maximum(risen, 0) / self.threshold)
        voltage[...] = risen - output * self.threshold


class LeakyAdaptive(_Leaky):
    """A `LeakyIntegrator` with a threshold that each spike raises; where it fires it goes on from
    ``keep * voltage + reset - share * threshold``.

    Args:
        decay, threshold, reset, share: (n,).
        fading, growth: (n,), of what lies on the threshold: what is left after a step, and what a spike adds.
        keep: as of `LeakyIntegrateAndFire`.
    """

    spiking = True
    state = {"voltage": Choice([0]), "raised": Choice([0])}  # noqa: RUF012

    threshold = NdarrayParam("threshold", shape=("*",))
    reset = NdarrayParam("reset", shape=("*",))
    share = NdarrayParam("share", shape=("*",))
    fading = NdarrayParam("fading", shape=("*",))
    growth = NdarrayParam("growth", shape=("*",))
    keep = NumberParam("keep")

    def __init__(
        self, decay: Any, threshold: Any, reset: Any, share: Any, fading: Any, growth: Any, keep: float,
        initial_state: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(decay, initial_state)
        self.threshold, self.reset, self.share, self.keep = threshold, reset, share, keep
        self.fading, self.growth = fading, growth

    def step(self, dt: float, J: Any, output: Any, voltage: Any, raised: Any) -> None:
        risen = self.decay * voltage + J
        level = self.threshold + raised
        output[...] = risen > level
        voltage[...] = np.where(output, self.keep * risen + self.reset - self.share * level, risen)
        raised[...] = self.fading * raised + self.growth * output


class LeakyAlpha(_Leaky):
    """It fires where scale times the difference of two currents, which fade, is above its threshold; in the step after
    a spike it takes nothing, and both are zero.

    Args:
        decay, quick_decay, scale, threshold: (n,).
    """

    spiking = True
    state = {"slow": Choice([0]), "quick": Choice([0]), "fired": Choice([0])}  # noqa: RUF012

    quick_decay = NdarrayParam("quick_decay", shape=("*",))
    scale = NdarrayParam("scale", shape=("*",))
    threshold = NdarrayParam("threshold", shape=("*",))

    def __init__(
        self, decay: Any, quick_decay: Any, scale: Any, threshold: Any, initial_state: dict[str, Any] | None = None
    ) -> None:
        super().__init__(decay, initial_state)
        self.quick_decay, self.scale, self.threshold = quick_decay, scale, threshold

    def step(self, dt: float, J: Any, output: Any, slow: Any, quick: Any, fired: Any) -> None:
        slow[...] = (self.decay * slow + J) * (1 - fired)
        quick[...] = (self.quick_decay * quick + J) * (1 - fired)
        output[...] = fired[...] = self.scale * (slow - quick) > self.threshold


class StochasticSpiking(RatesToSpikesNeuronType):
    """``nengo.StochasticSpiking`` with a stream of random numbers of its own for each neuron, the same in every run.

    Args:
        base_type, amplitude, initial_state: as Nengo's.
        stream: (n,), a whole number below 2^24 for each neuron.
    """

    state = {"elapsed": Choice([0])}  # noqa: RUF012

    stream = NdarrayParam("stream", shape=("*",))

    def __init__(
        self, base_type: Any, amplitude: float = 1.0, stream: Any = (0,), initial_state: dict[str, Any] | None = None
    ) -> None:
        super().__init__(base_type, amplitude, initial_state)
        self.stream = stream

    def step(self, dt: float, J: Any, output: Any, elapsed: Any) -> None:
        counts = self.counts(self.uniform(self.stream, elapsed), np.abs(J) * dt)
        elapsed[...] = np.fmod(elapsed + 1, 2**24)
        output[...] = self.amplitude / dt * counts * np.sign(J)

    @staticmethod
    def uniform(stream: Any, elapsed: Any) -> Any:
        """A number in [0, 1) for each neuron of so many steps ago, of 24 bits; see `neurons`."""

        def mixed(x: Any) -> Any:
            x = ((x ^ x >> 16) * 0x21F0AAAD) & 0xFFFFFFFF
            x = ((x ^ x >> 15) * 0x735A2D97) & 0xFFFFFFFF
            return x ^ x >> 15

        now = mixed(np.asarray(elapsed).astype(np.int64) & 0xFFFFFFFF)
        return (mixed((now + np.asarray(stream).astype(np.int64)) & 0xFFFFFFFF) >> 8) * 2.0**-24

    @staticmethod
    def counts(uniform: Any, expected: Any) -> Any:
        """How many spikes a uniform number makes of how many are expected."""
        return np.floor(expected) + (uniform < expected - np.floor(expected))


class PoissonSpiking(StochasticSpiking):
    """The same of ``nengo.PoissonSpiking``. What is expected above 500 spikes a step is added, not drawn."""

    @staticmethod
    def counts(uniform: Any, expected: Any) -> Any:
        mean = np.minimum(expected, 500)
        count, term = np.zeros_like(mean), np.exp(-mean)
        total, number = term.copy(), 0
        while number < 1000 and (below := total < uniform).any():
            number += 1
            count, term = count + below, term * mean / number
            total = total + term
        return count + np.floor(expected - mean)


class RunningMean(_Linear):
    """The mean of J over all steps so far."""

    state = {"elapsed": Choice([0]), "mean": Choice([0])}  # noqa: RUF012

    def step(self, dt: float, J: Any, output: Any, elapsed: Any, mean: Any) -> None:
        elapsed += 1
        mean += (J - mean) / elapsed
        output[...] = mean
