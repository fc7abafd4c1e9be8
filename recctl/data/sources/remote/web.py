"""Files on web servers, downloaded into the cache: resumed after interruptions, and only if they have changed."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from recctl import atomic, urls
from recctl.data.sources.catalog import cache
from recctl.data.sources.catalog.download import Address, NotModifiedError, download_file
from recctl.data.sources.remote.checksum import require_checksum
from recctl.data.sources.remote.limits import DownloadLimit, require_space
from recctl.errors import DataError

SCHEMES = ("http", "https")
_FOLDER = "urls"
# No name of a file that is downloaded begins with a point.
_RECORD = ".record.json"
_DEFAULT_NAME = "download"


def fetch_web_file(url: str, template: str, checksum: str | None, max_gigabytes: float) -> Path:
    """Return a local copy of a file on a web server.

    The copy is used without asking the server if it has the expected checksum. Otherwise the server says by ETag or
    modification time whether it has changed; without either, the file is downloaded again.

    Args:
        url: The address, with the values of variables.
        template: The address as the config has it, for messages and file names.
        checksum: The expected checksum, e.g. `sha256:9f86d0...`; None for no check.
        max_gigabytes: Maximum size.

    Raises:
        DataError: The file can't be downloaded, is too large, or is not the expected one.
    """
    label = urls.redact(template)
    # Without secrets: a URL with a new signature each day is the same file.
    digest = hashlib.sha256(urls.redact(url).encode()).hexdigest()[:32]
    name = urls.file_name(template).lstrip(".") or _DEFAULT_NAME
    with cache.locked(f"{_FOLDER}-{digest}") as home:
        folder = home / _FOLDER / digest
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / name
        record = _read_record(folder, target)
        if record is not None and checksum is not None and _has_checksum(target, checksum):
            return target
        limit = DownloadLimit(label, max_gigabytes)

        def require_size(n_bytes: int) -> None:
            limit.require(n_bytes)
            require_space(n_bytes - _size(part), folder, label)

        part = target.with_name(f"{target.name}.part")
        address, user_info = _without_user_info(url)
        conditions = _conditions(record, urls.redact(url) == url) if checksum is None else {}
        request = Address(address, user_info, conditions, require_size, allows_html=True)

        def check(path: Path) -> None:
            if checksum is not None:
                require_checksum(path, checksum, label)

        try:
            headers = download_file(request, target, check)
        except NotModifiedError:
            return target
        except DataError as error:
            message = urls.hide(str(error))
            raise DataError(message if message.startswith(label) else f"{label}: {message}") from None
        _write_record(folder, target, headers, label)
        return target


def _without_user_info(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    user_info, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host, fragment="")), unquote(user_info) if at else None


def _read_record(folder: Path, target: Path) -> dict[str, Any] | None:
    """What is known of the copy; None if there is none, or not the one that was recorded."""
    with suppress(OSError, ValueError):
        record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        # A process that died between writing file and record leaves another size or time.
        if record["bytes"] == target.stat().st_size and record["modified_ns"] == target.stat().st_mtime_ns:
            return record
    return None


def _write_record(folder: Path, target: Path, headers: dict[str, str], label: str) -> None:
    record = {
        "url": label,
        "etag": headers.get("etag"),
        "last_modified": headers.get("last-modified"),
        "bytes": target.stat().st_size,
        "modified_ns": target.stat().st_mtime_ns,
    }
    atomic.write_bytes(folder / _RECORD, json.dumps(record, indent=2).encode())


def _conditions(record: dict[str, Any] | None, is_exact: bool) -> dict[str, str]:
    """The headers that ask for the file only if it is another one than that of the record.

    Args:
        record: What is known of the copy.
        is_exact: Whether the copy is surely of the same URL. Users and tokens are not recorded, and another one may get
            another file, which may be older.
    """
    if record is None:
        return {}
    if record["etag"]:
        return {"If-None-Match": record["etag"]}
    return {"If-Modified-Since": record["last_modified"]} if record["last_modified"] and is_exact else {}


def _has_checksum(path: Path, checksum: str) -> bool:
    try:
        require_checksum(path, checksum)
    except DataError:
        return False
    return True


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
