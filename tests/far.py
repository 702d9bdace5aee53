"""A server on this machine that speaks HTTP ranges, well or in ways that servers go wrong."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Server:
    """`folder` is what it serves; `latency` in seconds; `several`: it answers several ranges at once, None: it
    hangs up on them; `ranges`: it answers any.

    A file's name may say how it is served: ``403.onnx`` answers 403, ``stalls…`` never ends, ``lies…`` is said to be
    ten times as long as it is.
    """

    folder: Path
    latency: float = 0.0
    several: bool | None = True
    ranges: bool = True
    url: str = ""
    asked: list[str] = field(default_factory=list)
    sent: int = 0

    def reset(self) -> None:
        self.asked.clear()
        self.sent = 0


@contextmanager
def serving(folder: Path, **how: Any) -> Iterator[Server]:
    server = Server(folder, **how)
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or a header waits 40 ms for its body

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            time.sleep(server.latency)
            server.asked.append(self.headers.get("Range", ""))
            path = server.folder / self.path.split("?")[0].lstrip("/")
            if status := re.match(r"([45]\d\d)\.", path.name):
                self.answer(int(status[1]), b"")
            elif path.is_dir():
                links = "".join(f'<a href="{one.name}{"/" * one.is_dir()}">{one.name}</a>' for one in path.iterdir())
                self.answer(200, links.encode(), {"Content-Type": "text/html"})
            elif not path.is_file():
                self.answer(404, b"")
            else:
                self.file(path)

        def file(self, path: Path) -> None:
            size = path.stat().st_size
            said = size * 10 if path.name.startswith("lies") else size
            spans = [
                (int(a), min(int(b or said), said - 1))
                for a, b in re.findall(r"(\d+)-(\d*)", self.headers.get("Range", ""))
            ]
            if not server.ranges or not spans:
                self.answer(200, path.read_bytes())
                return
            if len(spans) > 1 and server.several is None:
                self.close_connection = True
                return
            if path.name.startswith("stalls"):
                self.send_response(206)
                self.send_header("Content-Range", f"bytes 0-{size - 1}/{size}")
                self.send_header("Content-Length", str(size))
                self.end_headers()
                ended.wait(60)
                return
            with path.open("rb") as file:
                parts = []
                for start, stop in spans if server.several else spans[:1]:
                    file.seek(start)
                    parts.append((start, stop, file.read(stop + 1 - start)))
            if not parts[0][2]:
                self.answer(416, b"", {"Content-Range": f"bytes */{said}"})
            elif len(parts) == 1:
                start, stop, body = parts[0]
                self.answer(206, body, {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{said}"})
            else:
                body = b"".join(
                    b"\r\n--part\r\nContent-Type: application/octet-stream\r\n"
                    + f"Content-Range: bytes {start}-{stop}/{said}\r\n\r\n".encode()
                    + part
                    for start, stop, part in parts
                )
                self.answer(206, body + b"\r\n--part--\r\n", {"Content-Type": "multipart/byteranges; boundary=part"})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            server.sent += len(body)
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.handle_error = lambda *_: None  # type: ignore[method-assign]  # whoever asked has heard enough
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        ended.set()
        http.shutdown()
        http.server_close()
