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
_OR_NONE = ("monitor", "training", "evaluation")
_STATUSES = ("running", "complete", "failed", "interrupted")
# What the sections must have, if they are there.
_SECTIONS: dict[str, dict[str, type]] = {
    "data": {"hash": str},
    "split": {"hash": str},
    "monitor": {"metric": str, "mode": str},
    "environment": {"recctl": str},
    "comparison": {"terms": dict, "repeats": dict},
}
_MODEL: dict[str, type] = {"version": int, "file": str, "model": str, "fitted_on": str, "sha256": str}


def require_metadata(found: Mapping[str, Any], path: Path) -> None:
    """Refuse metadata that are not of a run.

    Raises:
        ArtifactError: Names the file, and what is wrong in it.
    """
    problem = _wrong(found, _METADATA)
    for name, section in _SECTIONS.items() if problem is None else []:
        if found.get(name) and not _has(found[name], section):
            problem = f"{name} is {found[name]!r}"
    if found.get("status") not in _STATUSES:
        problem = "no status" if "status" not in found else f"status is {found['status']!r}"
    for entry in found.get("models") or [] if problem is None else []:
        if not _has(entry, _MODEL):
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


def _has(found: Any, types: Mapping[str, type]) -> bool:
    there = isinstance(found, dict) and all(found.get(key) is not None for key in types)
    return there and _wrong(found, types) is None


def _wrong(found: Mapping[str, Any], types: Mapping[str, type]) -> str | None:
    for key, kind in types.items():
        value = found.get(key, kind())
        if value is None and key in _OR_NONE:
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            return f"{key} is {value!r}, not {kind.__name__}"
    return None
