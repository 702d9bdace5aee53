"""Nengo GUI in the notebook: its server, who may speak to it, the frame in a real JupyterLab, and the still picture."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import nengo
import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect

from tests.lab import jupyter_lab
from workbench import BadInput, WorkbenchError, nengo_gui
from workbench.frameworks.spiking.gui import LONGEST_LABEL, MAX_RUNNING, MAX_STRANGERS, Gui, gui, plain
from workbench.frameworks.spiking.picture import picture

SCREENSHOTS = os.environ.get("WORKBENCH_SCREENSHOTS")
"""A folder to leave pictures in, for whoever wants to look."""

# Ends a string and a script, and begins a tag: wherever a name is put, one of these would run.
HOSTILE = "\"); hacked=1; ('</script><script>hacked=2</script><img src=x onerror='hacked=3'>"


def _network(label: str = "B") -> nengo.Network:
    with nengo.Network(label="two in a row", seed=1) as network:
        start = nengo.Node([0.5], label="stimulus")
        first = nengo.Ensemble(30, 1, label="A")
        second = nengo.Ensemble(40, 2, label=label)
        with nengo.Network(label="memory") as memory:
            held = nengo.Ensemble(20, 1)
            nengo.Connection(held, held)
        nengo.Connection(start, first)
        nengo.Connection(first, second[0])
        nengo.Connection(second, second, synapse=0.1)
        nengo.Connection(second[1], memory.ensembles[0])
    return network


@pytest.fixture
def network() -> nengo.Network:
    return _network()


@pytest.fixture
def served(network: nengo.Network) -> Iterator[Gui]:
    served = gui(network)
    yield served
    served.close()


def _get(url: str, **headers: str) -> tuple[int, str, bytes]:
    """Status, Content-Security-Policy and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=300) as response:
            return response.status, response.headers["Content-Security-Policy"], response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["Content-Security-Policy"], error.read()


def _websocket(port: int, path: str, origin: str) -> tuple[bytes, socket.socket]:
    """The status line a websocket handshake is answered with."""
    connection = socket.create_connection(("127.0.0.1", port), 20)
    key = base64.b64encode(b"0123456789abcdef").decode()
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return connection.recv(400).partition(b"\r\n")[0], connection


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except OSError:
        return False
    return True


def _until(true: Callable[[], bool], seconds: float = 300) -> bool:
    deadline = time.monotonic() + seconds
    while not (done := true()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return done


def _ours() -> set[threading.Thread]:
    """Threads of servers, requests and simulations."""
    return {each for each in threading.enumerate() if any(w in each.name for w in ("nengo-gui", "runner", "request"))}


# --- the server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "alive", "static/nengo.js", "favicon.ico", "shutdown", "login", "?token={}"])
def test_nothing_is_answered_without_the_token(served: Gui, path: str) -> None:
    port, token = served.open()
    path = path.format(token)
    for start in ("", "x/", f"{token[:-1]}/", f"{token}x/", "//"):
        status, _, body = _get(f"http://127.0.0.1:{port}/{start}{path}")
        assert status == 403
        assert b"Nengo" not in body
    assert served._server is not None
    assert served._server.pages == []


def test_websockets_need_the_token_too(served: Gui) -> None:
    port, token = served.open()
    assert _get(served.url)[0] == 200
    assert served._server is not None
    component = id(served._server.pages[0].components[0])
    for start in ("", "/x", f"/{token[:-1]}"):
        status, connection = _websocket(port, f"{start}/viz_component?uid={component}", f"http://127.0.0.1:{port}")
        connection.close()
        assert b" 403 " in status
    # With it, from the page of a proxy, which has another origin.
    status, connection = _websocket(port, f"/{token}/viz_component?uid={component}", "https://hub.example.org")
    assert status == b"HTTP/1.1 101 Switching Protocols"
    assert connection.recv(1)
    connection.close()


def test_only_this_machine_is_listened_to(served: Gui) -> None:
    served.open()
    assert served._server is not None
    assert [binding.socket.getsockname()[0] for binding in served._server.bindings] == ["127.0.0.1"]


def test_scripts_and_files_of_this_machine_are_not_for_the_page(served: Gui, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    script = tmp_path / "model.py"
    script.write_text(f"open({str(ran)!r}, 'w')\nimport nengo\nmodel = nengo.Network()\n")
    assert _get(f"{served.url}?filename={script}")[0] == 200
    assert not ran.exists()
    for path in (f"browse?dir={tmp_path}", "complete?code=1", "shutdown", "static/../page.py", "static/none.js"):
        assert _get(served.url + path)[0] >= 400
    assert _get(f"{served.url}alive")[2] == b"Nengo GUI"


def test_only_scripts_with_the_nonce_of_the_page_may_run(served: Gui) -> None:
    _, policy, body = _get(served.url)
    scripts = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))["script-src"]
    nonce = scripts.removeprefix("'nonce-").removesuffix("'")
    assert scripts == f"'nonce-{nonce}'"
    assert len(nonce) > 16
    document = body.decode()
    assert document.count("<script") == document.count(f'<script nonce="{nonce}"') > 20
    assert not any(attribute in document for attribute in ("onload=", "onclick="))
    assert nonce not in _get(served.url)[2].decode()  # the next page has its own


