"""`recctl runs`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recctl.cli.app import RunArgument, app, group, verb

runs = group("List, show and remove runs.")
app.add_typer(runs, name="runs")


@verb(runs, "list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only runs of this status.")] = None,
    model: Annotated[str | None, typer.Option(help="Only runs of this model.")] = None,
) -> None:
    """List the runs, oldest first."""
    from recctl.cli import common, console
    from recctl.runs.store import monitored

    store = common.store()
    rows: list[dict[str, Any]] = []
    for run in store.runs():
        names = sorted({entry["model"] for entry in run.metadata.get("models", [])})
        if (status and run.status != status) or (model and model not in names):
            continue
        monitor = run.metadata.get("monitor") or {}
        rows.append(
            {
                "run_id": run.id,
                "status": run.status,
                "model": ", ".join(names) or None,
                "data": run.metadata.get("data", {}).get("source"),
                "monitor": monitor.get("metric"),
                "validation": monitored(run),
                "path": str(run.path),
            }
        )
    shown = ["run_id", "status", "model", "data", "monitor", "validation"]
    console.table(shown, [[row[name] for name in shown] for row in rows])
    damaged = store.damaged()
    if damaged:
        console.tell(f"damaged, not listed: {', '.join(damaged)}")
    console.document({"runs_dir": str(store.root), "runs": rows, "damaged": damaged})


@verb(runs, "show")
def show(run_id: RunArgument) -> None:
    """Show a run: status, data, split, models, metrics, timings."""
    from recctl.cli import common, console

    run = common.store().resolve(run_id)
    facts = run.metadata
    data, split = facts.get("data", {}), facts.get("split", {})
    rows: list[list[Any]] = [
        ["run", run.id],
        ["status", run.status + (f": {facts['error']}" if "error" in facts else "")],
        ["created", facts.get("created")],
        ["config", facts.get("config")],
        ["data", f"{data.get('source')}, {data.get('interactions'):,} interactions, {data.get('hash', '')[:12]}"],
        ["served by", data.get("mirror")],
        ["split", f"{split.get('strategy')}, {split.get('hash', '')[:12]}"],
        [
            "models",
            ", ".join(f"v{m['version']} {m['model']} on {m['fitted_on']}" for m in facts.get("models", [])) or None,
        ],
        ["timings", ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in facts.get("timings", {}).items())],
        ["git", _git(facts.get("environment", {}).get("git"))],
    ]
    console.table(["", ""], [row for row in rows if row[1] is not None])
    if run.metrics():
        console.metrics_table(run.metrics())
    if run.status in ("died", "interrupted", "failed"):
        from recctl.experiment.recording import resuming_command

        console.tell(f"go on with: {resuming_command(run)}")
    console.document(common.describe(run, metadata=facts))


def _git(state: dict[str, Any] | None) -> str | None:
    return f"{str(state['commit'])[:12]}{' and uncommitted changes' if state['dirty'] else ''}" if state else None


@verb(runs, "rm")
def remove(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs to delete.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete runs."""
    import sys

    from recctl.cli import common, console
    from recctl.errors import ConfigError

    store = common.store()
    found = [store.resolve(run_id) for run_id in run_ids]
    busy = [run.id for run in found if run.status == "running"]
    if busy:
        raise ConfigError(f"{', '.join(busy)}: still running; stop it first")
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is here to ask: say --yes")
        typer.confirm(f"Delete {', '.join(run.id for run in found)}?", abort=True, err=True)
    for run in found:
        store.remove(run)
        console.say(f"removed {run.id}")
    console.document({"removed": [run.id for run in found]})
