"""Files anywhere that fsspec reads: ``https://``, ``s3://``, ``gs://``, ``az://``, ``hf://``, ``zip://a.onnx::https://…``.

Read by ranges (`ranges.py`), never whole. Credentials are fsspec's business; no name and no sentence tells one
(`shown`). Sources: https://filesystem-spec.readthedocs.io, RFC 9110, section 14 (ranges).
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, TypeVar

from ..errors import BadInput, UnreadableFile, WorkbenchError
from ..words import first_line, size
from .ranges import FIRST, RangeBytes
from .wire import Span

SECONDS = 12.0
"""For all that is read of a file."""

MOST = 1 << 25
"""Bytes that are fetched of a file; a header takes thousands, what is packed as a whole all."""

LISTING = 60.0
"""Seconds for the names in one folder."""

WHOLE = 1 << 20
"""Bytes of the largest file that is read whole, where a server sends no parts."""

CONNECTIONS = 6
"""To one server at once, as browsers have."""

_PART = 512
"""Bytes around each part of an answer, at most."""

Result = TypeVar("Result")


class Unreachable(WorkbenchError):
    """Whoever holds a file does not give it, or stopped to."""


def is_url(path: str) -> bool:
    """Whether fsspec is asked for it; what ``file://`` names is a file like others (`local`)."""
    return re.match(r"[A-Za-z][\w+.-]+://", path) is not None and path == local(path)


def local(path: str) -> str:
    """The path that a ``file://`` names; any other as it is."""
    return re.sub(r"\A(?:file|local)://", "", path) if "::" not in path else path


def shown(url: str) -> str:
    """A URL to be told and kept: without passwords, and without queries, which may be signatures. A container of
    ``abfs://`` stands where others have a name."""
    parts = []
    for part in url.split("::"):
        # The second form is of passwords that hold a slash, which nobody can read, and nobody should.
        safe = re.sub(r"(?<!abfs)(?<!abfss)://[^/\s]*@|://[^/\s:@]*:(?!\d*(?:/|$))\S*@", "://***@", part)
        parts.append(re.sub(r"(\Ahttps?://[^?#]*)[?#].*", r"\1?***", safe, flags=re.S))
    return "::".join(parts)


def named(path: str) -> str:
    """What a file is called at its end: of a URL without what it is packed in, and without a query."""
    return re.split(r"::|\?", path, maxsplit=1)[0] if is_url(path) else path


def here_only(url: str) -> bool:
    """It is in this process's memory, which no other process sees."""
    return "memory://" in url


@contextmanager
def opened(url: str) -> Iterator[RangeBytes]:
    """A far file's bytes, fetched where they are asked for; its `changed` differs where the file was changed.

    Raises:
        BadInput: nobody here reads such URLs. Unreachable: who holds it does not give it, here or while it is read.
        UnreadableFile: it is empty.
    """
    with _told(url):
        file = _opener(url)(url, time.monotonic() + SECONDS)
    if not file.size:
        raise UnreadableFile(f"{shown(url)} is empty (0 bytes); was the upload complete?")

    left = MOST

    def fetch(spans: Sequence[Span]) -> list[bytes]:
        nonlocal left
        with _told(url):
            left -= sum(stop - start for start, stop in spans)
            if left < 0:
                raise _Refused(f"more than {size(MOST)} of it would be fetched: download it, and name the copy")
            return file.fetch(spans)

    try:
        yield RangeBytes(file.size, fetch, file.changed)
    finally:
        file.close()


def listed(url: str) -> Iterator[tuple[str, int, int]]:
    """(URL, size, what differs where it was changed) of each file in a far folder, or below; of a pattern's; or of the
    file itself: zeros where only reading it tells.

    Raises:
        BadInput, Unreachable: as `opened`.
    """
    with _told(url):
        system, path = _system(url)
        if _is_http(system) and not url.endswith("/"):
            yield url, 0, 0
            return
        first, *others = url.split("::")
        root = system._strip_protocol(first)

        def full(name: str) -> str:
            below = name.removeprefix(root).lstrip("/")
            top = first if first.endswith("/") else f"{first}/"
            return "::".join([f"{top}{below}", *others])

        if "*" in path:
            found = _within(LISTING, system.glob, path, detail=True)
            scheme = first.partition("://")[0]
            for name, about in sorted(found.items()):
                if about["type"] == "file":
                    yield "::".join([name if "://" in name else f"{scheme}://{name}", *others]), *_about(about)
            return
        if not _is_http(system) and (about := _within(SECONDS, system.info, path))["type"] == "file":
            yield url, *_about(about)
            return
        left, seen = [path], {path}
        while left:
            inside = _within(LISTING, system.ls, left.pop(), detail=True)
            for about in sorted(inside, key=lambda about: str(about["name"])):
                if about["type"] == "file":
                    yield full(about["name"]), *_about(about)
                elif about["name"] not in seen:
                    seen.add(about["name"])
                    left.append(about["name"])


