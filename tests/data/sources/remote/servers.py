"""Servers on the loopback: a small part of S3, and a web server that interrupts downloads."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


@dataclass
class Store:
    """The objects of an S3 server and what was requested of it.

    Attributes:
        url: Where it listens.
        objects: Content by `bucket/key`.
        requests: Method, path and `Range` of each request.
        sent_bytes: Bytes of objects that were sent.
        uploads: The parts of uploads in progress, by `bucket/key`.
        modified: The time of all objects.
        on_get: Called after each answer with the content of an object.
    """

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    sent_bytes: int = 0
    uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    modified: str = "Thu, 01 Jan 2026 00:00:00 GMT"
    on_get: Callable[[], None] = lambda: None


@contextmanager
def s3_server() -> Iterator[Store]:  # noqa: C901 - one handler with a short method for each kind of request
    """Serve what Arrow's S3 client requests: HEAD, GET with ranges, PUT, DELETE, listings and multipart uploads."""
    store = Store()

    class Handler(_Quiet):
        def do_HEAD(self) -> None:
            self._log()
            content = store.objects.get(self._key())
            if content is None:
                # A bucket exists if it has objects.
                is_bucket = "/" not in self._key() and any(k.startswith(f"{self._key()}/") for k in store.objects)
                self.answer(200 if is_bucket else 404, b"", length=0)
            else:
                headers = {"ETag": _etag(content), "Last-Modified": store.modified}
                self.answer(200, b"", headers, length=len(content))

        def do_GET(self) -> None:
            self._log()
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            if "list-type" in query:
                self._list(query)
                return
            content = store.objects.get(self._key())
            if content is None:
                self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
                return
            begin, end = _range(self.headers.get("Range"), len(content))
            part = content[begin:end]
            store.sent_bytes += len(part)
            headers = {"ETag": _etag(content), "Content-Range": f"bytes {begin}-{end - 1}/{len(content)}"}
            self.answer(206 if self.headers.get("Range") else 200, part, headers)
            store.on_get()

        def _list(self, query: dict[str, list[str]]) -> None:
            bucket = self._key().rstrip("/")
            prefix = query.get("prefix", [""])[0]
            delimiter = query.get("delimiter", [""])[0]
            keys = sorted(k.removeprefix(f"{bucket}/") for k in store.objects if k.startswith(f"{bucket}/"))
            entries = ""
            folders = []
            for key in keys:
                if not key.startswith(prefix):
                    continue
                rest = key[len(prefix) :]
                if delimiter and delimiter in rest:
                    folders.append(prefix + rest.split(delimiter)[0] + delimiter)
                    continue
                size = len(store.objects[f"{bucket}/{key}"])
                entries += (
                    f"<Contents><Key>{escape(key)}</Key><Size>{size}</Size>"
                    "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                )
            for folder in dict.fromkeys(folders):
                entries += f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
            count = f"<KeyCount>{entries.count('<Key>') + len(set(folders))}</KeyCount>"
            xml = f"<ListBucketResult><IsTruncated>false</IsTruncated>{count}{entries}</ListBucketResult>"
            self.answer(200, xml.encode(), {"Content-Type": "application/xml"})

        def do_PUT(self) -> None:
            self._log()
            content = self._body()
            query = parse_qs(urlsplit(self.path).query)
            if "partNumber" in query:
                store.uploads.setdefault(self._key(), {})[int(query["partNumber"][0])] = content
            else:
                store.objects[self._key()] = content
            self.answer(200, b"", {"ETag": _etag(content)})

        def do_POST(self) -> None:
            self._log()
            self._body()
            query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
            if "uploads" in query:
                xml = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
            else:
                parts = store.uploads.pop(self._key(), {})
                store.objects[self._key()] = b"".join(parts[number] for number in sorted(parts))
                xml = b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
            self.answer(200, xml, {"Content-Type": "application/xml"})

        def do_DELETE(self) -> None:
            self._log()
            store.objects.pop(self._key(), None)
            self.answer(204, b"")

        def _body(self) -> bytes:
            stream: Any = self.rfile
            is_chunked = self.headers.get("Transfer-Encoding") == "chunked"
            if not is_chunked:
                stream = io.BytesIO(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            content = b"".join(_chunks(stream)) if is_chunked else stream.read()
            # Within it, clients wrap the content in chunks with checksums.
            is_wrapped = any("STREAMING" in value or "aws-chunked" in value for value in self.headers.values())
            return b"".join(_chunks(io.BytesIO(content))) if is_wrapped else content

        def _key(self) -> str:
            return unquote(urlsplit(self.path).path).lstrip("/")

        def _log(self) -> None:
            store.requests.append((self.command, self.path, self.headers.get("Range", "")))

    with _serving(Handler) as port:
        store.url = f"http://127.0.0.1:{port}"
        yield store


@dataclass
class Site:
    """A file on a web server, and how the server behaves.

    Attributes:
        content: The content of every path.
        etag: Its ETag; empty for none.
        last_modified: Its time; empty for none.
        cut_after: Bytes after which each of the next responses ends early.
        requests: The headers of each request.
        ignores_if_range: Whether ranges are sent although the file has changed.
    """

    url: str = ""
    content: bytes = b""
    etag: str = '"1"'
    last_modified: str = ""
    cut_after: list[int] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    ignores_if_range: bool = False


@contextmanager
def web_server(content: bytes) -> Iterator[Site]:
    """Serve one file with ranges, ETags and interruptions."""
    site = Site(content=content)

    class Handler(_Quiet):
        def do_GET(self) -> None:
            site.requests.append(dict(self.headers))
            is_same = site.etag and self.headers.get("If-None-Match") == site.etag
            if is_same or (site.last_modified and self.headers.get("If-Modified-Since") == site.last_modified):
                self.answer(304, b"")
                return
            is_range = "Range" in self.headers and (site.ignores_if_range or self.headers.get("If-Range") == site.etag)
            begin, end = _range(self.headers.get("Range") if is_range else None, len(site.content))
            part = site.content[begin:end]
            headers = {"ETag": site.etag} if site.etag else {}
            if site.last_modified:
                headers["Last-Modified"] = site.last_modified
            if is_range:
                headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(site.content)}"
            cut = site.cut_after.pop(0) if site.cut_after else len(part)
            self.answer(206 if is_range else 200, part[:cut], headers, length=len(part))
            if cut < len(part):
                self.close_connection = True

    with _serving(Handler) as port:
        site.url = f"http://127.0.0.1:{port}"
        yield site


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, content: bytes, headers: dict[str, str] | None = None, length: int = -1) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(content) if length < 0 else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        pass


def _chunks(stream: Any) -> Iterator[bytes]:
    """The chunks of a body, each after a line with its size; trailers follow."""
    while size := int(stream.readline().split(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    while stream.readline().strip():
        pass


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _range(header: str | None, size: int) -> tuple[int, int]:
    if not header:
        return 0, size
    first, _, last = header.removeprefix("bytes=").partition("-")
    return int(first), min(int(last) + 1, size) if last else size


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
