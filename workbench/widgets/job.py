"""The work under way: its stages, how long it has taken, and a button to cancel it. `job.js` is its face."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..session import Session

MOST_STAGES = 12


class JobBar(anywidget.AnyWidget):
    """Show a session's work while it runs; nothing else of the time.

    Args:
        session: whose work.
        steps: the works shown, as `Session.job` names them; any if empty.

    Traits:
        running: such work is under way.
        about: that work in words.
        stages: what was said of it so far, the present stage last.
        seconds: from its start to the present stage.
        progress: 0 to 1, or -1 where unknown.
    """

    _esm = Path(__file__).with_name("job.js")
    _css = Path(__file__).with_name("job.css")

    running = traitlets.Bool(False).tag(sync=True)
    about = traitlets.Unicode("").tag(sync=True)
    stages = traitlets.List(traitlets.Unicode()).tag(sync=True)
    seconds = traitlets.Float(0.0).tag(sync=True)
    progress = traitlets.Float(-1.0).tag(sync=True)

    def __init__(self, session: Session, steps: Collection[str] = ()) -> None:
        super().__init__()
        self._session, self._steps, self._begun = session, steps, 0.0
        self.on_msg(self._receive)
        session.observe(self._job, "job")
        session.observe(self._stage, ["stage", "progress"])
        self._job()

    def _job(self, change: Any = None) -> None:
        job = self._session.job
        running = bool(job) and (not self._steps or job in self._steps)
        self._begun = time.monotonic()
        with self.hold_sync():
            self.running, self.about, self.stages, self.seconds = running, self._session.about, [], 0.0
            self._stage()

    def _stage(self, change: Any = None) -> None:
        stage = self._session.stage
        if not self.running or not stage:
            return
        with self.hold_sync():
            before = self.stages
            # What only counts on is the same stage.
            if before and _uncounted(before[-1]) == _uncounted(stage):
                before = before[:-1]
            self.stages = [*before, stage][-MOST_STAGES:]
            self.seconds, self.progress = time.monotonic() - self._begun, self._session.progress

    def _receive(self, widget: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        if content.get("type") == "cancel":
            self._session.cancel()


def _uncounted(stage: str) -> str:
    return re.sub(r"[\d.,]+", "", stage)
