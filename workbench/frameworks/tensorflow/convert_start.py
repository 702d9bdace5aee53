"""TensorFlow as every converter here needs it: sparing with memory, and with tf2onnx mended."""

from __future__ import annotations

import logging
import os
import warnings
from functools import cache
from typing import Any

import numpy as np

from . import start as tf_start


@cache
def start() -> Any:
    """The ``tensorflow`` module, see `workbench.frameworks.tensorflow.start`."""
    # With oneDNN TensorFlow keeps whatever memory it ever took, and loading takes three times the largest weight.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    tf = tf_start.start()
    # tf2onnx 1.17 calls a function that NumPy 2 took away.
    if not hasattr(np, "product"):
        np.product = np.prod  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tf2onnx.graph

    # It logs as errors what `to_onnx.check_operators` raises.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    update = tf2onnx.graph.Node.update_proto

    def update_unless_constant(node: Any, *args: Any, **kwargs: Any) -> None:
        # A constant's attributes never change; writing them anew leaks a copy of its tensor every time.
        if not node.is_const():
            update(node, *args, **kwargs)

    tf2onnx.graph.Node.update_proto = update_unless_constant
    return tf
