"""TensorFlow as every engine needs it: quiet, with Keras 2 beside Keras 3, with so many threads."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from ..errors import BadInput
from ..sandbox import in_worker
from ..snn.borrowed import start_up_noise_hidden

OPTIONAL = ("matplotlib", "pandas", "sklearn")
"""What both Keras import where it is installed, for wrappers and plots that no worker is asked for. It is a third of
TensorFlow's start, 1.2 of 3.4 s, and 70 MiB."""


@cache
def start() -> Any:
    """The ``tensorflow`` module; ``tf.keras`` is Keras 2, as in `workbench.snn`."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with start_up_noise_hidden(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # With Keras 2, which TensorFlow imports itself.
        with _sparing():
            import tensorflow as tf
    tf.get_logger().setLevel(logging.ERROR)
    return tf


def start_keras() -> Any:
    """The ``keras`` module, which is Keras 3."""
    start()
    with _sparing():
        import keras
    return keras


@contextmanager
def _sparing() -> Iterator[None]:
    """In a worker, importing `OPTIONAL` fails meanwhile, as if it were not installed; unless it is imported already."""
    hidden = [name for name in OPTIONAL if name not in sys.modules] if in_worker() else []
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: so Python's import system says it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


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
