"""The neuron, synapse and learning models: one record each, with its equations, by Nengo's names.

`equations.py` says how they are written, and `operators.py` makes ONNX functions of them. A step computes ``y`` and
each ``<state>_next`` from the current ``J = gain * x + bias`` (a synapse: from ``x_t``) and each ``<state>``;
attributes are there as ``k_<name>``, and the numbers ``zero`` and ``one``.

Constants are made at function scope and captured by the Scan's body: onnx.reference cannot resolve an attribute
reference inside a subgraph. Equations: Nengo 4.1 ``neurons.py`` and ``synapses.py``, NengoDL 3.6
``neuron_builders.py``; operation for operation in NengoDL's order, except where a comment says otherwise.

A new model is its equations and a record at the end of this file, and a class in `nengo_neurons` where Nengo has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import chain
from typing import Any

from .equations import Equations, equations, lines


@dataclass(frozen=True)
class Bound:
    """What a parameter may be: `says` in words, from `least` to `most`, finite except where `most` is 0."""

    says: str = "a finite number"
    least: float = -math.inf
    most: float = math.inf


ANY = Bound()
# Smaller ones are zero in ONNX Runtime, which the engine tells to treat subnormal numbers so.
POSITIVE = Bound("more than 0", least=1.2e-38)
NOT_NEGATIVE = Bound("0 or more", least=0)
NOT_POSITIVE = Bound("0 or less", most=0)


@dataclass(frozen=True)
class Model:
    """A neuron or synapse model: all that is known of it.

    Attributes:
        name: its op_type in domain ``org.nengo``.
        equations: one step of it.
        parameters: its float attributes, named as Nengo's constructor names them, and what they may be; dt, in
            seconds, comes on top.
        states: what it remembers from step to step, in the order of the operator's inputs.
        spiking: it gives spikes (amplitude / dt, or 0) rather than rates.
        weights: parameters that differ from neuron to neuron, beside gain and bias, in the order of the operator's
            inputs (after bias, before the states).
        fast: equations that hold only where `operators.has_fast_form` says so.
        base: for what makes spikes of rates, such as ``RegularSpiking``, the name of the rate model.
        nengo: the class in Nengo or NengoDL that computes the same; its module and name.
        synapse: it has no gain and bias, and gives the last of what it remembers: its input comes out one step later,
            as in Nengo. So has a learning rule, which gives weights.
        takes: the signals it takes, in the order of the operator's inputs.
    """

    name: str
    equations: Equations
    parameters: Mapping[str, Bound] = field(default_factory=dict)
    states: tuple[str, ...] = ()
    spiking: bool = False
    weights: tuple[str, ...] = ()
    fast: Equations | None = None
    base: str = ""
    nengo: str = ""
    synapse: bool = False
    takes: tuple[str, ...] = ("x",)

    @property
    def drive(self) -> tuple[str, ...]:
        """What broadcasts against its signal, in the order of the operator's inputs; the states come after it."""
        return self.weights if self.synapse else ("gain", "bias", *self.weights)

    @property
    def nengo_path(self) -> str:
        """Module and name of the class in Nengo, NengoDL or `nengo_neurons`."""
        return self.nengo or f"nengo.{'synapses' if self.synapse else 'neurons'}.{self.name}"

    def nengo_class(self) -> Any:
        """That class."""
        module, _, name = self.nengo_path.rpartition(".")
        if module.startswith("nengo_dl."):
            from .borrowed import import_nengo_dl

            import_nengo_dl()
        return getattr(import_module(module), name)


# --- neurons ------------------------------------------------------------------------------------------------------

