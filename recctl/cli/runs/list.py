"""`recctl runs list` and `runs compare`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import register_command
from recctl.cli.runs.commands import runs

if TYPE_CHECKING:
    from recctl.metrics.condition import Condition
    from recctl.runs import Run, RunStore
    from recctl.runs.summary import RunSummary


# The models of a comparison beside ids, data and metrics, in a terminal of usual width.
_MAX_COMPARED_WIDTH = 24


class Status(StrEnum):
    """Status of a run."""

    running = "running"
    complete = "complete"
    failed = "failed"
    interrupted = "interrupted"
    died = "died"


@register_command(runs, "list")
def list_(
    status: Annotated[Status | None, typer.Option(help="Only runs with this status.")] = None,
    model: Annotated[str | None, typer.Option(help="Only runs of this model.")] = None,
    data: Annotated[str | None, typer.Option(help="Only runs on this data source.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="Only runs of this command: train, tune, compare, fit, split.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only runs with this tag. Repeatable.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="Only runs whose validation (else test) metric satisfies e.g. 'ndcg@10>=0.3'. Repeatable.",
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="KEY", help="Sort by created, fit (seconds), or a metric, best last.")
    ] = "created",
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="Reverse the order.")] = False,
    last: Annotated[int | None, typer.Option("--last", "-n", min=1, help="Only the last N runs of the list.")] = None,
) -> None:
    """List the runs, oldest first."""
    from rich.markup import escape

    from recctl.cli import common, terminal

    conditions = _conditions(where or [])
    store = common.store()
    summaries, damaged = store.summaries()
    aliases = common.aliases_by_run(store)
    run_rows = [_row(store, summary, aliases.get(summary.run_id, [])) for summary in summaries]
    filters = {"status": status.value if status else None, "data": data, "kind": kind}
    figures = {run_row["run_id"]: run_row["metrics"] for run_row in run_rows}
    if conditions or sort not in ("created", "fit"):
        from recctl.runs.rating_models import meaningful_metrics  # imports the models, which other options do not need

        # An RMSE of scores that are no ratings satisfies no condition, and is not the best.
        figures = {run_id: meaningful_metrics(store.root / run_id, metrics) for run_id, metrics in figures.items()}
    run_rows = [
        run_row
        for run_row in run_rows
        if _matches(run_row, filters, model, tag or [], conditions, figures[run_row["run_id"]])
    ]
    run_rows = _sorted(run_rows, sort, figures)
    if reverse:
        run_rows.reverse()
    if last:
        run_rows = run_rows[-last:]
    columns = ["run_id", "status", "model", "data", "monitor", "validation"]
    # Most runs have neither: without these columns the table fits a terminal of usual width.
    columns += [column_name for column_name in ("names", "tags") if any(run_row[column_name] for run_row in run_rows)]
    # The column that decides the order must be visible.
    if any(sort in run_row["metrics"] and run_row["monitor"] != sort for run_row in run_rows):
        columns.append(sort)
    terminal.table(columns, [[_cell(run_row, column_name) for column_name in columns] for run_row in run_rows])
    for run_id, problem in damaged.items():
        terminal.info(escape(f"not listed: {run_id}: metadata.json: {problem}"))
    terminal.print_json({"runs_dir": str(store.root), "runs": run_rows, "damaged": list(damaged)})


def _matches(
    row: dict[str, Any],
    filters: dict[str, str | None],
    model: str | None,
    tags: Sequence[str],
    conditions: Sequence[Condition],
    metrics: Mapping[str, float],
) -> bool:
    for filter_key, required_value in filters.items():
        if required_value is not None and row[filter_key] != required_value:
            return False
    if model is not None and model not in row["models"]:
        return False
    if not set(tags) <= set(row["tags"]):
        return False
    return all(condition.metric in metrics and condition.holds(metrics[condition.metric]) for condition in conditions)


def _conditions(texts: Sequence[str]) -> list[Condition]:
    if not texts:
        return []
    from recctl.metrics.condition import parse_condition  # imports NumPy, which other options do not need

    return [parse_condition(condition_text, "--where") for condition_text in texts]


def _row(store: RunStore, summary: RunSummary, aliases: list[str]) -> dict[str, Any]:
    return {
        "run_id": summary.run_id,
        "status": store.status(summary),
        "kind": summary.kind,
        "model": ", ".join(summary.models) or None,
        "models": summary.models,
        "compared": summary.compared,
        "data": summary.source,
        "monitor": (summary.monitor or {}).get("metric"),
        "validation": summary.validation,
        "names": aliases,
        "tags": summary.tags,
        "created": summary.created,
        "fit_seconds": summary.fit_seconds,
        "metrics": summary.metrics,
        "path": str(store.root / summary.run_id),
    }


def _cell(row: dict[str, Any], name: str) -> Any:
    cell_value = row[name] if name in row else row["metrics"].get(name)
    if name == "model" and cell_value is None and row["compared"]:
        return _shorten(row["compared"])
    return ", ".join(cell_value) if isinstance(cell_value, list) else cell_value


def _shorten(names: Sequence[str]) -> str:
    """As many names as fit a column of the table, at least one, and the number of the others."""
    n_shown = 1
    while n_shown < len(names) and len(", ".join(names[: n_shown + 1])) <= _MAX_COMPARED_WIDTH:
        n_shown += 1
    shown = ", ".join(names[:n_shown])
    return shown if n_shown == len(names) else f"{shown} +{len(names) - n_shown}"


def _sorted(rows: list[dict[str, Any]], key: str, figures: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    from recctl.errors import ConfigError
    from recctl.suggest import did_you_mean

    if key == "created":
        return rows
    if key == "fit":
        return sorted(rows, key=lambda run_row: run_row["fit_seconds"] or 0.0)
    known_metrics = {metric_name for run_row in rows for metric_name in run_row["metrics"]}
    if rows and key not in known_metrics:
        raise ConfigError(f"--sort {key!r}: unknown key{did_you_mean(key, ['created', 'fit', *sorted(known_metrics)])}")
    from recctl.metrics import MetricKey  # imports NumPy, which other keys do not need

    # Runs without the metric come first, the best run last, next to the prompt.
    sign = MetricKey.parse(key).sign

    def sort_key(run_row: dict[str, Any]) -> tuple[bool, float]:
        metrics = figures[run_row["run_id"]]
        return key in metrics, sign * metrics.get(key, 0.0)

    return sorted(rows, key=sort_key)


@register_command(runs, "compare")
def compare(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs to show side by side.")],
) -> None:
    """Show the settings and properties in which runs differ, and their metrics; `recctl compare` tests differences."""
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    store = common.store()
    compared = [store.resolve(run_id) for run_id in run_ids]
    if len(compared) < 2:
        raise ConfigError("give at least two runs")
    table_rows = _differing_rows([_settings(run) for run in compared])
    table_rows += _differing_rows([_properties(run) for run in compared])
    table_rows += _rows_of_all([_metrics(run) for run in compared])
    numbers = [str(number) for number in range(1, len(compared) + 1)]
    terminal.table(["", "run"], [[number, run.id] for number, run in zip(numbers, compared, strict=True)])
    terminal.table(["", *numbers], table_rows)
    not_comparable = _why_not_comparable(compared)
    for reason in not_comparable:
        terminal.info(reason)
    differences = {str(table_row[0]): table_row[1:] for table_row in table_rows}
    terminal.print_json(
        {
            "runs": [common.describe(run) for run in compared],
            "differences": differences,
            "not_comparable": not_comparable,
        }
    )


def _why_not_comparable(compared: Sequence[Run]) -> list[str]:
    """A sentence for each pair of the first run with another one, and each part, whose figures can't be compared."""
    from recctl.runs.evaluations import comparability

    sentences = []
    for part in ("validation", "test"):
        first = compared[0].evaluation(part)
        for run in compared[1:]:
            record = run.evaluation(part)
            if first is None or record is None:
                continue
            result = comparability(first, record)
            reasons = list(result.reasons)
            if result.unequal_training is not None:
                reasons.append(f"unequal training data: {result.unequal_training}")
            if reasons:
                sentences.append(
                    f"{part}: the figures of {compared[0].id} and {run.id} can't be compared: {'; '.join(reasons)}"
                )
    return sentences


