"""Walk an ONNX graph, the bodies of its Loop, Scan and If included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from ...engines.rewritten import with_bodies


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    return (node for part in with_bodies(graph) for node in part.node)


def all_reads(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a node reads, or that the graph or a body gives out."""
    for part in with_bodies(graph):
        for node in part.node:
            yield from node.input
        yield from (value.name for value in part.output)


def drop_unread(graph: onnx.GraphProto) -> None:
    """Take out nodes and initializers whose results nothing reads."""
    while True:
        read = set(all_reads(graph))
        left = [node for node in graph.node if not read.isdisjoint(node.output)]
        if len(left) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(left)
    tensors = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
