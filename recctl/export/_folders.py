"""Write an export's folder as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recctl import atomic
from recctl.errors import ArtifactError, ConfigError
from recctl.export._manifest import MANIFEST


@contextmanager
def replacing(path: Path, force: bool) -> Iterator[Path]:
    """Fill a temporary folder that is renamed to `path` when the block succeeds; missing parents are created.

    Args:
        path: The folder of the export.
        force: Replace an existing export. Anything else but an empty folder is never replaced.

    Raises:
        ConfigError: `path` exists and may not be replaced.
        ArtifactError: The folder can't be written.
    """
    _require_replaceable(path, force)
    try:
        with atomic.replacing_folder(path) as folder:
            yield folder
    except OSError as error:
        raise ArtifactError(f"{path}: can't be written: {error.strerror or error}") from error


def _require_replaceable(path: Path, force: bool) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    if not (path / MANIFEST).is_file():
        raise ConfigError(f"{path}: exists and is not an export; choose another path")
    if not force:
        raise ConfigError(f"{path}: already holds an export; replace it with --force or choose another path")
