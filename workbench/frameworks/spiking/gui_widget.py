"""A network in Nengo GUI, in a frame of the notebook. `nengo_gui.js` finds the way to its server."""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path
from typing import Any

import anywidget
import nengo
import traitlets

from ...errors import BadInput
from ...markup import render
from .gui import gui
from .picture import picture


class NengoGui(anywidget.AnyWidget):
    """A frame with Nengo GUI, beside a still picture that saved and exported pages show instead.

    The server's address holds its key, so it is told to the page when it asks, and never saved with the notebook.

    Traits:
        title: the network's name.
        height: of the frame, in pixels.
        picture: the network, drawn, as a data URL.
        still: the class name of the still copy, which the frame hides.

    Attributes:
        network: the network shown.
        gui: its server (`workbench.frameworks.spiking.gui.Gui`); `gui.url` works in a browser on the same machine.
    """

    _esm = Path(__file__).with_name("gui_widget.js")
    title = traitlets.Unicode("").tag(sync=True)
    height = traitlets.Int(600).tag(sync=True)
    picture = traitlets.Unicode("").tag(sync=True)
    still = traitlets.Unicode("").tag(sync=True)

    def __init__(self, network: nengo.Network, *, title: str = "", height: int = 600) -> None:
        self.network = network
        self.gui = gui(network, _variables())
        drawn = base64.b64encode(picture(network, self.gui.label).encode()).decode()
        super().__init__(
            title=title or network.label or "Nengo network",
            height=height,
            picture=f"data:image/svg+xml;base64,{drawn}",
            still=f"wb-still-{secrets.token_hex(4)}",
        )
        self.on_msg(self._answer)

    def _answer(self, _: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("type") == "open":
            port, token = self.gui.open()
            self.send({"type": "address", "port": port, "token": token})

    def close(self) -> None:
        """Stop the server, free its port, and take the frame away."""
        if hasattr(self, "gui"):  # ipywidgets closes even what was never finished
            self.gui.close()
        super().close()

    def __repr__(self) -> str:
        return f"Nengo GUI: {self.title}"

    def _ipython_display_(self, **kwargs: Any) -> None:
        from IPython.display import display

        bundle = self._repr_mimebundle_(**kwargs)
        data: dict[str, Any] = (bundle[0] if isinstance(bundle, tuple) else bundle) or {}
        # Pages without the widget show the first they can: nothing, and then the still copy.
        display({**data, "text/plain": repr(self), "text/html": ""}, raw=True)
        display(_Still(self))


class _Still:
    """The picture as plain output beside the widget, which hides it while it is alive."""

    def __init__(self, widget: NengoGui) -> None:
        self._widget = widget

    def __repr__(self) -> str:
        return ""

    def _repr_html_(self) -> str:
        widget = self._widget
        return render("nengo_still", title=widget.title, kind=widget.still, picture=widget.picture)


def nengo_gui(
    network: nengo.Network | str | os.PathLike[str],
    *,
    params: str | os.PathLike[str] | None = None,
    height: int = 600,
) -> NengoGui:
    """Open a network in Nengo GUI, in a frame in the notebook.

    The server runs in this process on a free port of 127.0.0.1 and asks for a key; the frame reaches it through
    jupyter-server-proxy where there is one (Binder, JupyterHub), and directly otherwise. It ends with the kernel, or
    with the ``close()`` of what is returned. Called again for the same network, the same server shows it.

    Args:
        network: a network, or the path of a file with one (`to_nengo`).
        params: for a path, the file with the weights that the first lacks (`to_nengo`).
        height: of the frame, in pixels.

    Raises:
        BadInput: it is neither.
        WorkbenchError: the file holds no network that Nengo could run (see `to_nengo`).
    """
    if isinstance(network, nengo.Network):
        return NengoGui(network, height=height)
    if not isinstance(network, str | os.PathLike):
        raise BadInput(
            f"nengo_gui takes a nengo.Network or the path of a file with one, not a {type(network).__name__}."
        )
    from .to_nengo import to_nengo

    path = Path(network)
    return NengoGui(to_nengo(path, params), title=path.name, height=height)


def _variables() -> dict[str, object]:
    """The notebook's variables: as in scripts, Nengo GUI names by them what has no label."""
    from IPython import get_ipython

    shell = get_ipython()
    return dict(shell.user_ns) if shell is not None else {}
