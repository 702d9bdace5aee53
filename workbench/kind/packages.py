"""The kind of a file that stores Python objects or programs: by the packages its classes come from, its names, its
operators."""

from __future__ import annotations

import re

from ..files.records import Format, Verdict
from ..words import listed
from .structure import is_spiking

_SPIKING_PACKAGES = ("snntorch", "norse", "sinabs", "spikingjelly", "nengo", "lava", "bindsnet", "rockpool")
_ML_PACKAGES = ("sklearn", "xgboost", "lightgbm", "catboost", "imblearn", "skops", "mlxtend", "hmmlearn", "statsmodels")
_DL_PACKAGES = ("torch", "keras", "tensorflow", "tf_keras", "timm", "transformers", "fastai", "jax", "flax", "skorch")


def spiking_marker(content: Format) -> str | None:
    """The first marker that names a spiking neuron, or comes of a package for spiking networks."""
    return next((m for m in content.markers if is_spiking(m, "") or _package(m) in _SPIKING_PACKAGES), None)


def kind_of_classes(content: Format) -> Verdict:
    """Pickles, joblib, skops and PyTorch files: the packages their classes come from."""
    if spiking := spiking_marker(content):
        return Verdict("SNN", f"{content} holds {spiking}, a spiking neuron.", spiking)
    if content.name == "PyTorch":
        return _kind_of_pytorch(content)
    for marker in content.markers:
        package = _package(marker)
        if package in _ML_PACKAGES and "._bunch." not in marker:
            network = next((m for m in content.markers if "neural_network" in m), None)
            also = f"; there is a neural network inside ({network.rsplit('.', 1)[-1]})" if network else ""
            engine = "sklearn" if package == "sklearn" else None
            return Verdict("ML", f"It holds a {marker}{also}.", marker, engine)
        if package in _DL_PACKAGES and not marker.startswith(("torch._utils.", "torch.storage.")):
            return Verdict("DL", f"It holds a {marker}.", marker)
    strange = next((m for m in content.markers if _package(m) not in _DATA_PACKAGES and "._bunch." not in m), None)
    if strange:
        return Verdict("unknown", f"It holds a {strange}, which the workbench does not know.")
    if content.detail == "read in part":
        return Verdict("unknown", "It begins with data, and what follows cannot be told without loading it.")
    return Verdict(None, "Nothing in it names a model: plain data, as far as can be told without loading it.")


_DATA_PACKAGES = {
    "numpy", "scipy", "pandas", "builtins", "__builtin__", "collections", "copyreg", "copy_reg", "_codecs", "datetime",
    "torch", "sklearn",
}  # fmt: skip


def _package(marker: str) -> str:
    """The package of a class or of a TorchScript source: ``snntorch`` of ``__torch__/snntorch/_neurons/leaky.py``."""
    parts = [part for part in re.split(r"[./]", marker[:300]) if part and part != "__torch__"]
    return parts[0] if parts else ""


_LIF_STATE = {
    "graded_spikes_factor", "reset_mechanism_val", "v_threshold", "v_reset", "tau_mem_inv", "tau_syn_inv",
}  # fmt: skip
"""Buffers of spiking layers: snnTorch's, SpikingJelly's, Norse's."""


def _kind_of_pytorch(content: Format) -> Verdict:
    """State dicts by their parameter names, programs by their operators, modules by their classes."""
    names = content.markers
    leaves = {name.rsplit(".", 1)[-1] for name in names}
    lif = leaves & _LIF_STATE
    if lif or {"beta", "threshold"} <= leaves:
        beside = listed(sorted(lif or {"beta", "threshold"}))
        because = f"It holds weights beside {beside}, as spiking layers have them."
        return Verdict("unknown", f"{because} Without its code the file cannot tell.")
    if content.detail.startswith("exported"):
        learnt = r"aten\.(conv|linear|addmm|b?mm|matmul|lstm|gru|rnn|embed|\w*norm|scaled)"
        layer = next((n for n in names if re.search(learnt, n)), None)
        compares = any(re.search(r"aten\.(gt|ge|lt|le|heaviside)\b", n) for n in names)
        if layer and compares and any("aten.sub" in n for n in names):
            because = f"It multiplies ({layer}), compares and subtracts: a network, perhaps a spiking one."
            return Verdict("unknown", because)
    else:
        ends = (".weight", ".running_mean", ".in_proj_weight", ".gamma")
        named = next((n for n in names if n.endswith(ends) or n == "weight"), None)
        layer = next((n for n in names if re.search(r"torch[./]nn[./]modules", n)), named)
    if not layer:
        return Verdict("unknown", "It is a PyTorch file, but no layer was found in it.")
    what_it_is = {
        "state dict": "named weights, without the code of their network",
        "whole module": "a network with its weights",
    }
    told = what_it_is.get(content.detail, "a network and its weights")
    return Verdict("DL", f"It is a PyTorch file: {told} ({layer}).", layer)