def test_every_address_in_the_page_is_relative_so_any_prefix_works(served: Gui) -> None:
    document = _get(served.url)[2].decode()
    places = [part.partition('"')[0] for mark in ('src="', 'href="') for part in document.split(mark)[1:]]
    assert len(places) > 40
    assert not [place for place in places if place.startswith(("/", "http"))]


def test_asked_again_the_same_server_answers(network: nengo.Network) -> None:
    before = _ours()
    first, second = gui(network), gui(network)
    try:
        assert first is second
        assert first.url == second.url
        assert len(_ours() - before) == 1
        other = gui(_network())
        assert other.url != first.url
        other.close()
    finally:
        first.close()


def test_close_frees_the_port_and_ends_every_thread(network: nengo.Network) -> None:
    before = _ours()
    served = gui(network)
    port, token = served.open()
    _get(served.url)  # a page that never shows
    _get(served.url)
    page = served._server.pages[1]  # type: ignore[union-attr]
    _, connection = _websocket(port, f"/{token}/viz_component?uid={id(page.components[0])}", "http://x")
    frame = b"continue"  # masked with zeros, as a browser's Play
    connection.sendall(bytes([0x81, 0x80 | len(frame), 0, 0, 0, 0]) + frame)
    assert _until(lambda: page.sim is not None and page.sim.n_steps > 0)
    page.components[0].paused = True
    served.close()
    connection.close()
    assert not served.running
    assert not _listens(port)
    assert _until(lambda: _ours() <= before), _ours() - before
    served.close()  # twice is once
    assert served.open()[1] != token  # opened again, it has a new key
    served.close()


def test_strangers_who_say_nothing_cost_little_and_keep_nobody_out_nor_in(network: nengo.Network) -> None:
    before = _ours()
    served = gui(network)
    port, _ = served.open()
    idle = []
    most = 0
    for number in range(300):
        idle.append(socket.create_connection(("127.0.0.1", port), 20))
        if number % 2:  # a request that never ends
            idle[-1].sendall(b"GET /x")
        most = max(most, len(_ours() - before))
    assert _until(lambda: len(_ours() - before) <= MAX_STRANGERS + 1)  # and the server's own
    assert most < 3 * MAX_STRANGERS  # those that were sent away take a moment
    assert _get(served.url)[0] == 200
    asleep = threading.Event()
    begun = threading.Thread(target=lambda: (served.close(), asleep.set()), daemon=True)
    begun.start()
    assert asleep.wait(60), "close() waits for strangers"
    assert not _listens(port)
    assert _until(lambda: _ours() <= before), _ours() - before
    for connection in idle:
        connection.close()


