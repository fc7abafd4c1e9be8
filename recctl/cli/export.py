"""`recctl export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recctl.cli.app import INCLUDE_SEEN_HELP, DataSetOption, EngineOption, OptionalRunArgument, app, register_command

_PANEL = "Options of formats"


def _option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - as Typer names it
    return typer.Option(*names, help=help, rich_help_panel=_PANEL, show_default=False, **more)


@register_command(app)
def export(
    run_id: OptionalRunArgument = None,
    format_name: Annotated[
        str | None, typer.Option("--format", "-f", metavar="NAME", help="Format of the export.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Directory to create, or its URL (s3://, gs://). Default: exports/NAME of the run.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing export in the folder of --output.")
    ] = False,
    version: Annotated[
        int | None, typer.Option("--model-version", min=1, help="Version of the run's model. Default: the latest.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the formats and their options.")] = False,
    checked: Annotated[
        str | None,
        typer.Option("--verify", metavar="DIR", help="Verify an existing export, or its URL.", show_default=False),
    ] = None,
    overrides: DataSetOption = None,
    engine: EngineOption = None,
    k: Annotated[int | None, _option("-k", help="Number of items per user or item.")] = None,
    users: Annotated[
        Path | None,
        _option("--users", metavar="FILE", help="Only these users: one id per line, or CSV/Parquet with user_id."),
    ] = None,
    histories: Annotated[
        Path | None, _option("--histories", metavar="FILE", help="Histories of new users: columns user_id, item_id.")
    ] = None,
    on_unknown: Annotated[
        str | None, _option("--on-unknown", help="How to treat unknown users: error, popular or skip.")
    ] = None,
    include_seen: Annotated[bool, _option("--include-seen", help=INCLUDE_SEEN_HELP)] = False,
    allow: Annotated[
        Path | None,
        _option("--allow", metavar="FILE", help="Recommend only these items: one id per line, or CSV/Parquet."),
    ] = None,
    block: Annotated[Path | None, _option("--block", metavar="FILE", help="Never recommend these items.")] = None,
    file_format: Annotated[str | None, _option("--file-format", help="File format: parquet, csv or jsonl.")] = None,
    tracking_uri: Annotated[
        str | None, _option("--tracking-uri", metavar="URI", help="URI of an MLflow server.")
    ] = None,
    more: Annotated[
        list[str] | None, _option("--option", "-O", metavar="KEY=VALUE", help="Option of the format. Repeatable.")
    ] = None,
) -> None:
    """Export the model of a run, list the export formats, or verify an export."""
    from recctl import export as library
    from recctl import urls
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    # `recctl export formats` lists them too.
    if listing or (format_name is None and run_id == "formats"):
        return _print_formats()
    if checked is not None:
        manifest = library.verify_export(checked)
        checked = urls.redact(checked)
        # Exports of a model from Python have no run.
        source = manifest["run_id"] or manifest["model"].get("name")
        terminal.print_result(f"{checked}: intact: {manifest['format']} of {source}")
        return terminal.print_json({"path": checked, "status": "whole", "manifest": manifest})
    if run_id is None or format_name is None:
        raise ConfigError("RUN and --format are required; --list shows the formats")
    # The options of all formats have one flat namespace here; the format refuses those that it does not have.
    named_options = {
        "k": k,
        "users": users,
        "histories": histories,
        "on_unknown": on_unknown,
        # A flag that is not set is not given, so that formats without it accept the call.
        "include_seen": include_seen or None,
        "allow": allow,
        "block": block,
        "file_format": file_format,
        "tracking_uri": tracking_uri,
    }
    options = {option_name: value for option_name, value in named_options.items() if value is not None}
    # Last: --option wins over a named option.
    options |= _parse_options(more or [])
    common.apply_threads()
    run = common.store().resolve_model(run_id)
    with terminal.bars(), common.on_engine(engine):
        result = library.export_run(
            run, format_name, output, version=version, force=force, overrides=overrides or [], **options
        )
    _print_export(result)
    terminal.print_json(
        {
            "run_id": run.id,
            "path": str(result.path),
            "status": "exported",
            "format": format_name,
            "manifest": result.manifest,
        }
    )
    return None


def _parse_options(pairs: list[str]) -> dict[str, str]:
    from recctl.errors import ConfigError

    options = {}
    for assignment in pairs:
        option_name, equals, value = assignment.partition("=")
        if not equals or not option_name:
            raise ConfigError(f"--option {assignment!r}: must be KEY=VALUE")
        # Kept as text: the format's pydantic model converts it.
        options[option_name.replace("-", "_")] = value
    return options


def _print_formats() -> None:
    from recctl.cli import terminal
    from recctl.export.registry import format_classes, missing_modules

    classes = format_classes()
    format_rows = []
    for format_type in classes:
        command = f"pip install 'recctl[{format_type.extra}]'" if missing_modules(format_type) else None
        format_rows.append([format_type.name, format_type.summary(), command])
    terminal.table(["format", "description", "requires"], format_rows)
    option_rows = []
    for format_type in classes:
        for option_name, field in format_type.model_fields.items():
            option_rows.append([format_type.name, option_name, repr(field.get_default()), field.description or ""])
    terminal.table(["format", "option", "default", "meaning"], option_rows)
    formats = [
        {"name": format_type.name, "summary": format_type.summary(), "options": format_type.model_json_schema()}
        for format_type in classes
    ]
    terminal.print_json({"formats": formats})


def _print_export(result: Any) -> None:
    from rich.markup import escape

    from recctl.cli import terminal
    from recctl.engines import format_bytes

    files = result.manifest["files"]
    properties = []
    for fact_name, value in result.manifest["facts"].items():
        if value is not None and not isinstance(value, dict):
            properties.append(f"{fact_name} {_format_value(value)}")
    n_files = f"{len(files)} file" if len(files) == 1 else f"{len(files)} files"
    total_size = format_bytes(sum(file_entry["bytes"] for file_entry in files.values()))
    terminal.print_result(escape(f"{result.path}: {', '.join(properties)}; {n_files}, {total_size}, verified"))


def _format_value(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
