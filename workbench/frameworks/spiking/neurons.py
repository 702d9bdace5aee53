"""The neuron, synapse and learning models: one record each, with its equations in ONNX text, by Nengo's names.

`operators.py` makes ONNX functions of them. A step computes ``y`` and each ``<state>_next`` from the current
``J = gain * x + bias`` (a synapse: from ``x_t``) and each ``<state>``; attributes are there as ``k_<name>``.

Constants are made at function scope and captured by the Scan's body: onnx.reference cannot resolve an attribute
reference inside a subgraph. Equations: Nengo 4.1 ``neurons.py`` and ``synapses.py``, NengoDL 3.6
``neuron_builders.py``; operation for operation in NengoDL's order, except where a comment says otherwise.

A new model is its equations and a record at the end of this file, and a class in `nengo_neurons` where Nengo has none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import chain
from typing import Any


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
class Equations:
    """One model's arithmetic, in ONNX's text syntax.

    Attributes:
        setup: constants made once from the attributes (which are there as ``k_<name>``).
        step: from the current ``J`` and each ``<state>`` to ``y`` and each ``<state>_next``.
        enter, leave: what a state becomes before and after the loop, where the loop keeps it in another form: from
            ``<state>_in`` to ``<state>_first``, from ``<state>_last`` to ``<state>_out``.
    """

    setup: str
    step: str
    enter: str = ""
    leave: str = ""


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
_LIF = Equations(
    """
  alpha = Div (k_amplitude, k_dt)
  tau_negative = Neg (k_tau_rc)
  tau_d = Cast <to = 11> (k_tau_rc)
  one_d = Cast <to = 11> (one)
""",
    """
  left = Sub (k_dt, refractory_time)
  delta = Clip (left, zero, k_dt)
  exponent = Div (delta, tau_negative)
  exponent_d = Cast <to = 11> (exponent)
  exp_d = Exp (exponent_d)
  expm1_d = Sub (exp_d, one_d)
  expm1 = Cast <to = 1> (expm1_d)
  distance = Sub (voltage, J)
  change = Mul (distance, expm1)
  risen = Add (voltage, change)
  spiked = Greater (risen, one)
  y = Where (spiked, alpha, zero)
  excess = Sub (risen, one)
  over = Sub (J, one)
  q = Div (excess, over)
  q_d = Cast <to = 11> (q)
  kept_d = Sub (one_d, q_d)
  log1p_d = Log (kept_d)
  early_d = Mul (tau_d, log1p_d)
  early = Cast <to = 1> (early_d)
  pause = Add (k_tau_ref, early)
  shorter = Sub (refractory_time, k_dt)
  refractory_time_next = Where (spiked, pause, shorter)
  floored = Max (risen, k_min_voltage)
  voltage_next = Where (spiked, zero, floored)
""",
)

# The same neuron with neither Exp, Log nor Where in the loop, much faster. The loop keeps, instead of the refractory
# time R, the share u = 1 - exp((R - dt) / tau_rc) of the way to J that the voltage may go in the next step: none while
# u < 0, and c0 = 1 - exp(-dt / tau_rc) at most. Waiting a step makes u' = c0 + exp(-dt / tau_rc) u, held at c0; a spike
# u' = 1 - (1 - q) exp((tau_ref - dt) / tau_rc) with q = (v - 1) / (J - 1). Min picks the right one of both: a neuron
# fires only with u > 0, where waiting leads to c0 or more, and of two such any is right, for more than c0 is no more.
# ThresholdedRelu keeps the voltages of those that fired, Clip makes them ones.
_LIF_FAST = Equations(
    """
  alpha = Div (k_amplitude, k_dt)
  tiny = Constant <value_float = 1.0e-30> ()
  one_d = Cast <to = 11> (one)
  dt_d = Cast <to = 11> (k_dt)
  tau_d = Cast <to = 11> (k_tau_rc)
  dt_in_tau = Div (k_dt, k_tau_rc)
  dt_in_tau_d = Cast <to = 11> (dt_in_tau)
  dt_negative_d = Neg (dt_in_tau_d)
  waited_d = Exp (dt_negative_d)
  waited = Cast <to = 1> (waited_d)
  c0_d = Sub (one_d, waited_d)
  c0 = Cast <to = 1> (c0_d)
  pause = Sub (k_tau_ref, k_dt)
  pause_in_tau = Div (pause, k_tau_rc)
  pause_in_tau_d = Cast <to = 11> (pause_in_tau)
  paused_d = Exp (pause_in_tau_d)
  paused = Cast <to = 1> (paused_d)
  shut_d = Sub (one_d, paused_d)
  back_d = Sub (shut_d, c0_d)
  back = Cast <to = 1> (back_d)
