"""A web server on this machine that misbehaves as asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """What a server has, and how it serves it. The lists are used up by one request after the other."""

    content: bytes = b""
    etag: str | None = '"v1"'
    ranges: bool = True
    status: int = 200
    content_type: str = "application/zip"
    stop_after: list[int] = field(default_factory=list)  # close the connection after so many bytes
    stall_after: list[int] = field(default_factory=list)  # go silent after so many bytes
    claim: int | None = None  # the length that is told
    wrong_range: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        how: Behaviour = self.server.behaviour  # type: ignore[attr-defined]
        how.requests.append(dict(self.headers))
        body, begin = how.content, 0
        asked = self.headers.get("Range")
        if how.status != 200:
            self.send_error(how.status)
            return
        if asked and how.ranges and self.headers.get("If-Range") == how.etag:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            shown = begin + 1 if how.wrong_range else begin
            self.send_header("Content-Range", f"bytes {shown}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        body = body[begin:]
        self.send_header("Content-Type", how.content_type)
        if how.etag:
            self.send_header("ETag", how.etag)
        self.send_header("Content-Length", str(len(body) if how.claim is None else how.claim))
        self.end_headers()
        if how.stop_after:
            body = body[: how.stop_after.pop(0)]
        if how.stall_after:
            self.wfile.write(body[: how.stall_after.pop(0)])
            self.wfile.flush()
            how.release.wait(10)
            return
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The address of an archive that the server serves."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.behaviour = behaviour  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/data/set.zip"
    finally:
        behaviour.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
