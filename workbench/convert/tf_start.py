"""TensorFlow as every converter here needs it: quiet, sparing with memory, and with tf2onnx mended."""

from __future__ import annotations

import logging
import os
import warnings
from functools import cache
from typing import Any


@cache
def start() -> Any:
    """The ``tensorflow`` module; ``tf.keras`` is Keras 2, as in `workbench.snn`."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # With oneDNN TensorFlow keeps whatever memory it ever took, and loading takes three times the largest weight.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import numpy as np
        import tensorflow as tf

        # tf2onnx 1.17 calls a function that NumPy 2 took away.
        if not hasattr(np, "product"):
            np.product = np.prod  # type: ignore[attr-defined]
        import tf2onnx.graph

    tf.get_logger().setLevel(logging.ERROR)
    # It logs as errors what `tf_to_onnx.check_operators` raises.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    update = tf2onnx.graph.Node.update_proto

    def update_unless_constant(node: Any, *args: Any, **kwargs: Any) -> None:
        # A constant's attributes never change; writing them anew leaks a copy of its tensor every time.
        if not node.is_const():
            update(node, *args, **kwargs)

    tf2onnx.graph.Node.update_proto = update_unless_constant
    return tf