# ONNX has neither expm1 nor log1p, and float32's 1 + x forgets most of a small x: a strong current would make tenths of
# a voltage of that. So these are computed in double (names ending in _d), and rounded once.
_LIF = equations(
    """
    delta = Clip(k_dt - refractory_time, zero, k_dt)
    expm1 = single(Exp(double(delta / tau_negative)) - one_d)
    risen = voltage + (voltage - J) * expm1
    spiked = risen > one
    y = Where(spiked, alpha, zero)
    q = (risen - one) / (J - one)
    early = single(tau_d * Log(one_d - double(q)))
    refractory_time_next = Where(spiked, k_tau_ref + early, refractory_time - k_dt)
    voltage_next = Where(spiked, zero, Max(risen, k_min_voltage))
    """,
    setup="""
    alpha = k_amplitude / k_dt
    tau_negative = -k_tau_rc
    tau_d = double(k_tau_rc)
    one_d = double(one)
    """,
)

# The same neuron with neither Exp, Log nor Where in the loop, much faster. The loop keeps, instead of the refractory
# time R, the share u = 1 - exp((R - dt) / tau_rc) of the way to J that the voltage may go in the next step: none while
# u < 0, and c0 = 1 - exp(-dt / tau_rc) at most. Waiting a step makes u' = c0 + exp(-dt / tau_rc) u, held at c0; a spike
# u' = 1 - (1 - q) exp((tau_ref - dt) / tau_rc) with q = (v - 1) / (J - 1). Min picks the right one of both: a neuron
# fires only with u > 0, where waiting leads to c0 or more, and of two such any is right, for more than c0 is no more.
# ThresholdedRelu keeps the voltages of those that fired, Clip makes them ones.
_LIF_FAST = equations(
    """
    over = J - one
    scale = paused / Max(over, tiny)
    share = Clip(refractory_time, zero, c0)
    risen = voltage + (J - voltage) * share
    fired = ThresholdedRelu(risen, alpha=1.0)
    spike = Clip(fired, zero, one)
    y = spike * alpha
    q = (fired - spike) * scale
    after_spike = spike * back + q
    after_wait = refractory_time * waited
    less = Min(after_wait, after_spike)
    refractory_time_next = less + c0
    voltage_next = Max(risen - fired, k_min_voltage)
    """,
    setup="""
    alpha = k_amplitude / k_dt
    tiny = 1e-30
    one_d = double(one)
    dt_d = double(k_dt)
    tau_d = double(k_tau_rc)
    waited_d = Exp(-double(k_dt / k_tau_rc))
    waited = single(waited_d)
    c0_d = one_d - waited_d
    c0 = single(c0_d)
    paused_d = Exp(double((k_tau_ref - k_dt) / k_tau_rc))
    paused = single(paused_d)
    back = single(one_d - paused_d - c0_d)
    """,
    enter="""
    u_d = one_d - Exp(double(refractory_time_in - k_dt) / tau_d)
    refractory_time_first = Min(single(u_d), c0)
    """,
    leave="""
    left_d = Log(one_d - double(refractory_time_last)) * tau_d
    refractory_time_out = single(left_d + dt_d)
    """,
)


def _adaptive(base: Equations) -> Equations:
    """A model with an adaptation n that is subtracted from its current and grows with its output."""
    grown = lines("adaptation_next = adaptation + pace * (k_inc_n * y - adaptation)")
    return replace(
        base,
        setup=base.setup + lines("pace = k_dt / k_tau_n"),
        step=lines("J = J_full - adaptation") + base.step + grown,
    )


_RECTIFIED = equations("y = Relu(J) * k_amplitude")

_SPIKING_RECTIFIED = equations(
    """
    filled = voltage + Relu(J) * k_dt
    spikes = Floor(filled)
    voltage_next = filled - spikes
    y = spikes * alpha
    """,
    setup="alpha = k_amplitude / k_dt",
)

_LIF_RATE = equations(
    """
    over = J - one
    ratio = one + Reciprocal(Max(over, least))
    rate = k_amplitude / (k_tau_ref + k_tau_rc * Log(ratio))
    y = Where(over > zero, rate, zero)
    """,
    setup="least = 1e-15",
)

