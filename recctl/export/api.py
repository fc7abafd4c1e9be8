"""Export a model or the model of a run, and verify an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recctl import arguments, experiment, progress, urls
from recctl.arguments import at_least, flag, of_type, optional, text, validated
from recctl.data.sources.remote.files import local_copy
from recctl.errors import ArtifactError, ConfigError, NotFittedError
from recctl.experiment.run_config import require_data_keys
from recctl.export import _folders, _manifest, _upload
from recctl.export.base import Context, ExportFormat
from recctl.export.registry import format_class, make_format, require_extra
from recctl.models.base import Recommender
from recctl.runs import Run, layout
from recctl.runs.checks import a_run


@dataclass(frozen=True)
class Export:
    """A written export.

    Attributes:
        path: Its folder, or the URL of it without secrets.
        manifest: The content of its manifest.
    """

    path: Path | str
    manifest: dict[str, Any]


@validated(model=of_type(Recommender, "a recctl model"), format_name=text, path=arguments.path, force=flag)
def export_model(
    model: Recommender, format_name: str, path: str | Path, /, *, force: bool = False, **options: Any
) -> Export:
    """Export a fitted model to a folder, and verify the export by reading it back.

    Args:
        model: A fitted model.
        format_name: One of `recctl export --list`.
        path: The folder, or its URL (`s3://`, `gs://`); it is written completely or not at all.
        force: Replace an existing export.
        options: Options of the format.

    Raises:
        ConfigError: No such format, invalid options, or `path` exists and may not be replaced.
        UnsupportedError: The format cannot represent this model.
        ArtifactError: The export cannot be written, or does not match the model when it is read back.

    Examples:
        ```python
        from recctl import EASERecommender, export_model

        export_model(EASERecommender().fit(train), "recommendations", "lists", k=5)
        ```
    """
    return _export(model, make_format(format_name, options), force, _context_of(path), str(path))


@validated(
    run=a_run,
    format_name=text,
    path=optional(arguments.path),
    version=optional(at_least(1)),
    force=flag,
    overrides=arguments.overrides,
)
def export_run(
    run: Run,
    format_name: str,
    path: str | Path | None = None,
    /,
    *,
    version: int | None = None,
    force: bool = False,
    overrides: Sequence[str] = (),
    **options: Any,
) -> Export:
    """Export a run's model as `export_model` does; the manifest names the run.

    Args:
        run: The run.
        format_name: One of `recctl export --list`.
        path: The folder, or its URL (`s3://`, `gs://`); by default `exports/FORMAT` in the run's directory, where an
            earlier export is replaced, so that scripts can be repeated.
        version: Version of the model; by default the newest.
        force: Replace an existing export elsewhere.
        overrides: Where and how the data of the run are read now, such as `data.source=FILE`. They are needed only to
            count exported pairs that the users already have.
        options: Options of the format.

    Examples:
        ```python
        from recctl import RunStore, export_run

        run = RunStore().resolve("latest")
        export_run(run, "recommendations", k=5)  # into the directory of the run
        ```
    """
    export_format = make_format(format_name, options)
    require_data_keys(run, overrides)
    destination = run.path / layout.EXPORTS / format_name if path is None else path
    # Resolved before the model is loaded: an unknown version must fail without reading a large file.
    model_entry = run.model_entry(version)
    model = experiment.load_version(run, model_entry["version"])
    context = replace(_context_of(destination), run=run, entry=model_entry, overrides=overrides)
    return _export(model, export_format, force or path is None, context, str(destination))


@validated(path=arguments.path)
def verify_export(path: str | Path) -> dict[str, Any]:
    """Verify an export: check the hash of every file, then read the files and compare them with the manifest.

    Args:
        path: The folder, or its URL, of which a temporary copy is verified.

    Returns:
        The manifest.

    Raises:
        ArtifactError: The folder is damaged, or is not an export.
        ConfigError: The format is not installed.

    Examples:
        ```python
        from recctl import EASERecommender, export_model, verify_export

        export_model(EASERecommender().fit(train), "recommendations", "lists", k=5)
        verify_export("lists")
        ```
    """
    if urls.is_url(str(path)):
        label = urls.redact(str(path))
        if urls.scheme(label) in ("http", "https"):
            raise ConfigError(f"{label}: is no folder; verify a local copy of the export, s3:// or gs://")
        with local_copy(str(path), None, "export") as folder:
            try:
                return _verify(folder)
            except ArtifactError as error:
                raise ArtifactError(str(error).replace(str(folder), label)) from None
    return _verify(Path(path))


def _verify(path: Path) -> dict[str, Any]:
    manifest = _manifest.read(path)
    format_type = format_class(manifest["format"])
    version = manifest["format_version"]
    # Older versions are read; a newer one may mean something else by the same keys.
    if version > format_type.version:
        raise ArtifactError(
            f"{path}: {format_type.name} version {version}; this recctl reads {format_type.version}; upgrade recctl"
        )
    require_extra(format_type)
    with progress.task(f"Verifying {path.name}"):
        _manifest.check_files(path, manifest)
        try:
            format_type.verify(path, manifest)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{path}: {_manifest.MANIFEST} is not valid for {format_type.name}: {error!r}"
            ) from error
    return manifest


def _context_of(destination: str | Path) -> Context:
    if urls.is_url(str(destination)):
        return Context(Path(urls.file_name(str(destination)) or "export"))
    return Context(Path(destination))


def _export(model: Recommender, export_format: ExportFormat, force: bool, context: Context, destination: str) -> Export:
    if not model.is_fitted:
        raise NotFittedError(f"{type(model).__name__} is not fitted yet: there is nothing to export")
    to_url = urls.is_url(destination)
    if to_url and export_format.needs_local_folder:
        raise ConfigError(f"export format {export_format.name}: writes to a local folder only; copy it from there")
    writing = _upload.uploading(destination, force) if to_url else _folders.replacing(context.destination, force)
    with writing as folder:
        export_facts = export_format.write(model, folder, context)
        manifest = _manifest.describe(export_format, model, context, folder, export_facts)
        _manifest.write(folder, manifest)
        # Before the folder is moved to its destination: an export that cannot be read back never appears there.
        export_format.verify(folder, manifest, model)
    return Export(urls.redact(destination) if to_url else context.destination, manifest)