""",
    """
  over = Sub (J, one)
  over_safe = Max (over, tiny)
  scale = Div (paused, over_safe)
  share = Clip (refractory_time, zero, c0)
  distance = Sub (J, voltage)
  change = Mul (distance, share)
  risen = Add (voltage, change)
  fired = ThresholdedRelu <alpha: float = 1.0> (risen)
  spike = Clip (fired, zero, one)
  y = Mul (spike, alpha)
  excess = Sub (fired, spike)
  q = Mul (excess, scale)
  shut_again = Mul (spike, back)
  after_spike = Add (shut_again, q)
  after_wait = Mul (refractory_time, waited)
  less = Min (after_wait, after_spike)
  refractory_time_next = Add (less, c0)
  kept = Sub (risen, fired)
  voltage_next = Max (kept, k_min_voltage)
""",
    """
  r_less = Sub (refractory_time_in, k_dt)
  r_less_d = Cast <to = 11> (r_less)
  r_in_tau_d = Div (r_less_d, tau_d)
  r_exp_d = Exp (r_in_tau_d)
  u_first_d = Sub (one_d, r_exp_d)
  u_first = Cast <to = 1> (u_first_d)
  refractory_time_first = Min (u_first, c0)
""",
    """
  u_last_d = Cast <to = 11> (refractory_time_last)
  u_rest_d = Sub (one_d, u_last_d)
  u_log_d = Log (u_rest_d)
  u_time_d = Mul (u_log_d, tau_d)
  r_out_d = Add (u_time_d, dt_d)
  refractory_time_out = Cast <to = 1> (r_out_d)
""",
)


def _adaptive(base: Equations, output: str = "y") -> Equations:
    """A model with an adaptation n that is subtracted from its current and grows with its output."""
    return replace(
        base,
        setup=base.setup + "  pace = Div (k_dt, k_tau_n)\n",
        step="  J = Sub (J_full, adaptation)\n"
        + base.step
        + f"""
  grown = Mul (k_inc_n, {output})
  drive = Sub (grown, adaptation)
  moved = Mul (pace, drive)
  adaptation_next = Add (adaptation, moved)
""",
    )


_RECTIFIED = Equations(
    "",
    """
  positive = Relu (J)
  y = Mul (positive, k_amplitude)
""",
)

_SPIKING_RECTIFIED = Equations(
    "  alpha = Div (k_amplitude, k_dt)\n",
    """
  positive = Relu (J)
  gained = Mul (positive, k_dt)
  filled = Add (voltage, gained)
  spikes = Floor (filled)
  voltage_next = Sub (filled, spikes)
  y = Mul (spikes, alpha)
""",
)

_LIF_RATE = Equations(
    "  least = Constant <value_float = 1.0e-15> ()\n",
    """
  over = Sub (J, one)
  over_safe = Max (over, least)
  inverse = Reciprocal (over_safe)
  ratio = Add (one, inverse)
  log = Log (ratio)
  charging = Mul (k_tau_rc, log)
  period = Add (k_tau_ref, charging)
  rate = Div (k_amplitude, period)
  active = Greater (over, zero)
  y = Where (active, rate, zero)
""",
)

# softplus underflows far below the threshold, where log(1 + 1/z) is -J/sigma - log(sigma).
_SOFT_LIF_RATE = Equations(
    """
  lowest = Constant <value_float = -20.0> ()
  log_sigma = Log (k_sigma)
