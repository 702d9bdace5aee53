"""Neuron and synapse models as ONNX functions: domain ``org.nengo``, bodies in standard operators.

An engine that has never heard of spiking neurons runs these, since each function brings its own body. Two forms:

``LIF(x, steps, gain, bias, voltage, refractory_time) -> (y, voltage_out, refractory_time_out)``
    a whole sequence. ``x`` is ``(steps * batch, *shape)``, time outermost, so that the layers around it see one large
    batch; the body walks through time in one Scan. For networks without cycles.
``LIFCell(x, gain, bias, voltage, refractory_time) -> (y, voltage_out, refractory_time_out)``
    one step, ``x`` is ``(batch, *shape)``. For use inside a Scan over a whole recurrent network.

The current is ``J = gain * x + bias``. States broadcast against ``(batch, *shape)``. Every parameter is an attribute,
written on every node, so that a reader needs no defaults.

Constants are made at function scope and captured by the Scan's body: onnx.reference cannot resolve an attribute
reference inside a subgraph. Equations: Nengo 4.1 ``neurons.py``, NengoDL 3.6 ``neuron_builders.py``; operation for
operation in NengoDL's order, except where a comment says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from .neurons import NEURONS, SYNAPSES, Model

if TYPE_CHECKING:
    import onnx

    from .network import Node

DOMAIN = "org.nengo"
VERSION = 1
OPSET = 21
IR_VERSION = 10


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
# u' = 1 - (1 - q) exp((tau_ref - dt) / tau_rc) with q = (v - 1) / (J - 1). Min picks the right one of both where
# tau_ref >= dt (`has_fast_form`). ThresholdedRelu keeps the voltages of those that fired, Clip makes them ones.
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
  share = Relu (refractory_time)
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
_IZHIKEVICH = Equations(
    """
  per_ms = Constant <value_float = 1000.0> ()
  lowest = Constant <value_float = -30.0> ()
  peak = Constant <value_float = 30.0> ()
  square = Constant <value_float = 0.04> ()
  linear = Constant <value_float = 5.0> ()
  offset = Constant <value_float = 140.0> ()
  alpha = Div (one, k_dt)
""",
    """
  input = Max (J, lowest)
  v_squared = Mul (voltage, voltage)
  v_square = Mul (square, v_squared)
  v_linear = Mul (linear, voltage)
  v_sum = Add (v_square, v_linear)
  v_offset = Add (v_sum, offset)
  v_recovered = Sub (v_offset, recovery)
  v_driven = Add (v_recovered, input)
  v_per_s = Mul (v_driven, per_ms)
  v_change = Mul (v_per_s, k_dt)
  risen = Add (voltage, v_change)
  spiked = GreaterOrEqual (risen, peak)
  y = Where (spiked, alpha, zero)
  voltage_next = Where (spiked, k_reset_voltage, risen)
  coupled = Mul (k_coupling, voltage_next)
  u_apart = Sub (coupled, recovery)
  u_driven = Mul (k_tau_recovery, u_apart)
  u_per_s = Mul (u_driven, per_ms)
  u_change = Mul (u_per_s, k_dt)
  u_risen = Add (recovery, u_change)
  u_reset = Add (u_risen, k_reset_recovery)
  recovery_next = Where (spiked, u_reset, u_risen)
""",
)


# What PyTorch's spiking frameworks compute; see `neurons.NEURONS`.
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


def _regular(base: Equations, parameters: Iterable[str]) -> Equations:
    """Spikes at regular intervals, at the rate of `base`, whose parameters are called ``base_<name>`` here."""

    def renamed(text: str) -> str:
        for name in parameters:
            text = text.replace(f"k_{name}", f"k_base_{name}")
        return text.replace("  y = ", "  rate_out = ")

    return Equations(
        renamed(base.setup) + "  alpha = Div (k_amplitude, k_dt)\n",
        renamed(base.step)
        + """
  gained = Mul (k_dt, rate_out)
  filled = Add (voltage, gained)
  spikes = Floor (filled)
  voltage_next = Sub (filled, spikes)
  y = Mul (alpha, spikes)
