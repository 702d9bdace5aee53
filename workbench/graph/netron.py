"""Netron's own view of one model as one HTML document: no server, no port, no network.

Netron (https://netron.app, package ``netron``) is a browser application. The document built here carries the few
of its modules that the model's format needs, taken from the installed package, and plays the part of its web
server. What a model file says is untrusted, so the document is fenced twice: a Content-Security-Policy that loads
nothing and runs only our own scripts, and (where it is shown, see `graph.py`) a sandboxed iframe.
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
from typing import Any

from ..errors import WorkbenchError
from ..files import registry
from ..files.records import Reader
from ..words import escape, visible


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
    return json.dumps([{k: v for k, v in entry.items() if k != "examples"} for entry in best.values()]).encode()


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
    """

    title: str
    parts: Mapping[str, str]

    def html(self, nonce: str | None = None) -> str:
        """The document. Only scripts with the nonce run in it.

        Args:
            nonce: one that the page around the document allows, which must not be guessable; if None, one that
                follows from the parts.
        """
        # A model cannot hold the hash of the page it is in: unguessable, yet the same model makes the same page.
        nonce = nonce or hashlib.sha256("".join(self.parts.values()).encode()).hexdigest()[:32]
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data: blob:; "
            "font-src data:; connect-src 'none'; form-action 'none'; base-uri 'none'"
        )
        blocks = "".join(f'<script type="text/plain" id="{name}">{text}</script>' for name, text in self.parts.items())
        return (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            f"<title>{escape(self.title)}</title></head><body>{blocks}"
            f'<script nonce="{nonce}">{_BOOT}</script></body></html>'
        )


def page(
    reader: Reader, data: bytes, *, title: str, notes: Sequence[str] = (), assets: Mapping[str, bytes] | None = None
) -> Page:
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
        "about": _pack(json.dumps({"title": title, "notes": list(notes), "file": reader.file}).encode()),
    }
    return Page(title, parts)


def shown_in(document: str) -> tuple[Reader, bytes, str, list[str]] | None:
    """(the reader, data, title, notes) of a document that `page` made; None if it is none.

    The document may come from anyone: what is read from it is data, as from any file, and no script.
    """
    blocks = dict(_BLOCK.findall(document))
    try:
        about = json.loads(_unpack(blocks["about"]))
        readers = (PROTOTXT, *(record.reader for record in registry.FORMATS.values() if record.reader is not None))
        reader = next(reader for reader in readers if reader.file == about["file"])
        notes = [visible(note) for note in about["notes"][:MOST_NOTES]]
        return reader, _unpack(blocks["model"]), str(about["title"]), notes
    except (LookupError, TypeError, ValueError, StopIteration, RecursionError, zlib.error):
        return None


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
    return json.dumps([{k: v for k, v in entry.items() if k != "examples"} for entry in _metadata(name)]).encode()


@functools.lru_cache(8)
def _metadata(name: str) -> list[dict[str, Any]]:
    try:
        entries = json.loads(_text(name))
    except (NetronLayoutError, ValueError):
        return []  # colours and operator help are lost, nothing else
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


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
        f"<style>{_text('grapher.css')}{_SELECTED}</style>",
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


