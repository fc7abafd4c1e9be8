"""What metadata.json and metrics.json must look like for the rest to rely on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recctl.errors import ArtifactError

# Keys that may be missing; each has values of one type.
_METADATA: dict[str, type] = {
    "kind": str,
    "created": str,
    "finished": str,
    "timings": dict,
    "models": list,
    "test_looks": int,
    "data": dict,
    "split": dict,
    "process": dict,
    "monitor": dict,
    "training": dict,
    "evaluation": dict,
    "tuning": dict,
    "environment": dict,
    "files": dict,
    "memory": dict,
    "compared": list,
    "labels": list,
}
_STATUSES = ("running", "complete", "failed", "interrupted")
_MODEL: dict[str, type] = {"version": int, "file": str, "model": str, "fitted_on": str, "sha256": str}


def require_metadata(found: Mapping[str, Any], path: Path) -> None:
    """Refuse metadata that are not of a run.

    Raises:
        ArtifactError: Names the file, and what is wrong in it.
    """
    problem = _wrong(found, _METADATA)
    if found.get("status") not in _STATUSES:
        problem = "no status" if "status" not in found else f"status is {found['status']!r}"
    for entry in found.get("models") or [] if problem is None else []:
        if not isinstance(entry, dict) or set(_MODEL) - entry.keys() or _wrong(entry, _MODEL):
            problem = f"models holds {entry!r}"
    if problem:
        run = path.parent.name
        raise ArtifactError(f"{path}: damaged: {problem[:200]}; restore it, or `recctl runs rm {run}`")


def require_metrics(found: Mapping[str, Any], path: Path) -> None:
    """Refuse metrics that are not numbers by key by part.

    Raises:
        ArtifactError: Names the file, and what is wrong in it.
    """
    for part, values in found.items():
        if not isinstance(values, dict):
            raise ArtifactError(f"{path}: damaged: {part[:100]} is {str(values)[:100]}, not metrics")


def _wrong(found: Mapping[str, Any], types: Mapping[str, type]) -> str | None:
    for key, kind in types.items():
        value = found.get(key)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            return f"{key} is {value!r}, not {kind.__name__}"
    return None