# softplus underflows far below the threshold, where log(1 + 1/z) is -J/sigma - log(sigma).
_SOFT_LIF_RATE = equations(
    """
    scaled = (J - one) / k_sigma
    near = scaled > lowest
    z = Softplus(Where(near, scaled, zero)) * k_sigma
    far = -scaled - log_sigma
    q = Where(near, Log(one + Reciprocal(z)), far)
    y = k_amplitude / (k_tau_ref + k_tau_rc * q)
    """,
    setup="""
    lowest = -20.0
    log_sigma = Log(k_sigma)
    """,
)

_SIGMOID_RATE = equations("y = Sigmoid(J) / k_tau_ref")
_TANH_RATE = equations("y = Tanh(J) / k_tau_ref")

# Nengo multiplies the derivatives by 1000: the model's own unit of time is the millisecond. The output has no
# amplitude.
# It fires from 30 on, that is above the largest float32 below it: ONNX Runtime before 1.24 did not load this neuron,
# and GreaterOrEqual, itself a function, was all that no other neuron has.
# In double: between two spikes a voltage's error grows a thousandfold, and of terms as large as these float32 keeps few
# digits behind the point.
_IZHIKEVICH = equations(
    """
    input_d = double(Max(J, lowest))
    v_d = double(voltage)
    u_d = double(recovery)
    v_change = ((square * v_d + linear) * v_d + offset - u_d + input_d) * ms
    risen = single(v_d + v_change)
    spiked = risen > below_peak
    y = Where(spiked, alpha, zero)
    voltage_next = Where(spiked, k_reset_voltage, risen)
    u_risen_d = u_d + rise * (coupling_d * double(voltage_next) - u_d)
    u_risen = single(u_risen_d)
    u_reset = single(u_risen_d + reset_d)
    recovery_next = Where(spiked, u_reset, u_risen)
    """,
    setup="""
    thousand = 1000.0
    ms = double(thousand) * double(k_dt)
    lowest = -30.0
    below_peak = 29.999998092651367
    square = double(0.04)
    linear = double(5.0)
    offset = double(140.0)
    coupling_d = double(k_coupling)
    rise = double(k_tau_recovery) * ms
    reset_d = double(k_reset_recovery)
    alpha = one / k_dt
    """,
)


# One step of what PyTorch's spiking frameworks compute, and what `nir.py` reads their neurons as. Nengo has no such
# neurons (`nengo_neurons`). keep 0 resets to a value; keep 1, with reset -threshold, by subtraction.
_LEAKY_INTEGRATOR = equations(
    """
    voltage_next = decay * voltage + J
    y = Identity(voltage_next)
    """
)
_LEAKY_INTEGRATE_AND_FIRE = equations(
    """
    risen = decay * voltage + J
    spiked = risen > threshold
    y = Where(spiked, one, zero)
    voltage_next = Where(spiked, k_keep * risen + reset, risen)
    """
)
# Its voltage before a spike resets it, for what reads that.
_LEAKY_VOLTAGE = equations(
    """
    risen = decay * voltage + J
    spiked = risen > threshold
    y = Identity(risen)
    voltage_next = Where(spiked, k_keep * risen + reset, risen)
    """
)
# The same with a threshold that grows with each spike and comes back, of which a reset may take a share away.
_LEAKY_ADAPTIVE = equations(
    """
    risen = decay * voltage + J
    level = threshold + raised
    spiked = risen > level
    y = Where(spiked, one, zero)
    voltage_next = Where(spiked, k_keep * risen + reset - share * level, risen)
    raised_next = fading * raised + growth * y
    """
)
# Two currents that fade at different paces: their difference, scaled, is the voltage. In the step after a spike nothing
# arrives, and all begins at zero.
_LEAKY_ALPHA = equations(
    """
    awake = one - fired
    slow_next = (decay * slow + J) * awake
    quick_next = (quick_decay * quick + J) * awake
    risen = scale * (slow_next - quick_next)
    spiked = risen > threshold
    y = Where(spiked, one, zero)
    fired_next = Identity(y)
    """
)