""",
    )


_EQUATIONS = {
    "LIF": _LIF,
    "AdaptiveLIF": _adaptive(_LIF),
    "AdaptiveLIFRate": _adaptive(_LIF_RATE),
    "SpikingRectifiedLinear": _SPIKING_RECTIFIED,
    "Izhikevich": _IZHIKEVICH,
    "RectifiedLinear": _RECTIFIED,
    "LIFRate": _LIF_RATE,
    "SoftLIFRate": _SOFT_LIF_RATE,
    "SigmoidRate": _SIGMOID_RATE,
    "TanhRate": _TANH_RATE,
    "LeakyIntegrator": _LEAKY_INTEGRATOR,
    "LeakyIntegrateAndFire": _LEAKY_INTEGRATE_AND_FIRE,
}
_EQUATIONS |= {
    name: _regular(_EQUATIONS[model.base], NEURONS[model.base].parameters)
    for name, model in NEURONS.items()
    if model.base
}
_FAST = {"LIF": _LIF_FAST, "AdaptiveLIF": _adaptive(_LIF_FAST)}

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
_SYNAPSES = {"Lowpass": _LOWPASS, "Alpha": _ALPHA}

# --- functions -----------------------------------------------------------------------------------------------------


def has_fast_form(node: Node, dt: float) -> bool:
    """Whether the fast form of a LIF neuron holds: refractory for a step at least, and exp() of it in range."""
    tau_ref, tau_rc = node.attributes["tau_ref"], node.attributes["tau_rc"]
    return tau_ref >= dt and tau_ref / tau_rc < 80


@cache
def function(op: str, cell: bool, fast: bool = False, held: bool = False) -> onnx.FunctionProto:
    """The ONNX function of one model.

    Args:
        op: a key of `NEURONS` or `SYNAPSES`.
        cell: one step, ``<op>Cell``, instead of a sequence.
        fast: see `has_fast_form`; only sequences have one.
        held: a sequence, ``<op>Held``, whose ``x`` is ``(batch, *shape)``, the same in every step: what depends on it
            alone is computed once.
    """
    model = NEURONS.get(op) or SYNAPSES[op]
    equations = (_FAST if fast and not cell else _SYNAPSES if op in SYNAPSES else _EQUATIONS)[op]
    step, weights, results = equations.step, [], []
    if op in NEURONS:
        current = "J_full" if "adaptation" in model.states else "J"
        step = f"  driven = Mul (x_t, gain)\n  {current} = Add (driven, bias)\n" + step
        weights, results = ["gain", "bias", *model.weights], ["y"]
    attributes = _attributes(model)
    head = _constants(attributes) + equations.setup
    after = [f"{state}_out" for state in model.states]
    if cell or not model.states:
        ends = "".join(f"  {state}_out = Identity ({state}_next)\n" for state in model.states)
        name = f"{op}Cell" if model.states else op
        body = head + re.sub(r"\bx_t\b", "x", step) + ends
        return _parse(name, attributes, ["x", *weights, *model.states], [*results, *after], body)
    if op in SYNAPSES:
        step += "  y = Identity (level)\n"
    body = head + _loop(model, re.sub(r"\by\b", "y_t", step), equations, held)
    name = f"{op}Held" if held else op
    return _parse(name, attributes, ["x", "steps", *weights, *model.states], ["y", *after], body)


def _attributes(model: Model) -> tuple[str, ...]:
    # A rate has no use for dt, but for adaptation's.
    return (*model.parameters, "dt") if model.states else model.parameters


def _loop(model: Model, step: str, equations: Equations, held: bool) -> str:
    """`step` for every step of ``x``, in a Scan from each ``<state>`` to ``<state>_out``."""
    entered = {state for state in model.states if f"{state}_first =" in equations.enter}
    left = {state for state in model.states if f"{state}_out =" in equations.leave}
    start = ", ".join(f"{state}_first" if state in entered else f"{state}_in" for state in model.states)
    end = ", ".join(f"{state}_last" if state in left else f"{state}_out" for state in model.states)
    carried_in = ", ".join(f"float[] {state}" for state in model.states)
    carried_out = ", ".join(f"float[] {state}_next" for state in model.states)
    expanded = "".join(f"  {state}_in = Expand ({state}, one_step)\n" for state in model.states)
    if held:
        once, step = _parted(re.sub(r"\bx_t\b", "x", step), model.states)
        before = f"""
  one_step = Shape (x)
  first = Constant <value_int = 0> ()
  by = Constant <value_int = 1> ()
  count = Squeeze (steps)
  series = Range (first, count, by)
  shape = Concat <axis = 0> (unknown, tail)
{once}"""
    else:
        before = """
  shape = Shape (x)
  split = Concat <axis = 0> (steps, unknown, tail)
  series = Reshape (x, split)
  one_step = Shape <start = 1> (series)
