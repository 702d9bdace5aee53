"""Nengo GUI for one network: its own server in a thread of this process, fenced for a notebook page.

Nengo GUI (https://github.com/nengo/nengo-gui) is a web server with a page of its own. Its module for notebooks needs
the classic notebook, which is gone; its server does without. Three things are done differently here:

- **The token is the first part of every path** (``/<token>/…``), of HTTP requests and of websockets, instead of a
  cookie. The page's own addresses are all relative, so it works unchanged behind any prefix, such as
  ``…/proxy/<port>/`` of jupyter-server-proxy, and in pages that may not set cookies. Only 127.0.0.1 is listened to.
- **It shows this network and nothing else**: no running of script files, no file browser, no code editor.
- **Names from a model are text.** The page runs scripts only if they carry the nonce of its
  Content-Security-Policy, which through a proxy is what stands between a model file and JupyterLab itself. And
  Nengo GUI writes labels into program text: they lose the letters that could end a string or begin a tag.
"""

from __future__ import annotations

import atexit
import hmac
import io
import json
import re
import secrets
import socket
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from pkgutil import get_data
from typing import Any

import nengo
from nengo_gui import NameFinder, exec_env, guibackend, page, server
from nengo_gui.components import SimControl
from nengo_gui.components.editor import NoEditor

MAX_RUNNING = 4
"""Servers kept without a page open; the longest idle go first, and start again when they are looked at."""

LONGEST_LABEL = 32

_ALIVE = b"Nengo GUI"
"""What ``/<token>/alive`` answers: so a page finds out which way leads here."""

_SLOW_SECONDS = 60
"""What a browser may take from the address to the page, and from the page to its websocket."""

MAX_STRANGERS = 32
"""Connections that have not shown the token yet, each with a thread; a new one takes the oldest one's place."""

_STRANGER_SECONDS = 20
"""What one of them may take from one piece of its request to the next."""

_TEXT_ONLY = str.maketrans({"<": "‹", ">": "›", '"': "”", "'": "’", "&": "+", "\\": "∖", "`": "’"})  # noqa: RUF001
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class Gui:
    """Nengo GUI on one network. `open` starts its server, as often as needed; `close` ends it and frees the port."""

    def __init__(self, network: nengo.Network, names: Mapping[str, object] | None = None) -> None:
        """
        Args:
            names: variables, such as a notebook's; objects without a label are called by theirs.
        """
        self.network = network
        self.names = _names(network, names or {})
        self._lock = threading.Lock()
        self._server: _Server | None = None

    @property
    def running(self) -> bool:
        return self._server is not None

    @property
    def idle(self) -> bool:
        """Has no page been open for a while?"""
        return self._server is not None and self._server.idle

    def open(self) -> tuple[int, str]:
        """The port on 127.0.0.1 and the token: the page is at ``http://127.0.0.1:<port>/<token>/``."""
        with self._lock:
            if self._server is None:
                self._server = _Server(self.network, self.names)
                self._server.start()
        _keep(self)
        return self._server.server_port, self._server.token

    @property
    def url(self) -> str:
        port, token = self.open()
        return f"http://127.0.0.1:{port}/{token}/"

    def close(self) -> None:
        with self._lock:
            ended, self._server = self._server, None
            if ended is not None:
                ended.end()
        if self in _running:
            _running.remove(self)

    def label(self, thing: Any) -> str:
        """What an ensemble, node or subnetwork is called: its label, its variable, or its place."""
        known = NameFinder(dict(self.names), self.network).known_name.get(thing, type(thing).__name__)
        return plain(thing.label or known.rpartition(".")[2])


_running: list[Gui] = []
_known: weakref.WeakValueDictionary[int, Gui] = weakref.WeakValueDictionary()


def gui(network: nengo.Network, names: Mapping[str, object] | None = None) -> Gui:
    """The one `Gui` of a network: asked for again, the same, with the names of today."""
    found = _known.get(id(network))
    if found is None or found.network is not network:
        found = _known[id(network)] = Gui(network, names)
    else:
        found.names.clear()
        found.names.update(_names(network, names or {}))
    return found


def plain(label: str) -> str:
    """A label that is text wherever Nengo GUI puts it: in HTML, in SVG, between quotes in JavaScript."""
    label = _CONTROL.sub("\ufffd", label.replace("\n", " ")).translate(_TEXT_ONLY)
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def _keep(newest: Gui) -> None:
    if newest in _running:
        _running.remove(newest)
    _running.append(newest)
    for other in [other for other in _running if other.idle and other is not newest][:-MAX_RUNNING]:
        other.close()


@atexit.register
def _close_all() -> None:
    for each in list(_running):
        each.close()


