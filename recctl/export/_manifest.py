"""The manifest of an export, `manifest.json`: model, options, facts, and the hash of every other file."""

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
_REQUIRED_KEYS = {"format": str, "format_version": int, "model": dict, "options": dict, "facts": dict, "files": dict}


def describe(
    export_format: ExportFormat, model: Recommender, context: Context, folder: Path, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest of a folder that holds all other files.

    It contains no time, so equal exports have equal manifests.
    """
    run = context.run
    entry = context.entry or {}
    # A run knows the hash of its model file; it takes a pass over all weights otherwise.
    sha256 = entry["sha256"] if "sha256" in entry else model_file.digest(model)
    return {
        "recctl_export": _VERSION,
        "format": export_format.name,
        "format_version": export_format.version,
        "recctl_version": __version__,
        "run_id": run.id if run else None,
        "model": {
            "name": model.name,
            "version": entry.get("version"),
            "sha256": sha256,
            "hyperparameters": model.hyperparameters(),
        },
        "data_hash": run.metadata.get("data", {}).get("hash") if run else None,
        "n_users": len(model.user_vocabulary),
        "n_items": len(model.item_vocabulary),
        "options": export_format.model_dump(mode="json"),
        "facts": dict(facts),
        "files": {name: _file_entry(folder / name) for name in _file_names(folder)},
    }


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest."""
    # NaN is no JSON, and other programs read manifests.
    text = json.dumps(manifest, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """Read the manifest of an export.

    Raises:
        ArtifactError: The manifest is missing, damaged, or of a newer recctl.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: missing: {folder} is not an export, or is incomplete") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged: {error}") from error
    version = manifest.get("recctl_export") if isinstance(manifest, dict) else None
    # bool is a subclass of int: `true` is no version.
    if not isinstance(version, int) or isinstance(version, bool):
        raise ArtifactError(f"{path}: not the manifest of a recctl export")
    if version > _VERSION:
        raise ArtifactError(f"{path}: manifest version {version}; this recctl reads {_VERSION}; upgrade recctl")
    invalid = [name for name, kind in _REQUIRED_KEYS.items() if not isinstance(manifest.get(name), kind)]
    if invalid:
        raise ArtifactError(f"{path}: damaged: missing or invalid: {', '.join(invalid)}")
    checked: dict[str, Any] = {"run_id": None} | manifest
    return checked


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare the files with their entries in the manifest.

    Raises:
        ArtifactError: Files are missing, changed, or not listed; names each.
    """
    expected = manifest["files"]
    existing = set(_file_names(folder))
    problems = []
    for name, entry in expected.items():
        if name not in existing:
            problems.append(f"{folder / name}: missing")
        elif _file_entry(folder / name) != entry:
            problems.append(f"{folder / name}: changed or damaged: its hash differs from {MANIFEST}")
    problems += [f"{folder / name}: not in {MANIFEST}" for name in sorted(existing - set(expected))]
    if problems:
        raise ArtifactError("\n".join(problems))


def _file_names(folder: Path) -> list[str]:
    """Paths of all files except the manifest, relative to the folder."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in names if name != MANIFEST)


def _file_entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
