"""NengoDL beside Keras 3, in processes of their own, since what a process imports stays imported; and Nengo GUI."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from cells import outputs_of_cells


def run(code: str) -> tuple[dict[str, Any], str]:
    """Run code that leaves a dict in `answer` in a fresh interpreter; gives (answer, standard error)."""
    # Other tests of this process may have used TensorFlow, whose switches would be inherited.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", dedent(code) + "\nimport json\nprint('\\nanswer', json.dumps(answer))"],
        env=clean,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("\nanswer ")[2]), done.stderr


@pytest.mark.slow
def test_the_packages_stay_light_until_nengo_dl_is_asked_for_whose_start_up_is_hidden_and_warnings_are_not() -> None:
    answer, stderr = run(
        """
        import os, sys, warnings
        import workbench, workbench.snn
        answer = {"heavy": [name for name in ("tensorflow", "keras", "nengo") if name in sys.modules]}
        import keras
        os.write(2, b"begun\\n")
        from workbench.snn import nengo_dl
        import tensorflow as tf
        tf.constant(1) + 1
        os.write(2, b"done\\n")
        warnings.warn("seen")
        """
    )
    assert answer == {"heavy": []}
    # `import keras` before ours may speak; nothing does after, and what is no noise comes through.
    _, _, after = stderr.partition("begun\n")
    assert after.startswith("done\n") and "UserWarning: seen" in after


ONE_AFTER_ANOTHER = """
import os, sys, threading, warnings
import keras, keras.layers, numpy as np, workbench
rows, targets = np.ones((8, 4), np.float32), np.zeros((8, 2), np.float32)
before = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
before.compile("sgd", "mse")
before.fit(rows, targets, verbose=0)
predicted = before.predict(rows, verbose=0)

def state():
    # One warning is off afterwards, as the docstring says: that there is no GPU.
    filters = [one for one in warnings.filters if "No GPU support" not in str(one[1])]
    return dict(os.environ), list(sys.meta_path), filters, sys.stderr
modules, process = dict(sys.modules), state()
# None in sys.modules is Python's own way to say: this module cannot be imported.
sys.modules["nengo_dl.converter"] = None
try:
    from workbench.snn import nengo_dl
    message = None
except workbench.WorkbenchError as error:
    message = str(error)
half = [name for name in sys.modules if name.startswith("nengo_dl")]
restored = state() == process
found = []
def load():
    from workbench.snn import nengo_dl
    found.append(nengo_dl)
