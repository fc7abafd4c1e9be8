"""Downloading a data set of the catalog into the cache."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from recctl import progress
from recctl.data.sources.catalog import cache
from recctl.data.sources.catalog.datasets import RECORD, CatalogDataset, find
from recctl.data.sources.catalog.mirrors import Mirror
from recctl.errors import DataError


def fetch(name: str, *, force: bool = False) -> Path:
    """Download, verify and unpack a data set, unless it is in the cache.

    Mirrors are tried in order, first those whose archive the user has put into the cache folder. If several processes
    need the same data set, one downloads it and the others wait.

    Args:
        name: A name from the catalog.
        force: Download it even if it is cached. The cached copy stays until the new one is complete.

    Returns:
        The folder with the unpacked files.

    Raises:
        DataError: The name is unknown, the cache can't be written to, or every mirror failed. The message gives each
            reason and how to get the archive manually.
    """
    entry = find(name)
    if entry.cached and not force:
        return entry.folder
    with cache.locked(name) as home:
        if entry.cached and not force:  # another process has downloaded it in the meantime
            return entry.folder
        reasons = []
        # False sorts before True: archives that are already there come first.
        mirrors = sorted(entry.mirrors, key=lambda mirror: not (home / mirror.archive).exists())
        for mirror in mirrors:
            is_last = mirror is mirrors[-1]
            try:
                _fetch_from(mirror, entry, home, patient=is_last)
            except (DataError, OSError) as error:
                reasons.append(f"{mirror.name}: {error}")
                continue
            failures = f" (other mirrors failed: {'. '.join(reasons)})" if reasons else ""
            progress.notice(f"{name}: downloaded from {mirror.name} to {entry.folder}{failures}")
            return entry.folder
    instructions = ", or ".join(mirror.manual_download(home) for mirror in entry.mirrors)
    raise DataError(
        f"{name}: the download failed. {'. '.join(reasons)}. To get it manually, {instructions}; then try again"
    )


def _fetch_from(mirror: Mirror, entry: CatalogDataset, home: Path, *, patient: bool) -> None:
    archive = home / mirror.archive
    is_user_file = archive.exists()
    if not is_user_file:
        mirror.download(archive, patient=patient)
    try:
        is_first_download = not entry.folder.exists()
        with cache.replacing_folder(entry.folder) as folder:
            origin = mirror.unpack(archive, folder, entry.limit)
            record = _make_record(mirror, entry, folder, origin)
            (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if is_first_download:
            progress.notice(f"{entry.license}; {entry.homepage}")
    finally:
        if not is_user_file:
            archive.unlink(missing_ok=True)


def _make_record(mirror: Mirror, entry: CatalogDataset, folder: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """The provenance of a download; its presence marks the folder as complete."""
    ratings = folder / mirror.ratings
    if not ratings.is_file():
        raise DataError(f"{mirror.archive}: the archive has no file {mirror.ratings}")
    with ratings.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "source": entry.name,
        "mirror": mirror.name,
        "archive": mirror.archive,
        **origin,
        "file": mirror.ratings,
        "bytes": ratings.stat().st_size,
        "sha256": sha256,
    }
