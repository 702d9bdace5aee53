"""A spiking network as a Python script: run by itself, it gives the spikes that the network gives."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import nengo
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_snn_learning import NETWORKS as LEARNING
from test_snn_learning import QUICK
from test_snn_nengo import by_hand, image_networks, neural_networks
from test_snn_onnx import OPS, picture, population

from workbench.__main__ import main
from workbench.errors import BadInput, WorkbenchError
from workbench.frameworks.spiking.engine_nengo import NengoEngine
from workbench.frameworks.spiking.from_nengo import from_nengo
from workbench.frameworks.spiking.network import SpikingNetwork
from workbench.frameworks.spiking.to_code import to_code
from workbench.frameworks.spiking.write import write

pytestmark = pytest.mark.filterwarnings("ignore")
FREELY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]

# Without the workbench: a script that asks for it fails.
ALONE = """
import runpy, sys
import numpy as np
sys.modules["workbench"] = None
for folder in sys.argv[1:]:
    with np.load(folder + "/asked.npz") as asked:
        answers = runpy.run_path(folder + "/network.py")["run"](dict(asked))
    np.savez(folder + "/answers.npz", *answers.values())
"""


def assert_scripts_give_the_spikes(networks: list[SpikingNetwork], folder: Path, steps: int = 12) -> None:
    """Each network's script, run in a process without the workbench, answers as the network does in Nengo."""
    folders, expected = [], []
    for number, network in enumerate(networks):
        place = folder / str(number)
        place.mkdir(exist_ok=True)
        to_code(network, place / "network.py", overwrite=True)
        rng = np.random.default_rng(number)
        series = {entry.name: rng.uniform(-1, 1, (2, steps, entry.size)).astype("f4") for entry in network.inputs}
        np.savez(place / "asked.npz", **series)
        with NengoEngine(network) as engine:
            expected.append(engine.run(series))
        folders.append(str(place))
    done = subprocess.run([sys.executable, "-c", ALONE, *folders], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    for place, answers in zip(folders, expected, strict=True):
        with np.load(f"{place}/answers.npz") as got:
            assert len(got.files) == len(answers)
            for name, answer in zip(got.files, answers.values(), strict=True):
                # The engine hands on float32.
                np.testing.assert_array_equal(got[name].astype("f4"), answer)


NETWORKS = st.lists(st.one_of(image_networks(), neural_networks()), min_size=8, max_size=8)


@settings(max_examples=1, deadline=None, derandomize=True, suppress_health_check=FREELY)
@given(NETWORKS)
def test_a_script_gives_the_networks_spikes(tmp_path: Path, networks: list[nengo.Network]) -> None:
    """Networks made up, every neuron and operator, and networks that learn, in one process."""
    learning = [LEARNING[name]() for name in QUICK]
    populations = [population(op, op == "LIF") for op in OPS if "SoftLIF" not in op]  # those need NengoDL
    described = [from_nengo(net) for net in [*networks, *learning]]
    assert_scripts_give_the_spikes([*described, picture(), by_hand(), *populations], tmp_path)


@pytest.mark.long
@settings(max_examples=60, deadline=None, suppress_health_check=FREELY)
@given(NETWORKS)
def test_scripts_of_many_networks_give_their_spikes(tmp_path: Path, networks: list[nengo.Network]) -> None:
    assert_scripts_give_the_spikes([from_nengo(net) for net in networks], tmp_path)


HOSTILE = [
    "x'\"\n__import__('os').system('touch HACKED')\n",
    '"""\nopen("HACKED", "w")\n"""',
    "{open('HACKED', 'w')}%s{0}\\",
    "net",
    "import",
    "../../HACKED",
    "\u202e\ud800\x00#",
    "",
]


def test_no_text_of_a_model_becomes_code_or_a_path(tmp_path: Path) -> None:
    """Labels that would be code in quotes, docstrings, comments, format strings, names and file names stay labels."""
    plain = to_code(population("LIF", False), tmp_path / "plain.py").read_text("ascii")
    for number, label in enumerate(HOSTILE):
        network = population("LIF", False)
        new = {name: f"{label}{name}" for name in ("in", "encode", "pop", "filter", "smooth", "spikes")}
        for thing in [*network.inputs, *network.nodes, *network.outputs]:
            thing.name = new.get(thing.name, thing.name)
        for node in network.nodes:
            node.inputs = tuple(new.get(name, name) for name in node.inputs)
        for output in network.outputs:
            output.source = new[output.source]
        network.name = network.metadata[label] = label
        network.notes = [label]
        script = to_code(network, tmp_path / f"{number}.py")
        # The same statements as without the labels: they are string literals, and parts of names.
        assert shape_of(script.read_text("ascii")) == shape_of(plain)
        with np.load(script.with_suffix(".npz")) as arrays:
            assert all(key.isidentifier() for key in arrays.files)
    before = sorted(tmp_path.iterdir())
    run_all = "import runpy, sys\nfor sys.argv in [[path] for path in sys.argv[1:]]: runpy.run_path(*sys.argv)"
    scripts = [f"{number}.py" for number in range(len(HOSTILE))]
    done = subprocess.run(
        [sys.executable, "-c", run_all, *scripts], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.iterdir()) == before


def shape_of(source: str) -> str:
    """A script's syntax tree without its names and texts."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = "_"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


def test_a_script_gets_its_place_unasked_only_where_nothing_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = population("LIF", False)
    for name, says in (
        ("model.txt", "ends in .py"),
        ("random.py", "in place of that module"),
        ("nengo.py", "in place"),
    ):
        with pytest.raises(BadInput, match=says):
            to_code(network, tmp_path / name)
    (tmp_path / "mine.npz").write_bytes(b"mine")
    with pytest.raises(WorkbenchError, match="exists already"):
        to_code(network, tmp_path / "mine.py")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.npz"]
    with pytest.raises(BadInput, match="to_nengo"):
        to_code(nengo.Network(), tmp_path / "own.py")
    path = tmp_path / "network.onnx"
    path.write_bytes(write(network).SerializeToString())
    assert main(["code", str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "network_nengo.py")
    assert (tmp_path / "network_nengo.npz").is_file()
