"""Downloading over HTTP: resumable, verified, and with time-outs that hold without a network."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import ssl
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recctl import progress
from recctl.engines.memory import format_bytes
from recctl.errors import DataError
from recctl.version import __version__

# Attempts in a row that add no byte to the file, before the download is given up.
_MAX_FAILED_ATTEMPTS = 2
_BLOCK_BYTES = 1 << 18


class _InterruptedDownloadError(Exception):
    """A connection ended or stalled before the file was complete; another attempt may continue."""


class NotModifiedError(Exception):
    """The server has the same file as before; see `Address.conditions`."""


@dataclass(frozen=True)
class Address:
    """What to request.

    Attributes:
        url: An `http` or `https` address without a user name.
        user_info: `user:password` for the server; None for no authentication.
        conditions: Headers such as `If-None-Match`, sent as long as nothing has been received.
        require_size: Called with each size that is announced or received; raises if it is too large.
        allows_html: Whether a web page may be the file.
    """

    url: str
    user_info: str | None = None
    conditions: Mapping[str, str] = field(default_factory=dict)
    require_size: Callable[[int], None] = lambda n_bytes: None
    allows_html: bool = False


def download(
    url: str, target: Path, *, md5: str | None, connect_seconds: float = 15.0, stall_seconds: float = 30.0
) -> None:
    """Download an archive; `target` appears complete and verified, or not at all.

    Received bytes are kept in `target` + `.part`; this call or a later one continues from there if the server still has
    the same file. The caller must make sure that no other process writes there.

    Args:
        url: An `http` or `https` address.
        target: The file to write.
        md5: The archive's checksum; None if it is not known.
        connect_seconds: Time-out of a connection, including the name look-up.
        stall_seconds: Time-out of the next byte.

    Raises:
        DataError: The server can't be reached, answers with an error, sends another file, or stops sending. The message
            is the reason alone.
    """
    download_file(Address(url), target, lambda part: check_archive(part, md5), connect_seconds, stall_seconds)


def download_file(
    address: Address,
    target: Path,
    check: Callable[[Path], None],
    connect_seconds: float = 15.0,
    stall_seconds: float = 30.0,
) -> dict[str, str]:
    """Download a file; see `download`.

    Args:
        address: What to request.
        target: The file to write.
        check: Called with the complete file before it gets its name; raises if it is not the expected one.
        connect_seconds: See `download`.
        stall_seconds: See `download`.

    Returns:
        The headers of the response that began the file, with names in lower case.

    Raises:
        DataError: See `download`.
        NotModifiedError: The conditions of the address hold no more.
    """
    # urllib, so that recctl needs no HTTP library for its few downloads.
    opener = urllib.request.build_opener(_HttpHandler(stall_seconds), _HttpsHandler(stall_seconds))
    part = target.with_name(f"{target.name}.part")
    n_failed = 0
    largest_size = _size(part)
    while True:
        try:
            headers = _receive(opener, address, part, connect_seconds)
            break
        except _InterruptedDownloadError as error:
            size = _size(part)
            n_failed = 0 if size > largest_size else n_failed + 1
            largest_size = max(largest_size, size)
            if n_failed == _MAX_FAILED_ATTEMPTS:
                raise DataError(f"{error}; the received part is kept, and the next attempt continues it") from error
    try:
        check(part)
    except DataError:
        _delete_part(part)
        raise
    # On disk before the rename: after a crash of the machine, `target` must not exist with missing content.
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _tag_file(part).unlink(missing_ok=True)
    return headers


def check_archive(path: Path, md5: str | None) -> None:
    """Check that a file is a complete zip archive with the right checksum.

    Raises:
        DataError: It is not.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = file.read(16)
        raise DataError(f"not a complete zip archive: {format_bytes(_size(path))} that start with {start!r}")
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 is not None and actual != md5:
        raise DataError(f"the archive's MD5 is {actual}, not {md5}: it was damaged in transit, or has changed")


