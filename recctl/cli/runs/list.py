"""`recctl runs list` and `runs compare`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import verb
from recctl.cli.runs.commands import runs

if TYPE_CHECKING:
    from recctl.runs import Run


class Status(StrEnum):
    """How a run stands."""

    running = "running"
    complete = "complete"
    failed = "failed"
    interrupted = "interrupted"
    died = "died"


@verb(runs, "list")
def list_(
    status: Annotated[Status | None, typer.Option(help="Only runs of this status.")] = None,
    model: Annotated[str | None, typer.Option(help="Only runs of this model.")] = None,
    data: Annotated[str | None, typer.Option(help="Only runs on this source.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only runs of this verb: train, tune, compare, fit, split.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only runs with this tag. Repeatable.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where", metavar="CONDITION", help="Only runs with e.g. 'ndcg@10>=0.3' on validation (or test)."
        ),
    ] = None,
    sort: Annotated[
        str, typer.Option("--sort", metavar="KEY", help="created, fit (seconds), or a metric: the best one last.")
    ] = "created",
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="The other way round.")] = False,
    last: Annotated[int | None, typer.Option("--last", "-n", min=1, help="Only the last N of the list.")] = None,
) -> None:
    """List the runs, oldest first."""
    from recctl.cli import common, terminal
    from recctl.cli.assertions import parse

    store = common.store()
    found, damaged = store.scan()
    names = common.names_of_runs(store)
    conditions = [parse(text, "--where") for text in where or []]
    rows = [_row(run, names.get(run.id, [])) for run in found]
    wanted = {"status": status and status.value, "data": data, "kind": kind}
    kept = [
        row
        for row in rows
        if all(value in (None, row[key]) for key, value in wanted.items())
        and (model is None or model in row["models"])
        and set(tag or []) <= set(row["tags"])
        and all(c.metric in row["metrics"] and c.holds(row["metrics"][c.metric]) for c in conditions)
    ]
    kept = _sorted(kept, sort)
    kept = (kept[::-1] if reverse else kept)[-last if last else 0 :]
    shown = ["run_id", "status", "model", "data", "monitor", "validation"]
    shown += [name for name in ("names", "tags") if any(row[name] for row in kept)]
    shown += [sort] if any(sort in row["metrics"] and row["monitor"] != sort for row in kept) else []
    terminal.table(shown, [[_cell(row, name) for name in shown] for row in kept])
    if damaged:
        terminal.info(f"damaged, not listed: {', '.join(damaged)}")
    terminal.print_json({"runs_dir": str(store.root), "runs": kept, "damaged": damaged})


def _row(run: Run, names: list[str]) -> dict[str, Any]:
    from recctl.errors import ArtifactError
    from recctl.runs import labels
    from recctl.runs.store import monitored_score

    facts = run.metadata
    models = sorted({entry["model"] for entry in facts.get("models", [])})
    try:
        parts = run.metrics()
        tags = labels.read(run).tags
    except ArtifactError:  # `runs verify` tells of it
        parts, tags = {}, []
    return {
        "run_id": run.id,
        "status": run.status,
        "kind": facts.get("kind"),
        "model": ", ".join(models) or None,
        "models": models,
        "data": facts.get("data", {}).get("source"),
        "monitor": (facts.get("monitor") or {}).get("metric"),
        "validation": monitored_score(run, parts),
        "names": names,
        "tags": tags,
        "created": facts.get("created"),
        "fit_seconds": facts.get("timings", {}).get("fit"),
        "metrics": {**parts.get("test", {}), **parts.get("validation", {})},
        "path": str(run.path),
    }


def _cell(row: dict[str, Any], name: str) -> Any:
    value = row[name] if name in row else row["metrics"].get(name)
    return ", ".join(value) if isinstance(value, list) else value


def _sorted(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    from recctl.errors import ConfigError
    from recctl.suggest import did_you_mean

    if key == "created":
        return rows
    if key == "fit":
        return sorted(rows, key=lambda row: row["fit_seconds"] or 0.0)
    known = {name for row in rows for name in row["metrics"]}
    if rows and key not in known:
        raise ConfigError(f"--sort {key!r}: nothing there is{did_you_mean(key, ['created', 'fit', *sorted(known)])}")
    from recctl.metrics import MetricKey  # imports numba, which a plain list does not need

    sign = MetricKey.parse(key).sign
    return sorted(rows, key=lambda row: (key in row["metrics"], sign * row["metrics"].get(key, 0.0)))


@verb(runs, "compare")
def compare(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Runs to lay beside each other.")],
) -> None:
    """Show in which settings and facts runs differ, and their figures. What is chance, `recctl compare` tells."""
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    store = common.store()
    found = [store.resolve(run_id) for run_id in run_ids]
    if len(found) < 2:
        raise ConfigError("name two runs or more")
    settings = [_settings(run) for run in found]
    facts = [
        {
            "data hash": run.metadata.get("data", {}).get("hash", "")[:12] or None,
            "split hash": run.metadata.get("split", {}).get("hash", "")[:12] or None,
            "recctl": run.metadata["environment"]["recctl"],
            "git": (run.metadata["environment"].get("git") or {}).get("commit", "")[:12] or None,
            "fit seconds": run.metadata.get("timings", {}).get("fit"),
        }
        for run in found
    ]
    figures = [
        {f"{part} {name}": value for part, values in run.metrics().items() for name, value in values.items()}
        for run in found
    ]
    rows = [*_differing(settings), *_differing(facts), *_differing(figures, all_of_them=True)]
    heads = [f"{n + 1}" for n in range(len(found))]
    terminal.table(["", "run"], [[head, run.id] for head, run in zip(heads, found, strict=True)])
    terminal.table(["", *heads], rows)
    terminal.print_json(
        {"runs": [common.describe(run) for run in found], "differences": {str(row[0]): row[1:] for row in rows}}
    )


def _settings(run: Run) -> dict[str, Any]:
    from recctl.config import flatten
    from recctl.config.yaml_tree import parse

    values = parse(run.config_text(), "config.yaml").values
    return {key: str(value) if isinstance(value, list) else value for key, value in flatten(values).items()}


def _differing(columns: list[dict[str, Any]], all_of_them: bool = False) -> list[list[Any]]:
    keys = list(dict.fromkeys(key for column in columns for key in column))
    rows = [[key, *(column.get(key) for column in columns)] for key in keys]
    return [row for row in rows if all_of_them or any(value != row[1] for value in row[2:])]