def test_a_page_that_reads_nothing_does_not_keep_the_server(served: Gui) -> None:
    port, token = served.open()
    _get(served.url)
    page = served._server.pages[0]  # type: ignore[union-attr]
    status, connection = _websocket(port, f"/{token}/viz_component?uid={id(page.net_graph)}", "http://x")
    assert b" 101 " in status
    server = served._server
    assert server is not None and _until(lambda: server.websockets)
    websocket = server.websockets[0]
    while select.select([], [websocket.socket], [], 1)[1]:  # until all buffers are full: a good-bye would wait for room
        with contextlib.suppress(BlockingIOError):
            websocket.socket.send(bytes(1 << 16))
    page.net_graph.to_be_sent.append({"type": "js", "code": ""})
    # Its thread waits for room, too: for this, or, where the machine is busy, in the midst of what a new page is told.
    _until(lambda: not page.net_graph.to_be_sent, 5)
    done = threading.Event()
    threading.Thread(target=lambda: (served.close(), done.set()), daemon=True).start()
    assert done.wait(60), "close() waits for the page"
    connection.close()


def test_forgotten_servers_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.frameworks.spiking.gui._SLOW_SECONDS", 0)  # no browser is coming
    guis = [gui(_network()) for _ in range(MAX_RUNNING + 3)]
    for each in guis:
        each.open()
        time.sleep(0.01)
    try:
        assert [each.running for each in guis] == [False, False] + [True] * (MAX_RUNNING + 1)
    finally:
        for each in guis:
            each.close()


def test_a_page_never_shown_is_given_up(served: Gui, monkeypatch: pytest.MonkeyPatch) -> None:
    _get(served.url)
    monkeypatch.setattr("workbench.frameworks.spiking.gui._SLOW_SECONDS", 0)
    time.sleep(0.01)
    _get(served.url)
    assert served._server is not None
    assert len(served._server.pages) == 1


def test_the_network_is_as_it_was_and_print_still_prints(served: Gui, capsys: pytest.CaptureFixture[str]) -> None:
    """Nengo GUI adds objects and seeds for a build, and takes sys.stdout from the whole process."""
    network = served.network
    before = (list(network.all_objects), [each.seed for each in network.all_ensembles], sys.stdout)
    _get(served.url)
    page = served._server.pages[0]  # type: ignore[union-attr]
    page.rebuild = True
    assert _until(lambda: page.sim is not None)
    assert _until(lambda: not page.rebuild)
    assert (list(network.all_objects), [each.seed for each in network.all_ensembles], sys.stdout) == before
    print("still here")
    assert "still here" in capsys.readouterr().out


def test_a_network_is_called_by_labels_then_variables_then_places(network: nengo.Network) -> None:
    held = network.networks[0].ensembles[0]
    with network:
        unnamed = nengo.Ensemble(10, 1)
    served = gui(network, {"held": held, "_": held, "not an identifier": unnamed, "nengo_gui": unnamed, "n": 5})
    labels = [served.label(each) for each in (network.nodes[0], network.networks[0], held, unnamed)]
    assert labels == ["stimulus", "memory", "held", "ensembles[2]"]


def test_attributes_with_hostile_names_are_never_evaluated(network: nengo.Network) -> None:
    """Nengo GUI writes the names of objects into its layout file, which it runs as Python."""
    setattr(network, HOSTILE, network.ensembles[0])
    served = gui(network)
    try:
        document = _get(served.url)[2].decode()
        page = served._server.pages[0]  # type: ignore[union-attr]
        assert "hacked" not in document
        assert not any("hacked" in str(name) for name in page.default_labels.values())
        page.save_config(force=True)
        assert "hacked" not in Path(page.filename_cfg).read_text()
    finally:
        served.close()


@pytest.mark.parametrize("name", [HOSTILE, "a\nb", "\u202egnp.exe", "`${x}`", "\\", "&lt;b&gt;", "x" * 500, ""])
def test_labels_are_text_in_html_and_in_program_text(name: str) -> None:
    safe = plain(name)
    assert len(safe) <= LONGEST_LABEL
    assert not set(safe) & set("<>\"'&\\`\n\u202e")
    assert json.dumps(safe, ensure_ascii=False) == f'"{safe}"'


def test_ordinary_labels_stay_as_they_are() -> None:
    assert plain("Größe τ_rc (layer 2)[3]") == "Größe τ_rc (layer 2)[3]"