""",
    """
  over = Sub (J, one)
  scaled = Div (over, k_sigma)
  near = Greater (scaled, lowest)
  scaled_safe = Where (near, scaled, zero)
  soft = Softplus (scaled_safe)
  z = Mul (soft, k_sigma)
  inverse = Reciprocal (z)
  ratio = Add (one, inverse)
  log = Log (ratio)
  scaled_negative = Neg (scaled)
  far = Sub (scaled_negative, log_sigma)
  q = Where (near, log, far)
  charging = Mul (k_tau_rc, q)
  period = Add (k_tau_ref, charging)
  y = Div (k_amplitude, period)
""",
)

_SIGMOID_RATE = Equations("", "  squashed = Sigmoid (J)\n  y = Div (squashed, k_tau_ref)\n")
_TANH_RATE = Equations("", "  squashed = Tanh (J)\n  y = Div (squashed, k_tau_ref)\n")

# Nengo multiplies the derivatives by 1000: the model's own unit of time is the millisecond. The output has no
# amplitude.
# It fires from 30 on, that is above the largest float32 below it: ONNX Runtime before 1.24 did not load this neuron,
# and GreaterOrEqual, itself a function, was all that no other neuron has.
# In double: between two spikes a voltage's error grows a thousandfold, and of terms as large as these float32 keeps few
# digits behind the point.
_IZHIKEVICH = Equations(
    """
  dt_d = Cast <to = 11> (k_dt)
  thousand = Constant <value_float = 1000.0> ()
  per_ms = Cast <to = 11> (thousand)
  ms = Mul (per_ms, dt_d)
  lowest = Constant <value_float = -30.0> ()
  below_peak = Constant <value_float = 29.999998092651367> ()
  square = Constant <value: tensor = double {0.04}> ()
  linear = Constant <value: tensor = double {5.0}> ()
  offset = Constant <value: tensor = double {140.0}> ()
  coupling_d = Cast <to = 11> (k_coupling)
  tau_d = Cast <to = 11> (k_tau_recovery)
  rise = Mul (tau_d, ms)
  reset_d = Cast <to = 11> (k_reset_recovery)
  alpha = Div (one, k_dt)
""",
    """
  input = Max (J, lowest)
  input_d = Cast <to = 11> (input)
  v_d = Cast <to = 11> (voltage)
  u_d = Cast <to = 11> (recovery)
  v_scaled = Mul (square, v_d)
  v_steep = Add (v_scaled, linear)
  v_curve = Mul (v_steep, v_d)
  v_offset = Add (v_curve, offset)
  v_recovered = Sub (v_offset, u_d)
  v_driven = Add (v_recovered, input_d)
  v_change = Mul (v_driven, ms)
  risen_d = Add (v_d, v_change)
  risen = Cast <to = 1> (risen_d)
  spiked = Greater (risen, below_peak)
  y = Where (spiked, alpha, zero)
  voltage_next = Where (spiked, k_reset_voltage, risen)
  v_next_d = Cast <to = 11> (voltage_next)
  coupled = Mul (coupling_d, v_next_d)
  u_apart = Sub (coupled, u_d)
  u_change = Mul (rise, u_apart)
  u_risen_d = Add (u_d, u_change)
  u_reset_d = Add (u_risen_d, reset_d)
  u_risen = Cast <to = 1> (u_risen_d)
  u_reset = Cast <to = 1> (u_reset_d)
  recovery_next = Where (spiked, u_reset, u_risen)
""",
)


# One step of what PyTorch's spiking frameworks compute, and what `nir.py` reads their neurons as. Nengo has no such
# neurons (`nengo_neurons`). keep 0 resets to a value; keep 1, with reset -threshold, by subtraction.
_LEAKY_INTEGRATOR = Equations(
    "",
    """
  faded = Mul (decay, voltage)
  voltage_next = Add (faded, J)
  y = Identity (voltage_next)
""",
)
_LEAKY_INTEGRATE_AND_FIRE = Equations(
    "",
    """
  faded = Mul (decay, voltage)
  risen = Add (faded, J)
  spiked = Greater (risen, threshold)
  y = Where (spiked, one, zero)
  kept = Mul (k_keep, risen)
  restarted = Add (kept, reset)
  voltage_next = Where (spiked, restarted, risen)
