"""NIR files (``.nir``): the exchange format of snnTorch, Norse, Sinabs, Lava, SpikingJelly and others.

NIR describes neurons as differential equations in continuous time, so a file says neither the time step nor how a
framework steps through it. `read_nir` takes both as arguments, or the name of the framework, whose ways `nir_steps`
has; `network.notes` says what was assumed.

=============  ========================================================================================================
NIR            here
=============  ========================================================================================================
Input          an input; an image is fed flattened (CHW) and gets an ``Image`` node
Output         an output
Affine/Linear  ``Gemm``, transposed: NIR's weight is (outputs, inputs)
Conv1d/Conv2d  ``Conv``; a signal (C, N) is an image (C, 1, N)
AvgPool2d      ``AveragePool``; with padding, which PyTorch averages over too, a ``Conv`` of equal weights
SumPool2d      ``Conv`` of ones, one group per channel
Flatten        ``Flatten``, CHW
Scale          ``Scale``
LIF            ``LeakyIntegrateAndFire``: decay = 1 - dt/tau, gain = r dt/tau, bias = v_leak dt/tau, threshold, reset
IF             the same with decay 1, gain = r dt, bias 0
Threshold      the same with decay 0, gain 1
LI, I          ``LeakyIntegrator``, with the same decay, gain and bias
CubaLIF        ``LeakyIntegrator`` (tau_syn, w_in) before ``LeakyIntegrateAndFire``; CubaLI before a LeakyIntegrator
Delay          one ``Lowpass`` with tau 0, which is a delay of one step, for each step
NIRGraph       its nodes, named ``<graph>.<node>``
several edges  into one node: ``Sum``
a cycle        a delay of one step where it leaves its neuron, as PyTorch's frameworks run it
=============  ========================================================================================================

`write_nir` writes that backwards, and Nengo's neurons as NIR's equations where they are the same:

- ``LIF`` becomes LIF with tau = tau_rc, r = gain, v_leak = bias, v_threshold = 1, v_reset = 0, then
  Scale(amplitude / dt).
- ``Lowpass`` becomes LI, ``Alpha`` a CubaLI with two equal time constants; v_leak = 0, r = 1.
- ``Sum`` becomes Scale(1); on flat signals ``Bias`` becomes Affine, ``Slice`` and ``Place`` Linear.

What NIR has no field for goes into ``metadata``, which only this package reads: tau_ref, min_voltage, dt, initial
states, names, the order of the nodes, seeds. So another framework runs such a LIF without its refractory period.
Refused by name: other neurons (NIR's IF resets to a value, so it is no SpikingRectifiedLinear), max pooling, batch
normalisation, activations, uneven padding, an image made from a computed signal.
"""

from __future__ import annotations

import os
from typing import Any, Literal

from ... import sandbox
from .check import check, renamed, sound
from .network import SpikingNetwork
from .nir_steps import Stepping, stepping


def read_nir(
    path: str | os.PathLike[str],
    *,
    dt: float | None = None,
    method: Literal["euler", "exact", "exact unweighted"] | None = None,
    reset: Literal["to value", "subtract", "subtract late", "subtract all"] | None = None,
    framework: Literal["snntorch", "spikingjelly", "norse", "sinabs"] | None = None,
) -> SpikingNetwork:
    """Read a ``.nir`` file, in a worker process: it is HDF5 (`workbench.sandbox.parse`).

    Args:
        path: the file.
        dt: seconds per step. By default the file's, if `write_nir` wrote it; else the framework's; else the one for
            which r = tau / dt everywhere, as snnTorch and SpikingJelly write an input that is added as it is, where
            that is their 0.0001 or several time constants agree on it. r = 1 tells nothing.
        method: how the equations are stepped: ``euler``, ``v += dt/tau (v_leak - v + r I)`` (the default; snnTorch,
            SpikingJelly, Norse, Lava), or ``exact``, with ``1 - exp(-dt/tau)`` in place of ``dt/tau`` (Sinabs);
            ``exact unweighted`` adds what comes in as it is (its ``norm_input=False``).
        reset: what a spike does to v. NIR's own ``to value``, the default, is v_reset (SpikingJelly, Norse);
            ``subtract`` takes the threshold away at once (Sinabs), ``subtract late`` in the next step, after its leak
            (snnTorch's default, which its files do not tell from its reset to zero); ``subtract all`` takes it away as
            often as it fits, and gives as many spikes (Sinabs's ``MultiSpike``).
        framework: which wrote the file: all of this as it does by default, and whether what arrives is added as it is.
            What is said beside it holds. Sinabs gives several spikes a step by default, here it is one at most unless
            `reset` says otherwise.

    Raises:
        UnreadableFile: truncated, not HDF5, not NIR, too large, or with links out of the file.
        UnsupportedModel: a node, or a use of one, without a counterpart; it is named.
        BadInput: a value that is none of these, or neither `dt` nor `framework` where the file does not tell.
        WorkerFailed: the file crashed its reader, or kept it busy for too long.
    """
    return sandbox.parse(_network, path, stepping(dt, method, reset, framework))


def _network(path: str | os.PathLike[str], how: Stepping) -> SpikingNetwork:
    from . import nir_file, nir_read

    graph = nir_file.read(path)
    with sound(f"{os.fspath(path)} is not a sound NIR graph", "write it again"):
        network = renamed(nir_read.network(graph, os.path.basename(os.fspath(path)), how))
        check(network)
        return network


def write_nir(network: Any, path: str | os.PathLike[str]) -> None:
    """Write a ``.nir`` file; `read_nir` gives the same network back.

    Args:
        network: a `SpikingNetwork`, or what `from_nengo` reads: a ``nengo.Network`` or an open simulator.
        path: of the new file; one that is there is replaced.

    Raises:
        BadInput: not a network.
        WorkbenchError: the file cannot be written there.
        UnsupportedModel: something NIR cannot hold; it is named, and nothing is written.
    """
    from . import nir_file, nir_write

    if not isinstance(network, SpikingNetwork):
        from .from_nengo import from_nengo

        network = from_nengo(network)
    nir_file.write(nir_write.graph(network), path)