def _names(network: nengo.Network, variables: Mapping[str, object]) -> dict[str, Any]:
    """Names for objects of the network, ``model`` for itself. Nengo GUI evaluates them: nothing but identifiers."""
    things = {id(thing) for thing in (*network.all_objects, *network.all_networks)}
    names: dict[str, Any] = {
        name: thing
        for name, thing in variables.items()
        if id(thing) in things and name.isidentifier() and not name.startswith("_") and name != "nengo_gui"
    }
    if any(not name.isidentifier() for each in (network, *network.all_networks) for name in vars(each)):
        # NameFinder calls objects by the attributes that hold them; named here, they keep this name.
        objects = (*network.all_ensembles, *network.all_nodes, *network.all_networks, *network.all_connections)
        names = {f"object_{number}": thing for number, thing in enumerate(objects)}
    return names | {"model": network}


class _Handler(guibackend.GuiRequestHandler):
    """One request, let in by the token in its path."""

    server: _Server
    http_commands = {  # noqa: RUF012  a class attribute there too
        "/": "serve_main",
        "/static": "serve_static",
        "/favicon.ico": "serve_favicon",
        "/alive": "serve_alive",
    }
    path: str
    timeout = _STRANGER_SECONDS
    _nonce = ""

    def do_GET(self) -> None:
        token, slash, rest = self.path[1:].partition("/")
        if not slash or not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self.send_error(403)
            return
        self.server.knows(self.connection)
        self.path = f"/{rest}"
        super().do_GET()

    def do_POST(self) -> None:
        self.send_error(405)

    def get_session(self) -> Any:
        session = guibackend.Session()  # who comes this far has shown the token
        session.authenticated = True
        return session

    def get_expected_origins(self) -> list[str]:
        """Any: a proxy's page has the proxy's origin, and only pages that were told the token come here."""
        origin = (self.headers["Origin"] or "").rpartition("//")[2]
        return [origin.lower(), self.headers["Host"].lower()]

    def end_headers(self) -> None:
        script = f"'nonce-{self._nonce}'" if self._nonce else "'none'"
        self.send_header(
            "Content-Security-Policy",
            f"default-src 'none'; script-src {script}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
            "font-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'",
        )
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")  # the address is the key
        super().end_headers()

    def serve_alive(self) -> Any:
        return server.HttpResponse(_ALIVE, "text/plain", headers=(("Access-Control-Allow-Origin", "*"),))

    def serve_main(self) -> Any:
        if self.resource != "/":
            self.send_error(404)
            return None
        shown = self.server.create_page(None, reset_cfg="reset" in self.query)
        self._nonce = secrets.token_urlsafe(16)
        return server.HttpResponse(_document(shown.create_javascript(), self._nonce).encode())

    def serve_static(self) -> Any:
        try:
            response = super().serve_static()
        except OSError:  # no such file
            self.send_error(404)
            return None
        name = self.resource.rpartition("/")[2]
        if name in ("netgraph.js", "sim_control.js"):
            response.data = response.data.replace(b" eval(", b" Nengo.run(")
            # A new server has a new address: reloading this one leads nowhere.
            response.data = response.data.replace(b"re-run nengo_gui and click Refresh.", b"run its cell again.")
            response.data = response.data.replace(b"footer('refresh')", b"footer('close')")
        elif name == "nengo.js":
            response.data += f"\n{_script('gui_run.js')}".encode()
        return response

    def ws_default(self) -> None:
        component = self.server.component_uids.get(int(self.query["uid"][0]))
        if component is not None:  # of a page that is gone
            component.page.seen = True
            super().ws_default()


# Buttons for scripts and files, which are not served; and labels to be read where they cross lines.
_STYLE = """
#Open_file_button, #Toggle_ace, #Save_file, #Sync_editor_button, #filename { display: none !important; }
g.ens text, g.node text, g.net text { font-size: 12px; paint-order: stroke; stroke: #fff; stroke-width: 2px; }
"""


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _document(components: str, nonce: str) -> str:
    """Nengo GUI's page with its scripts marked as its own."""
    document = (get_data("nengo_gui", "templates/page.html") or b"").decode()
    document = document.replace(' onload="onload();"', "")
    document = document.replace("</body>", f"<script>{_script('gui_start.js')}</script></body>")
    document = document.replace("</head>", f"<style>{_STYLE}</style></head>")
    document = re.sub(r" onclick=\"[^\"]*\"", "", document)
    document = document.replace("<script", f'<script nonce="{nonce}"')
    # In the strings of a script, the only place where Nengo GUI has it, \x3c is a "<" that cannot end the script.
    return document % {"components": components.replace("<", "\\u003c")}


class Simulator(nengo.Simulator):
    """What Nengo GUI runs a network in: Nengo's own, with the time step of the file the network came from."""

    def __init__(self, network: nengo.Network, progress_bar: Any = None) -> None:
        source = getattr(network, "spiking_network", None)  # of `to_nengo`
        super().__init__(network, dt=source.dt if source is not None else 0.001, progress_bar=progress_bar)


