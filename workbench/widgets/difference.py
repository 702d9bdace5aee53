"""What differs between two ONNX files, and a button for its page with both graphs."""

from __future__ import annotations

from typing import Any

import ipywidgets

from ..session import Session
from .form import button, line, outcome, sentence, show_if
from .report import Download


class DifferencePanel(ipywidgets.VBox):
    """A session's last difference; nothing until there is one."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._found = ipywidgets.HTML(tabbable=True, layout={"max_height": "24rem", "overflow": "auto"})
        self._write = button("Both graphs as a page", lambda: session.start("diff_page"))
        self._said, self._download = ipywidgets.HTML(), Download()
        close = button("Close", lambda: session.set_trait("difference", None), tooltip="Close the difference")
        self._parts = (outcome(self._found), line(self._write, close), outcome(self._said), self._download)
        super().__init__(self._parts)
        self.add_class("wb-difference")
        session.observe(self._show, ["difference", "difference_page", "job"])
        self._show()

    def _show(self, change: Any = None) -> None:
        session = self.session
        found, page = session.difference, str(session.difference_page or "")
        self._found.value = found._repr_html_() if found is not None else ""
        self._write.disabled = bool(session.job)
        self._said.value, self._download.path = sentence(page and f"Written: {page}", role="status"), page
        show_if(found is not None, *self._parts)
