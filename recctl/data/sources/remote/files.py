"""Reading a URL: a file on a web server, or a file, a folder or a pattern in an object store.

Files are copied to a temporary folder with the names that they have in the store, so that the readers of local files do
the rest. Of large Parquet files only the columns that are needed are copied, to the places that they have in the file;
the rest of the local file is a hole, which takes no space on the disk and is never read.
"""

from __future__ import annotations

import atexit
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.request import url2pathname

from recctl import progress, urls
from recctl.data.columns import COLUMNS
from recctl.data.sources.options import ReadOptions, SourceTable
from recctl.data.sources.python_terms import translated
from recctl.data.sources.readers.column_roles import is_known_name
from recctl.data.sources.readers.parquet import MAGIC
from recctl.data.sources.readers.read_file import MAX_HASHED_BYTES, read_file
from recctl.data.sources.remote import web
from recctl.data.sources.remote.checksum import require_checksum
from recctl.data.sources.remote.filesystem import open_filesystem
from recctl.data.sources.remote.limits import DownloadLimit, require_space
from recctl.errors import ConfigError, DataError

_WILDCARDS = re.compile(r"[*?\[]")
_COPY_BYTES = 1 << 23
_N_COPIES = 8  # at a time: a store answers many requests as fast as one
# Old writers give sizes of column chunks that lack their header; Arrow reads these bytes more.
_HEADER_BYTES = 100
_local_tables: dict[str, Path] = {}
_copies = ExitStack()
atexit.register(_copies.close)


@dataclass(frozen=True)
class _RemoteFile:
    """A file of a store.

    Attributes:
        path: Its path in the store.
        relative: Its path from the folder that is read.
        size: In bytes.
    """

    path: str
    relative: PurePosixPath
    size: int


def read_url(template: str, options: ReadOptions, key: str = "data.source") -> SourceTable:
    """Read interactions from a URL; see `read_configured_source`.

    Args:
        template: The URL; variables `${NAME}` are replaced from the environment.
        options: How to read the files.
        key: The key of the config, for messages.

    Raises:
        ConfigError: A variable is not set, or a package is missing.
        DataError: The files can't be downloaded or read.
    """
    label = urls.redact(template)
    with local_copy(template, options, key) as path:
        if options.checksum is not None:
            require_checksum(path, options.checksum, label)
        table = read_file(path, options)
    # The names of parts may hold values of variables.
    provenance = {name: urls.hide_values(value) for name, value in table.provenance.items() if name != "file"}
    return replace(table, provenance={"source": label, **provenance})


@contextmanager
def local_copy(template: str, options: ReadOptions | None, key: str) -> Iterator[Path]:
    """A local file or folder with the content of a URL, for the time of the block.

    Args:
        template: See `read_url`.
        options: Which columns are needed, the checksum, and the maximum size; None for all columns.
        key: See `read_url`.
    """
    url = urls.expand(template, key)
    whole = options is None
    options = options or ReadOptions()
    try:
        with translated(urls.hide):
            if urls.scheme(url) == "file":
                yield Path(url2pathname(url.partition("://")[2]))
            elif urls.scheme(url) in web.SCHEMES:
                yield web.fetch_web_file(url, template, options.checksum, options.max_download_gb)
            else:
                with tempfile.TemporaryDirectory(prefix="recctl-") as folder:
                    yield _copy_from_store(url, template, options, key, Path(folder), whole)
    except (ConfigError, DataError) as error:
        # The cause, which a traceback of Python shows, holds what was hidden.
        raise error from None


def _copy_from_store(url: str, template: str, options: ReadOptions, key: str, folder: Path, whole: bool) -> Path:
    label = urls.redact(template)
    filesystem, path = open_filesystem(url, key)
    try:
        name, files, is_single = _find_files(filesystem, path, label)
        if urls.hide(name) != name:  # it is the value of a variable
            name = "source"
        root = folder / name
        _copy_files(filesystem, files, root, options, label, whole)
    except (ConfigError, DataError):
        raise
    except FileNotFoundError:
        raise DataError(f"{label}: does not exist") from None
    except Exception as error:  # each file system has exceptions of its own
        reason = urls.hide(" ".join(str(error).split())[:500] or type(error).__name__)
        raise DataError(f"{label}: can't be read: {reason}") from None
    return root / files[0].relative if is_single else root