threads = [threading.Thread(target=load) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
import tensorflow as tf
environ = {k: os.environ.get(k) for k in {*os.environ, *process[0]} if os.environ.get(k) != process[0].get(k)}
from tensorflow.keras.layers import Dense
import nengo, nengo_dl as plain
imported = {
    "message": message, "half": half, "restored": restored, "version": plain.__version__,
    "one": len(found) == 3 and all(module is plain for module in found),
    "replaced": [name for name, module in modules.items() if sys.modules.get(name) is not module],
    "left": [name for name in sys.modules if name.startswith(("keras.engine", "keras.layers."))],
    "borrowed": hasattr(keras.layers, "BatchNormalizationV1"),
    "environ": environ,
    "process": state()[1:] == process[1:],
    "dense": Dense.__module__,
    "tf_keras_after": tf.keras.Model.__module__,
}

with nengo.Network(seed=1) as net:
    source = nengo.Node([0.3, -0.7])
    ensemble = nengo.Ensemble(30, 2, neuron_type=nengo.RectifiedLinear())
    output = nengo.Node(size_in=2)
    nengo.Connection(source, ensemble, synapse=None)
    nengo.Connection(ensemble, output, synapse=None)
    probe = nengo.Probe(output, synapse=None)
with nengo.Simulator(net, progress_bar=False) as sim:
    sim.run_steps(5)
    reference = sim.data[probe]
with plain.Simulator(net, progress_bar=False) as sim:
    sim.run_steps(5)
    gap = float(np.abs(sim.data[probe] - reference).max())
data = {source: np.full((8, 1, 2), 0.5)}, {probe: np.zeros((8, 1, 2))}
with plain.Simulator(net, minibatch_size=8, progress_bar=False) as sim:
    sim.compile(tf.optimizers.SGD(1e-6), loss="mse")
    losses = [sim.evaluate(*data, verbose=0)["loss"]]
    sim.fit(*data, epochs=1, verbose=0)
    losses.append(sim.evaluate(*data, verbose=0)["loss"])
    shape = sim.predict(data[0])[probe].shape

after = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
after.compile("sgd", "mse")
history = after.fit(rows, targets, epochs=5, verbose=0).history["loss"]
trained = {"gap": gap, "losses": losses, "shape": shape, "keras_losses": history,
           "versions": [keras.__version__, tf.keras.Model.__module__, type(after).__module__],
           "same": bool((before.predict(rows, verbose=0) == predicted).all())}
answer = {"imported": imported, "trained": trained}
"""
"""Keras 3 at work, an import that fails, one from three threads, NengoDL at work, Keras 3 again."""


@pytest.fixture(scope="module")
def asked() -> tuple[dict[str, Any], str]:
    return run(ONE_AFTER_ANOTHER)


@pytest.mark.slow
def test_nengo_dl_trains_and_agrees_with_nengo_while_keras_3_works_before_and_after(asked: Any) -> None:
    answer, stderr = asked[0]["trained"], asked[1]
    # float32 against Nengo's float64, on values below 1: a few dozen roundings of 6e-8.
    assert answer["gap"] < 1e-5
    assert answer["losses"][1] < answer["losses"][0]
    assert answer["shape"] == [8, 1, 2]
    assert answer["keras_losses"][-1] < answer["keras_losses"][0]
    assert answer["same"]
    keras, legacy, model = answer["versions"]
    assert keras.startswith("3.") and legacy.startswith("tf_keras.") and model.startswith("keras.src.")
    assert "has not been tested with your Nengo" not in stderr


@pytest.mark.slow
def test_importing_nengo_dl_changes_nothing_else_and_is_safe_from_threads_also_after_it_failed(
    asked: Any,
) -> None:
    answer = asked[0]["imported"]
    assert "nengo_dl.converter" in answer["message"] and "environment.yml" in answer["message"]
    assert answer["half"] == [] and answer["restored"]  # no half package, and tried again:
    assert answer["one"] and answer["version"].startswith("3.")
    assert answer["replaced"] == [] and answer["left"] == [] and not answer["borrowed"]
    assert answer["environ"] == {"TF_USE_LEGACY_KERAS": "1"}
    assert answer["process"]
    # Both spellings people use for tf.keras mean the same Keras.
    assert answer["dense"].startswith("tf_keras.") and answer["tf_keras_after"].startswith("tf_keras.")


@pytest.mark.slow
def test_in_a_notebook_the_import_prints_nothing(tmp_path: Path) -> None:
    cells = ["from workbench.snn import nengo_dl", "import tensorflow as tf; print(int(tf.constant(1) + 1))"]
    printed = [[output.text for output in outputs] for outputs in outputs_of_cells(cells, tmp_path)]
    assert printed == [[], ["2\n"]]


@pytest.mark.slow
def test_after_tf_keras_was_used_as_keras_3_a_sentence_says_what_to_do_and_nothing_changed() -> None:
    answer, _ = run(
        """
        import os, sys
        import tensorflow as tf
        tf.losses.MeanSquaredError()
        from workbench.errors import WorkbenchError
        environ = dict(os.environ)
        try:
            from workbench.snn import nengo_dl
            message = None
        except WorkbenchError as error:
            message = str(error)
        answer = {"message": message, "environ": dict(os.environ) == environ, "tf_keras": tf.keras.Model.__module__,
                  "left": [name for name in sys.modules if name.startswith("nengo_dl")]}
        """
    )
    assert "restart the kernel" in answer["message"] and "tf.keras" in answer["message"]
    assert answer["environ"] and answer["left"] == []
    assert answer["tf_keras"].startswith("keras.")


@pytest.mark.slow
def test_a_nengo_gui_server_opens_serves_its_page_to_the_token_alone_and_closes(tmp_path: Path) -> None:
    import nengo
    from nengo_gui import gui, guibackend, page
    from nengo_gui.components.editor import NoEditor

    with nengo.Network(label="tiny") as net:
        stimulus = nengo.Node(0.5)
        neurons = nengo.Ensemble(20, 1)
        nengo.Connection(stimulus, neurons)
    thread = gui.GuiThread(
        guibackend.ModelContext(model=net, locals={"net": net}, filename=None, writeable=False),
        guibackend.GuiServerSettings(("localhost", 0)),
        page.PageSettings(filename_cfg=str(tmp_path / "layout.cfg"), editor_class=NoEditor),
    )
    thread.start()
    thread.wait_for_startup()
    port = thread.server.server_port
    with urllib.request.urlopen(str(thread.server.get_url()), timeout=300) as reply:
        assert reply.status == 200 and "nengo.css" in reply.read().decode()
    with urllib.request.urlopen(f"http://localhost:{port}/", timeout=300) as reply:
        stranger = reply.read().decode()
    assert "nengo.css" not in stranger and "token" in stranger
    thread.shutdown(20)
    # Nengo GUI 0.6 leaves its listening sockets open (its own server_close looks for a missing attribute).
    for binding in thread.server.bindings:
        binding.socket.close()
    assert not thread.is_alive()
    with socket.socket() as probe:
        assert probe.connect_ex(("localhost", port)) != 0