def _receive(
    opener: urllib.request.OpenerDirector, address: Address, part: Path, connect_seconds: float
) -> dict[str, str]:
    """Download the missing bytes of `part`, and return the headers of the response."""
    # "identity": with a compressed transfer, the size of `part` would not be the offset in the file.
    headers = {"User-Agent": f"recctl/{__version__}", "Accept-Encoding": "identity"}
    begin = _size(part)
    if begin and _tag_file(part).exists():
        headers["Range"] = f"bytes={begin}-"
        headers["If-Range"] = _tag_file(part).read_text(encoding="utf-8")
    else:
        headers |= address.conditions
    request = urllib.request.Request(address.url, headers=headers)  # noqa: S310 - callers allow http and https only
    if address.user_info is not None:
        credentials = base64.b64encode(address.user_info.encode()).decode()
        # Not sent on to the server that a redirection names.
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    try:
        with opener.open(request, timeout=connect_seconds) as response:
            _append_response(response, part, begin, address)
            return {name.lower(): value for name, value in response.headers.items()}
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.NOT_MODIFIED:
            raise NotModifiedError from None
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _delete_part(part)
            raise _InterruptedDownloadError("the server does not have the requested range") from error
        raise DataError(f"the server answers {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise DataError(f"can't be reached ({error.reason})") from error
    except (TimeoutError, ConnectionError, http.client.HTTPException, ssl.SSLError) as error:
        received = format_bytes(_size(part))
        raise _InterruptedDownloadError(f"the connection was lost or stalled after {received}") from error


def _append_response(response: Any, part: Path, begin: int, address: Address) -> None:
    """Append the response to `part`, or start over if the server sends the whole file."""
    # The log-in pages of public networks answer any request with status 200.
    if response.headers.get_content_type() == "text/html" and not address.allows_html:
        raise DataError("the server sends a web page instead of the archive")
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {begin}-"):
            _delete_part(part)
            raise _InterruptedDownloadError("the server sends another range than the requested one")
        if _tag(response.headers) not in ("", _tag_file(part).read_text(encoding="utf-8")):
            # A server that ignores If-Range would mix two versions of the file.
            _delete_part(part)
            raise _InterruptedDownloadError("the file has changed on the server")
    else:
        begin = 0
        _delete_part(part)
        _save_tag(part, response.headers)
    content_length = response.headers.get("Content-Length", "")
    total = begin + int(content_length) if content_length.isdecimal() else None
    n_received = begin
    address.require_size(total or begin)
    with (
        part.open("ab") as file,
        progress.task(f"Downloading {part.stem}", total, "bytes") as task,
    ):
        while block := response.read(_BLOCK_BYTES):
            file.write(block)
            n_received += len(block)
            address.require_size(n_received)
            task.update(n_received)
    if total is not None and n_received < total:
        raise _InterruptedDownloadError(f"the server sent {n_received:,} of {total:,} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _save_tag(part: Path, headers: Any) -> None:
    """Save the file's ETag or modification time for `If-Range`; without one, the download can't be continued."""
    tag = _tag(headers)
    if tag:
        _tag_file(part).write_text(tag, encoding="utf-8")


def _tag(headers: Any) -> str:
    tag = str(headers.get("ETag", ""))
    is_weak = tag.startswith("W/")  # a weak ETag does not promise equal bytes
    if not tag or is_weak:
        tag = str(headers.get("Last-Modified", ""))
    return tag


def _delete_part(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


class _HttpConnection(http.client.HTTPConnection):
    """Limits the time of connecting, name look-up and TLS handshake included, and then of each read.

    The time-out of `socket` does not cover the name look-up, which may take minutes without a network; it therefore
    runs on a thread that is abandoned after `timeout`.

    Attributes:
        stall_seconds: Time-out of a read.
    """

    stall_seconds: float

    def connect(self) -> None:
        failures: list[BaseException] = []
        thread = threading.Thread(target=self._connect, args=(failures,), daemon=True)
        thread.start()
        thread.join(self.timeout)
        if thread.is_alive():
            raise TimeoutError(f"no connection within {self.timeout:g} s")
        if failures:
            raise failures[0]
        self.sock.settimeout(self.stall_seconds)

    def _connect(self, failures: list[BaseException]) -> None:
        try:
            super().connect()
        except Exception as error:
            failures.append(error)


class _HttpsConnection(_HttpConnection, http.client.HTTPSConnection):
    pass


# `do_open` instantiates a connection class with fixed arguments, so the time-out is an attribute of a subclass.
class _HttpHandler(urllib.request.HTTPHandler):
    def __init__(self, stall_seconds: float) -> None:
        super().__init__()
        self._connection: Any = type("_Connection", (_HttpConnection,), {"stall_seconds": stall_seconds})

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def __init__(self, stall_seconds: float) -> None:
        super().__init__()
        self._connection: Any = type("_Connection", (_HttpsConnection,), {"stall_seconds": stall_seconds})

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._connection, req, context=ssl.create_default_context())