def _find_files(filesystem: Any, path: str, label: str) -> tuple[str, list[_RemoteFile], bool]:
    """The name of the folder that is read, its files, and whether only one is meant."""
    path = path.rstrip("/")
    if _WILDCARDS.search(path):
        parts = path.split("/")
        n_fixed = next(i for i, part in enumerate(parts) if _WILDCARDS.search(part))
        base = "/".join(parts[:n_fixed])
        found: dict[str, Any] = {}
        for match, info in filesystem.glob(path, detail=True).items():
            found |= filesystem.find(match, detail=True) if info["type"] == "directory" else {match: info}
        if not found:
            raise DataError(f"{label}: no file matches the pattern")
    else:
        info = filesystem.info(path)
        if info["type"] == "file":
            base = path.rpartition("/")[0]
            name = PurePosixPath(path).name
            # Progress lines show the name.
            shown = PurePosixPath(name if urls.hide(name) == name else "source" + "".join(PurePosixPath(name).suffixes))
            return base.rpartition("/")[2], [_RemoteFile(path, shown, _size_of(info))], True
        base = path
        found = filesystem.find(path, detail=True)
    files = []
    for file_path, info in found.items():
        if info["type"] == "directory" or file_path.endswith("/"):
            continue
        relative = PurePosixPath(file_path.removeprefix(base).lstrip("/"))
        if ".." in relative.parts or relative.is_absolute():
            raise DataError(f"{label}: holds {str(relative)!r}, whose name leads out of the folder; rename it")
        files.append(_RemoteFile(file_path, relative, _size_of(info)))
    if not files:
        raise DataError(f"{label}: the folder holds no files")
    return base.rpartition("/")[2], files, False


def _size_of(info: dict[str, Any]) -> int:
    return int(info.get("size") or 0)


def _version_of(filesystem: Any, path: str) -> dict[str, str]:
    """What changes with the content of a file."""
    filesystem.invalidate_cache()  # of listings, which may be older
    # Not compared with a listing, whose times can be more precise.
    info = filesystem.info(path)
    return {name: str(info.get(name)) for name in ("size", "mtime", "ETag", "etag", "generation")}


def _copy_files(
    filesystem: Any, files: Sequence[_RemoteFile], root: Path, options: ReadOptions, label: str, whole: bool
) -> None:
    """Copy files, several at a time."""
    copied = [file for file in files if whole or not _is_left_out(file)]
    total = sum(file.size for file in copied)
    # The readers record checksums of small files, which only whole files have.
    is_whole = whole or total <= MAX_HASHED_BYTES or options.checksum is not None
    limit = DownloadLimit(label, options.max_download_gb)
    if is_whole:
        limit.require(total)
        require_space(total, None, label)
    for file in files:
        target = root / file.relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()

    def copy(file: _RemoteFile) -> None:
        target = root / file.relative
        version = _version_of(filesystem, file.path)
        with filesystem.open(file.path, "rb") as source, target.open("wb") as target_file:
            if not is_whole and source.read(len(MAGIC)) == MAGIC:
                _copy_columns(source, target_file, file.size, options, limit)
            else:
                source.seek(0)
                _copy_range(source, target_file, 0, file.size, limit)
        if target.stat().st_size != file.size or _version_of(filesystem, file.path) != version:
            raise DataError(f"{urls.hide(str(file.relative))}: was changed while it was read; try again")

    with progress.task(f"Downloading {label}", total, "bytes") as task, ThreadPoolExecutor(_N_COPIES) as pool:
        done = 0
        for file, _ in zip(copied, pool.map(copy, copied), strict=True):
            done += file.size
            task.update(done)


def _is_left_out(file: _RemoteFile) -> bool:
    """Whether the readers leave a file out because of its name, so that its content is not needed."""
    return any(part.startswith((".", "_")) for part in file.relative.parts)


def _copy_range(source: BinaryIO, target: BinaryIO, begin: int, end: int, limit: DownloadLimit) -> None:
    source.seek(begin)
    target.seek(begin)
    while begin < end:
        block = source.read(min(_COPY_BYTES, end - begin))
        if not block:
            break
        limit.add(len(block))
        target.write(block)
        begin += len(block)


def _copy_columns(source: BinaryIO, target: BinaryIO, size: int, options: ReadOptions, limit: DownloadLimit) -> None:
    """Copy the footer of a Parquet file and the columns that may be read."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(source)
    source.seek(size - 8)
    footer_begin = size - 8 - int.from_bytes(source.read(4), "little")
    target.write(MAGIC)
    _copy_range(source, target, footer_begin, size, limit)
    names = metadata.schema.to_arrow_schema().names
    for group_index in range(metadata.num_row_groups):
        group = metadata.row_group(group_index)
        for column_index in range(group.num_columns):
            column = group.column(column_index)
            root_name = column.path_in_schema.split(".")[0]
            if not _may_be_read(root_name, names, options) and not _may_be_read(column.path_in_schema, names, options):
                continue
            begin = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset:
                begin = min(begin, column.dictionary_page_offset)
            end = min(begin + column.total_compressed_size + _HEADER_BYTES, footer_begin)
            _copy_range(source, target, begin, end, limit)


def _may_be_read(name: str, names: Sequence[str], options: ReadOptions) -> bool:
    """Whether a column may have a role or be one of the extra columns."""
    mapped = {
        names[column] if isinstance(column, int) and column < len(names) else column
        for column in options.columns.values()
    }
    return is_known_name(name) or name in COLUMNS or name in mapped or name in options.extra_columns


def local_table(template: str, key: str) -> Path:
    """A local file or folder with the content of a URL, kept until the process ends; it is copied once.

    For small tables beside the interactions, such as items, users and recommendations.

    Args:
        template: See `read_url`.
        key: See `read_url`.
    """
    url = urls.expand(template, key)
    if url not in _local_tables:
        _local_tables[url] = _copies.enter_context(local_copy(template, None, key))
    return _local_tables[url]
