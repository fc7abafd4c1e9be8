"""Bringing a data set of the catalog into the cache."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from recctl import progress
from recctl.data.sources.catalog import cache
from recctl.data.sources.catalog.datasets import RECORD, CatalogDataset, find
from recctl.data.sources.catalog.mirrors import Mirror
from recctl.errors import DataError


def fetch(name: str, *, force: bool = False) -> Path:
    """Download, check and unpack a data set, unless it is in the cache.

    Mirrors are tried in order; an archive that a person put into the cache folder comes first. Several processes may
    ask at once: one fetches, the others wait.

    Args:
        name: A name of the catalog.
        force: Fetch it though it is there. What is there stays until the new one has arrived.

    Returns:
        The folder it lies in.

    Raises:
        DataError: No such name, the cache can't be written to, or no mirror served it; the message gives the reason
            of each and how to place the archive by hand.
    """
    entry = find(name)
    if entry.cached and not force:
        return entry.folder
    with cache.locked(name) as home:
        if entry.cached and not force:  # another process was faster
            return entry.folder
        reasons = []
        mirrors = sorted(entry.mirrors, key=lambda mirror: not (home / mirror.archive).exists())
        for mirror in mirrors:
            try:
                _fetch_from(mirror, entry, home, patient=mirror is mirrors[-1])
            except (DataError, OSError) as error:
                reasons.append(f"{mirror.name}: {error}")
                continue
            failed = f" ({'. '.join(reasons)})" if reasons else ""
            progress.notice(f"{name}: fetched from {mirror.name} into {entry.folder}{failed}")
            return entry.folder
    by_hand = ", or ".join(mirror.by_hand(home) for mirror in entry.mirrors)
    raise DataError(f"{name}: can't be fetched. {'. '.join(reasons)}. By hand: {by_hand}; then try again")


def _fetch_from(mirror: Mirror, entry: CatalogDataset, home: Path, *, patient: bool) -> None:
    archive = home / mirror.archive
    placed_by_hand = archive.exists()
    if not placed_by_hand:
        mirror.obtain(archive, patient=patient)
    try:
        first_time = not entry.folder.exists()
        with cache.replacing_folder(entry.folder) as folder:
            origin = mirror.unpack(archive, folder, entry.limit)
            ratings = folder / mirror.ratings
            if not ratings.is_file():
                raise DataError(f"{archive.name}: holds no {mirror.ratings}")
            with ratings.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            record = {"source": entry.name, "mirror": mirror.name, "archive": mirror.archive, **origin}
            record |= {"file": mirror.ratings, "bytes": ratings.stat().st_size, "sha256": sha256}
            (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        if first_time:
            progress.notice(f"{entry.licence}; {entry.homepage}")
    finally:
        if not placed_by_hand:
            archive.unlink(missing_ok=True)