def sha256(path: str) -> str:
    """Of all bytes of a file or URL; "" where it cannot be read, or is a folder."""
    try:
        if is_url(path):
            system, path = _system(path)
            file = system.open(path, "rb", cache_type="readahead")
        else:
            file = open(path, "rb")  # noqa: SIM115, closed below
        with file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except Exception:  # whatever the network does
        return ""


def _about(info: dict[str, Any]) -> tuple[int, int]:
    names = ("mtime", "LastModified", "last_modified", "updated", "ETag", "etag", "blob_id", "created", "CRC", "ino")
    found = [info[name] for name in names if info.get(name)]
    times = [one.timestamp() if isinstance(one, datetime) else one for one in found]  # listings tell numbers
    marks = [f"{one:.3f}" if isinstance(one, float) else str(one) for one in times]
    return int(info.get("size") or 0), _mark(*marks)


def _mark(*marks: str) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(marks).encode()).digest()[:6], "big") if any(marks) else 0


# --- who reads -------------------------------------------------------------------------------------------------------


def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system, and the path in it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise BadInput(
            f"Reading {shown(url)} needs a package that is not installed here: pip install fsspec aiohttp."
        ) from error
    try:
        system, path = url_to_fs(url)
    except ImportError as error:
        raise BadInput(
            f"Reading {shown(url)} needs a package that is not installed here: {first_line(error)}."
        ) from None
    except ValueError as error:
        if "rotocol" not in str(error):
            raise
        scheme = re.match(r"[\w+.-]+", url)
        raise BadInput(
            f"{shown(url)} begins with {scheme[0] if scheme else url}://, which fsspec does not know."
        ) from None
    return system, path


def _is_http(system: Any) -> bool:
    return "https" in (system.protocol if isinstance(system.protocol, tuple | list) else (system.protocol,))


def _opener(url: str) -> Callable[[str, float], _Http | _File]:
    return _Http if re.match("https?://", url) else _File


class _File:
    """Where fsspec reads ranges itself."""

    def __init__(self, url: str, until: float) -> None:
        self._until = until
        self._system, self._path = _system(url)
        about = _within(until - time.monotonic(), self._system.info, self._path)
        if about["type"] != "file":
            raise IsADirectoryError
        self.size, self.changed = _about(about)
        # Where several are read at once there is no need of a file; elsewhere it would be opened anew for each.
        self._file: Any = None

    def fetch(self, spans: Sequence[Span]) -> list[bytes]:
        return _within(self._until - time.monotonic(), self._read, spans)

    def _read(self, spans: Sequence[Span]) -> list[bytes]:
        if getattr(self._system, "async_impl", False):
            starts, stops = ([*ends] for ends in zip(*spans, strict=True))
            return [*map(bytes, self._system.cat_ranges([self._path] * len(spans), starts, stops, on_error="raise"))]
        if self._file is None:
            self._file = self._system.open(self._path, "rb", cache_type="none")
        parts = []
        for start, stop in spans:
            self._file.seek(start)
            parts.append(self._file.read(stop - start))
        return parts

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Http:
    """A server that speaks HTTP: several ranges in one request where it can do that, else in as many at once."""

    def __init__(self, url: str, until: float) -> None:
        self._url, self._until = url, until
        self._system, _ = _system(url)
        self._several = True
        self._whole: bytes | None = None
        self._first = self._do(self._begin)

    def fetch(self, spans: Sequence[Span]) -> list[bytes]:
        if self._whole is not None:
            return [self._whole[start:stop] for start, stop in spans]
        if spans[0][0] == 0 and self._first:
            known, self._first = self._first, b""
            return [known, *(self.fetch(spans[1:]) if spans[1:] else [])]
        return self._do(self._all, spans)

    def close(self) -> None:
        """Connections are kept for the next file of the same server."""

    def _do(self, function: Callable[..., Any], *args: Any) -> Any:
        from fsspec.asyn import sync

        return sync(self._system.loop, function, *args, timeout=max(0.1, self._until - time.monotonic()))

    async def _begin(self) -> bytes:
        status, head, body = await self._ask([(0, FIRST)])
        total = re.search(r"/(\d+)\s*\Z", head.get("Content-Range", ""))
        self.changed = _mark(head.get("ETag", ""), head.get("Last-Modified", ""))
        if status == 204 or (status == 416 and total is None):
            self.size = 0
        elif status in (206, 416) and total is not None:
            self.size = int(total[1])
        elif status == 200:
            if len(body) > WHOLE:
                raise _Refused("it sends no parts of a file, only whole ones: download it, and name the copy")
            self.size, self._whole = len(body), body
        else:
            raise _Refused("it does not tell how long the file is")
        return body if status == 200 else _cut(_parts("", head.get("Content-Range", ""), body), (0, FIRST)) or b""

    async def _all(self, spans: Sequence[Span]) -> list[bytes]:
        parts: dict[int, bytes] = {}
        if len(spans) > 1 and self._several:
            self._several = False  # unless it proves that it can do it
            with suppress(Exception):  # what else is wrong, the ranges one by one will tell
                status, head, body = await self._ask(spans)
                if status == 206:
                    parts = _parts(head.get("Content-Type", ""), head.get("Content-Range", ""), body)
                    self._several = "multipart/byteranges" in head.get("Content-Type", "")
        found = [_cut(parts, span) for span in spans]
        turns = asyncio.Semaphore(CONNECTIONS)
        missing = [number for number, part in enumerate(found) if part is None]
        asked = await asyncio.gather(*(self._one(spans[number], turns) for number in missing))
        for number, part in zip(missing, asked, strict=True):
            found[number] = part
        return [part or b"" for part in found]

    async def _one(self, span: Span, turns: asyncio.Semaphore) -> bytes:
        async with turns:
            status, head, body = await self._ask([span])
        if status == 416:
            return b""
        if status != 206:
            raise _Refused(f"it answers {status} where a part of the file was asked for")
        return _cut(_parts("", head.get("Content-Range", ""), body), span) or b""

    async def _ask(self, spans: Sequence[Span]) -> tuple[int, Any, bytes]:
        """(status, headers, body): of the body as much as was asked for, of a whole file little more than `WHOLE`."""
        session = await self._system.set_session()
        options = dict(self._system.kwargs)
        ranges = ",".join(f"{start}-{stop - 1}" for start, stop in spans)
        headers = {**options.pop("headers", {}), "Range": f"bytes={ranges}", "Accept-Encoding": "identity"}
        async with session.get(self._system.encode_url(self._url), headers=headers, **options) as answer:
            if answer.status >= 400 and answer.status != 416:
                raise _Refused(_MEANT.get(answer.status, f"it answers {answer.status}"))
            most = sum(stop - start + _PART for start, stop in spans) if answer.status == 206 else WHOLE + 1
            if answer.status == 200 and self._whole is None and len(spans) > 1:
                most = 0
            body = bytearray()
            while len(body) < most and (part := await answer.content.read(most - len(body))):
                body += part
            if len(body) >= most:
                answer.close()  # what is left is not wanted
            return answer.status, answer.headers, bytes(body)


