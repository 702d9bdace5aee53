"""Any file that holds a spiking network, as a `SpikingNetwork`: ours, other makers' ONNX, NIR."""

from __future__ import annotations

import os
from typing import Any

from ...errors import BadInput
from ...files.formats import identify
from ...files.header import Header
from .check import check
from .network import SpikingNetwork
from .neurons import NEURONS
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

        network = read_foreign(path, params)
        check(network)
        return network
    if params is not None:
        raise BadInput(f"{path} holds its parameters itself: leave params= out.")
    return read(model)


def has_neurons(header: Header) -> bool:
    """Whether an ONNX file has neurons for operators, at its top or inside a Scan: as those of `convert` do in domain
    ``org.nengo``, and those of the paper's authors in the default domain."""
    domains = {"", "ai.onnx", DOMAIN}
    return any(node.domain in domains and node.op_type.removesuffix("Cell") in NEURONS for node in header.nodes())
