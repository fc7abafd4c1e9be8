"""`recctl export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recctl.cli.app import EngineOption, app, verb

_OPTIONS = "Options of formats"


def _option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - as Typer names it
    return typer.Option(*names, help=help, rich_help_panel=_OPTIONS, show_default=False, **more)


@verb(app)
def export(
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="A run's id, a unique beginning of it, latest, or best.", show_default=False
        ),
    ] = None,
    format_name: Annotated[str | None, typer.Option("--format", "-f", metavar="NAME", help="The format.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The folder; exports/NAME of the run.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an export that is there.")] = False,
    version: Annotated[
        int | None, typer.Option("--model-version", min=1, help="Which of the run's models; the newest.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the formats and their options.")] = False,
    checked: Annotated[
        Path | None, typer.Option("--verify", metavar="DIR", help="Check an export that is there.", show_default=False)
    ] = None,
    engine: EngineOption = None,
    k: Annotated[int | None, _option("-k", help="How many items for each user or item.")] = None,
    users: Annotated[
        Path | None, _option("--users", metavar="FILE", help="Only these: an id a line, or CSV/Parquet with user_id.")
    ] = None,
    histories: Annotated[
        Path | None, _option("--histories", metavar="FILE", help="People the model never saw: user_id, item_id.")
    ] = None,
    on_unknown: Annotated[str | None, _option("--on-unknown", help="Unknown users: error, popular or skip.")] = None,
    include_seen: Annotated[bool, _option("--include-seen", help="Keep items the user has already.")] = False,
    allow: Annotated[
        Path | None, _option("--allow", metavar="FILE", help="Only these items: an id a line, or CSV/Parquet.")
    ] = None,
    block: Annotated[Path | None, _option("--block", metavar="FILE", help="None of these items.")] = None,
    file_format: Annotated[str | None, _option("--file-format", help="parquet, csv or jsonl.")] = None,
    tracking_uri: Annotated[str | None, _option("--tracking-uri", metavar="URI", help="Of an MLflow server.")] = None,
    more: Annotated[
        list[str] | None, _option("--option", "-O", metavar="KEY=VALUE", help="Any option of the format. Repeatable.")
    ] = None,
) -> None:
    """Write a run's model in a format that others read; or list the formats, or verify an export."""
    from recctl import export as library
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    if listing or (format_name is None and run_id == "formats"):
        return _list()
    if checked is not None:
        manifest = library.verify_export(checked)
        terminal.print_result(
            f"{checked}: whole: {manifest['format']} of {manifest['run_id'] or manifest['model'].get('name')}"
        )
        return terminal.print_json({"path": str(checked), "status": "whole", "manifest": manifest})
    if run_id is None or format_name is None:
        raise ConfigError("name a RUN and a --format; --list shows the formats")
    flags = {
        "k": k,
        "users": users,
        "histories": histories,
        "on_unknown": on_unknown,
        "include_seen": include_seen or None,
        "allow": allow,
        "block": block,
        "file_format": file_format,
        "tracking_uri": tracking_uri,
    }
    options = {name: value for name, value in flags.items() if value is not None} | _more(more or [])
    common.apply_threads()
    run = common.store().resolve(run_id)
    with terminal.bars(), common.on_engine(engine):
        done = library.export_run(run, format_name, output, version=version, force=force, **options)
    _say(done)
    terminal.print_json(
        {
            "run_id": run.id,
            "path": str(done.path),
            "status": "exported",
            "format": format_name,
            "manifest": done.manifest,
        }
    )
    return None


def _more(pairs: list[str]) -> dict[str, str]:
    from recctl.errors import ConfigError

    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--option {pair!r}: must be KEY=VALUE")
        found[name.replace("-", "_")] = value
    return found


def _list() -> None:
    from recctl.cli import terminal
    from recctl.export.registry import format_classes, missing_modules

    classes = format_classes()
    rows = [
        [cls.name, cls.summary(), f"pip install 'recctl[{cls.extra}]'" if missing_modules(cls) else None]
        for cls in classes
    ]
    terminal.table(["format", "what it is", "needs"], rows)
    terminal.table(
        ["format", "option", "default", "meaning"],
        [
            [cls.name, name, repr(field.get_default()), field.description or ""]
            for cls in classes
            for name, field in cls.model_fields.items()
        ],
    )
    found = [{"name": cls.name, "summary": cls.summary(), "options": cls.model_json_schema()} for cls in classes]
    terminal.print_json({"formats": found})


def _say(done: Any) -> None:
    from rich.markup import escape

    from recctl.cli import terminal
    from recctl.engines import format_bytes

    files = done.manifest["files"]
    facts = ", ".join(
        f"{name} {_shown(value)}"
        for name, value in done.manifest["facts"].items()
        if not isinstance(value, dict | None)
    )
    size = format_bytes(sum(seal["bytes"] for seal in files.values()))
    terminal.print_result(escape(f"{done.path}: {facts}; {len(files)} file{'s' * (len(files) != 1)}, {size}, verified"))


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
