"""The limit of what is downloaded or fetched."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from recctl.engines import format_bytes
from recctl.errors import DataError


class DownloadLimit:
    """Counts bytes, and refuses more than the limit.

    Args:
        label: The source, for messages.
        gigabytes: The limit, 10^9 bytes each.
    """

    def __init__(self, label: str, gigabytes: float) -> None:
        self._label = label
        self._gigabytes = gigabytes
        self._n_bytes = 0

    @property
    def n_bytes(self) -> int:
        """The limit in bytes."""
        return int(self._gigabytes * 1e9)

    def add(self, n_bytes: int) -> None:
        """Count bytes.

        Raises:
            DataError: They are too many.
        """
        self._n_bytes += n_bytes
        self.require(self._n_bytes)

    def require(self, n_bytes: int) -> None:
        """Check a size.

        Raises:
            DataError: It is beyond the limit.
        """
        if n_bytes > self.n_bytes:
            raise DataError(
                f"{self._label}: holds more than {self._gigabytes:g} GB; read less of it, or set "
                f"data.max_download_gb: {max(2 * self._gigabytes, 1.1 * n_bytes / 1e9):.3g}"
            )


def require_space(n_bytes: int, folder: Path | None, label: str) -> None:
    """Check that a folder, or that of temporary files, has space.

    Raises:
        DataError: It has not.
    """
    place = folder or Path(tempfile.gettempdir())
    free = shutil.disk_usage(place).free
    if n_bytes > free:
        variable = "TMPDIR" if folder is None else "RECCTL_DATA_HOME"
        raise DataError(
            f"{label}: takes {format_bytes(n_bytes)}, and {place} has {format_bytes(free)}; set {variable} to a folder "
            "with more space"
        )
