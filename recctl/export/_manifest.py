"""The manifest of an export, `manifest.json`, says what the other files are.

    recctl_export     version of the manifest, 1
    format            name of the format, such as onnx
    format_version    version of its files; recctl reads this version and earlier ones
    recctl_version    version of recctl that wrote the export
    library_versions  versions of the libraries that wrote the files
    run_id            the run; null for a model without a run
    model             name, version in the run, SHA-256 of the model file, and hyperparameters
    data_hash         hash of the data of the run; null for a model without a run
    n_users, n_items  numbers of users and items of the model
    options           all options of the format; of lists of ids, their number and a hash
    facts             what is known about the files: counts, types of columns, measurements
    read_with         for each file or folder, what reads it
    files             for each other file, its size in bytes and its SHA-256

It holds no time, so that equal models and options give equal manifests.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
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
    model_entry = context.entry or {}
    # A run knows the hash of its model file; it takes a pass over all weights otherwise.
    sha256 = model_entry["sha256"] if "sha256" in model_entry else model_file.digest(model)
    return {
        "recctl_export": _VERSION,
        "format": export_format.name,
        "format_version": export_format.version,
        "recctl_version": __version__,
        "library_versions": {library: version(library) for library in export_format.libraries},
        "run_id": run.id if run else None,
        "model": {
            "name": model.name,
            "version": model_entry.get("version"),
            "sha256": sha256,
            "hyperparameters": model.hyperparameters(),
        },
        "data_hash": run.metadata.get("data", {}).get("hash") if run else None,
        "n_users": len(model.user_vocabulary),
        "n_items": len(model.item_vocabulary),
        "options": export_format.model_dump(mode="json"),
        "facts": dict(facts),
        "read_with": {path: reader for path, reader in export_format.read_with.items() if (folder / path).exists()},
        "files": {file_name: _file_entry(folder / file_name) for file_name in _file_names(folder)},
    }


def write(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest."""
    # NaN is no JSON, and other programs read manifests.
    manifest_text = json.dumps(manifest, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(manifest_text, encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """Read the manifest of an export.

    Raises:
        ArtifactError: The manifest is missing, damaged, or of a newer recctl.
    """
    manifest_path = folder / MANIFEST
    try:
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{manifest_path}: missing: {folder} is not an export, or is incomplete") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{manifest_path}: damaged: {error}") from error
    version = manifest.get("recctl_export") if isinstance(manifest, dict) else None
    # bool is a subclass of int: `true` is no version.
    if not isinstance(version, int) or isinstance(version, bool):
        raise ArtifactError(f"{manifest_path}: not the manifest of a recctl export")
    if version > _VERSION:
        raise ArtifactError(
            f"{manifest_path}: manifest version {version}; this recctl reads {_VERSION}; upgrade recctl"
        )
    invalid = [name for name, value_type in _REQUIRED_KEYS.items() if not isinstance(manifest.get(name), value_type)]
    if invalid:
        raise ArtifactError(f"{manifest_path}: damaged: missing or invalid: {', '.join(invalid)}")
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
    for file_name, file_entry in expected.items():
        if file_name not in existing:
            problems.append(f"{folder / file_name}: missing")
        elif _file_entry(folder / file_name) != file_entry:
            problems.append(f"{folder / file_name}: changed or damaged: its hash differs from {MANIFEST}")
    problems += [f"{folder / file_name}: not in {MANIFEST}" for file_name in sorted(existing - set(expected))]
    if problems:
        raise ArtifactError("\n".join(problems))


def _file_names(folder: Path) -> list[str]:
    """Paths of all files except the manifest, relative to the folder."""
    file_names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(file_name for file_name in file_names if file_name != MANIFEST)


def _file_entry(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
