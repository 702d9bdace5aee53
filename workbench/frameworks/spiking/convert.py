"""A Nengo network, an open NengoDL simulator or a .nir file to ONNX, proved on the same inputs over time.

Unlike files, Nengo's objects are the caller's own, which no other process could be given: they are read and asked where
they are. A .nir file or a `SpikingNetwork` has no engine of its own: Nengo runs it as it was read, in float64, and in a
worker, as ONNX Runtime's side does.

Both sides run the same `STEPS` steps; what counts as agreement is said in `workbench.agreement.hold_spikes`.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ... import sandbox
from ...agreement import hold_spikes, nudged
from ...convert.conversion import Conversion, finished, refuse
from ...convert.options import chosen
from ...convert.output import no_half_files, publish, target_of
from ...convert.samples import span
from ...engines.packing import Given
from ...errors import BadInput, UnsupportedModel
from ...files import certificate
from ...safety.trust import known_as, private_copy
from ...scratch import fleeting_folder
from . import FORM, NIR_OPTIONS, engine_of
from .load import network_of
from .network import SpikingNetwork
from .nir import read_nir
from .operators import OPSET

Arrays = dict[str, np.ndarray]


STEPS = 30
STEPS_TO_LEARN = 200
"""In 30 steps weights hardly move."""
TOOLS = ("onnx", "onnxruntime", "nengo", "nengo-dl", "tensorflow", "numpy")

Progress = Callable[[str], object]


def convert_nengo(
    source: Any, output: Any, *, sample: Any, overwrite: bool, say: Progress, cancel: threading.Event | None,
    timeout: float | None, begun: float, memory_mib: float | None, opset: int | None = None,
    options: Mapping[str, Any] | None = None, file: Path | None = None, sha256: str | None = None,
    source_bytes: int | None = None, read: Mapping[str, Any] | None = None, format: str = "Nengo",
) -> Conversion:  # fmt: skip
    """See `workbench.convert.convert`.

    Args:
        source: a ``nengo.Network``, an open ``nengo_dl.Simulator`` with its trained parameters, a `SpikingNetwork`, or
            a `Native`, read already.
        sample: for each input a time series ``(batch, steps, n)``, or images ``(batch, n)`` held for `STEPS` steps.
        begun: when the conversion did, and its `timeout`.
        options: ``dt``, seconds per step, for a ``nengo.Network``; 0.001 if None, or of the file it came from.
            ``freeze``: leave learning rules out, and keep the weights as they are; an open ``nengo.Simulator``, which
            has learnt, is taken as well then. ``form``: in plain operators, see `plain`.
        file: what `source` was read from; sha256, source_bytes: of that file; read: what was said of how to read it;
            format: its own, for the certificate.
    """
    _refuse_opset(opset)
    dt, freeze, form = _chosen(options or {})
    apart = partial(
        sandbox.run, timeout=timeout, since=begun, memory_mib=memory_mib or sandbox.MEMORY_MIB, cancel=cancel, warm=True
    )
    say("Reading the network")
    with _opened(source, _dt_of(source, dt), apart, freeze) as native:
        network = native.network
        network.notes += _short_pauses(network)
        target = target_of(output, file, file.stem if file else _stem(network.name), overwrite)
        with no_half_files(target) as folder:
            model, digest = _model(network, form)
            path = folder / target.name
            path.write_bytes(model.SerializeToString(deterministic=True))
            groups = native.groups if sample is None and native.groups else _samples(network, sample, native.steps)
            series = {
                name: np.concatenate([group[name] for group in groups.values()]) for name in next(iter(groups.values()))
            }
            say("Asking the network")
            answers, moved = native.run([series, nudged(series)])
            say("Asking ONNX Runtime the same")
            theirs, peak, version = apart(answer, path, series, form, what="Running the ONNX file")
            theirs = {name: array[:, -1:] if name in native.last else array for name, array in theirs.items()}
            counts = {name: len(next(iter(group.values()))) for name, group in groups.items()}
            asked = tuple(f"{name}: {span(array)}, over {array.shape[1]} steps." for name, array in series.items())
            agreement = hold_spikes(answers, theirs, moved, counts)
            if not agreement.within_tolerance and native.rounded is not None:
                say("Asking the network in float32, as ONNX computes")
                agreement = hold_spikes(answers, theirs, moved, counts, native.rounded(series))
            agreement = replace(agreement, asked=asked)
            conversion = Conversion(
                source=str(file or f"{type(source).__module__.partition('.')[0]} {type(source).__name__} (in memory)"),
                output=str(target),
                kind="SNN",
                converter={"name": "onnx-workbench", "version": metadata.version("onnx-workbench")},
                opset=next(entry.version for entry in model.opset_import if entry.domain == ""),
                seconds=0,
                peak_mib=peak,
                sha256=sha256,
                source_bytes=source_bytes,
                agreement=agreement,
                warnings=tuple(dict.fromkeys(network.notes)),
            )
            if agreement.within_tolerance:
                say("Writing the certificate")
                _certify(model, network, conversion, digest, native.version, version, format, read or {})
                path.write_bytes(model.SerializeToString(deterministic=True))
                say("Moving the ONNX file into place")
                publish(folder, target, overwrite)
    if not agreement.within_tolerance:
        refuse(conversion, begun)
    return finished(conversion, target, begun)


def _chosen(options: Mapping[str, Any]) -> tuple[float | None, bool, Literal["", "loop", "step"]]:
    """`dt`, `freeze` and `form`."""
    if unknown := [key for key in options if key not in ("dt", "freeze", "form")]:
        raise BadInput(
            f"Converting a Nengo network knows no option {unknown[0]!r}; it takes dt=, seconds a step, freeze=True and "
            "form=."
        )
    form = options.get("form")
    if form is not None:
        FORM.check(form)
    return options.get("dt"), bool(options.get("freeze")), form or ""


def convert_nir(
    source: Any,
    output: Any,
    *,
    opset: int | None,
    cancel: threading.Event | None,
    timeout: float | None,
    begun: float,
    options: dict[str, Any],
    **rest: Any,
) -> Conversion:
    """See `workbench.convert.convert`.

    Args:
        options: those of `convert.options`, as `workbench.frameworks.spiking.nir.read_nir` takes them.
    """
    _refuse_opset(opset)
    path, choices = Path(source), chosen(NIR_OPTIONS, options, "a .nir file")
    form = choices.pop(FORM.name)
    with fleeting_folder("workbench-convert-") as scratch:
        copy, digest, size = private_copy(path, scratch, cancel)
        with known_as(copy, path):
            network = sandbox.parse(partial(read_nir, **choices), copy, timeout=timeout, since=begun, cancel=cancel)
    return convert_nengo(
        network, output, cancel=cancel, timeout=timeout, begun=begun, file=path, sha256=digest, source_bytes=size,
        format="NIR", read={name: value for name, value in choices.items() if value is not None},
        options={FORM.name: form}, **rest,
    )  # fmt: skip


# --- the source's side ---------------------------------------------------------------------------------------------


@dataclass
class Native:
    """The source, read and ready to be asked.

    Attributes:
        network: what it was read as.
        run: several {input: (batch, steps, n)} -> {output: (batch, steps, n)} for each.
        version: the engine and its version.
        rounded: what it answers where it computes in float32; None where `run` does.
        steps: how many it is asked.
        last: outputs that it gives after the last step alone.
        groups: what it is asked where no sample is given: {where it comes from: {input: (batch, steps, n)}}.
    """

    network: SpikingNetwork
    run: Callable[[Sequence[Arrays]], list[Arrays]]
    version: str
    rounded: Callable[[Arrays], Arrays] | None = None
    steps: int = STEPS
    groups: Mapping[str, Arrays] = field(default_factory=dict)
    last: frozenset[str] = frozenset()


def _dt_of(source: Any, dt: float | None) -> float:
    before = source.network if isinstance(source, Native) else getattr(source, "spiking_network", source)
    own = before.dt if isinstance(before, SpikingNetwork) else getattr(source, "dt", None)
    if own is None:
        own = dt or 0.001
    if dt is not None and dt != own:
        raise BadInput(f"dt is {dt} s, but this network was made for steps of {own} s: leave dt out.")
    return float(own)


@contextmanager
def _opened(source: Any, dt: float, apart: Callable[..., Any], freeze: bool = False) -> Iterator[Native]:
    """
    Args:
        apart: calls a function in a worker.
        freeze: without learning rules.
    """
    if isinstance(source, Native):
        yield source
        return
    if isinstance(source, SpikingNetwork):
        run = partial(apart, _as_read, source, what=f"Running {source.name} in Nengo")
        yield Native(
            source,
            run,
            f"Nengo {metadata.version('nengo')}, the network as it was read",
            lambda series: apart(_as_read_rounded, source, series, what=f"Running {source.name} in Nengo"),
        )
        return
    import nengo

    if isinstance(source, nengo.Network):
        layers = any(type(node).__name__ == "TensorNode" for node in source.all_nodes)
        if layers and freeze:
            raise UnsupportedModel("Layers of NengoDL have no learning rules of Nengo to freeze: leave freeze out.")
        with _every_step(source), _in_nengo_dl(source, dt) if layers else _in_nengo(source, dt, freeze) as native:
            yield native
    elif isinstance(source, nengo.Simulator) and freeze:
        network = source.model.toplevel
        if source.closed or network is None:
            raise BadInput("The simulator is closed, or was made without a network: convert it while it is open.")
        with _every_step(network), _in_nengo(network, dt, freeze, source) as native:
            yield native
    elif isinstance(source, nengo.Simulator):
        raise UnsupportedModel(
            "A nengo.Simulator cannot be given other inputs, so nothing could be proved: convert the network itself, "
            "with the dt it runs at; or pass freeze=True for what it has learnt."
        )
    else:
        with _every_step(source.model.toplevel):
            yield _asked_in_nengo_dl(source)


def _as_read(network: SpikingNetwork, asked: Sequence[Arrays]) -> list[Arrays]:
    from .engine_nengo import NengoEngine

    with NengoEngine(network) as engine:
        return [engine.run(series) for series in asked]


def _as_read_rounded(network: SpikingNetwork, series: Arrays) -> Arrays:
    with _float32():
        return _as_read(network, [series])[0]


@contextmanager
def _float32() -> Iterator[None]:
    """What Nengo builds here computes in float32."""
    import nengo

    bits = nengo.rc.get("precision", "bits")
    nengo.rc.set("precision", "bits", "32")
    try:
        yield
    finally:
        nengo.rc.set("precision", "bits", bits)


@contextmanager
def _in_nengo_dl(source: Any, dt: float) -> Iterator[Native]:
    from . import nengo_dl

    with nengo_dl.Simulator(source, dt=dt, progress_bar=False) as simulator:
        yield _asked_in_nengo_dl(simulator)


def _asked_in_nengo_dl(simulator: Any) -> Native:
    from . import nengo_dl
    from .engine_nengo_dl import predict
    from .from_nengo import from_nengo, inputs_of, outputs_of

    network, source = from_nengo(simulator), simulator.model.toplevel
    nodes = {entry.name: node for entry, node in zip(network.inputs, inputs_of(source), strict=False)}
    probes = {entry.name: probe for entry, probe in zip(network.outputs, outputs_of(source), strict=True)}

    def run(asked: Sequence[Arrays]) -> list[Arrays]:
        return [predict(simulator, nodes, probes, series) for series in asked]

    return Native(network, run, f"NengoDL {nengo_dl.__version__}")


@contextmanager
def _every_step(network: Any) -> Iterator[None]:
    """Probes keep every step meanwhile: both sides are compared step by step."""
    kept = [(probe, probe.sample_every) for probe in network.all_probes] if network is not None else []
    try:
        for probe, _ in kept:
            probe.sample_every = None
        yield
    finally:
        for probe, every in kept:
            probe.sample_every = every


@contextmanager
def _in_nengo(source: Any, dt: float, freeze: bool = False, learnt: Any = None) -> Iterator[Native]:
    """In ``nengo.Simulator``. Its inputs are functions of time while it is built, and what they were ever after.

    Args:
        freeze: without learning rules; learnt: an open simulator of the network, whose weights it gets then.
    """
    import nengo

    from .engine_nengo import ask
    from .from_nengo import calls_python, from_nengo, inputs_of, outputs_of
    from .nengo_model import Given, Stream, draws, lend_streams

    nodes = inputs_of(source)
    # The optimiser lets equal neuron types draw from one stream.
    optimize = not draws(source)
    now: dict[Any, np.ndarray] = {}
    seen: dict[Any, list[np.ndarray]] = {node: [] for node in calls_python(source)}

    def feeder(thing: Any) -> Callable[..., np.ndarray]:
        def fed(t: float, *taken: np.ndarray) -> np.ndarray:
            if taken:
                seen[thing].append(taken[0].copy())
            if thing not in now:
                return np.zeros(thing.size_out)
            return now[thing][max(0, round(t / dt) - 1)]

        return fed

    drawn: list[Stream] = []

    def built() -> Any:
        simulator = made()
        drawn.extend(lend_streams(simulator))
        return simulator

    def made() -> Any:
        # (an ensemble is given its noise)
        attributes = [(thing, "noise" if hasattr(thing, "neurons") else "output") for thing in nodes]
        kept, seed = [(*pair, getattr(*pair)) for pair in attributes], source.seed
        try:
            for thing, attribute in attributes:
                setattr(thing, attribute, Given(feeder(thing)) if attribute == "noise" else feeder(thing))
            if not freeze:
                return nengo.Simulator(source, dt=dt, progress_bar=False, optimize=optimize)
            if learnt is not None:
                source.seed = learnt.model.seeds[source]
            return nengo.Simulator(
                None, dt=dt, model=_frozen(source, dt, learnt), progress_bar=False, optimize=optimize
            )
        finally:
            source.seed = seed
            for thing, attribute, before in kept:
                setattr(thing, attribute, before)

    with built() as simulator:
        network = from_nengo(simulator, freeze=freeze)
        names = iter([entry.name for entry in network.outputs])
        probes = {name: probe for probe, name in zip(outputs_of(source), names, strict=False)}
        gets = {name: rows for rows, name in zip(seen.values(), names, strict=True)}
        fed = dict(zip(nodes, (entry.name for entry in network.inputs), strict=False))

        def feed(sample: Arrays) -> None:
            now.update({node: sample[name] for node, name in fed.items()})
            for stream in drawn:
                stream.elapsed = 0
            for rows in seen.values():
                rows.clear()

        def rounded(series: Arrays) -> Arrays:
            with _float32(), built() as other:
                return ask(other, probes, series, feed, gets)

        yield Native(
            network,
            lambda asked: [ask(simulator, probes, series, feed, gets) for series in asked],
            f"Nengo {nengo.__version__}",
            rounded,
            STEPS_TO_LEARN if network.learns else STEPS,
        )


def _frozen(network: Any, dt: float, learnt: Any) -> Any:
    """The network's model without what changes weights, which are those of the simulator `learnt`, if there is one."""
    import nengo

    model = nengo.builder.Model(dt=dt)
    model.build(network)
    model.operators[:] = [op for op in model.operators if not (op.tag or "").endswith(" += delta")]
    if learnt is not None:
        for thing in (*network.all_connections, *network.all_ensembles):
            key = "encoders" if hasattr(thing, "neurons") else "weights"
            before, after = learnt.model.sig[thing].get(key), model.sig[thing].get(key)
            if after is not None and isinstance(after.initial_value, np.ndarray):
                now = np.array(learnt.signals[before])
                now.setflags(write=False)
                after._initial_value = now
    return model


