"""`recctl runs show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recctl.cli.app import RunArgument, verb
from recctl.cli.runs.commands import runs

if TYPE_CHECKING:
    from recctl.runs import Run


@verb(runs, "show")
def show(run_id: RunArgument) -> None:
    """Show a run: status, data, split, models, metrics, timings, and its learning curve."""
    from recctl.cli import common, terminal
    from recctl.runs import labels

    store = common.store()
    run = store.resolve(run_id)
    facts = run.metadata
    said, names = labels.read(run), common.names_of_runs(store).get(run.id, [])
    data, split = facts.get("data", {}), facts.get("split", {})
    rows: list[list[Any]] = [
        ["run", run.id],
        ["status", run.status + (f": {facts['error']}" if "error" in facts else "")],
        ["names", ", ".join(names) or None],
        ["tags", ", ".join(said.tags) or None],
        ["note", said.note or None],
        ["created", facts.get("created")],
        ["config", facts.get("config")],
        ["data", _data(data)],
        ["served by", data.get("mirror")],
        ["split", f"{split.get('strategy')}, {split.get('hash', '')[:12]}"],
        [
            "models",
            ", ".join(f"v{m['version']} {m['model']} on {m['fitted_on']}" for m in facts.get("models", [])) or None,
        ],
        ["timings", ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in facts.get("timings", {}).items())],
        ["git", _git(facts.get("environment", {}).get("git"))],
    ]
    terminal.table(["", ""], [row for row in rows if row[1] is not None])
    if run.metrics():
        terminal.metrics_table(run.metrics())
    for line in _curves(run):
        terminal.print_result(line)
    if run.status in ("died", "interrupted", "failed"):
        from recctl.experiment.lifecycle import resume_command

        terminal.info(f"resume with: {resume_command(run)}")
    terminal.print_json(common.describe(run, names=names, tags=said.tags, note=said.note, metadata=facts))


def _data(facts: dict[str, Any]) -> str | None:
    return f"{facts['source']}, {facts['interactions']:,} interactions, {facts['hash'][:12]}" if facts else None


def _curves(run: Run) -> list[str]:
    """How the loss and the watched metric went from epoch to epoch, or the best of a search from trial to trial."""
    from recctl.cli.charts import curve
    from recctl.training import history

    epochs = history.read(run.path / "history.jsonl")
    monitor = (run.metadata.get("training") or run.metadata.get("monitor") or {}).get("monitor")
    lines = curve([epoch["loss"] for epoch in epochs], "loss", "epoch")
    lines += curve([epoch["metrics"].get(monitor) for epoch in epochs], f"{monitor} on validation", "epoch")
    return lines + _search(run)


def _search(run: Run) -> list[str]:
    from itertools import accumulate

    from recctl.cli.charts import curve

    monitor = (run.metadata.get("monitor") or {}).get("metric")
    path = run.path / "trials.parquet"
    if not path.exists() or monitor is None:
        return []
    trials = run.trials().sort_values("number")
    better = max if run.metadata["monitor"]["mode"] == "max" else min
    best = list(accumulate(trials[monitor].dropna(), better)) if monitor in trials else []
    return curve(best, f"best {monitor} so far", "trial")


def _git(state: dict[str, Any] | None) -> str | None:
    return f"{str(state['commit'])[:12]}{' and uncommitted changes' if state['dirty'] else ''}" if state else None
