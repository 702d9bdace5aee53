"""Keras and TensorFlow: their files, engines and converters. Nothing here imports either before it is needed."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from ...files.records import (
    BATCH,
    EngineRecord,
    FileFormat,
    Format,
    Framework,
    Objects,
    Option,
    Probe,
    Reader,
    classes,
    opset_option,
)
from . import formats

_HERE = "workbench.frameworks.tensorflow"

OPSETS = 13, 18
"""The highest tf2onnx 1.17 writes, and the lowest it is tested with here."""

OPTIONS = (opset_option(*OPSETS), BATCH)

_NAMES_OF_NODES = "found by themselves"


def _is_keras(model: Any) -> bool:
    return bool(classes(model) & {("keras", "Model"), ("tf_keras", "Model")})


_LAYOUTS = "workbench.graph.layouts"
_HDF5 = Reader("model.h5", ("keras",), ("hdf5",), "workbench.graph.slim:hdf5", apart=True)
_keras = partial(
    FileFormat, kind=f"{_HERE}.formats:kind_of_keras", engine="keras", apart=True, options=OPTIONS,
    draft=f"{_HERE}.convert_keras:draft_file", scan=f"{_HERE}.scan_keras:scan",
)  # fmt: skip
_graph = partial(
    FileFormat, kind=f"{_HERE}.formats:kind_of_graph", engine="tensorflow", draft=f"{_HERE}.convert:draft_file",
    scan=f"{_HERE}.scan_graphs:scan",
)  # fmt: skip

FRAMEWORK = Framework(
    formats=(
        _keras(
            "Keras v3", (".keras",), suffix=".keras",
            reader=Reader("model.keras", ("keras",), ("hdf5",), "workbench.graph.slim:keras", apart=True),
        ),
        _keras("Keras HDF5", (".h5", ".hdf5", ".keras"), suffix=".h5", reader=_HDF5),
        FileFormat(
            "Keras weights", (".h5", ".hdf5"), reader=_HDF5,
            kind=("DL", "It holds the weights of a Keras network, without its architecture."),
            advice="it holds weights without an architecture; save the whole model with model.save",
        ),
        FileFormat("HDF5", (".h5", ".hdf5"), "an HDF5 file that is neither Keras nor NIR", reader=_HDF5),
        FileFormat(
            "Keras JSON", (".json",), kind=f"{_HERE}.formats:kind_of_keras",
            advice="it holds an architecture without weights; save the whole model with model.save",
            reader=Reader("model.json", ("keras", "tf")),
        ),
        _graph(
            "SavedModel", (".pb", ""),
            options=(
                *OPTIONS,
                Option("signature", "Signature", "Which of its functions to convert.", "text", unset="serving_default"),
            ),
            reader=Reader(
                "saved_model.pb", ("tf",), slim="workbench.graph.slim:saved_model", graphs=f"{_LAYOUTS}:saved_model"
            ),
            inside=("saved_model.pb", "saved_model.pbtxt"),
        ),
        _graph(
            "GraphDef", (".pb",),
            options=(
                *OPTIONS,
                Option("inputs", "Inputs", "Names of the nodes it begins with.", "names", unset=_NAMES_OF_NODES),
                Option("outputs", "Outputs", "Names of the nodes it ends with.", "names", unset=_NAMES_OF_NODES),
            ),
            reader=Reader("model.pb", ("tf",), slim="workbench.graph.slim:graph_def", graphs=f"{_LAYOUTS}:graph_def"),
        ),
        _graph(
            "TFLite", (".tflite", ".lite"), kind=("DL", "{shown} stores neural networks."), engine="tflite", apart=True,
            options=(
                *OPTIONS,
                Option(
                    "dequantize", "Dequantize", "Compute in float32 where the file computes in whole numbers.", "bool",
                    default=False,
                ),
            ),
            reader=Reader("model.tflite", ("tflite",), slim="workbench.graph.slim:tflite", graphs=f"{_LAYOUTS}:tflite"),
        ),
    ),
    probes=(
        Probe("zip", formats.keras_archive),
        Probe("hdf5", formats.keras_hdf5),
        Probe("text", formats.keras_json),
        Probe("folder", formats.saved_model_folder),
        Probe("protobuf", formats.saved_model),
        Probe("protobuf", formats.graph_def),
        Probe(re.compile(rb".{4}TFL3", re.S), lambda buffer: Format("TFLite")),
    ),
    engines=(
        EngineRecord("keras", "Keras", f"{_HERE}.keras:KerasEngine"),
        EngineRecord("tensorflow", "TensorFlow", f"{_HERE}.graphs:TensorFlowEngine"),
        EngineRecord("tflite", "TensorFlow Lite", f"{_HERE}.tflite:TfliteEngine"),
    ),
    objects=(
        Objects(
            _is_keras, lambda model: "keras", pack=f"{_HERE}.packing:pack",
            draft=f"{_HERE}.convert_keras:draft_file",
        ),
    ),
    tools=("tensorflow", "keras", "tf-keras", "tf2onnx"),
)  # fmt: skip
