"""Walk an ONNX graph, the bodies of its Loop, Scan and If included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for body in _bodies(node):
            yield from all_nodes(body)


def all_reads(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a node reads, or that the graph or a body gives out."""
    for node in graph.node:
        yield from node.input
        for body in _bodies(node):
            yield from all_reads(body)
    yield from (value.name for value in graph.output)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


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