""",
)
# Its voltage before a spike resets it, for what reads that.
_LEAKY_VOLTAGE = replace(
    _LEAKY_INTEGRATE_AND_FIRE,
    step=_LEAKY_INTEGRATE_AND_FIRE.step.replace("  y = Where (spiked, one, zero)\n", "  y = Identity (risen)\n"),
)
# The same with a threshold that grows with each spike and comes back, of which a reset may take a share away.
_LEAKY_ADAPTIVE = Equations(
    "",
    """
  faded = Mul (decay, voltage)
  risen = Add (faded, J)
  level = Add (threshold, raised)
  spiked = Greater (risen, level)
  y = Where (spiked, one, zero)
  kept = Mul (k_keep, risen)
  restarted = Add (kept, reset)
  taken = Mul (share, level)
  lowered = Sub (restarted, taken)
  voltage_next = Where (spiked, lowered, risen)
  eased = Mul (fading, raised)
  grown = Mul (growth, y)
  raised_next = Add (eased, grown)
""",
)
# Two currents that fade at different paces: their difference, scaled, is the voltage. In the step after a spike nothing
# arrives, and all begins at zero.
_LEAKY_ALPHA = Equations(
    "",
    """
  awake = Sub (one, fired)
  slow_faded = Mul (decay, slow)
  slow_full = Add (slow_faded, J)
  slow_next = Mul (slow_full, awake)
  quick_faded = Mul (quick_decay, quick)
  quick_full = Add (quick_faded, J)
  quick_next = Mul (quick_full, awake)
  apart = Sub (slow_next, quick_next)
  risen = Mul (scale, apart)
  spiked = Greater (risen, threshold)
  y = Where (spiked, one, zero)
  fired_next = Identity (y)
""",
)


# The same, but it fires as often in a step as the threshold fits into the voltage, and that is taken away at once.
_LEAKY_MULTI_SPIKE = Equations(
    "",
    """
  faded = Mul (decay, voltage)
  risen = Add (faded, J)
  above = Relu (risen)
  times = Div (above, threshold)
  y = Floor (times)
  taken = Mul (y, threshold)
  voltage_next = Sub (risen, taken)
""",
)


# What came in so far, on average: what is read from spikes that count for as long as the network runs.
_RUNNING_MEAN = Equations(
    "",
    """
  elapsed_next = Add (elapsed, one)
  apart = Sub (J, mean)
  part = Div (apart, elapsed_next)
  mean_next = Add (mean, part)
  y = Identity (mean_next)
""",
)


_REGULAR = Equations(
    "  alpha = Div (k_amplitude, k_dt)\n",
    """
  gained = Mul (k_dt, rate_out)
  filled = Add (voltage, gained)
  spikes = Floor (filled)
  voltage_next = Sub (filled, spikes)
  y = Mul (alpha, spikes)
""",
)


def _fired(spikes: Equations, base: Equations, parameters: Iterable[str]) -> Equations:
    """Spikes at the rate of `base`, whose parameters are called ``base_<name>`` here."""

    def renamed(text: str) -> str:
        for name in parameters:
            text = text.replace(f"k_{name}", f"k_base_{name}")
        return text.replace("  y = ", "  rate_out = ")

    return Equations(renamed(base.setup) + spikes.setup, renamed(base.step) + spikes.step)


MOST_DRAWN = 500
"""Spikes that a neuron is expected to fire in one step, above which a Poisson's number of them is not drawn: what goes
beyond is added. exp(-500) is still a number."""

# A stream of uniform numbers for each neuron: the upper 24 bits of a hash of the step's number and the neuron's own, a
# whole number called stream. What there is of randomness is in the file, so every run gives the same, on any machine.
# The hash is "lowbias32" of Chris Wellons' hash-prospector with the multipliers 21f0aaad and 735a2d97, which are below
# 2^31: no product of theirs is too large for int64, the widest that ONNX multiplies.
_STREAM = """
  low_half = Constant <value_int = 65536> ()
  low_bits = Constant <value_int = 32768> ()
  first_factor = Constant <value_int = 569420461> ()
  second_factor = Constant <value_int = 1935289751> ()
  all_bits = Constant <value_int = 4294967295> ()
  dropped = Constant <value_int = 256> ()
  all_steps = Constant <value_float = 16777216.0> ()
  finest = Constant <value: tensor = double {5.9604644775390625e-08}> ()
  alpha = Div (k_amplitude, k_dt)