_MEANT = {
    401: "it answers 401: it asks who you are", 403: "it answers 403: it does not let you have it",
    404: "it answers 404: there is no such file", 410: "it answers 410: there is no such file any more",
    429: "it answers 429: it was asked too often", 503: "it answers 503: it is busy; try again later",
}  # fmt: skip


class _Refused(Exception):
    """The sentence says what a server answers."""


def _parts(kind: str, where: str, body: bytes) -> dict[int, bytes]:
    """{where it begins: bytes} of an answer with one part of a file, or several."""
    boundary = re.search(r'multipart/byteranges;.*boundary="?([^";,]+)', kind, re.I)
    if boundary is None:
        begins = re.match(r"bytes (\d+)-", where)
        return {int(begins[1]): body} if begins else {}
    found, at = {}, 0
    while (at := body.find(b"--" + boundary[1].encode(), at)) >= 0 and (end := body.find(b"\r\n\r\n", at)) >= 0:
        place = re.search(rb"content-range:\s*bytes (\d+)-(\d+)", body[at:end], re.I)
        if place is None:
            break
        length = int(place[2]) + 1 - int(place[1])
        found[int(place[1])] = body[end + 4 : end + 4 + length]
        at = end + 4 + max(0, length)
    return found


def _cut(parts: dict[int, bytes], span: Span) -> bytes | None:
    """A span out of the part that holds its beginning: servers may join those that are close."""
    start, stop = span
    return next((part[start - at : stop - at] for at, part in parts.items() if at <= start < at + len(part)), None)


# --- what can happen -------------------------------------------------------------------------------------------------


def _within(seconds: float, function: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Its result, unless that takes longer: some file systems wait for ever."""
    done: list[Any] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            done.append(function(*args, **kwargs))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(max(0.1, seconds))
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError
    return done[0]


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Whatever a network does is one sentence, without the secrets that errors quote."""
    try:
        yield
    except WorkbenchError:
        raise
    except Exception as error:
        raise Unreachable(f"{shown(url)} cannot be read: {_why(error, url)}.") from None


def _why(error: Exception, url: str) -> str:
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return f"it did not give what was asked for within {SECONDS:g} seconds"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "it does not let you have it"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if re.search("(?i)name or service not known|nodename nor servname|name resolution|getaddrinfo", str(error)):
        return "no server of that name is known here; is the address right, and is there a network"
    said = re.sub(r"[\w+.-]+://[^\s'\"]+", lambda match: shown(match[0]), first_line(error))
    for secret in re.findall(r"://[^/\s]*?:([^/\s]+)@", url) + re.findall(r"[?&][^=&]*=([^&#]+)", url):
        said = said.replace(secret, "***")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
