"""Finding the files that are the parts of one table."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from recctl import progress
from recctl.data.sources.options import Format
from recctl.data.sources.readers.parts.messages import MAX_LISTED, join_names, labelled
from recctl.errors import DataError

_WILDCARDS = re.compile(r"[*?\[]")
_PARTITION = re.compile(r"([^=]+)=(.*)")
_MISSING_PARTITION = "__HIVE_DEFAULT_PARTITION__"
# Files beside the parts that hold no data: documentation and checksums.
_NO_DATA = re.compile(r"(readme|license|licence|copying)(\..*)?|.*\.(md|crc|sha256|md5)", re.IGNORECASE)
_BACKUP = re.compile(r".*(~|\.(bak|tmp|temp|swp|orig|crdownload|filepart))", re.IGNORECASE)
# What Spark and Dask write beside the parts.
_MARKER = re.compile(r"_(SUCCESS|metadata|common_metadata|committed_.*|started_.*|temporary)")
_NUMBER = re.compile(r"([0-9]+)")


@dataclass(frozen=True, eq=False)
class Part:
    """One file of a table.

    Attributes:
        path: The file.
        label: Its path from the folder of the source, for messages.
        partition: The columns that folder names hold, each with its value in this part; None if it is missing.
    """

    path: Path
    label: str
    partition: dict[str, str | None] = field(default_factory=dict)


def is_pattern(path: Path) -> bool:
    """Whether a path holds wildcards and no file is called so."""
    return bool(_WILDCARDS.search(str(path))) and not path.exists()


def find_parts(path: Path) -> list[Part]:
    """The files in a folder and its subfolders, or those that a pattern matches, in the order of their paths.

    Numbers in names are compared as numbers, so that part-2 comes before part-10. Hidden files, backup copies, names
    that begin with `_`, and documentation are left out; a notice names those that may hold data.

    Raises:
        DataError: There is no file.
    """
    if path.is_dir():
        base = path
        _refuse_versioned_table(path)
        files = _files_below(path)
    else:
        base = base_of_pattern(path)
        files = []
        for match in glob.glob(str(path), recursive=True):
            found = Path(match)
            files += _files_below(found) if found.is_dir() else [found]
    parts = []
    left_out = []
    for file in sorted(set(files), key=lambda file: _sort_key(file.relative_to(base))):
        relative = file.relative_to(base)
        if any(name.startswith(".") for name in relative.parts) or _NO_DATA.fullmatch(file.name):
            continue
        if any(name.startswith("_") for name in relative.parts) or _BACKUP.fullmatch(file.name):
            if not any(_MARKER.fullmatch(name) for name in relative.parts):
                left_out.append(relative.as_posix())
            continue
        label = f"{base.name}/{relative.as_posix()}" if base.name else relative.as_posix()
        parts.append(Part(file, label, _partition_of(relative.parts[:-1])))
    if left_out and parts:
        progress.notice(f"{path.name}: left out {join_names(left_out)}, since names like these are no parts of a table")
    if not parts:
        kind = "the folder holds no files" if path.is_dir() else "no file matches the pattern"
        raise DataError(f"{path.name}: {kind}{_similar_names(path, base)}")
    return parts


def common_format(path: Path, parts: Sequence[Part], detect: Callable[[Path], Format]) -> Format:
    """The format of all parts.

    Raises:
        DataError: Parts have different formats, or one that is not read.
    """
    by_format: dict[Format, list[str]] = {}
    for part in parts:
        with labelled(part):
            if part.path.stat().st_size or len(parts) == 1:
                by_format.setdefault(detect(part.path), []).append(part.label)
    if not by_format:
        raise DataError(f"{path.name}: all of its {len(parts)} files are empty")
    if len(by_format) > 1:
        found = "; ".join(f"{join_names(labels)} ({name})" for name, labels in by_format.items())
        raise DataError(
            f"{path.name}: files of different formats: {found}; use one of them, or a pattern such as "
            f"{_suggest_pattern(path, parts)}"
        )
    return next(iter(by_format))


def _refuse_versioned_table(folder: Path) -> None:
    """Refuse folders whose log says which of their files are valid: others hold rows that were deleted or replaced.

    Raises:
        DataError: The folder is such a table.
    """
    kind = None
    if (folder / "_delta_log").is_dir():
        kind = "a Delta Lake table"
    elif (folder / ".hoodie").is_dir():
        kind = "an Apache Hudi table"
    elif any(folder.glob("metadata/*.metadata.json")):
        kind = "an Apache Iceberg table"
    if kind is not None:
        raise DataError(
            f"{folder.name}: is {kind}, whose folder also holds files of earlier versions; export the current version "
            "as Parquet, in Spark: table.write.parquet(FOLDER)"
        )


def _sort_key(path: Path) -> list[list[tuple[int, str]]]:
    """Compares numbers in the names of a path as numbers, and everything else as text."""
    return [
        [(int(piece), piece) if piece.isdecimal() and piece.isascii() else (-1, piece) for piece in _NUMBER.split(name)]
        for name in path.parts
    ]


def _files_below(folder: Path) -> list[Path]:
    # A broken link is kept, so that it is an error and no missing part.
    return [file for file in folder.rglob("*") if not file.is_dir()]


def base_of_pattern(pattern: Path) -> Path:
    """The folder above the first name with a wildcard."""
    base = Path(pattern.anchor)
    for name in pattern.parts[len(base.parts) :]:
        if _WILDCARDS.search(name):
            break
        base /= name
    return base


def _partition_of(folders: Sequence[str]) -> dict[str, str | None]:
    partition: dict[str, str | None] = {}
    for folder in folders:
        match = _PARTITION.fullmatch(folder)
        if match:
            value = unquote(match[2])
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise DataError(f"{folder!r}: the name of the folder is not UTF-8; rename it")
            partition[unquote(match[1])] = None if value == _MISSING_PARTITION else value
    return partition


def _similar_names(path: Path, base: Path) -> str:
    if path.is_dir() or not base.is_dir():
        return ""
    names = sorted(file.name for file in base.iterdir() if not file.name.startswith("."))
    return f"; {base} holds {', '.join(names[:MAX_LISTED])}" if names else f"; {base} is empty"


def _suggest_pattern(path: Path, parts: Sequence[Part]) -> str:
    suffixes = "".join(parts[0].path.suffixes[-2:])
    folder = path if path.is_dir() else base_of_pattern(path)
    return f"{folder.name}/*{suffixes}"
