"""A still drawing of a Nengo network, for places where Nengo GUI cannot run: exported pages, saved notebooks.

It shows what Nengo GUI shows at first: ensembles, nodes and, closed, subnetworks, with their connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nengo

# The drawing of ONNX graphs, with other boxes.
from ...graph.svg import MAX_EDGES, MAX_NODES, Box, Edge, NoLayout, dagre, draw, layers, short

_ENSEMBLE, _NODE, _NETWORK = "#335588", "#335533", "#6c4f47"


def picture(network: nengo.Network, label: Callable[[Any], str]) -> str:
    """The top level of a network as a well-formed SVG document on a light ground of its own.

    Args:
        label: what an ensemble, node or subnetwork is called.
    """
    things = [*network.nodes, *network.ensembles, *network.networks]
    drawn = things[:MAX_NODES]
    boxes = [_box(thing, label(thing)) for thing in drawn]
    place: dict[int, int] = {}
    for index, thing in enumerate(drawn):
        inside = (*thing.all_ensembles, *thing.all_nodes) if isinstance(thing, nengo.Network) else (thing,)
        place |= {id(each): index for each in inside}
    connections = network.all_connections
    ends = ((place.get(id(_end(each.pre_obj))), place.get(id(_end(each.post_obj)))) for each in connections)
    pairs = dict.fromkeys(pair for pair in ends if None not in pair)
    for start, stop in pairs:
        if start == stop and start is not None and not isinstance(drawn[start], nengo.Network):
            boxes[start].rows.append("recurrent")
    edges = [Edge(start, stop) for start, stop in pairs if start != stop][:MAX_EDGES]  # type: ignore[arg-type]
    left_out = len(things) - len(drawn)
    lines = [f"{len(drawn):,} of {len(things):,} objects are drawn."] if left_out else []
    if not things:
        lines.append("This network is empty.")
    try:
        dagre(boxes, edges)
    except NoLayout:
        layers(boxes, edges)
    return draw(boxes, edges, lines)


def _end(thing: Any) -> Any:
    """The ensemble or node at an end of a connection: of neurons, their ensemble; of a learning rule, what learns."""
    if isinstance(thing, nengo.connection.LearningRule):
        thing = thing.connection.post_obj
    return thing.ensemble if isinstance(thing, nengo.ensemble.Neurons) else thing


def _box(thing: Any, label: str) -> Box:
    if isinstance(thing, nengo.Network):
        neurons = sum(ensemble.n_neurons for ensemble in thing.all_ensembles)
        count = len(thing.all_ensembles)
        rows = ["network", f"{count:,} ensemble{'' if count == 1 else 's'}, {neurons:,} neurons"]
        return Box(short(label), _NETWORK, rows)
    if isinstance(thing, nengo.Ensemble):
        rows = [f"{thing.n_neurons:,} {type(thing.neuron_type).__name__}", f"dimensions {thing.dimensions}"]
        return Box(short(label), _ENSEMBLE, rows)
    return Box(short(label), _NODE, [f"node {thing.size_in} → {thing.size_out}"])