# --- the still picture ------------------------------------------------------------------------------------------------


def _texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_shows_what_nengo_gui_shows_first(network: nengo.Network) -> None:
    drawing = picture(network, gui(network).label)
    texts = _texts(drawing)
    assert {"stimulus", "A", "B", "memory"} <= set(texts)
    assert {"30 LIF", "40 LIF", "recurrent", "1 ensemble, 20 neurons", "node 0 → 1"} <= set(texts)
    assert texts.count("recurrent") == 1  # what happens inside a subnetwork stays there
    arrows = [e for e in ElementTree.fromstring(drawing).iter() if e.get("marker-end")]
    assert len(arrows) == 3


def test_connections_to_neurons_and_learning_rules_are_drawn() -> None:
    with nengo.Network() as network:
        first, second, error = (nengo.Ensemble(10, 1, label=name) for name in "ABC")
        learned = nengo.Connection(first, second, learning_rule_type=nengo.PES())
        nengo.Connection(error, learned.learning_rule)
        nengo.Connection(second.neurons, error.neurons, transform=nengo.Dense((10, 10)))
    drawing = picture(network, gui(network).label)
    assert len([e for e in ElementTree.fromstring(drawing).iter() if e.get("marker-end")]) == 3


def test_hostile_names_are_text_in_the_picture() -> None:
    network = _network(HOSTILE)
    widget = nengo_gui(network)
    svg = base64.b64decode(widget.picture.partition(",")[2]).decode()
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert "script" not in tags
    assert "img" not in tags
    network.label = HOSTILE
    widget = nengo_gui(network)
    from workbench.frameworks.spiking.gui_widget import _Still

    assert "<script" not in _Still(widget)._repr_html_()
    widget.close()


def test_large_and_empty_networks_are_drawn_with_a_word() -> None:
    with nengo.Network() as network:
        for _ in range(450):
            nengo.Node(size_in=1)
    assert "400 of 450 objects are drawn." in _texts(picture(network, gui(network).label))
    assert _texts(picture(nengo.Network(), lambda thing: "")) == ["This network is empty."]


# --- the call ---------------------------------------------------------------------------------------------------------


def test_what_is_neither_a_network_nor_a_file_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"takes a nengo\.Network or the path"):
        nengo_gui(5)  # type: ignore[arg-type]


def test_looking_at_a_network_starts_no_server_until_a_page_asks(network: nengo.Network) -> None:
    before = _ours()
    widget = nengo_gui(network)
    assert _ours() == before
    assert not widget.gui.running
    state = json.dumps(widget.get_state(), default=str)
    port, token = widget.gui.open()
    assert token not in state + repr(widget) + json.dumps(widget.get_state(), default=str)
    widget.close()
    assert not _listens(port)


def test_importing_the_workbench_imports_neither_nengo_nor_its_gui() -> None:
    code = "import sys, workbench; print([name for name in ('nengo', 'nengo_gui', 'anywidget') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# --- in a real browser ------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_hostile_labels_run_nothing_in_nengo_gui(browser: Browser) -> None:
    network = _network(HOSTILE)
    setattr(network, HOSTILE, network.ensembles[0])
    served = gui(network)
    context = browser.new_context(viewport={"width": 1000, "height": 650})
    page = context.new_page()
    try:
        page.goto(served.url)
        ensemble = page.locator("g.ens:has(text)").nth(1)  # the small map has no labels
        expect(ensemble.locator("text")).to_have_text(plain(HOSTILE))
        # Every place that shows a label: the menu, a plot, the dialog, and the page reloaded with the plot.
        for entry in ("Details ...", "Value"):
            ensemble.locator("text").click(button="right", force=True)
            page.get_by_text(entry, exact=True).first.click()
            if entry == "Details ...":
                expect(page.locator(".modal-title")).to_have_text(f"Details for '{plain(HOSTILE)}'")
                page.locator(".modal-footer button").first.click()
                expect(page.locator(".modal, .modal-backdrop").locator("visible=true")).to_have_count(0)
        expect(page.locator(".graph .label", has_text="hacked")).to_be_visible()
        page.wait_for_timeout(2500)  # the layout is saved every two seconds
        page.reload()
        expect(page.locator(".graph .label", has_text="hacked")).to_be_visible()
        assert page.evaluate("typeof hacked") == "undefined"
        # And if a label did reach HTML as it is, the policy would stop it, jQuery's eval of scripts included.
        page.evaluate(  # later: what runs while a debugger evaluates, such as this, is exempt from the policy
            "label => setTimeout(() => { const raw = document.createElement('div'); raw.innerHTML = label;"
            "document.body.append(raw); try { $('<div>').appendTo('body').html(label); }"
            "finally { window.tried = true; } }, 0)",
            "<img src=x onerror='hacked=3'><script>hacked=2</script>",
        )
        page.wait_for_function("tried")
        page.wait_for_timeout(300)
        assert page.evaluate("typeof hacked") == "undefined"
    finally:
        context.close()
        served.close()


