"""What an export says of itself: `manifest.json`, with the hash of every other file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl.errors import ArtifactError
from recctl.models.base import model_file
from recctl.version import __version__

if TYPE_CHECKING:
    from recctl.export.base import Context, ExportFormat
    from recctl.models.base import Recommender

MANIFEST = "manifest.json"
_VERSION = 1


def describe(
    chosen: ExportFormat, model: Recommender, context: Context, folder: Path, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a folder that holds all other files. It tells no time: equal exports have equal manifests."""
    run, entry = context.run, context.entry or {}
    return {
        "recctl_export": _VERSION,
        "format": chosen.name,
        "format_version": chosen.version,
        "recctl_version": __version__,
        "run_id": run.id if run else None,
        "model": {
            "name": model.name,
            "version": entry.get("version"),
            "sha256": entry["sha256"] if "sha256" in entry else model_file.digest(model),
            "hyperparameters": model.hyperparameters(),
        },
        "data_hash": run.metadata.get("data", {}).get("hash") if run else None,
        "n_users": len(model.user_vocabulary),
        "n_items": len(model.item_vocabulary),
        "options": chosen.model_dump(mode="json"),
        "facts": dict(facts),
        "files": {name: _seal(folder / name) for name in _files(folder)},
    }


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write it."""
    text = json.dumps(manifest, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The manifest of an export.

    Raises:
        ArtifactError: There is none, it is damaged, or of a newer recctl.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: missing: {folder} is no export, or not a whole one") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error
    there = isinstance(manifest, dict) and manifest.get("recctl_export")
    if not isinstance(there, int) or isinstance(there, bool):
        raise ArtifactError(f"{path}: not the manifest of a recctl export")
    if there > _VERSION:
        raise ArtifactError(f"{path}: manifest version {there}; this recctl reads {_VERSION}; upgrade recctl")
    kinds = {"format": str, "format_version": int, "model": dict, "options": dict, "facts": dict, "files": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(manifest.get(name), kind)]
    if wrong:
        raise ArtifactError(f"{path}: damaged: no {', '.join(wrong)}")
    return {"run_id": None, **manifest}


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare the files with what the manifest says of them.

    Raises:
        ArtifactError: Files are missing, changed, or too many; names each.
    """
    problems = []
    expected, there = manifest["files"], set(_files(folder))
    for name, seal in expected.items():
        if name not in there:
            problems.append(f"{folder / name}: missing")
        elif _seal(folder / name) != seal:
            problems.append(f"{folder / name}: changed or damaged: its hash is not that of {MANIFEST}")
    problems += [f"{folder / name}: not in {MANIFEST}" for name in sorted(there - set(expected))]
    if problems:
        raise ArtifactError("\n".join(problems))


def _files(folder: Path) -> list[str]:
    """All files but the manifest, by their path within the folder."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != MANIFEST)


def _seal(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
