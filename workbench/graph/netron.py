"""Netron's own view of one model as one HTML document: no server, no port, no network.

Netron (https://netron.app, package ``netron``) is a browser application. The document built here carries the few
of its modules that the model's format needs, taken from the installed package, and plays the part of its web
server. What a model file says is untrusted, so the document is fenced twice: a Content-Security-Policy that loads
nothing and runs only our own scripts, and (where it is shown, see `workbench.graph`) a sandboxed iframe.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import WorkbenchError
from ..files import registry
from ..files.records import Reader
from ..markup import render
from ..words import visible


class NetronLayoutError(WorkbenchError):
    """The installed Netron is missing or not laid out as this module knows it."""


PROTOTXT = Reader("model.prototxt", ("caffe", "caffe2", "tf", "onnx"))
"""Of Caffe's architectures in text form."""

MOST_BYTES = 64 << 20
"""Of a model that is read back from a page; `slim.py` lets half of it into one."""

MOST_NOTES = 102

# What every page needs, and what view.js imports on demand for formats that say so (1.2 MB, mostly python.js).
_CORE = ("browser.js", "view.js", "worker.js")
_LARGE = frozenset({"python.js", "hdf5.js"})

# Netron's own mark on a selected node, 2 px of red, is hard to see on a dark node or from afar.
_SELECTED = ".select > .node.node-border { stroke-width: 5px }"

# Netron's panel would take three fifths of a frame as narrow as a notebook's column, and cut its longer lines.
_PANEL = (
    "#sidebar { width: min(50vw, 32em) !important }"
    "#target[style*=vw] { width: calc(100vw - min(50vw, 32em)) !important }"
    ".sidebar-item-value-line { white-space: pre-wrap !important; overflow-wrap: anywhere }"
)

# The marks of `workbench.diff`, which boot.js sets.
_MARKED = "".join(
    f".workbench-{status}:not(.select) > .node.node-border {{ stroke: {colour}; stroke-width: 4px; {line} }}"
    for status, colour, line in (
        ("added", "#2e7d32", ""),
        ("removed", "#c62828", "stroke-dasharray: 10 5"),
        ("changed", "#c77700", "stroke-dasharray: 2 4"),
    )
)

_STATIC = re.compile(r"^import \* as (\w+) from '\./([\w-]+\.js)';?[ \t]*$", re.M)
_LITERAL = re.compile(r"(?<![\w.$])import\('\./([\w-]+\.js)'\)")
_REQUIRE = re.compile(r"\.require\('\./([\w-]+)'\)")
_DYNAMIC = re.compile(r"(?<![\w.$])import\((?=\s*['\"`])")
_EXPORT_ONE = re.compile(r"^export const (\w+) = ", re.M)
_EXPORT_MANY = re.compile(r"^export const \{([\w\s,]+)\} = (.+?);?[ \t]*$", re.M)
_BLOCK = re.compile(r'<script type="text/plain" id="(model|about)">([A-Za-z0-9+/=]*)</script>')
_METADATA = re.compile(r"'([\w-]+-metadata\.json)'")


def onnx_metadata(op_types: Collection[tuple[str, str]], opset_import: Mapping[str, int]) -> bytes:
    """The part of Netron's ONNX operator documentation (colours, input names, help) that one model uses.

    Args:
        op_types: (domain, op_type) of the model's nodes, default domain as ``""``.
        opset_import: domain -> version.
    """
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in _metadata("onnx-metadata.json"):
        module, name = entry.get("module", ""), entry.get("name", "")
        domain = "" if module == "ai.onnx" else module
        version = entry.get("version", 0)
        if (domain, name) not in op_types or version > opset_import.get(domain, version):
            continue
        if (domain, name) not in best or best[domain, name].get("version", 0) < version:
            best[domain, name] = entry
    return json.dumps([*best.values()]).encode()


def module(name: str) -> str:
    """One of Netron's ES modules as a function body over ``__exports``, ``__load``, ``__import`` and ``self``.

    Raises:
        NetronLayoutError: the module is missing or uses import or export in a way not known here.
    """
    return _module(name)[0]


