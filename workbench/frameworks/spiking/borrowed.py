"""NengoDL, imported with names borrowed from Keras 2.

NengoDL 3.6 (2023) was written for Keras 2: one of its modules imports two names that Keras 3 no longer has, and all of
them use ``tf.keras`` as Keras 2. The package ``tf_keras`` is Keras 2, kept alive by TensorFlow. So, while NengoDL is
being imported, and for that one module alone, the old names come from ``tf_keras``; and ``tf.keras`` is switched to
``tf_keras`` by TensorFlow's own switch, ``TF_USE_LEGACY_KERAS``. ``import keras`` is Keras 3 before and after.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

from ...errors import WorkbenchError
from ..tensorflow.quiet import sparing, start_up_noise_hidden

_LENT = {
    "keras.engine.functional": {
        "Functional": ("tf_keras.src.engine.functional", "Functional"),
        "_build_map": ("tf_keras.src.engine.functional", "_build_map"),
    },
    "keras.layers": {
        "BatchNormalizationV1": ("tf_keras.src.layers.normalization.batch_normalization_v1", "BatchNormalization"),
        "BatchNormalizationV2": ("tf_keras.src.layers.normalization.batch_normalization", "BatchNormalization"),
    },
    "subprocess": {"call": (__name__, "_no_gpu")},
}
"""What `_BORROWERS` import: {module: {name: where it is}}. Names of Keras 2 are in tf_keras; and NengoDL would start
Python and TensorFlow a second time, 3.4 s, to ask whether there is a GPU."""

_BORROWERS = ("nengo_dl.compat", "nengo_dl.utils")

_TF_NAMES = ("keras", "losses", "metrics", "optimizers", "initializers")
"""Attributes of ``tensorflow`` that are Keras 2 or 3, settled one by one when first used."""

_lock = threading.Lock()


def import_nengo_dl() -> ModuleType:
    """The real ``nengo_dl`` package; a second call returns it at once. Safe from any thread.

    What stays changed in the process: ``tf.keras`` is Keras 2, and ``TF_USE_LEGACY_KERAS=1`` says so to every library
    that asks. NengoDL's warning that there is no GPU is off. On failure nothing does.

    Raises:
        WorkbenchError: ``tf.keras`` is in use as Keras 3 already, or NengoDL or tf_keras is not installed.
    """
    with _lock:
        if "nengo_dl" in sys.modules:
            return sys.modules["nengo_dl"]
        lender = _Lender()
        switch = os.environ.get("TF_USE_LEGACY_KERAS")
        log_level = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
        try:
            with start_up_noise_hidden(), warnings.catch_warnings(), sparing():
                warnings.filterwarnings("ignore", "This version of NengoDL has not been tested with your Nengo")
                _switch_tf_keras()
                sys.meta_path.insert(0, lender)
                try:
                    found = import_module("nengo_dl")
                finally:
                    sys.meta_path.remove(lender)
            # Every simulator would say so again; the workbench installs TensorFlow for processors alone.
            warnings.filterwarnings("ignore", "No GPU support detected")
            return found
        except BaseException as error:
            _restore("TF_USE_LEGACY_KERAS", switch)
            # Half a package must not be found by the next import.
            for name in [name for name in sys.modules if name.partition(".")[0] == "nengo_dl"]:
                del sys.modules[name]
            if isinstance(error, ImportError):
                raise WorkbenchError(
                    f"NengoDL cannot be imported ({error}): install the versions that environment.yml names."
                ) from error
            raise
        finally:
            # NengoDL sets this one when imported.
            _restore("TF_CPP_MIN_LOG_LEVEL", log_level)


def _switch_tf_keras() -> None:
    """Make ``tf.keras`` Keras 2.

    TensorFlow reads its switch when ``tf.keras`` or one of its companions is first *used*. So this works after
    TensorFlow was imported, as ``import keras`` does, but not after ``tf.keras`` was used.
    """
    if "tensorflow" in sys.modules:
        names = vars(sys.modules["tensorflow"])
        if any(_is_keras_3(names.get(name)) for name in _TF_NAMES):
            raise _too_late()
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf
    import tf_keras

    # Where `from tensorflow.keras import …` looks; TensorFlow puts it there itself if the switch was on in time.
    legacy = os.path.join(os.path.dirname(tf_keras.__file__), "api", "_v2")
    if legacy not in tf.__path__:
        tf.__path__.insert(0, legacy)
    used = (tf.keras.Model, tf.losses.Loss, tf.metrics.Metric, tf.optimizers.Optimizer, tf.initializers.Initializer)
    if not all(thing.__module__.startswith("tf_keras.") for thing in used):
        raise _too_late()
    # TensorFlow looks for a GPU at its first operation, and says so: better here, where it is hidden.
    tf.config.list_physical_devices()


def _is_keras_3(name: object) -> bool:
    """Is this attribute of ``tensorflow`` settled as Keras 3? A lazy loader that is not settled yet stays so."""
    state = vars(name) if isinstance(name, ModuleType) else {}
    return state.get("_tfll_keras_version") == "keras_3" or str(state.get("__name__")).startswith("keras.")


def _too_late() -> WorkbenchError:
    return WorkbenchError(
        "NengoDL needs tf.keras to be Keras 2, but this process has used it as Keras 3 already: restart the kernel and "
        "run `from workbench.snn import nengo_dl` before anything that uses tf.keras (`import keras` may come first)."
    )


class _Lender(MetaPathFinder):
    """Finds `_BORROWERS` where they are, and has them loaded with the borrowed names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in _BORROWERS else None
        if spec is not None and spec.origin is not None:
            spec.loader = _BorrowingLoader(fullname, spec.origin)
        return spec


class _BorrowingLoader(SourceFileLoader):
    """Runs a module whose import statements, and no others in the process, see the names of `_LENT`."""

    def exec_module(self, module: ModuleType) -> None:
        # An import statement calls the __import__ of its module's own builtins.
        module.__dict__["__builtins__"] = vars(builtins) | {"__import__": _lending_import}
        try:
            super().exec_module(module)
        finally:
            module.__dict__["__builtins__"] = vars(builtins)


def _lending_import(name: str, *args: Any) -> Any:
    lent = _LENT.get(name)
    if lent is None:
        return builtins.__import__(name, *args)
    module = ModuleType(name)
    for attribute, (home, original) in lent.items():
        setattr(module, attribute, getattr(import_module(home), original))
    return module


def _no_gpu(command: Sequence[str]) -> bool:
    """What NengoDL's question to another Python ends with. This one has looked already, in `_switch_tf_keras`."""
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value
