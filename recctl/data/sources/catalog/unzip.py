"""Unpacking zip archives from untrusted sources."""

from __future__ import annotations

import errno
import lzma
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from recctl.engines.memory import format_bytes
from recctl.errors import DataError

# Exceptions of zipfile for an archive that is damaged or uses a feature that zipfile lacks.
ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    struct.error,
    NotImplementedError,  # an unsupported codec
    RuntimeError,  # an encrypted member
    IndexError,  # a member without a name
)
# OSErrors that a damaged archive causes: offsets before the start of the file, file names that are too long, a name
# used for a file and a folder. bz2 raises OSErrors without a number (None).
_ARCHIVE_ERRNOS = (None, errno.EINVAL, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)

_COPY_BYTES = 1 << 20


def unpack(archive: Path, folder: Path, *, limit: int, only: str | None = None) -> None:
    """Unpack a zip archive, or one member of it, into an existing folder.

    Args:
        archive: The zip file.
        folder: The target folder; nothing is written outside of it.
        limit: Maximum total size of the unpacked files in bytes, against zip bombs.
        only: The one member to unpack; None for all.

    Raises:
        DataError: The archive is truncated, damaged or larger than `limit`, holds links or paths outside of the folder,
            or does not hold `only`.
    """
    try:
        with zipfile.ZipFile(archive) as zip_file:
            members = [zip_file.getinfo(only)] if only else zip_file.infolist()
            # Check everything before the first file is written.
            for member in members:
                _check_path(member, archive.name)
            size = sum(member.file_size for member in members)
            if size > limit:
                raise DataError(
                    f"{archive.name}: not unpacked, because its contents take {format_bytes(size)} and at most "
                    f"{format_bytes(limit)} are expected; check where {archive} comes from"
                )
            for member in members:
                _extract(zip_file, member, folder, archive.name)
    except KeyError:
        raise DataError(f"{archive.name}: the archive has no member {only}") from None
    except (*ARCHIVE_ERRORS, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _ARCHIVE_ERRNOS:
            raise
        raise DataError(f"{archive.name}: truncated or damaged archive ({error}); delete {archive}") from error


def _check_path(member: zipfile.ZipInfo, archive_name: str) -> None:
    name = member.filename
    path = PurePosixPath(name.replace("\\", "/"))
    has_drive = ":" in name.split("/")[0]
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or has_drive or is_link:
        raise DataError(
            f"{archive_name}: not unpacked, because member {name!r} is a link or a path outside of the archive's folder"
        )


def _extract(zip_file: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, archive_name: str) -> None:
    target = folder / PurePosixPath(member.filename)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # zipfile reads at most the size that the archive declares, and verifies the CRC of what it read.
    with zip_file.open(member) as source, target.open("wb") as target_file:
        shutil.copyfileobj(source, target_file, _COPY_BYTES)
    if target.stat().st_size != member.file_size:
        raise DataError(f"{archive_name}: member {member.filename!r} is truncated; download the archive again")
