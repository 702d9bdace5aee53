"""SavedModel folders to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, UnsupportedModel
from .draft import Draft
from .tf_network import arguments, freeze, public_name, unique
from .tf_start import start
from .tf_to_onnx import Progress, draft_of, unreadable

if TYPE_CHECKING:
    from .draft import Arrays


def draft(
    path: Path, sample: Any, opset: int | None, progress: Progress, folder: Path, *, signature: str | None = None
) -> Draft:
    """Convert one signature: the one named, else ``serving_default``, else the first; see `tensorflow.draft`."""
    tf = start()
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:
        raise unreadable(path, error) from error
    progress("Tracing the network")
    signatures = sorted(name for name in loaded.signatures if not name.startswith("_"))
    if not signatures:
        raise UnsupportedModel(
            f"{path.name} has no signature, so its inputs are not known: export it with one (Keras: model.export)."
        )
    chosen = signature or ("serving_default" if "serving_default" in signatures else signatures[0])
    if chosen not in signatures:
        raise BadInput(f"{path.name} has no signature {chosen!r}; choose one of: {', '.join(signatures)}.")
    concrete = loaded.signatures[chosen]
    # TensorFlow flattens what a signature takes and gives in the order of the names.
    specs = concrete.structured_input_signature[1]
    inputs, keys = sorted(specs), sorted(concrete.structured_outputs)
    if len(inputs) != len(arguments(concrete)):
        inputs = [public_name(tensor.name) for tensor in arguments(concrete)]
    outputs = unique(keys, inputs)

    def native(arrays: Arrays) -> Arrays:
        answer = concrete(**{name: tf.constant(arrays[name], specs[name].dtype) for name in specs})
        return {name: answer[key].numpy() for name, key in zip(outputs, keys, strict=True)}

    # The signature holds its variables weakly: `native` keeps what was loaded alive.
    native.loaded = loaded  # type: ignore[attr-defined]
    network = freeze(concrete, inputs, list(zip(outputs, concrete.outputs, strict=True)), path.name)
    made = draft_of(network, native, opset=opset, progress=progress, folder=folder)
    if len(signatures) > 1:
        made.notes.append(f"Of the signatures {', '.join(signatures)}, {chosen} is converted.")
    return made
