"""How frameworks step through NIR's equations, which a file does not tell: read off their exporters, held against their
own spikes."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace

from ...errors import BadInput

METHODS = ("euler", "exact", "exact unweighted")
RESETS = ("to value", "subtract", "subtract late", "subtract all")


@dataclass(frozen=True)
class Stepping:
    """What a file leaves open; `nir.read_nir` explains each.

    Attributes:
        dt: seconds per step, in the file's unit of time, where a person said it.
        usual: the framework's own, for files that do not tell theirs.
        jumps: what takes its input as it is, times r or w_in, instead of times dt/tau as well: kinds of NIR nodes, and
            ``current``, that of a CubaLIF or CubaLI.
        says: what its files do not tell and is taken to be, in a sentence.
        longest: of its time constants, in the same unit: longer ones are in another unit than `usual`.
    """

    dt: float | None = None
    usual: float | None = None
    method: str = "euler"
    reset: str = "to value"
    jumps: tuple[str, ...] = ()
    longest: float = math.inf
    says: str = ""


FRAMEWORKS = {
    "snntorch": Stepping(
        usual=1e-4,
        reset="subtract late",
        says='snnTorch\'s files do not tell its resets apart: it is "subtract"; for its "zero" say reset="to value".',
    ),
    "spikingjelly": Stepping(usual=1e-4),
    # Norse 1.1 multiplies its time constants by 0.001 once more; its IAF and synaptic currents add what arrives.
    "norse": Stepping(usual=1e-6, jumps=("IF", "current"), longest=1e-4),
    # Counts steps. Its ExpLeak is written as LI, and adds its input; its LIF weighs it.
    "sinabs": Stepping(
        usual=1.0,
        method="exact",
        reset="subtract",
        jumps=("IF", "LI"),
        says="Sinabs's files do not tell how many spikes a step may hold, nor norm_input: "
        'reset="subtract all" gives several (MultiSpike, its default), "subtract" one at most; '
        'method="exact unweighted" does not weigh what comes in (norm_input=False), "exact" does.',
    ),
}
"""As each framework's exporter has it by default."""

UNSAID = (
    "Some frameworks (snnTorch by default, Sinabs) subtract the threshold instead, which the file does not tell: see "
    "`framework`."
)


def stepping(dt: float | None, method: str | None, reset: str | None, framework: str | None) -> Stepping:
    """What a person said, over what the framework does.

    Raises:
        BadInput: there is no such choice.
    """
    for name, value, known in (
        ("framework", framework, FRAMEWORKS), ("method", method, METHODS), ("reset", reset, RESETS)
    ):  # fmt: skip
        if value is not None and value not in known:
            raise BadInput(f"{name} is {value!r}; expected {' or '.join(map(repr, known))}.")
    if dt is not None and not (isinstance(dt, numbers.Real) and 0 < float(dt) < math.inf):
        raise BadInput(f"dt is {dt!r}; expected seconds per step, such as 0.001.")
    own = FRAMEWORKS[framework] if framework else Stepping()
    says = UNSAID if framework is None and reset is None else own.says
    return replace(own, dt=dt, method=method or own.method, reset=reset or own.reset, says=says)
