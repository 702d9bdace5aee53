"""Any file that holds a spiking network, as a `SpikingNetwork`: ours, other makers' ONNX, NIR."""

from __future__ import annotations

import os
from typing import Any

from ...errors import BadInput, UnsupportedModel
from ...files.formats import identify
from ...files.header import Header
from .check import check
from .network import SpikingNetwork
from .neurons import MODELS, NEURONS
from .operators import DOMAIN


def load_network(
    path: str | os.PathLike[str], params: str | os.PathLike[str] | None = None, **reading: Any
) -> SpikingNetwork:
    """Read a spiking network from a file. No code from it runs.

    Args:
        path: an .onnx file (from `convert`, or with the paper authors' ``LIF`` nodes), or a .nir file.
        params: the NengoDL .npz that holds the weights, for files of the paper's authors.
        reading: of a .nir file, what it does not tell, see `read_nir`.

    Raises:
        UnreadableFile: missing or damaged.
        UnsupportedModel: it holds something no spiking network here has, named.
        BadInput: `params` or `reading` where the file holds that itself, or they are missing.
    """
    if not isinstance(path, str | os.PathLike):
        raise BadInput(f"Expected the path of an .onnx or .nir file, not {path!r}.")
    path = os.fspath(path)
    if identify(path).name == "NIR":
        if params is not None:
            raise BadInput(f"{path} holds its parameters itself: leave params= out.")
        from .nir import read_nir

        return read_nir(path, **reading)
    if given := [name for name, value in reading.items() if value is not None]:
        raise BadInput(f"{path} is no .nir file and holds its {given[0]} itself: leave {given[0]}= out.")
    from .read import is_ours, load, read

    model = load(path)
    if not is_ours(model):
        from .foreign import read_foreign

        try:
            network = read_foreign(path, params)
        except UnsupportedModel as error:
            if any(node.op_type in NEURONS for node in model.graph.node):
                raise
            raise UnsupportedModel(
                f"{error} Where another framework wrote its neurons as arithmetic, lift() (workbench lift) makes of it "
                "a file that is read."
            ) from error
        check(network)
        return network
    if params is not None:
        raise BadInput(f"{path} holds its parameters itself: leave params= out.")
    return read(model)


def network_of(source: Any, params: str | os.PathLike[str] | None = None, **reading: Any) -> SpikingNetwork:
    """The network of a file (`load_network`), of a network, ours or Nengo's, or of an open simulator."""
    if isinstance(source, str | os.PathLike):
        return load_network(source, params, **reading)
    if given := [name for name, value in reading.items() if value is not None]:
        raise BadInput(f"{given[0]}= says how a .nir file is read, and this is a network: leave it out.")
    if isinstance(source, SpikingNetwork):
        return source
    from .from_nengo import from_nengo

    return from_nengo(source)


def runs_over_time(header: Header) -> bool:
    """Whether an ONNX file is a network that runs over time: as `convert` writes them, with neurons or synapses in
    domain ``org.nengo`` or time folded into the batch, or with neurons of the paper's authors in the default domain."""
    for node in header.nodes():
        op = node.op_type.removesuffix("Cell")
        if node.domain == DOMAIN and (op in MODELS or op == "FoldTime"):
            return True
        if node.domain in ("", "ai.onnx") and op in NEURONS:
            return True
    return False
