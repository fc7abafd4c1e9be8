"""`recctl data`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from recctl.cli.app import SetOption, app, group, register_command

data = group("List, download and describe datasets.")
app.add_typer(data, name="data")


@register_command(data, "list")
def list_() -> None:
    """List the datasets of the catalog and of plug-ins."""
    from recctl.cli import terminal
    from recctl.data.sources import catalog, source_names

    entries = catalog()
    source_rows = [
        [
            catalog_entry.name,
            catalog_entry.rows,
            catalog_entry.users,
            catalog_entry.items,
            catalog_entry.cached,
            catalog_entry.homepage,
        ]
        for catalog_entry in entries
    ]
    source_rows += [
        [source_name, None, None, None, None, "from a plug-in"] for source_name in source_names()[len(entries) :]
    ]
    column_keys = ("name", "interactions", "users", "items", "cached", "homepage")
    terminal.table(column_keys, [_with_counts(source_row) for source_row in source_rows])
    terminal.print_json({"datasets": [dict(zip(column_keys, source_row, strict=True)) for source_row in source_rows]})


@register_command(data, "fetch")
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names listed by `recctl data list`.")],
    force: Annotated[bool, typer.Option("--force", help="Download again what is cached.")] = False,
) -> None:
    """Download datasets into the cache and verify them."""
    from rich.markup import escape

    from recctl.cli import terminal
    from recctl.data import sources

    with terminal.bars():
        folders = {source_name: sources.fetch(source_name, force=force) for source_name in names}
    for source_name, folder in folders.items():
        terminal.print_result(f"{escape(source_name)}: {escape(str(folder))}")
    terminal.print_json({"fetched": {source_name: str(folder) for source_name, folder in folders.items()}})


@register_command(data, "describe")
def describe(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE|CONFIG", help="Dataset name, file or URL of interactions, or config (.yaml)."),
    ],
    overrides: SetOption = None,
) -> None:
    """Describe interactions: counts, density, long tail, ratings, time span."""
    from pathlib import Path

    from recctl import experiment, urls
    from recctl.cli import common, terminal
    from recctl.config import flatten, parse_config, to_yaml

    common.apply_threads()
    if not urls.is_url(source) and Path(source).suffix in common.CONFIG_SUFFIXES:
        loaded = experiment.load(Path(source), overrides or [])
    else:
        # The same checks and defaults as for a config.
        config_text = to_yaml({"data": {"source": source}})
        loaded = parse_config(config_text, urls.redact(source), Path(), overrides or [], experiment.CHECKS)
    with terminal.bars():
        dataset, _, record = experiment.read_dataset(loaded)
        description = dataset.describe()
    for step_record in record["preprocess"]:
        terminal.info(
            f"{step_record['name']}: {step_record['before']['rows']:,} -> {step_record['after']['rows']:,} interactions"
        )
    property_rows = [[name, value] for name, value in flatten(_with_dates(description), " ").items()]
    terminal.table(["", ""], [row if row[0].startswith("time ") else _with_counts(row) for row in property_rows])
    terminal.print_json(
        {"source": urls.redact(source), "hash": record["hash"], "description": description, "provenance": record}
    )


def _with_dates(description: dict[str, Any]) -> dict[str, Any]:
    """The description with the first and last timestamp as dates; step numbers stay numbers."""
    from recctl.data.splitting import format_time
    from recctl.data.timestamps import SECONDS_OF_1970

    span = description["time"]
    if span is None or span["last"] < SECONDS_OF_1970:
        return description
    dates = {"first": format_time(span["first"]), "last": format_time(span["last"])}
    return {**description, "time": {**span, **dates}}


def _with_counts(cells: Iterable[Any]) -> list[Any]:
    """Mark the integers of a row as counts, which are printed with separators of thousands."""
    from recctl.cli import terminal

    return [terminal.Count(cell) if type(cell) is int else cell for cell in cells]
