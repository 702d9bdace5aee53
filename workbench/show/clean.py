"""HTML that somebody else wrote, made safe for a page: `Cleaner`.

Bleach parses it as a browser does and lets through what is listed here. That is no script, no frame, no form, nothing
that leads away by itself or loads from elsewhere, and so no way to tell anybody that the page was read.
"""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from ..graph import frame_again

_HTML = (
    "a abbr address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del details dfn "
    "div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark meter nav ol p "
    "pre progress q rp rt ruby s samp section small span strike strong style sub summary sup table tbody td tfoot th "
    "thead time tr tt u ul var wbr"
).split()
_SVG = (
    "circle clipPath defs desc ellipse g image line linearGradient marker mask path pattern polygon polyline "
    "radialGradient rect stop svg symbol text textPath title tspan use"
).split()
_GONE = ("iframe", "metadata", "script", "template")
"""Elements whose content goes with them; of others that are not listed, what is in them stays."""

_ATTRIBUTES = frozenset(
    (
        "align alt border cellpadding cellspacing class color colspan data-kind datetime dir headers height id lang "
        "max min open reversed role rowspan scope span start style summary tabindex title type valign value width "
        "clip-path clip-rule clipPathUnits cx cy d dominant-baseline dx dy fill fill-opacity fill-rule font-family "
        "font-size font-style font-weight fx fy gradientTransform gradientUnits letter-spacing marker-end marker-mid "
        "marker-start markerHeight markerUnits markerWidth mask maskContentUnits maskUnits offset opacity orient "
        "paint-order pathLength patternContentUnits patternTransform patternUnits points preserveAspectRatio r refX "
        "refY rotate rx ry shape-rendering spreadMethod startOffset stop-color stop-opacity stroke stroke-dasharray "
        "stroke-dashoffset stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width text-anchor "
        "text-decoration textLength transform vector-effect version viewBox visibility word-spacing x x1 x2 y y1 y2"
    ).split()
)
_LINK = re.compile(r"(?:https?:|mailto:|#|[^:]*$)", re.IGNORECASE)
_PICTURE = re.compile(r"data:image/[\w.+-]+[;,]", re.IGNORECASE)

_LEFT_OUT = "[A frame of the notebook is left out of this page.]"


class Cleaner:
    """Cleans texts for one page.

    Live views of `workbench.graph.graph` stay alive: they are made anew from the models in them, with the nonce.

    Attributes:
        frames: of live views, so far.
    """

    def __init__(self, nonce: str) -> None:
        from bleach.sanitizer import Cleaner as Bleach

        self._nonce = nonce
        self.frames: dict[str, str] = {}
        self._bleach = Bleach(
            tags={*_HTML, *_SVG, *_GONE},
            attributes=_allowed,
            protocols={"http", "https", "mailto", "data"},
            strip=True,
            filters=[self._inside],
            css_sanitizer=_AnyStyle(),
        )
        # Style sheets would lose their > to it; what could end one early is taken out below.
        self._bleach.serializer.escape_rcdata = False

    def clean(self, text: str) -> str:
        cleaned: str = self._bleach.clean(text)
        for mark, frame in self.frames.items():
            cleaned = cleaned.replace(mark, frame)
        return cleaned

    def _inside(self, source: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Style sheets as plain text, frames that are ours, and nothing else of what has raw text in it."""
        tokens = iter(source)
        for token in tokens:
            name = token.get("name") if token["type"] in ("StartTag", "EmptyTag") else None
            if name == "style":
                # Whatever becomes of the tree when a browser parses this again: no markup begins without a "<".
                css = "".join(_texts(tokens, name)).replace("<", "\\3c ")
                yield from (token, _text(css), {"type": "EndTag", "name": name, "namespace": token.get("namespace")})
            elif name in _GONE:
                for _ in _texts(tokens, name):
                    pass
                if name == "iframe":
                    yield _text(self._frame(html.unescape(token["data"].get((None, "srcdoc"), ""))))
            else:
                yield token

    def _frame(self, document: str) -> str:
        if (frame := frame_again(document, self._nonce)) is None:
            return _LEFT_OUT
        mark = secrets.token_hex(16)  # so that nothing in the text can be taken for it
        self.frames[mark] = frame
        return mark


class _AnyStyle:
    """Styles may say what they like: the page's policy lets them load nothing."""

    def sanitize_css(self, style: str) -> str:
        return style


def _allowed(tag: str, name: str, value: str) -> bool:
    if name == "href" and tag == "a":
        return _LINK.match(html.unescape(value).strip()) is not None
    if name == "href" and tag in ("use", "textPath", "linearGradient", "radialGradient", "pattern"):
        return value.startswith("#")
    if (tag, name) in (("img", "src"), ("image", "href")):
        return _PICTURE.match(value) is not None
    return name in _ATTRIBUTES or name.startswith("aria-") or (tag, name) == ("iframe", "srcdoc")


def _texts(tokens: Iterator[dict[str, Any]], name: str) -> Iterator[str]:
    """The text up to the end of an element that has begun; elements in it are passed over."""
    depth = 1
    for token in tokens:
        if token["type"] == "Entity":
            yield f"&{token['name']};"
        elif token["type"] in ("Characters", "SpaceCharacters"):
            yield token["data"]
        elif token.get("name") == name:
            depth += {"StartTag": 1, "EndTag": -1}.get(token["type"], 0)
            if not depth:
                return


def _text(data: str) -> dict[str, Any]:
    return {"type": "Characters", "data": data}
