"""Downloading a zip archive over HTTP: resumable, checked, and given up soon where there is no network."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

from recctl import progress
from recctl.engines.memory import format_bytes
from recctl.errors import DataError
from recctl.version import __version__

_FRUITLESS_ATTEMPTS = 2
_BLOCK_BYTES = 1 << 18


class _BrokenOffError(Exception):
    """A connection ended or stalled before all had arrived; another one may go on."""


def download(
    url: str, target: Path, *, md5: str | None, connect_seconds: float = 15.0, stall_seconds: float = 30.0
) -> None:
    """Fetch an archive; `target` appears whole and checked, or not at all.

    What has arrived is kept in `target` + `.part`, and this or the next call goes on from there if the server still
    has the same file. The caller sees to it that nobody else writes there.

    Args:
        url: An `http` or `https` address.
        target: Where to.
        md5: The archive's checksum, None where none is known.
        connect_seconds: How long to wait for a connection, name look-up included.
        stall_seconds: How long to wait for the next byte.

    Raises:
        DataError: The server can't be reached, refuses, sends something else, or stops. The message is the reason.
    """
    opener = urllib.request.build_opener(_HttpHandler(stall_seconds), _HttpsHandler(stall_seconds))
    part = target.with_name(f"{target.name}.part")
    fruitless, most = 0, _size(part)
    while True:
        try:
            _receive(opener, url, part, connect_seconds)
            break
        except _BrokenOffError as error:
            fruitless = 0 if _size(part) > most else fruitless + 1
            most = max(most, _size(part))
            if fruitless == _FRUITLESS_ATTEMPTS:
                raise DataError(f"{error}; what arrived is kept, and trying again goes on from there") from error
    try:
        check_archive(part, md5)
    except DataError:
        _forget(part)
        raise
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _tag(part).unlink(missing_ok=True)


def check_archive(path: Path, md5: str | None) -> None:
    """Check that a file is the zip archive it should be.

    Raises:
        DataError: It is none, not a whole one, or has another checksum.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = file.read(16)
        raise DataError(f"{format_bytes(_size(path))} that are no whole zip archive (they start with {start!r})")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 not in (None, found):
        raise DataError(f"the archive's MD5 is {found}, not {md5}: damaged on its way, or not the same archive")


def _receive(opener: urllib.request.OpenerDirector, url: str, part: Path, connect_seconds: float) -> None:
    """Add what is missing to `part`."""
    headers = {"User-Agent": f"recctl/{__version__}", "Accept-Encoding": "identity"}
    begin = _size(part)
    if begin and _tag(part).exists():
        headers |= {"Range": f"bytes={begin}-", "If-Range": _tag(part).read_text(encoding="utf-8")}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - addresses are the catalog's own
    try:
        with opener.open(request, timeout=connect_seconds) as response:
            _copy(response, part, begin)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _forget(part)
            raise _BrokenOffError("the server has no such range") from error
        raise DataError(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DataError(f"can't be reached ({error.reason})") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException, ssl.SSLError) as error:
        raise _BrokenOffError(f"the connection broke off or stalled after {format_bytes(_size(part))}") from error


def _copy(response: Any, part: Path, begin: int) -> None:
    if response.headers.get_content_type() == "text/html":
        raise DataError("the server sends a web page instead of the archive")
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            _forget(part)
            raise _BrokenOffError("the server sends another range than asked for")
    else:
        begin = 0
        _forget(part)
        _remember(part, response.headers)
    length = response.headers.get("Content-Length", "")
    total = begin + int(length) if length.isdecimal() else None
    done = begin
    with (
        part.open("ab") as file,
        progress.task(f"Downloading {part.stem}", total, "bytes") as shown,
    ):
        while block := response.read(_BLOCK_BYTES):
            file.write(block)
            done += len(block)
            shown.update(done)
    if total is not None and done < total:
        raise _BrokenOffError(f"the server sent {done:,} of {total:,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _remember(part: Path, headers: Any) -> None:
    """Note by what the server will know its file again. Without that nothing can be added to it later."""
    etag = headers.get("ETag", "")
    mark = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    if mark:
        _tag(part).write_text(mark, encoding="utf-8")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


class _Connection(http.client.HTTPConnection):
    """Connects within `timeout`, name look-up and handshake included, and then waits `stall` for each byte.

    `socket`'s own timeout does not bound the look-up, which takes its time where there is no network.
    """

    stall: float

    def connect(self) -> None:
        failures: list[BaseException] = []
        thread = threading.Thread(target=self._connect, args=(failures,), daemon=True)
        thread.start()
        thread.join(self.timeout)
        if thread.is_alive():
            raise TimeoutError(f"no connection within {self.timeout:g} s")
        if failures:
            raise failures[0]
        self.sock.settimeout(self.stall)

    def _connect(self, failures: list[BaseException]) -> None:
        try:
            super().connect()
        except Exception as error:
            failures.append(error)


class _SecureConnection(_Connection, http.client.HTTPSConnection):
    pass


class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, stall: float) -> None:
        super().__init__()
        self._connection: Any = type("_Stalling", (_Connection,), {"stall": stall})

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, stall: float) -> None:
        super().__init__()
        self._connection: Any = type("_Stalling", (_SecureConnection,), {"stall": stall})

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req, context=ssl.create_default_context())
