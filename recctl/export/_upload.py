"""Exports whose destination is a URL: written and verified locally, then uploaded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recctl import progress, urls
from recctl.data.sources.remote.filesystem import open_filesystem
from recctl.errors import ArtifactError, ConfigError, DataError
from recctl.export._manifest import MANIFEST

_KEY = "export destination"
# In these, a folder is what the names of files have in common.
_WITHOUT_FOLDERS = ("s3", "gcs")
# Is there as long as files are uploaded: what an interrupted upload leaves may be replaced.
_INCOMPLETE = "recctl-upload-incomplete"


@contextmanager
def uploading(template: str, force: bool) -> Iterator[Path]:
    """Fill a temporary folder that is uploaded to a URL when the block succeeds.

    The manifest is uploaded last: an export without one is not complete.

    Args:
        template: The URL of the folder; variables `${NAME}` are replaced from the environment.
        force: Replace an existing export. Anything else is never replaced.

    Raises:
        ConfigError: The URL may not be written, or something is there.
        ArtifactError: The upload failed.
    """
    label = urls.redact(template)
    url = urls.expand(template, _KEY)
    if urls.scheme(url) in ("http", "https"):
        raise ConfigError(f"{label}: can't be written to; export to a folder, s3:// or gs://")
    filesystem, path = open_filesystem(url, _KEY)
    path = path.rstrip("/")
    old_files = _require_replaceable(filesystem, path, label, force)
    with tempfile.TemporaryDirectory(prefix="recctl-") as folder:
        yield Path(folder)
        with _as_artifact_error(label):
            _upload(filesystem, Path(folder), path, old_files, label)


def _require_replaceable(filesystem: Any, path: str, label: str, force: bool) -> list[str]:
    """The files of an export that is replaced."""
    with _as_artifact_error(label):
        filesystem.invalidate_cache()
        files = [str(file) for file in filesystem.find(path)] if filesystem.exists(path) else []
    if not files:
        return []
    if f"{path}/{_INCOMPLETE}" in files:
        return files
    if f"{path}/{MANIFEST}" not in files:
        raise ConfigError(f"{label}: exists and is not an export; choose another URL")
    if not force:
        raise ConfigError(f"{label}: already holds an export; replace it with --force or choose another URL")
    return files


def _upload(filesystem: Any, folder: Path, path: str, old_files: list[str], label: str) -> None:
    manifest = f"{path}/{MANIFEST}"
    incomplete = f"{path}/{_INCOMPLETE}"
    if filesystem.protocol not in _WITHOUT_FOLDERS:
        filesystem.makedirs(path, exist_ok=True)
    filesystem.pipe_file(incomplete, b"replaced by the next export")
    if manifest in old_files:
        filesystem.rm_file(manifest)
    names = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file()]
    names.sort(key=lambda name: name == MANIFEST)
    for name in progress.track(names, f"Uploading to {label}", len(names), "files"):
        target = f"{path}/{name}"
        if filesystem.protocol not in _WITHOUT_FOLDERS:
            filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)
        filesystem.put_file(str(folder / name), target)
    kept = {f"{path}/{name}" for name in names}
    for file in old_files:
        if file not in kept and file not in (manifest, incomplete):
            filesystem.rm_file(file)
    filesystem.rm_file(incomplete)


@contextmanager
def _as_artifact_error(label: str) -> Iterator[None]:
    try:
        yield
    except (ConfigError, DataError, ArtifactError):
        raise
    except Exception as error:  # each file system has exceptions of its own
        reason = urls.hide(" ".join(str(error).split())[:500] or type(error).__name__)
        raise ArtifactError(f"{label}: can't be written: {reason}") from None
