"""The header of the page: the runs, warnings, and key figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recctl.errors import RecctlError
from recctl.reports.errors import SectionOmittedError
from recctl.reports.render import formatting
from recctl.reports.render.blocks import code
from recctl.reports.render.page import Header, Tile
from recctl.reports.report_data import HELD_OUT, ReportData
from recctl.reports.run_view import RunView
from recctl.runs import Run, RunStore
from recctl.runs.store import run_hashes

_KINDS = {
    "train": "trained and evaluated",
    "fit": "fitted, not evaluated",
    "tune": "hyperparameter search",
    "compare": "comparison",
    "split": "split",
    "lists": "recommendation lists",
}


def title(report_data: ReportData) -> str:
    """The title of the page."""
    first_metadata = report_data.runs[0].metadata
    source = first_metadata.get("data", {}).get("source")
    on_data = f" on {source}" if source else ""
    if len(report_data.runs) > 1:
        labels = ", ".join(view.label for view in report_data.views)
        return f"{labels or 'Runs'}{on_data}"
    run_kind = first_metadata.get("kind")
    if run_kind == "compare":
        return f"Comparison of {', '.join(first_metadata.get('labels', [])) or 'models'}{on_data}"
    if run_kind == "split":
        return f"Split of {source or 'data'}"
    label = report_data.views[0].label if report_data.views else ""
    if run_kind == "tune":
        labels = first_metadata.get("tuning", {}).get("labels")
        return f"Hyperparameter search for {', '.join(labels) if labels else label}{on_data}"
    return f"{label}{on_data}"


def header(report_data: ReportData) -> Header:
    """The runs with their status, warnings, and key figures."""
    return Header(
        lines=[[code(run.id), f" · {_state(run)}"] for run in report_data.runs],
        warnings=list(_warnings(report_data)),
        tiles=list(_tiles(report_data)),
    )


def _state(run: Run) -> str:
    run_kind = str(run.metadata.get("kind"))
    description = "fitted on all data" if run.is_fitted_on_all else _KINDS.get(run_kind, run_kind)
    return f"{description} · {run.status} · {formatting.timestamp(run.metadata.get('created'))}"


def _warnings(report_data: ReportData) -> Iterator[str]:
    for run in report_data.runs:
        if run.status != "complete":
            error = f": {run.metadata['error']}" if "error" in run.metadata else ""
            yield f"{run.id} is {run.status}, not complete{error}. The report shows what was saved until then."
    for view in report_data.views:
        try:
            view.run.metrics()
        except RecctlError as error:
            yield str(error)
    for message in report_data.missing_runs:
        yield f"Not included in the comparison: {message}"
    n_evaluations = _count_test_evaluations(report_data)
    # Each model is expected to be evaluated on test once.
    if n_evaluations > len(report_data.views):
        yield (
            f"The test set of this split was evaluated {n_evaluations} times by the runs in this directory. "
            "Results of models that were chosen on it are too optimistic: choose models on validation."
        )


def _count_test_evaluations(report_data: ReportData) -> int:
    """How often runs beside the first one have evaluated the same test part; 0 if the report does not show it."""
    if report_data.part != "test" or not report_data.views:
        return 0
    run = report_data.views[0].run
    data_hash, split_hash = run_hashes(run)
    if not data_hash or not split_hash:
        return 0
    return RunStore(run.path.parent).count_test_evaluations(data_hash, split_hash)


def _tiles(report_data: ReportData) -> Iterator[Tile]:
    if len(report_data.views) == 1:
        yield from _model_tiles(report_data, report_data.views[0])
    elif report_data.comparison is not None:
        yield from _comparison_tiles(report_data.comparison)
    data_record = report_data.runs[0].metadata.get("data", {})
    if "interactions" in data_record:
        sizes_text = (
            f"{formatting.count(data_record.get('users'))} users, {formatting.count(data_record.get('items'))} items"
        )
        yield Tile("Interactions", formatting.count(data_record["interactions"]), sizes_text)


def _comparison_tiles(comparison: dict[str, Any]) -> Iterator[Tile]:
    yield Tile("Best model", comparison["best"], f"chosen on {comparison['chosen_on']}")
    best_model = next(model for model in comparison["compared"] if model["label"] == comparison["best"])
    figure = best_model["metrics"][comparison["metric"]]
    yield _metric_tile(comparison["metric"], comparison["on"], figure, comparison["confidence"])


def _model_tiles(report_data: ReportData, view: RunView) -> Iterator[Tile]:
    try:
        metric = report_data.metric
    except SectionOmittedError:
        return
    for split_part in HELD_OUT:
        value = view.metrics.get(split_part, {}).get(metric)
        if value is not None:
            yield _metric_tile(metric, split_part, {"value": value} | _interval(report_data, view, split_part, metric))
    fit_seconds = view.run.metadata.get("timings", {}).get("fit")
    if fit_seconds is not None:
        yield Tile("Fit time", formatting.duration(fit_seconds))
    models = view.run.metadata.get("models", [])
    if models and "bytes" in models[-1]:
        yield Tile("Model file", formatting.file_size(models[-1]["bytes"]))


def _interval(report_data: ReportData, view: RunView, part: str, metric: str) -> dict[str, Any]:
    try:
        return report_data.intervals(view, part).get(metric, {})
    except RecctlError:
        return {}


def _metric_tile(metric: str, part: str, figure: dict[str, Any], confidence: float = 0.95) -> Tile:
    interval = formatting.interval(figure)
    tile_name = f"{formatting.metric_name(metric)}, {part}"
    value = formatting.metric_value(figure["value"])
    if interval == formatting.MISSING:
        return Tile(tile_name, value)
    return Tile(tile_name, value, f"{confidence:.0%} interval of {formatting.metric_name(metric)}: {interval}")