def _settings(run: Run) -> dict[str, Any]:
    from recctl.config import flatten
    from recctl.config.yaml_tree import parse

    values = parse(run.config_text(), "config.yaml").values
    return {
        config_key: str(value) if isinstance(value, list) else value for config_key, value in flatten(values).items()
    }


def _properties(run: Run) -> dict[str, Any]:
    metadata = run.metadata
    environment = metadata["environment"]
    return {
        "data hash": metadata.get("data", {}).get("hash", "")[:12] or None,
        "split hash": metadata.get("split", {}).get("hash", "")[:12] or None,
        "recctl": environment["recctl"],
        "git": (environment.get("git") or {}).get("commit", "")[:12] or None,
        "fit seconds": metadata.get("timings", {}).get("fit"),
    }


def _metrics(run: Run) -> dict[str, float]:
    return {
        f"{part} {metric_name}": value
        for part, values in run.metrics().items()
        for metric_name, value in values.items()
    }


def _rows_of_all(columns: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Return a row with the key and the value of each run, for every key of any run."""
    all_keys = list(dict.fromkeys(key for column in columns for key in column))
    return [[key, *(column.get(key) for column in columns)] for key in all_keys]


def _differing_rows(columns: Sequence[dict[str, Any]]) -> list[list[Any]]:
    return [table_row for table_row in _rows_of_all(columns) if any(value != table_row[1] for value in table_row[2:])]
