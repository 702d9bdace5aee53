"""TensorFlow as every engine needs it: quiet, with Keras 2 beside Keras 3, with so many threads."""

from __future__ import annotations

import logging
import os
import warnings
from functools import cache
from typing import Any

from ...errors import BadInput
from .quiet import sparing, start_up_noise_hidden


@cache
def start() -> Any:
    """The ``tensorflow`` module; ``tf.keras`` is Keras 2, as in `workbench.snn`."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with start_up_noise_hidden(), warnings.catch_warnings(), sparing():
        warnings.simplefilter("ignore")
        # With Keras 2, which TensorFlow imports itself.
        import tensorflow as tf
    tf.get_logger().setLevel(logging.ERROR)
    return tf


def start_keras() -> Any:
    """The ``keras`` module, which is Keras 3."""
    start()
    with sparing():
        import keras
    return keras


def use_threads(threads: int | None) -> None:
    """Let TensorFlow use so many threads within an operator, and across operators; None leaves it as it is.

    Raises:
        BadInput: it runs already, with another number; it cannot change that.
    """
    if threads is None:
        return
    threading = start().config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        now = threading.get_intra_op_parallelism_threads() or "as many as there are cores"
        raise BadInput(
            f"threads={threads} comes too late: TensorFlow runs in this process already, with {now}; load this engine "
            "first, or in a process of its own."
        ) from error
