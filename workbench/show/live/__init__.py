"""A report that answers: the model itself in the page, asked there by ONNX Runtime Web, without a network.

`runtime` is what runs it; `questions` prepares the model, its inputs and some rows with ONNX Runtime's answers, against
which the page checks its own; `page.js` is what a reader sees, and `worker.js` asks.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from ... import sandbox
from ...compare import Comparison
from ...engines.refusals import plain
from ...errors import UnsupportedModel, WorkbenchError
from ...markup import Html, render, script
from ...safety.external import whole_size
from ...scratch import fleeting_folder
from .questions import Given, prepared
from .runtime import VERSION, packed

TITLE = "Ask the model"

SECONDS = 300
"""For preparing the model, and again for asking it in Node."""

_NODE = """
import { readFileSync } from "node:fs";
const messages = JSON.parse(readFileSync("messages.json", "utf8"));
let heard;
globalThis.self = { postMessage: (answer) => heard(answer) };
await import("./worker.mjs");
for (const data of messages) {
  const { error } = await new Promise((resolve) => { heard = resolve; self.onmessage({ data }); });
  if (error) { console.log(error); break; }
}
process.exit(0);
"""
"""The page's worker in Node: prints what it answers that it cannot do."""


def section(
    path: str | os.PathLike[str],
    comparison: Comparison | None,
    *,
    nonce: str,
    memory_mib: float | None = None,
    cancel: threading.Event | None = None,
    progress: Callable[[str], object] = lambda message: None,
) -> Html:
    """The section of a report in which its model answers; where it cannot, one sentence says why.

    Args:
        path: an ONNX file.
        comparison: the rows that the page asks too; the paper's or made-up ones if None.
        nonce: of the scripts in the page, whose policy has ``answers=True`` (`workbench.graph.policy`).

    Raises:
        WorkbenchError: ONNX Runtime Web is not installed. Cancelled: `cancel` was set.
    """
    parts = packed()
    progress("Preparing the model for the page")
    try:
        model, told = sandbox.run(
            prepared, os.fspath(path), _given(comparison), timeout=SECONDS,
            memory_mib=memory_mib or 700 + 8 * whole_size(Path(path)) / 2**20, adjustable=True, cancel=cancel,
            warm=True, what="Preparing the model for the page",
        )  # fmt: skip
        if shutil.which("node"):
            progress("Asking the model in ONNX Runtime Web")
            what = "Asking the model in ONNX Runtime Web"
            sandbox.run(_tried, model, told, timeout=SECONDS, cancel=cancel, warm=True, what=what)
    except sandbox.Cancelled:
        raise
    except WorkbenchError as error:
        progress(f"The model cannot answer in the page: {error}")
        return render("live", why=str(error))
    return render(
        "live", why="", model=Html(model), told=Html(told), ort=Html(parts["ort"]), wasm=Html(parts["wasm"]),
        worker=script("live/worker"), page=script("live/page"), nonce=nonce, bytes=whole_size(Path(path)),
        version=VERSION,
    )  # fmt: skip


def _given(comparison: Comparison | None) -> Given | None:
    answers = comparison.answers if comparison is not None else None
    if comparison is None or answers is None or not answers.rows:
        return None
    kept, asked = len(answers.rows), comparison.agreement.samples
    which = f"{kept:,} of the {asked:,} rows" if kept < asked else "those"
    return Given(
        dict(answers.inputs), f"The rows are {which} of the comparison.", answers.columns, answers.classes,
        answers.class_names, comparison.agreement.tolerance,
    )  # fmt: skip


def _tried(model: str, told: str) -> None:
    """Ask the model its first row as the page will, in Node.

    Raises:
        UnsupportedModel: it cannot be asked there.
    """
    parts, known = packed(), json.loads(gzip.decompress(base64.b64decode(told)))
    with fleeting_folder("workbench-live-") as folder:
        (folder / "ort.mjs").write_bytes(gzip.decompress(base64.b64decode(parts["ort"])))
        (folder / "worker.mjs").write_text(script("live/worker"))
        (folder / "ask.mjs").write_text(_NODE)
        first = {"library": (folder / "ort.mjs").as_uri(), "wasm": parts["wasm"], "model": model, "told": told}
        feeds = [{**shape, **known["questions"][0][shape["name"]], "dims": shape["dims"]} for shape in known["inputs"]]
        second = {"feeds": feeds, "wanted": [output["name"] for output in known["outputs"]]}
        (folder / "messages.json").write_text(json.dumps([first, second]))
        ran = subprocess.run(["node", "ask.mjs"], cwd=folder, capture_output=True, text=True, check=False)
    if ran.stdout or ran.returncode:
        raise UnsupportedModel(f"ONNX Runtime Web {VERSION} cannot run it: {plain(ran.stdout or ran.stderr)}.")