# --- ONNX's side ---------------------------------------------------------------------------------------------------


def answer(path: Path, series: Arrays, form: str = "") -> tuple[Arrays, float, str]:
    """In the worker: check the file, and run it; a plain form as anyone runs it.

    Returns:
        (its answers, the worker's peak memory in MiB, ONNX Runtime's version).
    """
    import onnx

    from . import plain
    from .engine_onnxruntime import OnnxRuntimeSnnEngine

    onnx.checker.check_model(str(path), full_check=True)
    if form:
        return plain.answer(path, series, form), sandbox.peak_mib(), OnnxRuntimeSnnEngine.version
    with OnnxRuntimeSnnEngine(path) as engine:
        return engine.run(series), sandbox.peak_mib(), engine.version


# --- samples -------------------------------------------------------------------------------------------------------


def _samples(network: SpikingNetwork, sample: Any, steps: int) -> Mapping[str, Arrays]:
    """{where they come from: {input: (batch, steps, n)}}"""
    if sample is not None:
        from .engine import series_of

        return {"given": series_of(network, sample, None)}
    rng = np.random.default_rng(2021)
    groups: dict[str, Arrays] = {"held": {}, "changing": {}, "edge": {}}
    # Images are held, at the sizes they are usually fed in: 0 to 1, and 0 to 255; signals change, around zero.
    sizes = np.repeat([1.0, 255.0], 2).reshape(-1, 1, 1)
    for entry in network.inputs:
        held = rng.random((len(sizes), 1, entry.size)) * sizes
        groups["held"][entry.name] = np.repeat(held, steps, axis=1).astype(np.float32)
        groups["changing"][entry.name] = rng.uniform(-1, 1, (4, steps, entry.size)).astype(np.float32)
        groups["edge"][entry.name] = np.zeros((1, steps, entry.size), np.float32)
    return groups