# The same, but it fires as often in a step as the threshold fits into the voltage, and that is taken away at once.
_LEAKY_MULTI_SPIKE = equations(
    """
    risen = decay * voltage + J
    y = Floor(Relu(risen) / threshold)
    voltage_next = risen - y * threshold
    """
)


# What came in so far, on average: what is read from spikes that count for as long as the network runs.
_RUNNING_MEAN = equations(
    """
    elapsed_next = elapsed + one
    mean_next = mean + (J - mean) / elapsed_next
    y = Identity(mean_next)
    """
)


_REGULAR = equations(
    """
    filled = voltage + k_dt * rate_out
    spikes = Floor(filled)
    voltage_next = filled - spikes
    y = alpha * spikes
    """,
    setup="alpha = k_amplitude / k_dt",
)


def _fired(spikes: Equations, base: Equations, parameters: Iterable[str]) -> Equations:
    """Spikes at the rate of `base`, whose parameters are called ``base_<name>`` here."""

    def renamed(text: str) -> str:
        for name in parameters:
            text = text.replace(f"k_{name}", f"k_base_{name}")
        return re.sub(r"\by(?=\b|_\d)", "rate_out", text)

    return Equations(renamed(base.setup) + spikes.setup, renamed(base.step) + spikes.step)


MOST_DRAWN = 500
"""Spikes that a neuron is expected to fire in one step, above which a Poisson's number of them is not drawn: what goes
beyond is added. exp(-500) is still a number."""

# A stream of uniform numbers for each neuron: the upper 24 bits of a hash of the step's number and the neuron's own, a
# whole number called stream. What there is of randomness is in the file, so every run gives the same, on any machine.
# The hash is "lowbias32" of Chris Wellons' hash-prospector with the multipliers 21f0aaad and 735a2d97, which are below
# 2^31: no product of theirs is too large for int64, the widest that ONNX multiplies.
_STREAM = """
    low_half = 65536
    low_bits = 32768
    first_factor = 569420461
    second_factor = 1935289751
    all_bits = 4294967295
    dropped = 256
    all_steps = 16777216.0
    finest = double(5.9604644775390625e-08)
    alpha = k_amplitude / k_dt
"""


def _mixed(taken: str, made: str) -> str:
    """Lines that hash 32 bits."""
    return f"""
    {made}_cut = ({taken} ^ {taken} / low_half) * first_factor & all_bits
    {made}_kept = ({made}_cut ^ {made}_cut / low_bits) * second_factor & all_bits
    {made} = {made}_kept ^ {made}_kept / low_bits
"""