"""
    return f"""
  tail = Shape <start = 1> (x)
  unknown = Constant <value_ints = [-1]> ()
{before}{expanded}{equations.enter}
  {end}, results = Scan <num_scan_inputs = 1,
      body = step ({carried_in}, {"int64" if held else "float"}[] x_t) => ({carried_out}, float[] y_t) {{
{step}
  }}> ({start}, series)
{equations.leave}
  y = Reshape (results, shape)
"""


def _parted(step: str, states: tuple[str, ...]) -> tuple[str, str]:
    """(the lines that no state has a part in, the others)"""
    moving = set(states)
    once: list[str] = []
    each: list[str] = []
    for line in filter(None, map(str.strip, step.splitlines())):
        result, _, rest = line.partition(" = ")
        taken = rest[rest.rindex("(") + 1 : -1].split(", ")
        if moving.intersection(taken):
            moving.add(result)
        (each if result in moving else once).append(f"  {line}\n")
    return "".join(once), "".join(each)


def _constants(attributes: Iterable[str]) -> str:
    made = "".join(f"  k_{name} = Constant <value_float: float = @{name}> ()\n" for name in attributes)
    return made + "  zero = Constant <value_float = 0.0> ()\n  one = Constant <value_float = 1.0> ()\n"


def _parse(
    name: str, attributes: tuple[str, ...], inputs: list[str], outputs: list[str], body: str
) -> onnx.FunctionProto:
    from onnx import parser

    head = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'
    parameters = f"<{', '.join(attributes)}> " if attributes else ""
    signature = f"{name} {parameters}({', '.join(inputs)}) => ({', '.join(outputs)})"
    return parser.parse_function(f"{head}\n{signature}\n{{{body}}}")


@cache
def fold_time() -> onnx.FunctionProto:
    """``FoldTime(x) -> (folded, steps)``: (batch, steps, n) to (steps * batch, n), time outermost."""
    body = """
  by_time = Transpose <perm = [1, 0, 2]> (x)
  steps = Shape <end = 1> (by_time)
  tail = Shape <start = 2> (by_time)
  unknown = Constant <value_ints = [-1]> ()
  shape = Concat <axis = 0> (unknown, tail)
  folded = Reshape (by_time, shape)
"""
    return _parse("FoldTime", (), ["x"], ["folded", "steps"], body)


@cache
def unfold_time() -> onnx.FunctionProto:
    """``UnfoldTime(x, steps) -> y``: (steps * batch, n) to (batch, steps, n)."""
    body = """
  tail = Shape <start = 1> (x)
  unknown = Constant <value_ints = [-1]> ()
  shape = Concat <axis = 0> (steps, unknown, tail)
  by_time = Reshape (x, shape)
  y = Transpose <perm = [1, 0, 2]> (by_time)
"""
    return _parse("UnfoldTime", (), ["x", "steps"], ["y"], body)
