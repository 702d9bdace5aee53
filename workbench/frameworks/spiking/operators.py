"""Neuron and synapse models as ONNX functions: domain ``org.nengo``, bodies in standard operators.

An engine that has never heard of spiking neurons runs these, since each function brings its own body. Two forms:

``LIF(x, steps, gain, bias, voltage, refractory_time) -> (y, voltage_out, refractory_time_out)``
    a whole sequence. ``x`` is ``(steps * batch, *shape)``, time outermost, so that the layers around it see one large
    batch; the body walks through time in one Scan. For networks without cycles.
``LIFCell(x, gain, bias, voltage, refractory_time) -> (y, voltage_out, refractory_time_out)``
    one step, ``x`` is ``(batch, *shape)``. For use inside a Scan over a whole recurrent network.

The current is ``J = gain * x + bias``. States broadcast against ``(batch, *shape)``. Every parameter is an attribute,
written on every node, so that a reader needs no defaults.

The equations are in `neurons.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from .equations import Equations
from .network import Node
from .neurons import MODELS, Model

if TYPE_CHECKING:
    import onnx

DOMAIN = "org.nengo"
VERSION = 1
OPSET = 21
IR_VERSION = 10


def has_fast_form(node: Node, dt: float) -> bool:
    """Whether the fast form of a LIF neuron holds: exp() of its pause is in range, and a step leaves something of a
    voltage in float32."""
    tau_ref, tau_rc = node.attributes["tau_ref"], node.attributes["tau_rc"]
    return bool(tau_ref / tau_rc < 80 and dt / tau_rc < 16)


@cache
def function(
    op: str, cell: bool, fast: bool = False, held: bool = False, shown: str = "", bare: bool = False
) -> onnx.FunctionProto:
    """The ONNX function of one model.

    Args:
        op: a key of `neurons.MODELS`.
        cell: one step, ``<op>Cell``, instead of a sequence.
        fast: see `has_fast_form`; only sequences have one.
        held: a sequence, ``<op>Held``, whose ``x`` is ``(batch, *shape)``, the same in every step: what depends on it
            alone is computed once.
        bare: the gain is one and the bias zero, so that ``J`` is ``x``, for a model that is run and never read.
        shown: a state that a sequence, ``<op>Shown…``, also gives after each step, as ``shown``.
    """
    model = MODELS[op]
    equations = model.fast if fast and not cell and model.fast else model.equations
    step, weights, results = equations.step, model.drive, [] if model.synapse else ["y"]
    if not model.synapse:
        current = "J_full" if "adaptation" in model.states else "J"
        if bare:
            step = re.sub(rf"\b{current}\b", "x_t", step)
        else:
            step = f"  driven = Mul (x_t, gain)\n  {current} = Add (driven, bias)\n" + step
    attributes = _attributes(model)
    head = _constants(attributes) + equations.setup
    after = [f"{state}_out" for state in model.states]
    if cell or not model.states:
        ends = "".join(f"  {state}_out = Identity ({state}_next)\n" for state in model.states)
        name = f"{op}Cell" if model.states else op
        body = head + re.sub(r"\bx_t\b", "x", step) + ends
        return _parse(name, attributes, [*model.takes, *weights, *model.states], [*results, *after], body)
    if model.synapse:
        step += "  y = Identity (level)\n"
    body = head + _loop(model, re.sub(r"\by\b", "y_t", step), equations, held)
    name = f"{op}Held" if held else op
    if shown:
        body = _with_state(body, shown)
        name += SHOWN + shown.title().replace("_", "")
    return _parse(
        name, attributes, ["x", "steps", *weights, *model.states], ["y", *after, *["shown"][: bool(shown)]], body
    )


SHOWN = "Shown"


def _with_state(body: str, state: str) -> str:
    """The body whose loop gives a state after each step, too."""
    for before, after in (
        (", float[] y_t) {", ", float[] y_t, float[] shown_t) {"),
        (", results = Scan", ", results, shown_series = Scan"),
        ("\n  }> (", f"\n  shown_t = Identity ({state}_next)\n  }}> ("),
    ):
        body = body.replace(before, after)
    return body + "  shown = Reshape (shown_series, shape)\n"


def _attributes(model: Model) -> tuple[str, ...]:
    # A rate has no use for dt, but for adaptation's.
    return (*model.parameters, "dt") if model.states else tuple(model.parameters)


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