"""


def _mixed(taken: str, made: str) -> str:
    """Lines that hash 32 bits."""
    return f"""
  {made}_high = Div ({taken}, low_half)
  {made}_folded = BitwiseXor ({taken}, {made}_high)
  {made}_spread = Mul ({made}_folded, first_factor)
  {made}_cut = BitwiseAnd ({made}_spread, all_bits)
  {made}_top = Div ({made}_cut, low_bits)
  {made}_again = BitwiseXor ({made}_cut, {made}_top)
  {made}_wide = Mul ({made}_again, second_factor)
  {made}_kept = BitwiseAnd ({made}_wide, all_bits)
  {made}_last = Div ({made}_kept, low_bits)
  {made} = BitwiseXor ({made}_kept, {made}_last)
"""


_DRAW = (
    """
  elapsed_long = Cast <to = 7> (elapsed)
  elapsed_bits = BitwiseAnd (elapsed_long, all_bits)
"""
    + _mixed("elapsed_bits", "now")
    + """
  stream_long = Cast <to = 7> (stream)
  own = Add (now, stream_long)
  own_bits = BitwiseAnd (own, all_bits)
"""
    + _mixed("own_bits", "drawn")
    + """
  upper = Div (drawn, dropped)
  upper_d = Cast <to = 11> (upper)
  uniform_d = Mul (upper_d, finest)
  later = Add (elapsed, one)
  elapsed_next = Mod <fmod = 1> (later, all_steps)
  direction = Sign (rate_out)
  size = Abs (rate_out)
  expected = Mul (size, k_dt)
"""
)
_FIRE = """
  directed = Mul (count, direction)
  y = Mul (directed, alpha)
"""
_STOCHASTIC = Equations(
    _STREAM,
    _DRAW
    + """
  sure = Floor (expected)
  chance = Sub (expected, sure)
  chance_d = Cast <to = 11> (chance)
  more = Less (uniform_d, chance_d)
  extra = Cast <to = 1> (more)
  count = Add (sure, extra)
"""
    + _FIRE,
)
# How many of the cumulative probabilities P(0), P(0) + P(1) … are below the uniform number. ONNX Runtime's Scan wants
# to know the shape of a result beforehand, and a Loop's is unknown; that of PRelu is its first input's.
_POISSON = Equations(
    _STREAM
    + f"""
  most = Constant <value_float = {MOST_DRAWN}.0> ()
  zero_d = Constant <value: tensor = double {{0.0}}> ()
  one_d = Constant <value: tensor = double {{1.0}}> ()
  terms = Constant <value_int = {2 * MOST_DRAWN}> ()
  yes = Constant <value: tensor = bool {{1}}> ()
""",
    _DRAW
    + """
  bounded = Min (expected, most)
  beyond = Sub (expected, bounded)
  surplus = Floor (beyond)
  mean_d = Cast <to = 11> (bounded)
  minus_d = Neg (mean_d)
  none_d = Exp (minus_d)
  nothing_d = Mul (none_d, zero_d)
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
  fired = Cast <to = 1> (fired_d)
  nothing = Mul (expected, zero)
  minus_one = Sub (nothing, one)
  minus_fired = PRelu (minus_one, fired)
  fired_shaped = Neg (minus_fired)
  count = Add (fired_shaped, surplus)
"""
    + _FIRE,
)


# --- synapses ------------------------------------------------------------------------------------------------------

# Nengo discretises with a zero-order hold. A synapse gives what it remembers and takes in its input after.
_LOWPASS = Equations(
    """
  dt_in_tau = Div (k_dt, k_tau)
  minus = Neg (dt_in_tau)
  decay = Exp (minus)
  gain = Sub (one, decay)
""",
    """
  faded = Mul (decay, level)
  fresh = Mul (gain, x_t)
  level_next = Add (faded, fresh)
