"""What an ONNX file's lookup tables know: the keys that tell two apart, where made-up words are unknown to both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

KEYS = {
    "LabelEncoder": ("keys_strings", "keys_int64s", "keys_tensor", "classes_strings"),
    "CategoryMapper": ("cats_strings", "cats_int64s"),
    "OneHotEncoder": ("cats_strings", "cats_int64s"),
    "DictVectorizer": ("string_vocabulary", "int64_vocabulary"),
    "TfIdfVectorizer": ("pool_strings", "pool_int64s"),
    "StringNormalizer": ("stopwords",),
}
"""Operator -> the attributes that hold what it knows."""

MOST_KEYS = 2_000
"""Of one input; more are thinned evenly."""

Known = dict[str, tuple[str | int, ...]]


def keys_of(path: str | os.PathLike[str]) -> Known:
    """{input: the keys of the tables that are asked for what comes of it}, of texts and whole numbers; empty where the
    file is no ONNX model. Reads the file whole: call it in a worker."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(os.fspath(path), load_external_data=False).graph
    except (DecodeError, OSError, ValueError):
        return {}
    kinds = {info.name: info.type.tensor_type.elem_type for info in graph.input}
    wanted = {name: str if kind == onnx.TensorProto.STRING else int for name, kind in kinds.items()}
    origins, stored = {name: {name} for name in kinds}, {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, dict[str | int, None]] = {name: {} for name in kinds}
    for node in graph.node:
        sources = set().union(*(origins.get(name, ()) for name in node.input))
        origins |= dict.fromkeys(node.output, sources)
        for key in _keys(node, stored) if sources else ():
            for name in sources:
                if isinstance(key, wanted[name]):
                    found[name][key] = None
    return {name: tuple(keys)[:: -(-len(keys) // MOST_KEYS)] for name, keys in found.items() if keys}


def nearly(known: Iterable[Any]) -> Iterator[Any]:
    """Known values, and what is nearly one: the next number, another case, a space at an end."""
    values = list(known)
    texts = [value for value in values if isinstance(value, str)]
    changes = (str, str.upper, str.lower, str.title, "{} ".format, " {}".format)
    yield from dict.fromkeys(change(text) for change in changes for text in texts)
    numbers = [int(value) for value in values if not isinstance(value, str)]
    yield from sorted({number + step for number in numbers for step in (-1, 0, 1)})


def _keys(node: onnx.NodeProto, stored: dict[str, onnx.TensorProto]) -> Iterator[str | int]:
    from onnx import TensorProto, helper, numpy_helper

    for attribute in node.attribute:
        if attribute.name in KEYS.get(node.op_type, ()):
            value = helper.get_attribute_value(attribute)
            values = numpy_helper.to_array(value).ravel().tolist() if isinstance(value, TensorProto) else value
            yield from (_plain(one) for one in values)
    if node.op_type == "Equal":
        for tensor in filter(None, map(stored.get, node.input)):
            if tensor.data_type == TensorProto.STRING:
                yield from map(_plain, tensor.string_data)


def _plain(key: str | bytes | int) -> str | int:
    return key.decode(errors="replace") if isinstance(key, bytes) else key
