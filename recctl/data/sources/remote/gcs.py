"""Google Cloud Storage by Arrow, as a file system of fsspec that lists all files and creates no folders."""

from __future__ import annotations

from typing import Any

from fsspec.implementations.arrow import ArrowFSWrapper
from pyarrow import fs


class GcsFileSystem(ArrowFSWrapper):  # type: ignore[misc]  # fsspec has no types
    """Derives folders from the names of files.

    Arrow's listing of a single folder has no subfolders, unless something has created objects that stand for them,
    which most programs do not. fsspec lists trees folder by folder, so it would miss the files in these subfolders.
    """

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """Do nothing: files need no folder, and Arrow would first ask for the bucket, which needs another permission.

        Args:
            path: Not used.
            exist_ok: Not used.
        """

    def find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, detail: bool = False, **options: Any
    ) -> Any:
        """List the files below a path, or the path itself if it is a file; see `fsspec.spec.AbstractFileSystem.find`.

        Args:
            path: The path.
            maxdepth: Maximum number of levels below the path; None for all.
            withdirs: List the folders that hold files, too.
            detail: Return a dict from paths to their properties instead of a list.
            options: Not used.
        """
        path = self._strip_protocol(path).rstrip("/")
        infos = self.fs.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        if not infos:
            infos = [info for info in self.fs.get_file_info([path]) if info.type == fs.FileType.File]
        found: dict[str, Any] = {}
        for info in infos:
            if info.type == fs.FileType.File:
                found[info.path] = self._make_entry(info)
            for folder in _folders_between(path, info.path):
                found.setdefault(folder, {"name": folder, "size": 0, "type": "directory"})
        listed = {
            name: entry
            for name, entry in sorted(found.items())
            if (withdirs or entry["type"] == "file") and (maxdepth is None or _depth(path, name) <= maxdepth)
        }
        return listed if detail else list(listed)


def _folders_between(path: str, file: str) -> list[str]:
    """The folders that hold a file, below a path."""
    folders = []
    folder = file.rpartition("/")[0]
    while len(folder) > len(path):
        folders.append(folder)
        folder = folder.rpartition("/")[0]
    return folders


def _depth(path: str, name: str) -> int:
    return name.removeprefix(path).strip("/").count("/") + 1