class _Page(page.Page):
    """One open page: the network, the layout, and a simulator in a thread once Play is pressed."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.seen = False
        self.born = time.monotonic()
        self._error: dict[str, Any] | None = None
        super().__init__(*arguments, **options)

    def load_config(self) -> Any:
        new = not Path(self.filename_cfg).exists()
        config = super().load_config()
        if new:  # room at the edges, where labels are wider than their objects
            config[self.model].pos, config[self.model].size = (0.07, 0.05), (0.87, 0.87)
        return config

    def create_components(self) -> None:
        super().create_components()
        for component in self.components:
            if isinstance(component, SimControl):
                # To list backends, Nengo GUI imports every one it knows of: TensorFlow, for NengoDL.
                component.backend_options_html = lambda: f'<option value="{__name__}" selected>nengo</option>'

    def get_label(self, obj: Any, default_labels: Any = None) -> str:
        return plain(super().get_label(obj, default_labels))

    @property
    def error(self) -> dict[str, Any] | None:
        return self._error

    @error.setter
    def error(self, error: dict[str, Any] | None) -> None:
        """Nengo GUI shows what went wrong in its code editor, which is not here: say it in a dialog."""
        self._error = error
        if error is not None:
            said = json.dumps(error["trace"].strip().rpartition("\n")[2])
            self.net_graph.to_be_sent.append(
                {
                    "type": "js",
                    "code": f'Nengo.modal.title("The network cannot run"); Nengo.modal.text_body({said}, "danger");'
                    'Nengo.modal.footer("close"); Nengo.modal.show();',
                }
            )

    def close(self) -> None:
        super().close()
        self.sim = None  # or a paused simulation waits for ever


class _Environment(exec_env.ExecutionEnvironment):
    """Nengo GUI takes ``sys.stdout`` from the whole process while it builds a simulator, and gives back another one."""

    def __enter__(self) -> None:
        if not self.allow_sim:  # it runs a script
            return super().__enter__()
        self.stdout = io.StringIO()

    def __exit__(self, *error: Any) -> None:
        if not self.allow_sim:
            super().__exit__(*error)


exec_env.ExecutionEnvironment = _Environment


class _Server(guibackend.GuiServer):
    """Nengo GUI's server, on a free port of this machine's own address."""

    def __init__(self, network: nengo.Network, names: dict[str, Any]) -> None:
        self.token = secrets.token_urlsafe(24)
        self._folder = tempfile.TemporaryDirectory(prefix="nengo-gui-")  # the layout outlives a reload, no more
        super().__init__(
            guibackend.ModelContext(model=network, locals=names),
            guibackend.GuiServerSettings(("127.0.0.1", 0), auto_shutdown=0),
            page.PageSettings(
                filename_cfg=str(Path(self._folder.name) / "layout.cfg"),
                backend=__name__,  # for its Simulator
                editor_class=NoEditor,
            ),
        )
        self.RequestHandlerClass = _Handler
        self._building = threading.Lock()  # builds change the network for a moment
        self._strangers: dict[socket.socket, None] = {}
        self._door = threading.Lock()
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.2}, name="nengo-gui", daemon=True
        )

    def start(self) -> None:
        for binding in self.bindings:
            binding.socket.listen(128)  # Nengo GUI's 5 are filled by one page with its parts
        self._thread.start()

    @property
    def idle(self) -> bool:
        return not self.pages and time.time() - self._last_access > _SLOW_SECONDS

    def create_page(self, filename: str | None, reset_cfg: bool = False) -> _Page:
        for other in self.pages[:]:
            if not other.seen and time.monotonic() - other.born > _SLOW_SECONDS:  # never shown
                other.finish()
        # A file's name would be run as a script.
        shown = _Page(self, filename=None, settings=self.page_settings, reset_cfg=reset_cfg)
        shown.lock = self._building
        self.pages.append(shown)
        return shown

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        with self._door:
            while len(self._strangers) >= MAX_STRANGERS:
                oldest = next(iter(self._strangers))
                del self._strangers[oldest]
                _hang_up(oldest)
            self._strangers[request] = None
        super().process_request(request, client_address)

    def knows(self, request: socket.socket) -> None:
        """It has shown the token, or is gone."""
        with self._door:
            self._strangers.pop(request, None)

    def close_request(self, request: socket.socket) -> None:
        self.knows(request)
        request.close()

    def end(self) -> None:
        """Stop serving, simulating and listening, whatever others do. Open pages say that Nengo GUI has stopped."""
        self._shutting_down = True
        server.DualStackHttpServer.shutdown(self)  # Nengo GUI's own waits for pages to read their good-bye
        self._thread.join(5)
        for websocket in self.websockets:
            websocket.state = websocket.ST_CLOSED  # which ends its loop
        for _, request in self.requests:
            _hang_up(request)
        for shown in self.pages[:]:
            shown.finish()
        deadline = time.monotonic() + 1
        for thread, _ in self.requests:
            thread.join(max(0.0, deadline - time.monotonic()))
        for binding in self.bindings:
            binding.socket.close()
        self._folder.cleanup()


def _hang_up(connection: socket.socket) -> None:
    """Whoever reads from it reads its end; its own thread closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
