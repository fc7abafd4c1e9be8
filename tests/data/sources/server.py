"""A local web server with configurable faults."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behavior:
    """What the server serves, and behavior. Each request takes the next value of a list."""

    content: bytes = b""
    etag: str | None = '"v1"'
    ranges: bool = True
    status: int = 200
    content_type: str = "application/zip"
    stop_after: list[int] = field(default_factory=list)  # closes the connection after this many bytes
    stall_after: list[int] = field(default_factory=list)  # stops sending after this many bytes
    claim: int | None = None  # the announced length, if it is wrong
    wrong_range: bool = False
    requests: list[dict[str, str]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        behavior: Behavior = self.server.behavior  # type: ignore[attr-defined]
        behavior.requests.append(dict(self.headers))
        body = behavior.content
        begin = 0
        requested_range = self.headers.get("Range")
        if behavior.status != 200:
            self.send_error(behavior.status)
            return
        if requested_range and behavior.ranges and self.headers.get("If-Range") == behavior.etag:
            begin = int(requested_range.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            sent_begin = begin + 1 if behavior.wrong_range else begin
            self.send_header("Content-Range", f"bytes {sent_begin}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        body = body[begin:]
        self.send_header("Content-Type", behavior.content_type)
        if behavior.etag:
            self.send_header("ETag", behavior.etag)
        self.send_header("Content-Length", str(len(body) if behavior.claim is None else behavior.claim))
        self.end_headers()
        if behavior.stop_after:
            body = body[: behavior.stop_after.pop(0)]
        if behavior.stall_after:
            self.wfile.write(body[: behavior.stall_after.pop(0)])
            self.wfile.flush()
            behavior.release.wait(10)
            return
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(behavior: Behavior) -> Iterator[str]:
    """The URL of an archive on the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.behavior = behavior  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/data/set.zip"
    finally:
        behavior.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