@dataclass(frozen=True, slots=True)
class Page:
    """A model in Netron's view, ready to become an HTML document.

    Attributes:
        title: the model's name.
        parts: {id: packed text} of the view's modules, the model, operator help and what is said about it.
        costs: what each node costs is part of that.
    """

    title: str
    parts: Mapping[str, str]
    costs: bool = False

    def html(self, nonce: str | None = None) -> str:
        """The document. Only scripts with the nonce run in it.

        Args:
            nonce: one that the page around the document allows, which must not be guessable; if None, one that
                follows from the parts.
        """
        # A model cannot hold the hash of the page it is in: unguessable, yet the same model makes the same page.
        nonce = nonce or hashlib.sha256("".join(self.parts.values()).encode()).hexdigest()[:32]
        return render("netron", title=self.title, parts=self.parts, nonce=nonce, boot=_boot(self.costs))


def page(
    reader: Reader, data: bytes, *, title: str, notes: Sequence[str] = (), assets: Mapping[str, bytes] | None = None,
    costs: Mapping[str, Any] | None = None,
) -> Page:  # fmt: skip
    """What shows `data` in Netron.

    When its document runs, ``document.documentElement.dataset.netron`` becomes ``ready`` (nodes are drawn), ``empty``
    (the model has none) or ``failed`` (with the reason as text). It tells its parent window so with
    ``{type: 'workbench:netron', state, message}`` and, sent ``{type: 'workbench:select', nodes: [name, …]}``,
    selects those nodes.

    Args:
        reader: how Netron reads the format, by its `workbench.files.records.FileFormat`.
        data: the model file's bytes, best without weights (`slim.py`).
        title: the model's name; names exported pictures.
        notes: sentences shown in a line above the graph.
        costs: what `costs.js` shows of each node (`workbench.graph.facts.Facts.drawn`).
        assets: files that replace the package's own, such as a shorter ``onnx-metadata.json``.

    Raises:
        NetronLayoutError: Netron is missing or laid out in a way not known here.
    """
    title = visible(title)
    given = assets or {}
    engine, asset_names = _engine(reader)
    files = {name: given[name] if name in given else _asset(name) for name in asset_names}
    parts = {
        "engine": engine,
        "model": _pack(data),
        "files": _pack(json.dumps({name: content.decode() for name, content in files.items()}).encode()),
        "about": _pack(
            json.dumps({"title": title, "notes": list(notes), "file": reader.file, "costs": costs}).encode()
        ),
    }
    return Page(title, parts, costs is not None)


def shown_in(document: str) -> tuple[Reader, bytes, str, list[str], dict[str, Any] | None] | None:
    """(the reader, data, title, notes, costs) of a document that `page` made; None if it is none.

    The document may come from anyone: what is read from it is data, as from any file, and no script.
    """
    blocks = dict(_BLOCK.findall(document))
    try:
        about = json.loads(_unpack(blocks["about"]))
        readers = (PROTOTXT, *(record.reader for record in registry.FORMATS.values() if record.reader is not None))
        reader = next(reader for reader in readers if reader.file == about["file"])
        notes = [visible(note) for note in about["notes"][:MOST_NOTES]]
        return reader, _unpack(blocks["model"]), str(about["title"]), notes, _costs(about.get("costs"))
    except (LookupError, TypeError, AttributeError, ValueError, StopIteration, RecursionError, zlib.error):
        return None


def _costs(told: Any) -> dict[str, Any] | None:
    """What a stored page says its nodes cost: figures and names, and nothing else."""
    if told is None:
        return None

    def figures(of: Any) -> dict[str, float | None]:
        known = {key: of.get(key) for key in ("macs", "parameters", "seconds", "error", "spikes")}
        return {key: value if isinstance(value, int | float) else None for key, value in known.items()}

    nodes = [
        {
            "outputs": [str(name) for name in node["outputs"]],
            "shape": visible(node["shape"]),
            "ran_as": visible(node["ran_as"]),
            **figures(node),
        }
        for node in told["nodes"]
    ]
    return {"nodes": nodes, "total": figures(told["total"]), "note": visible(told["note"])}


def _text(name: str) -> str:
    try:
        return (resources.files("netron") / name).read_text("utf-8")
    except (ModuleNotFoundError, OSError) as error:
        raise NetronLayoutError(f"Netron's view needs netron/{name}, which is not installed ({error}).") from error