# --- the file ------------------------------------------------------------------------------------------------------


def _model(network: SpikingNetwork, form: Literal["", "loop", "step"]) -> tuple[Any, str]:
    """(the model without a certificate, the SHA-256 of its bytes)"""
    from .plain import plain
    from .write import write

    kept = {key: value for key, value in network.metadata.items() if key != certificate.KEY}
    network = replace(network, metadata=kept)
    model = plain(network, form) if form else write(network)
    return model, hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _certify(
    model: Any,
    network: SpikingNetwork,
    found: Conversion,
    digest: str,
    native: str,
    runtime: str,
    format: str,
    read: Mapping[str, Any],
) -> None:
    """Put the certificate into the model: the one it had, where it is the very model that one was given for, since
    that one knows where it came from; else a new one."""
    old = certificate.read(network.metadata) or {}
    entry = model.metadata_props.add()
    entry.key = certificate.KEY
    if old.get("graph_sha256") == digest:
        entry.value = network.metadata[certificate.KEY]
        return
    agreement = found.agreement.to_dict()
    statement = {
        "source": Path(found.source).name,
        "sha256": found.sha256,
        "format": format,
        "graph_sha256": digest,
        "converter": found.converter,
        "opset": found.opset,
        "native": native,
        "tools": certificate.versions("onnx-workbench", *TOOLS),
        "agreement": {key: value for key, value in agreement.items() if key not in ("outputs", "worst")},
        "notes": list(found.warnings),
    } | ({"read": dict(read)} if read else {})
    entry.value = json.dumps(statement, sort_keys=True)


def _short_pauses(network: SpikingNetwork) -> list[str]:
    return [
        f"{node.name}: tau_ref ({node.attributes['tau_ref']:g} s) is shorter than a step ({network.dt:g} s), so its "
        "neurons fire once a step at most and slower than their equation says; a smaller dt resolves it."
        for node in network.neurons()
        if "voltage" in node.states and node.attributes.get("tau_ref", network.dt) < network.dt
    ]


def _stem(name: str) -> str:
    stem = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)[:80].strip("._")
    return stem or "network"


def _refuse_opset(opset: int | None) -> None:
    if opset not in (None, OPSET):
        raise BadInput(f"A spiking network is written in opset {OPSET}, which its functions need: leave opset out.")


def pack(source: Any, scratch: Path, custom_objects: object) -> Given:
    """A network or simulator of Nengo's or NengoDL's on its way to a worker: as ours, for theirs hold functions that no
    other process could be given."""
    return Given.of(source, pickled=pickle.dumps(network_of(source)), engine=engine_of(source))
