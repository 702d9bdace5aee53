"""The neuron and synapse models: their parameters and what they remember, by Nengo's names.

The equations are in `operators.py`. Sources: Nengo 4.1 ``nengo/neurons.py`` and ``synapses.py``, NengoDL 3.6
``neuron_builders.py``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A neuron or synapse model.

    Attributes:
        parameters: its float attributes, named as Nengo's constructor names them; dt, in seconds, comes on top.
        states: what it remembers from step to step, in the order of the operator's inputs.
        spiking: it gives spikes (amplitude / dt, or 0) rather than rates.
        base: for `RegularSpiking`, the rate model it makes regular.
        weights: parameters that differ from neuron to neuron, beside gain and bias, in the order of the operator's
            inputs (after bias, before the states).
    """

    parameters: tuple[str, ...]
    states: tuple[str, ...] = ()
    spiking: bool = False
    base: str | None = None
    weights: tuple[str, ...] = ()


_RATES = {
    "RectifiedLinear": Model(("amplitude",)),
    "LIFRate": Model(("tau_rc", "tau_ref", "amplitude")),
    "SoftLIFRate": Model(("sigma", "tau_rc", "tau_ref", "amplitude")),
    "SigmoidRate": Model(("tau_ref",)),
    "TanhRate": Model(("tau_ref",)),
}

NEURONS: dict[str, Model] = {
    "LIF": Model(("tau_rc", "tau_ref", "min_voltage", "amplitude"), ("voltage", "refractory_time"), True),
    "AdaptiveLIF": Model(
        ("tau_n", "inc_n", "tau_rc", "tau_ref", "min_voltage", "amplitude"),
        ("voltage", "refractory_time", "adaptation"),
        True,
    ),
    "AdaptiveLIFRate": Model(("tau_n", "inc_n", "tau_rc", "tau_ref", "amplitude"), ("adaptation",)),
    "SpikingRectifiedLinear": Model(("amplitude",), ("voltage",), True),
    "Izhikevich": Model(
        ("tau_recovery", "coupling", "reset_voltage", "reset_recovery"), ("voltage", "recovery"), True
    ),
    **_RATES,
    **{
        f"RegularSpiking{base}": Model(
            ("amplitude", *(f"base_{name}" for name in rate.parameters)), ("voltage",), True, base
        )
        for base, rate in _RATES.items()
    },
    "LeakyIntegrateAndFire": Model(("keep",), ("voltage",), True, weights=("decay", "threshold", "reset")),
    "LeakyIntegrator": Model((), ("voltage",), weights=("decay",)),
}  # fmt: skip
"""op_type in domain ``org.nengo`` -> its model. Each is Nengo's (or NengoDL's) class of that name, but for SigmoidRate
and TanhRate: ``nengo.Sigmoid`` and ``nengo.Tanh``, unlike ONNX's operators of that name. The regular spiking ones are
``nengo.RegularSpiking`` around the rate model in their name, whose parameters start with ``base_``.

The last two are not Nengo's: they are one step of what PyTorch's spiking frameworks compute, and what `nir.py` reads
their neurons as. With J = gain * x + bias:

- LeakyIntegrator: ``voltage = decay * voltage + J`` and gives voltage.
- LeakyIntegrateAndFire: the same, then where ``voltage > threshold`` it gives 1 and goes on from
  ``keep * voltage + reset`` (keep 0: reset to a value; keep 1 and reset -threshold: reset by subtraction), elsewhere 0.
"""

SYNAPSES: dict[str, Model] = {"Lowpass": Model(("tau",), ("level",)), "Alpha": Model(("tau",), ("rise", "level"))}
"""op_type in domain ``org.nengo`` -> its model. Both give what they remember and take in their input after: one step of
delay, as in Nengo."""
