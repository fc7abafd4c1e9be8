"""How runs and directories of runs appear in notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from recctl.errors import ArtifactError
from recctl.html_repr import Table, format_interval, render
from recctl.runs import layout
from recctl.runs.trials import best_first

if TYPE_CHECKING:
    from recctl.runs.directory import Run
    from recctl.runs.store import RunStore

_MAX_TRIALS = 5
_MAX_RUNS = 10


def run_html(run: Run) -> str:
    """The HTML of a run: what it is, its data, and its figures, comparison or search."""
    metadata = run.metadata
    if not metadata:
        return render(run.id)
    badges = [str(metadata.get("kind")), run.status]
    lines = [_describe_data(metadata), *_describe_models(metadata)]
    if "error" in metadata:
        lines.append(f"error: {metadata['error']}")
    tables: list[Table] = []
    sentences: list[str] = []
    # Files may be damaged, which is left to `recctl runs verify`, or of a version that stored less: the rest is shown.
    unreadable = (ArtifactError, KeyError)
    with suppress(*unreadable):
        if metadata.get("kind") == "compare":
            comparison = run.read_comparison()
            tables += comparison_tables(comparison)
            sentences += comparison.get("words", [])
    with suppress(*unreadable):
        if metadata.get("kind") == "tune":
            tables += _search_tables(run)
    with suppress(ArtifactError):
        tables += _metric_tables(run.metrics())
    return render(run.id, badges, [line for line in lines if line], tables, sentences)


def store_html(store: RunStore) -> str:
    """The HTML of a directory of runs: the newest ones."""
    summaries, problems = store.summaries()
    newest_first = summaries[::-1]
    rows = [
        [
            summary.run_id,
            store.status(summary),
            ", ".join(map(str, summary.models)) or str(summary.kind),
            summary.source,
            summary.monitor["metric"] if summary.monitor else None,
            summary.validation,
        ]
        for summary in newest_first[:_MAX_RUNS]
    ]
    shown = f"the newest {_MAX_RUNS} of {len(summaries):,} runs" if len(summaries) > _MAX_RUNS else None
    lines = [f"{len(summaries):,} runs"]
    if problems:
        lines.append(f"{len(problems):,} more can't be read; recctl runs verify says why")
    columns = ["run", "status", "model", "data", "monitor", "validation"]
    return render(f"RunStore({str(store.root)!r})", (), lines, [Table(columns, rows, shown)])


def comparison_tables(document: Mapping[str, Any]) -> list[Table]:
    """The tables of a comparison: its metric with intervals, the windows of a backtest, and the other metrics."""
    metric = document["metric"]
    models = document["compared"]
    interval = f"{document['confidence']:.0%} interval"
    columns = ["model", metric, interval, "difference", interval, "p (Holm)"]
    rows = []
    for model in models:
        estimate = model["metrics"][metric]
        rows.append(
            [
                model["label"],
                estimate["value"],
                format_interval(estimate["low"], estimate["high"]),
                estimate["difference"],
                format_interval(estimate["difference_low"], estimate["difference_high"]),
                None if estimate["p_holm"] is None else f"{estimate['p_holm']:.2g}",
            ]
        )
    is_best = [position for position, model in enumerate(models) if model["label"] == document["best"]]
    caption = f"on {document['on']}, {document['n_users']:,} users; differences from {document['reference']}"
    if "windows" in document:
        caption = f"mean over {len(document['windows'])} windows {caption}"
    tables = [Table(columns, rows, caption, is_best)]
    if "windows" in document:
        tables.append(_window_table(document))
    other_metrics = [name for name in models[0]["metrics"] if name != metric]
    other_rows = [
        [model["label"], *(model["metrics"].get(name, {}).get("value") for name in other_metrics)] for model in models
    ]
    if other_metrics:
        tables.append(Table(["model", *other_metrics], other_rows, summary="Other metrics"))
    return tables


def _window_table(document: Mapping[str, Any]) -> Table:
    """The metric of each model in each window of a backtest."""
    estimates = [model["metrics"][document["metric"]] for model in document["compared"]]
    rows = []
    for position, window in enumerate(document["windows"]):
        in_window = [estimate["windows"][position] for estimate in estimates]
        values = [estimate["value"] for estimate in in_window]
        rows.append([str(window["number"]), window["test_start"], window["test_end"], in_window[0]["n_users"], *values])
    labels = [model["label"] for model in document["compared"]]
    return Table(
        ["window", "test from", "until", "users", *labels], rows, f"{document['metric']} in each window of the backtest"
    )


def _search_tables(run: Run) -> list[Table]:
    """What each model of a search got, and the best trials."""
    record = run.metadata.get("tuning", {})
    monitors = record.get("monitors")
    if not monitors or not (run.path / layout.TRIALS).exists():
        return []
    tables = []
    if record.get("models"):
        rows = [
            [model["label"], model["best_value"], model["trials"], f"{model['seconds']:.1f}"]
            for model in record["models"]
        ]
        tables.append(Table(["model", monitors[0], "trials", "seconds"], rows, "models, the best first", [0]))
    trials = best_first(run.trials(), monitors, record.get("pareto") or [])
    shown = trials.head(_MAX_TRIALS)
    hyperparameters = [name for name in record.get("best_point") or {} if name in shown]
    of_model = ["model"] if record.get("models") else []
    columns = ["number", *of_model, *monitors, *hyperparameters]
    table = shown[columns].astype(object)
    # Hyperparameters of other models are missing.
    trial_rows = table.where(table.notna(), None).to_numpy(object).tolist()
    caption = "Pareto front of the trials" if record.get("pareto") else f"the best of {record['n_trials']:,} trials"
    is_chosen = [position for position, row in enumerate(trial_rows) if row[0] == record.get("best_trial")]
    tables.append(Table(["trial", *columns[1:]], trial_rows, caption, is_chosen))
    return tables


def _metric_tables(metrics: Mapping[str, Mapping[str, float]]) -> list[Table]:
    """A table with a row for each metric and a column for each part."""
    if not metrics:
        return []
    names = dict.fromkeys(name for values in metrics.values() for name in values)
    rows = [[name, *(values.get(name) for values in metrics.values())] for name in names]
    return [Table(["metric", *metrics], rows)]


def _describe_data(metadata: Mapping[str, Any]) -> str:
    parts = []
    data = metadata.get("data") or {}
    if "source" in data:
        parts.append(str(data["source"]))
    if "interactions" in data:
        parts.append(f"{data['interactions']:,} interactions")
    strategy = (metadata.get("split") or {}).get("strategy")
    if strategy:
        parts.append(f"{strategy} split")
    return ", ".join(parts)


def _describe_models(metadata: Mapping[str, Any]) -> list[str]:
    return [
        f"model v{entry['version']}: {entry['model']}, fitted on {entry['fitted_on']}"
        for entry in metadata.get("models", [])
    ]
