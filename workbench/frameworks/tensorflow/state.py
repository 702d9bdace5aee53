"""What a network remembers from one call to the next: variables that a call changes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...convert.draft import State

_CHANGES = re.compile(r"Assign(Add|Sub)?VariableOp$|ResourceScatter")


def state_of(concrete: Any) -> State | None:
    """The variables of a traced function as they are now, should a call change any of them."""
    graph_def = concrete.graph.as_graph_def()
    bodies = (function.node_def for function in graph_def.library.function)
    if not any(_CHANGES.match(node.op) for body in (graph_def.node, *bodies) for node in body):
        return None
    kept = [(variable, np.array(variable.numpy())) for variable in concrete.graph.variables]

    def changed() -> tuple[str, ...]:
        names = (variable.name.partition(":")[0] for variable, value in kept if _differs(variable, value))
        return tuple(dict.fromkeys(names))

    def restore() -> None:
        for variable, value in kept:
            if _differs(variable, value):
                variable.assign(value)

    return State(changed, restore)


def _differs(variable: Any, value: np.ndarray) -> bool:
    return variable.numpy().tobytes() != value.tobytes()