_DRAW = f"""
    elapsed_bits = long(elapsed) & all_bits
    {_mixed("elapsed_bits", "now")}
    own_bits = now + long(stream) & all_bits
    {_mixed("own_bits", "drawn")}
    uniform_d = double(drawn / dropped) * finest
    elapsed_next = Mod(elapsed + one, all_steps, fmod=1)
    direction = Sign(rate_out)
    expected = Abs(rate_out) * k_dt
"""
_FIRE = "y = count * direction * alpha"
_STOCHASTIC = equations(
    f"""
    {_DRAW}
    sure = Floor(expected)
    count = sure + single(uniform_d < double(expected - sure))
    {_FIRE}
    """,
    setup=_STREAM,
)
# How many of the cumulative probabilities P(0), P(0) + P(1) … are below the uniform number. ONNX Runtime's Scan wants
# to know the shape of a result beforehand, and a Loop's is unknown; that of PRelu is its first input's.
_POISSON_LOOP = """
  fired_d, last_term, last_sum = Loop <
      body = term (int64 number, bool going, double[] counted_d, double[] term_d, double[] sum_d)
          => (bool more, double[] counted_next, double[] term_next, double[] sum_next) {
    below = Less (sum_d, uniform_d)
    below_d = Cast <to = 11> (below)
    counted_next = Add (counted_d, below_d)
    number_d = Cast <to = 11> (number)
    next_d = Add (number_d, one_d)
    share = Div (mean_d, next_d)
    term_next = Mul (term_d, share)
    sum_next = Add (sum_d, term_next)
    any_d = ReduceMax <keepdims = 0> (below_d)
    more = Greater (any_d, zero_d)
  }> (terms, yes, nothing_d, none_d, none_d)
"""
_POISSON = Equations(
    lines(
        f"""
    {_STREAM}
    most = {MOST_DRAWN}.0
    zero_d = double(0.0)
    one_d = double(1.0)
    terms = {2 * MOST_DRAWN}
    """
    )
    + "  yes = Constant <value: tensor = bool {1}> ()\n",
    lines(
        f"""
    {_DRAW}
    bounded = Min(expected, most)
    surplus = Floor(expected - bounded)
    mean_d = double(bounded)
    none_d = Exp(-mean_d)
    nothing_d = none_d * zero_d
    """
    )
    + _POISSON_LOOP
    + lines(
        f"""
    minus_one = expected * zero - one
    count = -PRelu(minus_one, single(fired_d)) + surplus
    {_FIRE}
    """
    ),
)


# --- synapses ------------------------------------------------------------------------------------------------------

# Nengo discretises with a zero-order hold. A synapse gives what it remembers and takes in its input after.
_FADING = """
    dt_in_tau = k_dt / k_tau
    decay = Exp(-dt_in_tau)
    gain = one - decay
"""
_LOWPASS = equations("level_next = decay * level + gain * x_t", setup=_FADING)

# tau^2 y'' + 2 tau y' + y = u as two states: level is y, rise is y + tau y'. With E = exp(-dt/tau) and r = dt/tau,
#   rise'  = E rise + (1 - E) u          level' = E (r rise + level) + (1 - E (1 + r)) u
_ALPHA = equations(
    """
    rise_next = decay * rise + gain * x_t
    level_next = passed * rise + decay * level + gain_level * x_t
    """,
    setup=f"""
    {_FADING}
    passed = decay * dt_in_tau
    gain_level = gain - passed
    """,
)
# A filter of two states (`filters`): x2' = x2 + u - d1 x2 - d2 x1, x1' = x1 + x2, and level' = c0 u + c1 x2 + c2 x1.
_LINEAR_FILTER = equations(
    """
    moved = x_t - k_d1 * second - k_d2 * first
    second_next = second + moved
    first_next = first + second
    level_next = k_c1 * second + k_c2 * first + k_c0 * x_t
    """
)

# --- learning rules ------------------------------------------------------------------------------------------------

# Nengo 4.1 ``builder/learning_rules.py``. A rule remembers the weights of a connection and gives them as they are in
# this step; how the step changes them counts in the next. c is a column, a number for each row of the weights, r a row.
_PACE = """
    pace = k_learning_rate * k_dt
    columns = [-1]
    rows = [1]
"""

# w' = w - rate dt / n * c r, with the error as c and the activities of n neurons as r.
_PES = equations(
    """
    c = Unsqueeze(error * share, columns)
    r = Unsqueeze(activities, rows)
    weights_next = weights - c * r
    """,
    setup=f"""
    {_PACE}
    neurons = single(Shape(activities, start=1))
    share = pace / neurons
    """,
)
# w' = w + rate dt (c r - beta c c w), with what the neurons after the connection do as c, and those before it as r.
_OJA = equations(
    """
    paced = post * pace
    c = Unsqueeze(paced, columns)
    r = Unsqueeze(pre, rows)
    fading = Unsqueeze(paced * post * k_beta, columns)
    weights_next = weights + (c * r - fading * weights)
    """,
    setup=_PACE,
)
# w' = w + rate dt c (c - threshold) r, the same.
_BCM = equations(
    """
    over = post - threshold
    c = Unsqueeze(post * pace * over, columns)
    r = Unsqueeze(pre, rows)
    weights_next = weights + c * r
    """,
    setup=_PACE,
)
# Of encoders: w' = w + rate dt signal c (scale r - w), with the neurons' activities as c, and as r what goes into them.
_VOJA = equations(
    """
    c = Unsqueeze(activities * (signal * pace), columns)
    r = Unsqueeze(value, rows)
    weights_next = weights + c * (scale * r - weights)
    """,
    setup=_PACE,
)

