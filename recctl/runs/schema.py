"""Schema of metadata.json and metrics.json, checked before their content is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recctl.errors import ArtifactError

# Types by key. Every key may be missing.
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
    "titles": dict,
    "all_data": dict,
    "lists": dict,
    "baseline": dict,
    "tracking": dict,
}
_NULLABLE = ("monitor", "training", "evaluation", "titles", "baseline")
_STATUSES = ("running", "complete", "failed", "interrupted")
# Keys that a section must have if it is present.
_SECTIONS: dict[str, dict[str, type]] = {
    "data": {"hash": str},
    "split": {"hash": str},
    "monitor": {"metric": str, "mode": str},
    "environment": {"recctl": str},
    "comparison": {"terms": dict, "repeats": dict},
}
_MODEL: dict[str, type] = {"version": int, "file": str, "model": str, "fitted_on": str, "sha256": str}


def require_metadata(metadata: Mapping[str, Any], path: Path) -> None:
    """Check that the content of metadata.json has the types that the rest of recctl relies on.

    Raises:
        ArtifactError: Names the file and the problem.
    """
    problem = _metadata_problem(metadata)
    if problem:
        run_id = path.parent.name
        raise ArtifactError(
            f"{path}: damaged: {problem[:200]}; restore it, or delete it with `recctl runs rm {run_id}`"
        )


def require_metrics(metrics: Mapping[str, Any], path: Path) -> None:
    """Check that the content of metrics.json maps each part to its metrics.

    Raises:
        ArtifactError: Names the file and the problem.
    """
    for split_part, values in metrics.items():
        if not isinstance(values, dict):
            raise ArtifactError(f"{path}: damaged: {split_part[:100]} is {str(values)[:100]}, not metrics")


def _metadata_problem(metadata: Mapping[str, Any]) -> str | None:
    if "status" not in metadata:
        return "no status"
    if metadata["status"] not in _STATUSES:
        return f"status is {metadata['status']!r}"
    problem = _type_problem(metadata, _METADATA)
    if problem is not None:
        return problem
    for section_name, value_types in _SECTIONS.items():
        if metadata.get(section_name) and not _has_keys(metadata[section_name], value_types):
            return f"{section_name} is {metadata[section_name]!r}"
    for model_entry in metadata.get("models") or []:
        if not _has_keys(model_entry, _MODEL):
            return f"models contains {model_entry!r}"
    return None


def _has_keys(section: Any, types: Mapping[str, type]) -> bool:
    """Whether a section has all keys with values of the right types."""
    if not isinstance(section, dict) or any(section.get(required_key) is None for required_key in types):
        return False
    return _type_problem(section, types) is None


def _type_problem(section: Mapping[str, Any], types: Mapping[str, type]) -> str | None:
    """Describe the first value of a wrong type; keys may be missing."""
    for key, expected in types.items():
        if key not in section:
            continue
        value = section[key]
        if value is None and key in _NULLABLE:
            continue
        # bool is a subclass of int, but `true` is not a valid count.
        is_bool_as_int = expected is int and isinstance(value, bool)
        if not isinstance(value, expected) or is_bool_as_int:
            return f"{key} is {value!r}, not {expected.__name__}"
    return None