@functools.lru_cache(64)
def _module(name: str) -> tuple[str, tuple[str, ...]]:
    """A module's function body and the modules it imports, statically or by a literal name."""
    source = _text(name)
    needs = [match[1] for match in _STATIC.findall(source)] + _LITERAL.findall(source)
    needs += [f"{stem}.js" for stem in _REQUIRE.findall(source)]
    source = _STATIC.sub(r"const \1 = __load('\2');", source)
    source = _DYNAMIC.sub("__import(", source)
    source = _EXPORT_ONE.sub(r"const \1 = __exports.\1 = ", source)
    source = _EXPORT_MANY.sub(r"const {\1} = \2; Object.assign(__exports, {\1});", source)
    left = re.search(r"^(?:import\b\s*[\w*{'\"]|export\b).*", source, re.M) or re.search(r"\bimport\.meta\b", source)
    if left:
        raise NetronLayoutError(f"The installed Netron's {name} has an unknown form: {left.group(0)[:60]!r}.")
    # Weights are not in the page; Netron's own words would say that the file has none.
    return source.replace("'Tensor data is empty.'", "'Weights are left out of this view.'"), tuple(needs)


@functools.lru_cache(64)
def _asset(name: str) -> bytes:
    return json.dumps(_metadata(name)).encode()


@functools.lru_cache(8)
def _metadata(name: str) -> list[dict[str, Any]]:
    """Netron's operator help, without its examples."""
    try:
        entries = json.loads(_text(name))
    except (NetronLayoutError, ValueError):
        return []  # colours and operator help are lost, nothing else
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [{key: value for key, value in entry.items() if key != "examples"} for entry in entries]


@functools.lru_cache(32)
def _engine(reader: Reader) -> tuple[str, tuple[str, ...]]:
    """Packed {page, modules} for one format, and the names of the metadata files its modules ask for."""
    modules: dict[str, str] = {}
    wanted = {f"{name}.js" for name in reader.large}
    todo = [*_CORE, *(f"{name}.js" for name in (*reader.modules, *reader.large))]
    formats = {f"{name}.js" for name in reader.modules}
    assets: list[str] = []
    while todo:
        name = todo.pop()
        if name in modules:
            continue
        modules[name], needs = _module(name)
        if name in formats:
            assets += _METADATA.findall(modules[name])
        # Every format's module may import the large ones for itself; view.js only offers them.
        todo += [need for need in needs if name != "view.js" or need not in _LARGE or need in wanted]
    entries = [("browser.js", "Host|BrowserHost"), ("view.js", "View")]
    for name, export in entries + [(name, "ModelFactory") for name in formats]:
        if not re.search(rf"__exports\.({export}) = ", modules[name]):
            raise NetronLayoutError(f"The installed Netron's {name} no longer exports {export.split('|')[0]}.")
    packed = _pack(json.dumps({"page": _shell(), "modules": modules}).encode())
    if "onnx" in reader.modules:
        assets.append("onnx-metadata.json")
    return packed, tuple(dict.fromkeys(assets))


def _shell() -> str:
    """Netron's index.html without its loader, links and policy."""
    shell = _text("index.html")
    # The <meta> contract of netron/server.py. Version 0.0.0 is a development build, which sends no telemetry;
    # without a date it does not ask to be updated.
    shell = _once(
        r'<meta name="version" content="[^"]*"\s*/?>',
        '<meta name="type" content="Python"><meta name="version" content="0.0.0">',
        shell,
        "version",
    )
    shell = re.sub(
        r'<meta name="date"[^>]*>|<meta http-equiv="Content-Security-Policy"[^>]*>|<link [^>]*>'
        r'|href="javascript:void\(0\)"',
        "",
        shell,
    )
    shell = _once(
        r"<script[^>]*src=\"index\.js\"[^>]*></script>",
        f"<style>{_text('grapher.css')}{_SELECTED}{_MARKED}{_PANEL}</style>",
        shell,
        "script",
    )
    if "<script" in shell:
        raise NetronLayoutError("The installed Netron's index.html has more scripts than index.js.")
    return shell


def _once(pattern: str, replacement: str, text: str, what: str) -> str:
    text, count = re.subn(pattern, lambda _: replacement, text, flags=re.S)
    if count != 1:
        raise NetronLayoutError(f"The installed Netron's index.html has {count} {what} tags of the known form, not 1.")
    return text


def _pack(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()


def _unpack(text: str) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    data = unpacker.decompress(base64.b64decode(text), MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("cut short, or unpacks to more than a page shows")
    return data


@functools.lru_cache(1)
def _boot(costs: bool) -> str:
    """The script that starts Netron in the page, after the one that shows what nodes cost."""
    names = ("costs.js", "boot.js") if costs else ("boot.js",)
    return "".join(Path(__file__).with_name(name).read_text("utf-8") for name in names)
