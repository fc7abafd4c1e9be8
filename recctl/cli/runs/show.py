"""`recctl runs show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recctl.cli.app import RunArgument, register_command
from recctl.cli.runs.commands import runs

if TYPE_CHECKING:
    from recctl.runs import Run
    from recctl.runs.evaluations import EvaluationRecord


@register_command(runs, "show")
def show(run_id: RunArgument) -> None:
    """Show a run: status, data, split, models, metrics, timings and learning curves."""
    from recctl.cli import common, terminal
    from recctl.experiment.lifecycle import next_step
    from recctl.runs import labels

    store = common.store()
    run = store.resolve_to_show(run_id)
    run_labels = labels.read(run)
    aliases = common.aliases_by_run(store).get(run.id, [])
    summary_rows = _summary(run)
    summary_rows[2:2] = [
        ["names", ", ".join(aliases) or None],
        ["tags", ", ".join(run_labels.tags) or None],
        ["note", run_labels.note or None],
    ]
    terminal.table(["", ""], [summary_row for summary_row in summary_rows if summary_row[1] is not None])
    if run.metrics():
        terminal.metrics_table(run.metrics())
        common.print_segments(run.segments(), run)
    records = run.evaluations()
    if records:
        terminal.table(["evaluated on", "model", "protocol", "users", "left out", "when"], _evaluation_rows(records))
    for chart_line in _learning_curves(run) + _search_curve(run):
        terminal.print_result(chart_line)
    advice = next_step(run)
    if advice is not None:
        terminal.info(advice)
    terminal.print_json(
        common.describe(
            run,
            names=aliases,
            tags=run_labels.tags,
            note=run_labels.note,
            evaluations=[record.to_json() for record in records],
            metadata=run.metadata,
        )
    )


def _summary(run: Run) -> list[list[Any]]:
    metadata = run.metadata
    status: str = run.status
    if "error" in metadata:
        status = f"{status}: {metadata['error']}"
    data_record = metadata.get("data", {})
    split_record = metadata.get("split", {})
    models = [
        f"v{model_entry['version']} {model_entry['model']} on {model_entry['fitted_on']}"
        for model_entry in metadata.get("models", [])
    ]
    timings = [f"{stage} {seconds:.2f} s" for stage, seconds in run.timings.items()]
    return [
        ["run", run.id],
        ["status", status],
        ["created", metadata.get("created")],
        ["config", metadata.get("config")],
        ["parent run", metadata.get("parent_run")],
        ["warm start", _describe_warm_start(metadata.get("warm_start"))],
        ["data", _describe_data(data_record)],
        ["downloaded from", data_record.get("mirror")],
        ["split", _describe_split(split_record)],
        ["models", ", ".join(models) or None],
        ["compared", ", ".join(metadata.get("labels", [])) or None],
        ["winner", None if run.winner_id is None else f"{metadata['best']}, {run.winner_id}"],
        ["lists", _describe_lists(metadata.get("lists"))],
        ["timings", ", ".join(timings)],
        ["git", _describe_git(metadata.get("environment", {}).get("git"))],
    ]


def _describe_lists(record: dict[str, Any] | None) -> str | None:
    if record is None:
        return None
    return f"{record['file']}, {record['entries']:,} entries of {record['users']:,} users, {record['sha256'][:12]}"


def _evaluation_rows(records: list[EvaluationRecord]) -> list[list[Any]]:
    """A row for each evaluation: what was measured, which model version, by which protocol, and what was left out."""
    table_rows = []
    for record in records:
        measured = record.data.label
        if record.data.part is None and record.data.data_hash is not None:
            measured = f"{record.data.file} ({measured})"
        settings = [f"exclude {record.protocol['exclude']}"]
        settings += [
            f"{setting} {record.protocol[setting]}"
            for setting in ("n_candidates", "relevance_threshold", "gain")
            if record.protocol.get(setting) is not None
        ]
        if record.protocol["version"] == 1:
            settings.append("version 1")
        counts: dict[str, Any] = next(iter(record.counts.values()), {})
        left_out = [f"{count:,} {reason}" for reason, count in counts.get("left_out", {}).items() if count]
        table_rows.append(
            [
                measured,
                f"v{record.model.version}",
                ", ".join(settings),
                counts.get("n_users"),
                ", ".join(left_out).replace("_", " ") or None,
                record.time,
            ]
        )
    return table_rows


def _describe_data(data: dict[str, Any]) -> str | None:
    if not data:
        return None
    return f"{data['source']}, {data['interactions']:,} interactions, {data['hash'][:12]}"


def _describe_warm_start(record: dict[str, Any] | None) -> str | None:
    if record is None:
        return None
    from recctl.experiment.warm_start import describe_record

    return f"{describe_record(record)}; {record['sha256'][:12]}"


def _describe_split(split_record: dict[str, Any]) -> str:
    from recctl.data.splitting import format_moment

    description = f"{split_record.get('strategy')}, {split_record.get('hash', '')[:12]}"
    options = split_record.get("options", {})
    if "test_after" in options:
        description += f", test after {format_moment(options['test_after'])}"
    return description


def _describe_git(state: dict[str, Any] | None) -> str | None:
    if not state:
        return None
    commit = str(state["commit"])[:12]
    return f"{commit} and uncommitted changes" if state["dirty"] else commit


def _learning_curves(run: Run) -> list[str]:
    """Draw the loss and the monitored metric by epoch."""
    from recctl.cli.charts import curve
    from recctl.training import history

    # Empty for models that are not trained in epochs.
    epochs = history.read(run.path / "history.jsonl")
    monitor = (run.metadata.get("training") or run.metadata.get("monitor") or {}).get("monitor")
    chart_lines = curve([epoch_record["loss"] for epoch_record in epochs], "loss", "epoch")
    chart_lines += curve(
        [epoch_record["metrics"].get(monitor) for epoch_record in epochs], f"{monitor} on validation", "epoch"
    )
    return chart_lines


def _search_curve(run: Run) -> list[str]:
    """Draw the best score of a search so far, by trial."""
    from itertools import accumulate

    from recctl.cli.charts import curve

    monitor = (run.metadata.get("monitor") or {}).get("metric")
    trials_path = run.path / "trials.parquet"
    if not trials_path.exists() or monitor is None:
        return []
    trials = run.trials().sort_values("number")
    # A baseline outside the search space is never the best.
    if "in_space" in trials:
        trials = trials[trials["in_space"]]
    better = max if run.metadata["monitor"]["mode"] == "max" else min
    best_values = list(accumulate(trials[monitor].dropna(), better)) if monitor in trials else []
    return curve(best_values, f"best {monitor} so far", "trial")
