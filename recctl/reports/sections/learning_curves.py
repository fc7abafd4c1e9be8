"""Learning curves: loss and validation metrics of every epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recctl.reports.errors import SectionOmittedError
from recctl.reports.render import formatting, plots
from recctl.reports.render.blocks import Block, Figure, Grid, Note
from recctl.reports.report_data import ReportData
from recctl.reports.run_view import RunView
from recctl.runs import layout
from recctl.training import history


@dataclass(frozen=True)
class _Curve:
    """The epochs of one run.

    Attributes:
        view: The run.
        epochs: The lines of history.jsonl.
        index: Number of the run in the report, which determines the look of its lines.
    """

    view: RunView
    epochs: list[dict[str, Any]]
    index: int

    def values(self, name: str) -> list[Any]:
        """One value of each epoch; None where it is missing."""
        return [epoch_record.get(name) for epoch_record in self.epochs]

    @property
    def metric_keys(self) -> list[str]:
        """Keys of the metrics that were measured in any epoch."""
        return list(
            dict.fromkeys(
                metric_key for epoch_record in self.epochs for metric_key in epoch_record.get("metrics") or {}
            )
        )

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose model was kept; None if unknown."""
        epoch = self.view.run.metadata.get("training", {}).get("best_epoch")
        return epoch if isinstance(epoch, int) and epoch > 0 else None


def learning_curves(report_data: ReportData) -> list[Block]:
    """The curves of every run whose model is trained in epochs."""
    curves = []
    for color_index, view in enumerate(report_data.views):
        epochs = _read_epochs(view)
        if epochs:
            curves.append(_Curve(view, epochs, color_index))
    if not curves:
        raise SectionOmittedError("no model here is trained in epochs")
    several = report_data.has_several_models
    # Lines of several runs would be hard to attribute; the notes below the figures name their best epochs.
    best_epoch_lines = []
    if not several and curves[0].best_epoch is not None:
        best_epoch_lines = [plots.vertical_line(curves[0].best_epoch)]
    numbers = [number for curve in curves for number in curve.values("epoch") if isinstance(number, int)]
    epoch_axis = plots.whole_number_axis("Epoch", numbers)
    figures = []
    loss_traces = _loss_traces(curves, several)
    if loss_traces:
        figures.append(Figure("Loss", plots.plot(loss_traces, epoch_axis, "Mean loss", shapes=best_epoch_lines)))
    metric_traces = [metric_trace for curve in curves for metric_trace in _metric_traces(curve, several)]
    if metric_traces:
        metric_keys = list(dict.fromkeys(metric_key for curve in curves for metric_key in curve.metric_keys))
        plot_title = "Metric"
        if len(metric_keys) == 1:
            plot_title = formatting.metric_name(metric_keys[0])
        metric_plot = plots.plot(metric_traces, epoch_axis, plot_title, shapes=best_epoch_lines)
        figures.append(Figure(f"{plot_title} on validation", metric_plot))
    curve_notes: list[Block] = [Note(_description(curve, several)) for curve in curves]
    return [Grid(figures), *curve_notes]


def _read_epochs(view: RunView) -> list[dict[str, Any]]:
    return [
        epoch_record for epoch_record in history.read(view.run.path / layout.HISTORY) if isinstance(epoch_record, dict)
    ]


def _loss_traces(curves: list[_Curve], several: bool) -> list[plots.Plot]:
    traces = []
    for curve in curves:
        losses = curve.values("loss")
        if any(loss is not None for loss in losses):
            curve_name = curve.view.label if several else None
            traces.append(plots.line(curve_name, curve.values("epoch"), losses, curve.index))
    return traces


def _metric_traces(curve: _Curve, several: bool) -> list[plots.Plot]:
    """A line for each metric of a single run; of several runs, one line each, of the monitored metric if possible."""
    keys = curve.metric_keys
    if several and curve.view.monitored_metric in keys:
        keys = [metric_key for metric_key in keys if metric_key == curve.view.monitored_metric]
    traces = []
    for key_index, metric_key in enumerate(keys):
        measured = [epoch_record for epoch_record in curve.epochs if metric_key in (epoch_record.get("metrics") or {})]
        numbers = [epoch_record["epoch"] for epoch_record in measured]
        values = [epoch_record["metrics"][metric_key] for epoch_record in measured]
        if several:
            traces.append(plots.line(curve.view.label, numbers, values, curve.index))
        elif len(keys) > 1:
            traces.append(plots.line(formatting.metric_name(metric_key), numbers, values, key_index))
        else:
            traces.append(plots.line(None, numbers, values))
    return traces


def _description(curve: _Curve, several: bool) -> str:
    sentences = [f"{len(curve.epochs)} epochs"]
    durations = [seconds for seconds in curve.values("seconds") if isinstance(seconds, int | float)]
    if durations:
        sentences[0] += f", {formatting.duration(sum(durations) / len(durations))} per epoch on average"
    if curve.best_epoch is not None:
        sentences.append(f"best epoch: {curve.best_epoch}")
        if not several:
            sentences[-1] += " (dashed line)"
        if curve.view.run.metadata["training"].get("early_stop"):
            sentences.append("early stopping ended the training")
        else:
            sentences.append("the training ran for all its epochs")
    description = f"{'; '.join(sentences)}."
    return f"{curve.view.label}: {description}" if several else description
