"""Let Keras load or save a model in little more memory than its weights take.

Keras fills every new variable with random numbers, reads the file into memory, and copies each weight twice on its way
from NumPy to TensorFlow: VGG16's 0.55 GB takes 3 GB. While `lean` is in force new variables are zeros that take no
memory until written, and weights are handed to TensorFlow as they are (DLPack).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

LARGE = 1 << 20
"""Bytes from which it is worth the trouble."""

_AT_ONCE = 16 << 20
"""Bytes read from a file at once."""

_ALIGNMENT = 64
"""Bytes; TensorFlow copies what is not aligned so."""


@contextmanager
def lean() -> Iterator[None]:
    """For the length of a ``load_model`` of Keras 3 or ``tf_keras`` or a ``save`` of Keras 3, one at a time in a
    process."""
    import keras
    import tf_keras
    from keras.src import backend as keras_backend
    from keras.src.backend.tensorflow.core import Variable
    from keras.src.saving import saving_lib
    from tf_keras.src import backend
    from tf_keras.src.saving.legacy import hdf5_format

    convert, batch_set_value = Variable._convert_to_tensor, backend.batch_set_value
    convert_to_numpy = keras_backend.convert_to_numpy

    def convert_leanly(self: Any, value: Any, dtype: Any = None) -> Any:
        if _is_large(value) and str(value.dtype) == str(dtype or value.dtype):
            return _tensor_of(value)
        return convert(self, value, dtype)

    def set_leanly(pairs: Any) -> None:
        for variable, value in pairs:
            if _is_large(value) and value.dtype == variable.dtype.as_numpy_dtype:
                variable.assign(_tensor_of(value))
            else:
                batch_set_value([(variable, value)])

    def to_numpy_leanly(value: Any) -> Any:
        if isinstance(value, Variable) and math.prod(value.shape) * 4 >= LARGE:
            # The variable's own memory, to be read only.
            return value.value.read_value()._numpy()
        return convert_to_numpy(value)

    def datasets(group: Any) -> list[Any]:
        # Keras 2 reads all weights before it sets the first one; a dataset reads when it is set.
        names = hdf5_format.load_attributes_from_hdf5_group(group, "weight_names")
        return [group[name] if _is_large(group[name]) else np.asarray(group[name]) for name in names]

    with ExitStack() as patches:
        # False makes Keras read the weights from the file, one by one.
        patches.enter_context(patch.object(saving_lib, "is_memory_sufficient", lambda model: False))
        patches.enter_context(patch.object(keras_backend, "convert_to_numpy", to_numpy_leanly))
        patches.enter_context(patch.object(Variable, "_convert_to_tensor", convert_leanly))
        patches.enter_context(patch.object(backend, "batch_set_value", set_leanly))
        patches.enter_context(patch.object(hdf5_format, "load_subset_weights_from_hdf5_group", datasets))
        for library in (keras, tf_keras):
            for name in _RANDOM:
                initializer = getattr(library.initializers, name)
                patches.enter_context(patch.object(initializer, "__call__", _zeros(initializer.__call__)))
        yield


_RANDOM = ("VarianceScaling", "RandomNormal", "RandomUniform", "TruncatedNormal", "Orthogonal")
"""Initializers; Glorot's, He's and LeCun's are forms of the first."""


def _zeros(initialize: Any) -> Any:
    def zeros(self: Any, shape: Any, dtype: Any = None, **options: Any) -> Any:
        try:
            kind = np.dtype(getattr(dtype, "as_numpy_dtype", dtype) or "float32")
        except TypeError:
            return initialize(self, shape, dtype, **options)
        if math.prod(shape) * kind.itemsize < LARGE or kind.kind != "f":
            return initialize(self, shape, dtype, **options)
        return _tensor(aligned_zeros(tuple(shape), kind))

    return zeros


def _is_large(value: Any) -> bool:
    """An array, or an HDF5 dataset that has not been read yet."""
    kind: Any = getattr(value, "dtype", None)
    return getattr(kind, "kind", "") == "f" and math.prod(value.shape) * kind.itemsize >= LARGE


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Zeros whose memory the system gives when it is written."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)


def _tensor_of(value: Any) -> Any:
    """A large array or dataset as a tensor."""
    array = aligned_zeros(tuple(value.shape), value.dtype)
    # HDF5 takes twice a read's size on top, so read a few rows at a time.
    rows = max(1, _AT_ONCE * len(array) // array.nbytes)
    for start in range(0, len(array), rows):
        array[start : start + rows] = value[start : start + rows]
    return _tensor(array)


def _tensor(array: np.ndarray) -> Any:
    """The array's own memory as a tensor; the tensor keeps it."""
    import tensorflow as tf

    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
