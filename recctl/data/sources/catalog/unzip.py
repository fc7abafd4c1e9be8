"""Unpacking zip archives that come from elsewhere."""

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

# What zipfile raises of an archive that is damaged, or packed in a way it can't unpack.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, struct.error),
    NotImplementedError,  # for a codec that zipfile lacks
    RuntimeError,  # of an encrypted member
    IndexError,  # of a member without a name
)
# What the system says of places before the file's beginning, and of names that are too long, or of a file and a folder;
# bz2 gives an error of its own no number.
_IMPOSSIBLE = (None, errno.EINVAL, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)


def unpack(archive: Path, folder: Path, *, limit: int, only: str | None = None) -> None:
    """Unpack a zip archive whole, or one member of it, into a folder that exists.

    Args:
        archive: The zip file.
        folder: Where to; nothing is written outside of it.
        limit: Bytes that the contents may have in all; what a zip bomb would exceed.
        only: The one member wanted.

    Raises:
        DataError: The archive is truncated, damaged, or too large inside, holds links or paths that lead out of the
            folder, or does not hold `only`.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = [bundle.getinfo(only)] if only else bundle.infolist()
            for member in members:
                _check(member, archive.name)
            size = sum(member.file_size for member in members)
            if size > limit:
                raise DataError(
                    f"{archive.name}: holds {format_bytes(size)}, more than the expected {format_bytes(limit)}; "
                    "it was not unpacked"
                )
            for member in members:
                _extract(bundle, member, folder, archive.name)
    except KeyError:
        raise DataError(f"{archive.name}: holds no {only}") from None
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _IMPOSSIBLE:
            raise
        raise DataError(f"{archive.name}: truncated or damaged archive ({error}); delete {archive}") from error


def _check(member: zipfile.ZipInfo, place: str) -> None:
    name = member.filename
    path = PurePosixPath(name.replace("\\", "/"))
    if (
        path.is_absolute()
        or ".." in path.parts
        or ":" in name.split("/")[0]
        or stat.S_ISLNK(member.external_attr >> 16)
    ):
        raise DataError(f"{place}: member {name!r} is a link or leads out of the archive's folder; not unpacked")


def _extract(bundle: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, place: str) -> None:
    target = folder / PurePosixPath(member.filename)
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # zipfile reads no more than the size the archive declares, and checks the sum of what it read.
    with bundle.open(member) as source, target.open("wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    if target.stat().st_size != member.file_size:
        raise DataError(f"{place}: member {member.filename!r} is truncated")