# --- records -------------------------------------------------------------------------------------------------------

# Seconds: tau_rc, how fast the voltage follows the current; tau_ref, how long a neuron rests after a spike; tau_n, how
# fast adaptation fades. inc_n: how much a spike adds to it. amplitude: the area under a spike. sigma: how soft the
# threshold is. min_voltage: the lowest there is, which may be minus infinity.
_AMPLITUDE = {"amplitude": POSITIVE}
_RATE = {"tau_rc": POSITIVE, "tau_ref": NOT_NEGATIVE} | _AMPLITUDE
_SPIKES = {"tau_rc": POSITIVE, "tau_ref": NOT_NEGATIVE, "min_voltage": NOT_POSITIVE} | _AMPLITUDE
_ADAPTS = {"tau_n": POSITIVE, "inc_n": NOT_NEGATIVE}
_OURS = f"{__package__}.nengo_neurons"

_RATES = (
    Model("RectifiedLinear", _RECTIFIED, _AMPLITUDE),
    Model("LIFRate", _LIF_RATE, _RATE),
    Model("SoftLIFRate", _SOFT_LIF_RATE, {"sigma": POSITIVE} | _RATE, nengo="nengo_dl.neurons.SoftLIFRate"),
    # Unlike ONNX's operators Sigmoid and Tanh, which these are not to be taken for.
    Model("SigmoidRate", _SIGMOID_RATE, {"tau_ref": POSITIVE}, nengo="nengo.neurons.Sigmoid"),
    Model("TanhRate", _TANH_RATE, {"tau_ref": POSITIVE}, nengo="nengo.neurons.Tanh"),
)


def _made_spiking(rate: Model) -> Iterable[Model]:
    """Nengo's three ways to make spikes of a rate model's rates; its parameters start with ``base_`` there."""
    parameters = _AMPLITUDE | {f"base_{name}": bound for name, bound in rate.parameters.items()}
    for name, spikes, states, weights, where in (
        ("RegularSpiking", _REGULAR, ("voltage",), (), "nengo.neurons"),
        ("StochasticSpiking", _STOCHASTIC, ("elapsed",), ("stream",), _OURS),
        ("PoissonSpiking", _POISSON, ("elapsed",), ("stream",), _OURS),
    ):
        yield Model(
            f"{name}{rate.name}", _fired(spikes, rate.equations, rate.parameters), parameters, states, True, weights,
            base=rate.name, nengo=f"{where}.{name}",
        )  # fmt: skip


