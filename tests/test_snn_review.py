"""Spiking networks that nobody tidied up: labels that collide, damaged files, inputs and parameters that do not fit."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nengo
import nir
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import workbench
from workbench import BadInput, UnreadableFile, WorkbenchError, convert, load_engine, to_nengo
from workbench.frameworks.spiking.from_nengo import from_nengo
from workbench.frameworks.spiking.read import read
from workbench.frameworks.spiking.write import write


def network(*labels: str, recurrent: bool = False) -> nengo.Network:
    start, first, second, between, values, spikes = labels
    with nengo.Network(label="net", seed=0) as net:
        node = nengo.Node([0], label=start)
        a, b = nengo.Ensemble(10, 1, label=first), nengo.Ensemble(10, 1, label=second)
        nengo.Connection(node, a)
        nengo.Connection(a, b, label=between)
        if recurrent:
            nengo.Connection(a, a, synapse=0.1)
        nengo.Probe(b, label=values, synapse=0.01)
        nengo.Probe(a.neurons, label=spikes)
    return net


def plain(recurrent: bool = False) -> onnx.ModelProto:
    return write(from_nengo(network("i", "a", "b", "c", "p", "q", recurrent=recurrent)))


def nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    bodies = [said.g for node in model.graph.node for said in node.attribute if said.HasField("g")]
    return [node for graph in (model.graph, *bodies) for node in graph.node]


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(
    "labels",
    [
        ("x", "x.folded", "x.steps", "x.fold", "x.unfold", "x.voltage_out"),
        ("i", "p.unfold", "i.fold", "q.now", "p", "q"),
        ("in.hwc", "a.hwc", "b.hwc", "c.hwc", "p.hwc", "q.hwc"),
        ("i", "a", "a.voltage_out", "a.voltage", "a.refractory_time_out", "a.voltage_next"),
        ("i", "a", "b", "c", "a.spikes", "b.spikes"),
        ("time", "batch.size", "shape.10", "time.steps", "a", "steps"),
        ("i", "a", "half \ud800", "c", "<script>", "é/.."),
    ],
)
def test_any_label_gives_a_file_that_runs(labels: tuple[str, ...], recurrent: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    conversion = convert(network(*labels, recurrent=recurrent), path)
    assert conversion.agreement is not None and conversion.agreement.within_tolerance
    assert "<script>" not in conversion._repr_html_() + workbench.weight_table(path, path)._repr_html_()
    model = onnx.load(path)
    again = write(from_nengo(to_nengo(path)))
    assert again.graph.SerializeToString(deterministic=True) == model.graph.SerializeToString(deterministic=True)
    data = np.random.default_rng(0).uniform(-1, 1, (2, 20, 1))
    with load_engine(path, "nengo") as native, load_engine(path, "onnxruntime") as ours:
        wanted = native.run([data], spikes=native.layers)  # type: ignore[call-arg,attr-defined]
        found = ours.run([data], spikes=ours.layers)  # type: ignore[call-arg,attr-defined]
    assert wanted.keys() == found.keys()
    for name, array in wanted.items():
        # float32 against float64: a filtered sum keeps some four digits; spikes are 0 or 1000.
        np.testing.assert_allclose(found[name], array, rtol=1e-3, atol=1e-3 * max(1, np.abs(array).max()))


def test_a_gain_on_one_of_two_currents_does_not_take_the_name_of_the_neurons_own(tmp_path: Path) -> None:
    with nengo.Network(seed=0) as net:
        node, ensemble = nengo.Node([0], label="i"), nengo.Ensemble(10, 1, label="b")
        nengo.Connection(node, ensemble)
        nengo.Connection(node, ensemble.neurons, transform=-2 * np.ones((10, 1)))
        nengo.Probe(ensemble.neurons, label="p")
    made = from_nengo(net)
    assert made.node("b.gained") is not None and not any("is called" in note for note in made.notes)
    assert convert(net, tmp_path / "net.onnx").agreement is not None


def attribute(name: str, value: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for node in nodes(model):
            for said in [said for said in node.attribute if said.name == name]:
                node.attribute.remove(said)
                node.attribute.append(helper.make_attribute(name, value))

    return change


def initializer(name: str, array: Any) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        next(t for t in model.graph.initializer if t.name == name).CopyFrom(
            numpy_helper.from_array(np.asarray(array), name)
        )

    return change


def huge(model: onnx.ModelProto) -> None:
    next(t for t in model.graph.initializer if t.name == "a.encode.weight").dims[:] = [10**9, 10**9]


def of_input(size: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = size

    return change


def outside(model: onnx.ModelProto) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == "a.encode.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def first(op_type: str, change: Callable[[onnx.NodeProto], object]) -> Callable[[onnx.ModelProto], None]:
    return lambda model: (change(next(n for n in nodes(model) if n.op_type.startswith(op_type))), None)[1]


DAMAGE = {
    **{f"tau_rc {v}": (attribute("tau_rc", v), "tau_rc") for v in (0.0, -1.0, float("nan"), float("inf"), 1e-40, "x")},
    **{f"dt {v}": (attribute("dt", v), "dt") for v in (0.0, -1.0, float("inf"), 3e38, "x")},
    "tau -1": (attribute("tau", -1.0), "tau"),
    "gain of float64": (initializer("a.gain", np.ones((1, 10))), "float64; expected float32"),
    "gain of rank 5": (initializer("a.gain", np.ones((1, 1, 1, 1, 10), np.float32)), "expected \\(1, 10\\)"),
    "NaN bias": (initializer("a.bias", np.full((1, 10), np.nan, np.float32)), "NaN"),
    "voltage of two samples": (initializer("a.voltage", np.zeros((2, 10), np.float32)), "expected \\(1, 10\\)"),
    "matrix too small": (initializer("a.encode.weight", np.zeros((2, 10), np.float32)), "weight of shape \\(2, 10\\)"),
    "matrix that claims 10^18 numbers": (huge, "cannot be read"),
    "weights in another folder": (outside, "outside its own folder"),
    "input of 10^12 numbers": (of_input(10**12), "more than|expected \\(1000000000000"),
    "input of -5 numbers": (of_input(-5), "lengths of 1"),
    "input that nothing gives": (first("Gemm", lambda n: n.input.__setitem__(0, "nowhere")), "nothing in the file"),
    "node that takes itself": (first("Gemm", lambda n: n.input.__setitem__(0, n.output[0])), "cycle|takes"),
    "two nodes of one name": (first("Gemm", lambda n: setattr(n, "name", "b")), "called 'b'|nothing|cycle"),
    "no inputs of a node": (first("LIF", lambda n: n.ClearField("input")), "damaged|parameters"),
    "transposed matrix": (first("Gemm", lambda n: n.attribute.append(helper.make_attribute("transB", 1))), "transB"),
    "no outputs": (lambda model: model.graph.ClearField("output"), "no output"),
}


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_in_a_sentence(damage: str, recurrent: bool, tmp_path: Path) -> None:
    model, path = plain(recurrent), tmp_path / "damaged.onnx"
    change, said = DAMAGE[damage]
    change(model)
    path.write_bytes(model.SerializeToString())
    for call in (to_nengo, lambda path: load_engine(path, "nengo")):
        with pytest.raises(WorkbenchError, match=said):
            call(path)


def test_seeds_that_are_none_spoil_no_file() -> None:
    model = plain()
    for text in ('{"seeds":[1]}', '{"seeds":{"a":"x","b":-5,"c":1e400,"d":7}}', "[" * 100_000):
        model.metadata_props[-1].value = text
        assert set(read(model).seeds) <= {"d"}


@pytest.mark.parametrize("steps", [0, -1, 1.5, "3", True])
def test_steps_that_are_no_count_are_refused(steps: Any, tmp_path: Path) -> None:
    onnx.save(plain(), tmp_path / "net.onnx")
    with load_engine(tmp_path / "net.onnx") as engine, pytest.raises(BadInput, match="expected a whole number"):
        engine.run([[0.5]], steps=steps)  # type: ignore[call-arg]


def test_inputs_that_are_not_finite_are_refused_and_one_layer_is_asked_for_by_name(tmp_path: Path) -> None:
    onnx.save(plain(), tmp_path / "net.onnx")
    for name in ("nengo", "onnxruntime"):
        with load_engine(tmp_path / "net.onnx", name) as engine:
            with pytest.raises(BadInput, match="NaN"):
                engine.run([[np.nan]])
            assert engine.run([[0.5]], steps=1, spikes="a")["a"].shape == (1, 1, 10)  # type: ignore[call-arg]


# --- other makers' files --------------------------------------------------------------------------------------------


def foreign(**said: Any) -> onnx.ModelProto:
    entry, result = (helper.make_tensor_value_info(name, 1, ["b", n]) for name, n in (("x", 4), ("y", 3)))
    weights = {"w1": (4, 6), "b1": (6,), "w2": (6, 3), "b2": (3,)}
    layers = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="g1"),
        helper.make_node("LIF", ["h"], ["s"], name="n1", **said),
        helper.make_node("Gemm", ["s", "w2", "b2"], ["y"], name="g2"),
    ]
    tensors = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()]
    graph = helper.make_graph(layers, "net", [entry], [result], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("said", [{"tau_rc": -1.0}, {"tau_rc": "x"}, {"amplitude": 0.0}, {"tau_ref": float("nan")}])
def test_a_neuron_of_another_maker_with_impossible_parameters(said: dict[str, Any], tmp_path: Path) -> None:
    onnx.save(foreign(**said), tmp_path / "net.onnx")
    with pytest.raises(WorkbenchError, match=next(iter(said))):
        to_nengo(tmp_path / "net.onnx")


def test_an_activation_without_input_is_no_sound_network(tmp_path: Path) -> None:
    model = foreign()
    model.graph.node[0].ClearField("output")
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(UnreadableFile, match="no sound ONNX network"):
        to_nengo(tmp_path / "net.onnx")


class Code:
    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def claims(*shape: int) -> bytes:
    """An .npz whose one array has a header and no numbers."""
    archive, header = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("arr_0.npy", header.getvalue())
    return archive.getvalue()


def saved(*arrays: Any) -> bytes:
    archive = io.BytesIO()
    np.savez(archive, *arrays)
    return archive.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (saved(np.array([Code()], dtype=object)), "not of numbers"),
        (saved(np.full((4, 6), "a")), "not of numbers"),
        (claims(10**9, 10**9), "more than"),
        (saved(np.ones((6, 3)), np.ones(3)), "does not fit"),
        (saved(np.ones(3)[:, None])[:50], "not a parameter file"),
        (b"", "not a parameter file"),
    ],
    ids=["code", "text", "huge", "fewer", "truncated", "empty"],
)
def test_parameters_that_do_not_fit(content: bytes, said: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(foreign(), tmp_path / "net.onnx")
    (tmp_path / "params.npz").write_bytes(content)
    with pytest.raises(WorkbenchError, match=said):
        to_nengo(tmp_path / "net.onnx", tmp_path / "params.npz")
    assert not (tmp_path / "ran").exists()


# --- NIR ------------------------------------------------------------------------------------------------------------


def test_nir_names_that_a_file_needs_itself_are_changed(tmp_path: Path) -> None:
    one = np.ones(3)
    lif = {"tau": 0.02 * one, "r": one, "v_leak": 0 * one, "v_threshold": one, "v_reset": 0 * one}
    things = {
        "x": nir.Input(input_type={"input": np.array([3])}),
        "x.fold": nir.LIF(**lif),
        "a.hwc": nir.LIF(**lif),
        "o": nir.Output(output_type={"output": np.array([3])}),
    }
    nir.write(tmp_path / "net.nir", nir.NIRGraph(nodes=things, edges=list(zip(things, [*things][1:], strict=False))))
    assert {"x_fold", "a_hwc"} <= {node.name for node in workbench.read_nir(tmp_path / "net.nir", dt=0.001).nodes}
    assert convert(tmp_path / "net.nir", tmp_path / "net.onnx", dt=0.001).agreement is not None


def test_nir_takes_a_nengo_network_and_says_where_it_cannot_write(tmp_path: Path) -> None:
    net = network("i", "a", "b", "c", "p", "q")
    workbench.write_nir(net, tmp_path / "net.nir")
    assert [node.name for node in workbench.read_nir(tmp_path / "net.nir").nodes] == [
        n.name for n in from_nengo(net).nodes
    ]
    with pytest.raises(WorkbenchError, match="cannot be written"):
        workbench.write_nir(net, tmp_path / "no" / "net.nir")
    with pytest.raises(BadInput, match="Expected"):
        workbench.write_nir(3, tmp_path / "net.nir")


@pytest.mark.parametrize("said", [{"dt": 0}, {"dt": "x"}, {"dt": float("nan")}, {"method": "rk4"}, {"reset": "none"}])
def test_nir_arguments_that_mean_nothing(said: dict[str, Any], tmp_path: Path) -> None:
    workbench.write_nir(network("i", "a", "b", "c", "p", "q"), tmp_path / "net.nir")
    with pytest.raises(BadInput, match=next(iter(said))):
        workbench.read_nir(tmp_path / "net.nir", **said)


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(BadInput, match="Expected the path"):
        to_nengo(3)  # type: ignore[arg-type]