@pytest.mark.browser
def test_what_keeps_a_network_from_running_is_said(browser: Browser) -> None:
    with nengo.Network() as network:
        nengo.Node(lambda t: 1 / 0 if t > 0.002 else 0, size_out=1, label="divides")
    served = gui(network)
    context = browser.new_context()
    page = context.new_page()
    try:
        page.goto(served.url)
        expect(page.locator("g.node:has(text)")).to_be_visible()
        page.locator("#pause_button").click()
        expect(page.locator(".modal-body")).to_contain_text("ZeroDivisionError: division by zero", timeout=180_000)
    finally:
        context.close()
        served.close()


CELLS = (
    """\
import nengo
from workbench import nengo_gui

with nengo.Network(label="two in a row", seed=1) as network:
    stimulus = nengo.Node([0.5])
    first = nengo.Ensemble(30, 1)
    second = nengo.Ensemble(40, 2, label="<script>hacked=1</script>")
    memory = nengo.Network(label="memory")
    with memory:
        held = nengo.Ensemble(20, 1)
        nengo.Connection(held, held)
    nengo.Connection(stimulus, first)
    nengo.Connection(first, second[0])
    nengo.Connection(second, second, synapse=0.1)
    nengo.Connection(second[1], held)
shown = nengo_gui(network, height=450)
shown""",
    "print('this cell', 'prints')",
)


@pytest.fixture(params=["proxy", pytest.param("direct", marks=pytest.mark.long)])
def lab(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """JupyterLab below a prefix, as JupyterHub has it, with jupyter-server-proxy; and without both."""
    proxy = request.param == "proxy"
    configuration = {"jpserver_extensions": {"jupyter_server_proxy": proxy}}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "jupyter_server_config.json").write_text(json.dumps({"ServerApp": configuration}))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(tmp_path / "config"))
    folder = tmp_path / "lab"
    folder.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(notebook, folder / "gui.ipynb")
    with jupyter_lab(folder, "/user/ada/" if proxy else "/") as address:
        yield address, request.param


def _frame(page: Page) -> FrameLocator:
    return page.frame_locator('iframe[title="Nengo GUI: two in a row"]')


def _picture(page: Page, name: str) -> None:
    if SCREENSHOTS:
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))


def _menu(page: Page, menu: str, item: str) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()