_NEURONS = (
    Model("LIF", _LIF, _SPIKES, ("voltage", "refractory_time"), True, fast=_LIF_FAST),
    Model(
        "AdaptiveLIF", _adaptive(_LIF), _ADAPTS | _SPIKES, ("voltage", "refractory_time", "adaptation"), True,
        fast=_adaptive(_LIF_FAST),
    ),
    Model("AdaptiveLIFRate", _adaptive(_LIF_RATE), _ADAPTS | _RATE, ("adaptation",)),
    Model("SpikingRectifiedLinear", _SPIKING_RECTIFIED, _AMPLITUDE, ("voltage",), True),
    Model(
        "Izhikevich", _IZHIKEVICH,
        {"tau_recovery": POSITIVE, "coupling": NOT_NEGATIVE, "reset_voltage": ANY, "reset_recovery": ANY},
        ("voltage", "recovery"), True,
    ),
    *_RATES,
    *chain.from_iterable(map(_made_spiking, _RATES)),
    Model(
        "LeakyIntegrateAndFire", _LEAKY_INTEGRATE_AND_FIRE, {"keep": ANY}, ("voltage",), True,
        ("decay", "threshold", "reset"), nengo=f"{_OURS}.LeakyIntegrateAndFire",
    ),
    Model(
        "LeakyVoltage", _LEAKY_VOLTAGE, {"keep": ANY}, ("voltage",), weights=("decay", "threshold", "reset"),
        nengo=f"{_OURS}.LeakyVoltage",
    ),
    Model(
        "LeakyAdaptive", _LEAKY_ADAPTIVE, {"keep": ANY}, ("voltage", "raised"), True,
        ("decay", "threshold", "reset", "share", "fading", "growth"), nengo=f"{_OURS}.LeakyAdaptive",
    ),
    Model(
        "LeakyAlpha", _LEAKY_ALPHA, {}, ("slow", "quick", "fired"), True,
        ("decay", "quick_decay", "scale", "threshold"), nengo=f"{_OURS}.LeakyAlpha",
    ),
    Model(
        "LeakyMultiSpike", _LEAKY_MULTI_SPIKE, {}, ("voltage",), True, ("decay", "threshold"),
        nengo=f"{_OURS}.LeakyMultiSpike",
    ),
    Model(
        "LeakyIntegrator", _LEAKY_INTEGRATOR, {}, ("voltage",), weights=("decay",), nengo=f"{_OURS}.LeakyIntegrator"
    ),
    Model("RunningMean", _RUNNING_MEAN, {}, ("elapsed", "mean"), nengo=f"{_OURS}.RunningMean"),
)  # fmt: skip
NEURONS: dict[str, Model] = {model.name: model for model in _NEURONS}
"""op_type in domain ``org.nengo`` -> its model."""

SYNAPSES: dict[str, Model] = {
    "Lowpass": Model("Lowpass", _LOWPASS, {"tau": NOT_NEGATIVE}, ("level",), synapse=True),
    "Alpha": Model("Alpha", _ALPHA, {"tau": NOT_NEGATIVE}, ("rise", "level"), synapse=True),
    "LinearFilter": Model(
        "LinearFilter",
        _LINEAR_FILTER,
        dict.fromkeys(("d1", "d2", "c0", "c1", "c2"), ANY),
        ("first", "second", "level"),
        synapse=True,
    ),
}

_LEARNING = {"learning_rate": ANY}
_STATE = ("weights",)
_RULES = (
    Model("PES", _PES, _LEARNING, _STATE, takes=("error", "activities"), synapse=True),
    Model("Oja", _OJA, _LEARNING | {"beta": ANY}, _STATE, takes=("post", "pre"), synapse=True),
    Model("BCM", _BCM, _LEARNING, _STATE, takes=("post", "threshold", "pre"), synapse=True),
    Model("Voja", _VOJA, _LEARNING, _STATE, weights=("scale",), takes=("signal", "activities", "value"), synapse=True),
)
RULES: dict[str, Model] = {model.name: replace(model, nengo=f"nengo.learning_rules.{model.name}") for model in _RULES}
"""Learning rules: what remembers the weights of a connection, (outputs, inputs), and changes them."""

DELAYED: dict[str, Model] = SYNAPSES | RULES
"""What gives what it remembers, and takes in its inputs when a step is done."""

AT_ONCE = ("activities", "pre", "post", "threshold")
"""The inputs of learning rules that are what neurons do: a synapse there has taken in the step's spikes already, as
Nengo's builder of rules makes them, unlike that of a connection."""

MODELS: dict[str, Model] = NEURONS | DELAYED
"""All: whatever has parameters or remembers."""