""",
)

# tau^2 y'' + 2 tau y' + y = u as two states: level is y, rise is y + tau y'. With E = exp(-dt/tau) and r = dt/tau,
#   rise'  = E rise + (1 - E) u          level' = E (r rise + level) + (1 - E (1 + r)) u
_ALPHA = Equations(
    _LOWPASS.setup
    + """
  passed = Mul (decay, dt_in_tau)
  gain_level = Sub (gain, passed)
""",
    """
  rise_faded = Mul (decay, rise)
  rise_fresh = Mul (gain, x_t)
  rise_next = Add (rise_faded, rise_fresh)
  risen = Mul (passed, rise)
  level_faded = Mul (decay, level)
  level_both = Add (risen, level_faded)
  level_fresh = Mul (gain_level, x_t)
  level_next = Add (level_both, level_fresh)
""",
)
# A filter of two states (`filters`): x2' = x2 + u - d1 x2 - d2 x1, x1' = x1 + x2, and level' = c0 u + c1 x2 + c2 x1.
_LINEAR_FILTER = Equations(
    "",
    """
  turned = Mul (k_d1, second)
  held_back = Mul (k_d2, first)
  pushed = Sub (x_t, turned)
  moved = Sub (pushed, held_back)
  second_next = Add (second, moved)
  first_next = Add (first, second)
  passed_on = Mul (k_c0, x_t)
  seen_second = Mul (k_c1, second)
  seen_first = Mul (k_c2, first)
  seen = Add (seen_second, seen_first)
  level_next = Add (seen, passed_on)
""",
)

# --- learning rules ------------------------------------------------------------------------------------------------

# Nengo 4.1 ``builder/learning_rules.py``. A rule remembers the weights of a connection and gives them as they are in
# this step; how the step changes them counts in the next. c is a column, a number for each row of the weights, r a row.
_RATE_OF_LEARNING = "  pace = Mul (k_learning_rate, k_dt)\n  columns = Constant <value_ints = [-1]> ()\n"
_ROWS = "  rows = Constant <value_ints = [1]> ()\n"

# w' = w - rate dt / n * c r, with the error as c and the activities of n neurons as r.
_PES = Equations(
    _RATE_OF_LEARNING
    + _ROWS
    + """
  counted = Shape <start = 1> (activities)
  neurons = Cast <to = 1> (counted)
  share = Div (pace, neurons)
""",
    """
  paced = Mul (error, share)
  c = Unsqueeze (paced, columns)
  r = Unsqueeze (activities, rows)
  change = Mul (c, r)
  weights_next = Sub (weights, change)
""",
)
# w' = w + rate dt (c r - beta c c w), with what the neurons after the connection do as c, and those before it as r.
_OJA = Equations(
    _RATE_OF_LEARNING + _ROWS,
    """
  paced = Mul (post, pace)
  c = Unsqueeze (paced, columns)
  r = Unsqueeze (pre, rows)
  grown = Mul (c, r)
  squared = Mul (paced, post)
  fading = Mul (squared, k_beta)
  fading_c = Unsqueeze (fading, columns)
  faded = Mul (fading_c, weights)
  change = Sub (grown, faded)
  weights_next = Add (weights, change)
""",
)
# w' = w + rate dt c (c - threshold) r, the same.
_BCM = Equations(
    _RATE_OF_LEARNING + _ROWS,
    """
  over = Sub (post, threshold)
  paced = Mul (post, pace)
  signed = Mul (paced, over)
  c = Unsqueeze (signed, columns)
  r = Unsqueeze (pre, rows)
  change = Mul (c, r)
  weights_next = Add (weights, change)
""",
)
# Of encoders: w' = w + rate dt signal c (scale r - w), with the neurons' activities as c, and as r what goes into them.
_VOJA = Equations(
    _RATE_OF_LEARNING + _ROWS,
    """
  paced = Mul (signal, pace)
  strength = Mul (activities, paced)
  c = Unsqueeze (strength, columns)
  r = Unsqueeze (value, rows)
  goal = Mul (scale, r)
  apart = Sub (goal, weights)
  change = Mul (c, apart)
  weights_next = Add (weights, change)
""",
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