_BOOT = r"""
(async () => {
  const nonce = document.currentScript.nonce;
  const root = document.documentElement;
  let about = {};
  const tell = (state, message) => {
    root.dataset.netron = state;
    if (window.parent !== window) window.parent.postMessage({ type: 'workbench:netron', state, message }, '*');
  };
  const fail = message => {
    if (root.dataset.netron) return;
    const body = document.createElement('body');
    body.style.cssText = 'font: 13px/1.5 sans-serif; margin: 0; padding: 2em; overflow: auto; height: auto';
    body.textContent = `Netron cannot show ${about.title || 'this model'}: ${message}`;
    document.body.replaceWith(body);
    tell('failed', message);
  };
  try {
    const bytes = async id => new Uint8Array(await new Response(new Blob([Uint8Array.from(
      atob(document.getElementById(id).textContent.trim()), c => c.charCodeAt(0))]).stream()
      .pipeThrough(new DecompressionStream('gzip'))).arrayBuffer());
    const utf8 = new TextDecoder(), json = async id => JSON.parse(utf8.decode(await bytes(id)));
    about = await json('about');
    const engine = await json('engine'), files = { [about.file]: await bytes('model') };
    for (const [name, text] of Object.entries(await json('files'))) files[name] = new TextEncoder().encode(text);
    const file = url => files[String(url).split(/[?#]/)[0].split('/').pop()];

    // One ES module becomes one function, made by an inline script: some notebooks refuse blob: and data: modules.
    const cache = {}, base = id => String(id).split('/').pop();
    const factory = id => {
      const key = '__netron_' + id.replace(/\W/g, '_');
      if (!window[key]) {
        const script = document.createElement('script');
        script.nonce = nonce;
        script.textContent = `window.${key} = function(__exports, __load, __import, self) { "use strict";` +
          `${engine.modules[id]}\n};//# sourceURL=netron/${id}`;
        document.head.append(script);
        script.remove();
      }
      return window[key];
    };
    // Formats that are not in this page: Netron asks each in turn whether the file is its own.
    class Absent { async match() { return null; } }
    const load = id => {
      id = base(id);
      if (!(id in engine.modules)) return { ModelFactory: Absent };
      if (!cache[id]) { const exports = cache[id] = {}; factory(id)(exports, load, dynamic, window); }
      return cache[id];
    };
    const dynamic = async id => load(id);

    // The platform Netron talks to: files come from this page, nothing else answers.
    window.XMLHttpRequest = class {
      open(method, url) { this.url = url; }
      setRequestHeader() {}
      abort() {}
      send() {
        const data = file(this.url);
        setTimeout(() => {
          this.status = data ? 200 : 404;
          this.readyState = 4;
          if (this.responseType === 'arraybuffer') this.response = data ? data.slice().buffer : new ArrayBuffer(0);
          else this.response = this.responseText = data ? utf8.decode(data) : '';
          if (this.onload) this.onload({});
        });
      }
    };
    window.fetch = async url => new Response(file(url) || null, { status: file(url) ? 200 : 404 });
    navigator.sendBeacon = () => false;
    Object.defineProperty(document, 'cookie', { get: () => 'consent=1', set: () => {} });
    window.Worker = class extends EventTarget {   // works in the page: blob: workers are refused by some hosts
      constructor(url) {
        super();
        this.inbox = [];
        const ears = this.ears = [];
        factory(base(url))({}, load, dynamic, {
          addEventListener: (type, ear) => { ears.push(ear); this.inbox.splice(0).forEach(data => ear({ data })); },
          postMessage: data => this.dispatchEvent(new MessageEvent('message', { data })) });
      }
      postMessage(data) {
        if (this.ears.length) this.ears.forEach(ear => ear({ data }));
        else this.inbox.push(data);
      }
      terminate() { this.ears.length = 0; }
    };
    // An output must not take the keyboard from the notebook: no focus of its own accord before a click in the view.
    // With the click the keyboard is the view's, or the next key would be a command to the notebook (dd deletes it).
    let touched = false;
    window.addEventListener('pointerdown', () => { touched = true; window.focus(); }, true);
    for (const proto of [HTMLElement.prototype, SVGElement.prototype]) {
      const focus = proto.focus;
      proto.focus = function(...args) { if (touched) focus.apply(this, args); };
    }

    root.innerHTML = engine.page;
    for (const [name, content] of [['file', '/data/' + about.file], ['name', about.title]]) {
      const meta = document.createElement('meta');
      meta.name = name;
      meta.content = content;
      document.head.append(meta);
    }
    const notes = () => {
      if (!about.notes.length) return;
      const style = document.createElement('style');
      style.textContent = `
        html { box-sizing: border-box; padding-top: 24px; background: #fff8e1 }
        body { contain: layout }  /* what Netron fixes to the window then starts below the line */
        #workbench-notes { position: fixed; inset: 0 0 auto 0; z-index: 9; box-sizing: border-box; max-height: 60%;
          overflow: auto; padding: 0 10px; font: 12px/24px sans-serif; background: #fff8e1; color: #4e3b00;
          border-bottom: 1px solid #e0cf9a }
        #workbench-notes summary { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; cursor: pointer }
        #workbench-notes p { margin: 0 0 4px 16px; line-height: 18px }
        @media (prefers-color-scheme: dark) {
          html { background: #3a3421 }
          #workbench-notes { background: #3a3421; color: #f0e2b6; border-color: #5c5333 } }`;
      document.head.append(style);
      const box = document.createElement(about.notes.length > 1 ? 'details' : 'div');
      box.id = 'workbench-notes';
      about.notes.forEach((note, index) => {
        const line = document.createElement(index ? 'p' : 'summary');
        line.textContent = line.title = note;
        box.append(line);
      });
      root.append(box);
    };
    notes();

    // Netron writes some of a model's own words as HTML. Scripts in them cannot run here (the policy); this keeps
    // out what else could reach beyond the page, such as a refresh to another address.
    const markup = Object.getOwnPropertyDescriptor(Element.prototype, 'innerHTML');
    Object.defineProperty(Element.prototype, 'innerHTML', { ...markup, set(value) {
      // Parsed in a document that loads and runs nothing.
      const box = new DOMParser().parseFromString(`<body>${value ?? ''}`, 'text/html').body;
      for (const element of box.querySelectorAll('*')) {
        if (/^(script|style|iframe|frame|object|embed|link|meta|base|form|img|image|audio|video|source|template)$/i
            .test(element.localName)) { element.remove(); continue; }
        for (const { name, value } of [...element.attributes]) {
          if (/^on/i.test(name) || (/(href|src|action)$/i.test(name) && !/^(https?:|#)/i.test(value.trim()))) {
            element.removeAttribute(name);
          }
        }
        if (element.localName === 'a') { element.target = '_blank'; element.rel = 'noopener noreferrer'; }
      }
      this.replaceChildren(...box.childNodes);
    } });

    const browser = load('browser.js'), view = load('view.js');
    const host = new (browser.Host || browser.BrowserHost)();
    host.openURL = url => { window.open(url, '_blank', 'noopener'); };
    const execute = host.execute;
    host.execute = async function(name, ...rest) {
      if (name !== 'open') return execute.call(this, name, ...rest);
      return this.message('This page holds one model. Open others from the workbench.', false, 'OK');
    };
    // While a frame is out of sight, a browser may at first give the labels of edges no size, and without one Netron
    // finds no place for them (NaN): they are measured again.
    const graphs = load('grapher.js').Graph.prototype, measure = graphs.measure;
    graphs.measure = function() {
      for (const { label } of this.edges.values()) {
        if (!label.labelElement || label.width) continue;
        const box = label.labelElement.getBBox();
        [label.width, label.height] = [Math.max(box.width, 1), Math.max(box.height, 1)];
      }
      return measure.call(this);
    };
    const app = window.__view__ = new view.View(host);

    // start() does not return while Netron shows an alert, so its text is looked for from outside.
    const drawn = () => document.querySelector('#canvas .node, #target svg .node, .canvas .node');
    const watch = setInterval(() => {
      if (root.dataset.netron) return clearInterval(watch);
      const text = document.getElementById('message-text');
      if (drawn() && document.body.classList.contains('default')) tell('ready');
      else if (document.body.classList.contains('alert') && text && text.innerText.trim()) fail(text.innerText.trim());
    }, 50);
    // Nodes are asked for by the values they give: unlike names, every node has one, and no other node has the same.
    window.addEventListener('message', async event => {
      if (event.source !== window.parent || !event.data || event.data.type !== 'workbench:select') return;
      const values = new Set(Array.isArray(event.data.values) ? event.data.values : []);
      while (app._path.length > 1) await app.popTarget();   // out of a function's body
      const graph = app.activeTarget, target = app.target;
      if (!graph || !target) return;
      const chosen = graph.nodes.filter(node => node.outputs.some(output =>
        Array.isArray(output.value) && output.value.some(value => values.has(value.name))));
      const elements = target.select(chosen, 'workbench');
      const still = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
      target.scrollTo(elements.slice(0, 1), still ? 'instant' : 'smooth');
      window.parent.postMessage({ type: 'workbench:selected', count: chosen.length }, '*');
    });
    await app.start();
    if (!root.dataset.netron) tell(drawn() ? 'ready' : 'empty');
  } catch (error) {
    fail(error && error.message || String(error));
    throw error;
  }
})();
"""