@pytest.mark.browser
@pytest.mark.slow
def test_the_network_runs_in_a_frame_of_the_notebook(browser: Browser, lab: tuple[str, str], tmp_path: Path) -> None:
    address, way = lab
    context = browser.new_context(viewport={"width": 1280, "height": 1100})
    page = context.new_page()
    page.set_default_timeout(180_000)
    page.goto(address.format("lab/tree/gui.ipynb"))
    expect(page.locator(".jp-Notebook .jp-CodeCell").first).to_be_visible()
    expect(page.get_by_text("| Idle").first).to_be_visible()
    _menu(page, "Run", "Run All Cells")
    frame = _frame(page)
    # Drawn, which takes the websocket: the page itself comes empty.
    expect(frame.locator("g.ens:has(text)")).to_have_count(2)
    expect(frame.locator("g.ens text").first).to_have_text("first")
    expect(frame.locator("g.ens text").nth(1)).to_have_text(plain("<script>hacked=1</script>"))
    expect(frame.locator("g.net text")).to_have_text("memory")
    source = page.locator("iframe[title^='Nengo GUI']").get_attribute("src") or ""
    port = int(source.removesuffix("/").split("/")[-2].rpartition(":")[2])
    base = address.partition("{}")[0]
    assert source.startswith(f"{base}proxy/{port}/" if way == "proxy" else f"http://127.0.0.1:{port}/")
    assert base.endswith("/user/ada/") == (way == "proxy")
    expect(page.locator("div[class^='wb-still']")).to_be_hidden()
    # It runs, and the kernel stays free, with its own output.
    frame.locator("#pause_button").click()
    expect(frame.locator("#ticks_tr")).to_have_text(re.compile(r"^Time(?!0\.000)"))
    expect(frame.locator("#pause_button_icon")).to_have_class("glyphicon glyphicon-pause")
    page.locator(".jp-CodeCell").nth(1).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output")).to_contain_text("this cell prints")
    page.locator(".jp-CodeCell").first.scroll_into_view_if_needed()
    _picture(page, f"nengo-gui-{way}")
    # The saved notebook has the picture and not the key, and exports without either running.
    page.keyboard.press("Control+s")
    notebook = tmp_path / "lab" / "gui.ipynb"
    assert _until(lambda: "wb-still" in notebook.read_text(encoding="utf-8"))
    saved = notebook.read_text(encoding="utf-8")
    assert source.removesuffix("/").rpartition("/")[2] not in saved
    # When the kernel stops, so does Nengo GUI.
    assert _listens(port)
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator('[data-command="kernelmenu:shutdown"]').click()
    assert _until(lambda: not _listens(port), 30)
    page.evaluate("() => { window.onbeforeunload = null; }")
    context.close()
    _assert_its_page_shows_the_picture(browser, notebook)


@pytest.mark.browser
@pytest.mark.long
@pytest.mark.parametrize("keep_widgets", [False, True])
def test_an_exported_page_shows_the_picture(browser: Browser, tmp_path: Path, keep_widgets: bool) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbformat.write(notebook, tmp_path / "gui.ipynb")
    options = ["--execute", f"--ExecutePreprocessor.store_widget_state={keep_widgets}"]
    _assert_its_page_shows_the_picture(browser, tmp_path / "gui.ipynb", *options)


def _assert_its_page_shows_the_picture(browser: Browser, notebook: Path, *options: str) -> None:
    """Of a notebook that ran, or is run by that."""
    command = [sys.executable, "-m", "nbconvert", "--to", "html", str(notebook), *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    context = browser.new_context(offline=True, viewport={"width": 1000, "height": 1000})
    page = context.new_page()
    page.goto(notebook.with_suffix(".html").as_uri())
    still = page.locator("img[alt='Drawing of two in a row']")
    expect(still).to_be_visible()
    assert still.evaluate("image => image.naturalWidth") > 100
    expect(page.locator("iframe")).to_have_count(0)
    assert page.evaluate("typeof hacked") == "undefined"
    _picture(page, "nengo-gui-exported")
    context.close()


def test_a_path_that_holds_no_network_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorkbenchError, match=r"none\.onnx"):
        nengo_gui(tmp_path / "none.onnx")


def test_a_file_is_shown_and_simulated_with_its_own_time_step(paper_models: Path) -> None:
    widget = nengo_gui(paper_models / "lenet-1_snn.onnx", params=paper_models / "lenet-1_snn_params.npz")
    try:
        assert widget.title == "lenet-1_snn.onnx"
        svg = base64.b64decode(widget.picture.partition(",")[2]).decode()
        assert {"LIF_1", "3,136 LIF", "conv2"} <= set(_texts(svg))
        widget.network.spiking_network = replace(widget.network.spiking_network, dt=0.002)
        _get(widget.gui.url)
        page = widget.gui._server.pages[0]  # type: ignore[union-attr]
        page.rebuild = True
        assert _until(lambda: page.sim is not None, 60)
        assert page.sim.dt == 0.002
    finally:
        widget.close()
