"""HTML from templates, in which no text from a model can do harm.

A template in `show/templates` says how one thing is shown, and every value it writes goes through
`workbench.words.escape`: what would act in a page, or turn the direction of writing, is seen instead. Only what a
template made is markup. The rules of `show/workbench.css` stand in sections, so that an output of a notebook cell
brings along its own and no more.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .words import MAX_SHOWN, counted, escape, size, visible

if TYPE_CHECKING:
    from jinja2 import Environment
_ROOM = Path(__file__).with_name("show")

_in_page: ContextVar[bool] = ContextVar("_in_page", default=False)

_folders: ContextVar[re.Pattern[str] | None] = ContextVar("_folders", default=None)


class Html(str):
    """Markup that a template made, which other templates take as it is. Else a string: what is made of it is text."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


def render(template: str, **values: Any) -> Html:
    """What a template makes of values.

    Args:
        template: the name of a file in ``show/templates``, without ``.html.j2``.
        values: what the template reads. Strings are text; markup is only what this function gave.
    """
    return Html(_environment().get_template(f"{template}.html.j2").render(values).strip())


@contextmanager
def whole_page(nameless: Iterable[str | os.PathLike[str]] = ()) -> Iterator[None]:
    """What is rendered meanwhile is part of a page of ours, which has all the styles, and titles for its parts.

    Args:
        nameless: files whose folders no text of the page shall name: of a path, the file's name remains.
    """
    token, other = _in_page.set(True), _folders.set(_folders_of(nameless))
    try:
        yield
    finally:
        _in_page.reset(token)
        _folders.reset(other)


def _folders_of(files: Iterable[str | os.PathLike[str]]) -> re.Pattern[str] | None:
    """What to take out of texts: these files' folders, with what stands between one of them and a file in it."""
    given = [os.path.split(os.path.normpath(os.fsdecode(file))) for file in files]
    if not given:
        return None
    paths = [Path(*parts) for parts in given]
    folders = {str(at.parent) for path in paths for at in (path.absolute(), path.resolve())}
    folders |= {tempfile.gettempdir(), os.path.expanduser("~")}  # of copies, and of data sets
    longest = sorted((re.escape(folder) for folder in folders if Path(folder).name), key=len, reverse=True)
    way = rf"(?<![\w.-])(?:{'|'.join(longest)})(?![\w-]|\.\w)(?:[\\/]+[^\\/\s'\"<>]+(?=[\\/]))*[\\/]?"
    # As it was given it may be an ordinary word of the graph, too: only before the file's own name.
    own = [rf"{re.escape(head)}[\\/](?={re.escape(name)})" for head, name in given if head and name]
    return re.compile("|".join([way, *own]))


def script(name: str) -> Html:
    """The text of a script element: a file in ``show``, which knows nothing of what is shown."""
    return Html((_ROOM / f"{name}.js").read_text("utf-8"))


def styles(*sections: str) -> Html:
    """Sections of the style sheet, after the one that all have in common, as the text of a style element."""
    return Html("".join(_sheet()[name] for name in ("base", *sections)))


def own_styles(file: Path) -> str:
    """The rules of a widget, which may stand alone, after those that say how a kind looks everywhere."""
    return _sheet()["kinds"] + file.read_text("utf-8")


@functools.lru_cache(1)
def _sheet() -> dict[str, str]:
    """{section: its rules}, without comments and indents."""
    text = (_ROOM / "workbench.css").read_text("utf-8")
    parts = re.split(r"/\* === ([\w-]+) === \*/", text)
    return {
        name: re.sub(r"\s*\n\s*|/\*.*?\*/", "", rules, flags=re.DOTALL)
        for name, rules in zip(parts[1::2], parts[2::2], strict=True)
    }


def _style(*sections: str) -> Html:
    """The style element of a part that stands alone."""
    return Html("" if _in_page.get() else f"<style>{styles(*sections)}</style>")


def _harmless(value: object, limit: int | None = None) -> Html:
    """A value as markup: text is escaped, and cut where it is longer than `limit` characters."""
    if hasattr(value, "__html__"):
        return Html(value)
    value = _nameless(value)
    return Html(escape(value) if limit is None else escape(value, limit))


def _nameless(value: object) -> object:
    """A value without the folders that this page names nowhere."""
    if (folders := _folders.get()) is None:
        return value
    return folders.sub(lambda found: "" if found[0][-1] in "\\/" else "…", str(value))


def _soft(value: object, limit: int = MAX_SHOWN) -> Html:
    """A value as markup with places where a long name, but no number, may go on in the next line: after what parts it,
    and where a capital begins a word."""
    parts = re.split(r"(?<=[./_:\\-])(?=[^\W\d])|(?<=[a-z0-9])(?=[A-Z])", visible(_nameless(value), limit))
    return Html("<wbr>".join(escape(part, limit + 1) for part in parts))


def _template(name: str) -> str:
    """A template without its indents, which nobody would see."""
    return re.sub(r"(?m)^[ ]+", "", (_ROOM / "templates" / name).read_text("utf-8"))


@functools.lru_cache(1)
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # at the first HTML, not with the package

    made = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "short": _harmless, "soft": _soft, "counted": counted, "size": size, "number": "{:,}".format,
        "fixed": "{:.1f}".format,
    }  # fmt: skip
    made.globals |= {"style": _style, "styles": styles, "alone": lambda: not _in_page.get()}
    return made
