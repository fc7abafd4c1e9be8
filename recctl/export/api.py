"""Exporting a model or a run's model, and checking what was exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl import experiment, progress
from recctl.errors import ArtifactError, NotFittedError
from recctl.export import _folders, _manifest
from recctl.export.base import Context, ExportFormat
from recctl.export.registry import format_class, make_format, require_extra
from recctl.models.base import Recommender
from recctl.runs import Run


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        path: The folder.
        manifest: What its manifest says.
    """

    path: Path
    manifest: dict[str, Any]


def export_model(
    model: Recommender, format_name: str, path: str | Path, /, *, force: bool = False, **options: Any
) -> Export:
    """Write a fitted model to a folder, in a format; verified by reading it back.

    Args:
        model: Fitted.
        format_name: One of `recctl export --list`.
        path: The folder; appears whole or not at all.
        force: Replace an export that is there.
        options: The format's own.

    Raises:
        ConfigError: No such format, options that it does not take, or something stands at `path`.
        UnsupportedError: The format can't hold this model.
        ArtifactError: It can't be written, or what was written is not what the model says.
    """
    return _export(model, make_format(format_name, options), force, Context(Path(path)))


def export_run(
    run: Run,
    format_name: str,
    path: str | Path | None = None,
    /,
    *,
    version: int | None = None,
    force: bool = False,
    **options: Any,
) -> Export:
    """Write a run's model to a folder, as `export_model` does; the manifest then says of which run it is.

    Args:
        run: The run.
        format_name: One of `recctl export --list`.
        path: The folder; by default `exports/FORMAT` of the run.
        version: Which of its models, by default the newest.
        force: Replace an export that is there.
        options: The format's own.
    """
    chosen = make_format(format_name, options)
    destination = run.path / "exports" / format_name if path is None else Path(path)
    entry = run.model_entry(version)
    model = experiment.load_version(run, entry["version"])
    return _export(model, chosen, force, Context(destination, run, entry))


def verify_export(path: str | Path) -> dict[str, Any]:
    """Check an export: the hash of every file, and then whether the files can be read and are what was written.

    Returns:
        Its manifest.

    Raises:
        ArtifactError: It is damaged, or no export.
        ConfigError: It is of a format that is not installed here.
    """
    path = Path(path)
    manifest = _manifest.read(path)
    cls = format_class(manifest["format"])
    if manifest["format_version"] > cls.version:
        there = manifest["format_version"]
        raise ArtifactError(f"{path}: {cls.name} version {there}; this recctl reads {cls.version}; upgrade recctl")
    require_extra(cls)
    with progress.task(f"Verifying {path.name}"):
        _manifest.check_files(path, manifest)
        try:
            cls.verify(path, manifest)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{path}: {_manifest.MANIFEST} is not one of {cls.name}: {error!r}") from error
    return manifest


def _export(model: Recommender, chosen: ExportFormat, force: bool, context: Context) -> Export:
    if not model.is_fitted:
        raise NotFittedError(f"{type(model).__name__} is not fitted yet: there is nothing to export")
    with _folders.replacing(context.destination, force) as folder:
        facts = chosen.write(model, folder, context)
        manifest = _manifest.describe(chosen, model, context, folder, facts)
        _manifest.write(folder, manifest)
        chosen.verify(folder, manifest, model)
    return Export(context.destination, manifest)
