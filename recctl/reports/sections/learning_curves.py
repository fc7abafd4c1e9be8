"""How models learned: the loss and the metrics of every epoch."""

from __future__ import annotations

from typing import Any

from recctl.reports.render import formatting, plots
from recctl.reports.render.html import Html, figure, grid, join, note
from recctl.reports.report_data import LeftOutError, ReportData, RunView
from recctl.training import history


def learning(material: ReportData) -> Html:
    """The curves of every run that was trained in epochs."""
    curves = [(at, one, epochs) for at, one in enumerate(material.subjects) if (epochs := _epochs(one))]
    if not curves:
        raise LeftOutError("nothing here was trained in epochs")
    several = len(material.subjects) > 1
    loss = [
        plots.line(one.label if several else None, _of(epochs, "epoch"), _of(epochs, "loss"), at if several else 0)
        for at, one, epochs in curves
        if any(value is not None for value in _of(epochs, "loss"))
    ]
    measured = [trace for at, one, epochs in curves for trace in _measured(one, epochs, at, several)]
    marks = [] if several else [plots.vertical(best) for _, one, _ in curves if (best := _best(one)) is not None]
    shown = []
    if loss:
        shown.append(figure("Loss", plots.plot(loss, "Epoch", "Mean loss", shapes=marks)))
    if measured:
        names = {name for _, _, epochs in curves for name in _metrics(epochs)}
        axis = formatting.metric_name(next(iter(names))) if len(names) == 1 else "Metric"
        shown.append(figure(f"{axis} on validation", plots.plot(measured, "Epoch", axis, shapes=marks)))
    return join([grid(shown), *(note(_said(one, epochs, several)) for _, one, epochs in curves)])


def _epochs(subject: RunView) -> list[dict[str, Any]]:
    return [epoch for epoch in history.read(subject.run.path / "history.jsonl") if isinstance(epoch, dict)]


def _of(epochs: list[dict[str, Any]], name: str) -> list[Any]:
    return [epoch.get(name) for epoch in epochs]


def _metrics(epochs: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for epoch in epochs for name in epoch.get("metrics") or {}))


def _measured(subject: RunView, epochs: list[dict[str, Any]], at: int, several: bool) -> list[dict[str, Any]]:
    """A curve for each metric of one run; of several runs, one each, of what it watches."""
    names = _metrics(epochs)
    if several and subject.monitor.get("metric") in names:
        names = [subject.monitor["metric"]]
    traces = []
    for place, name in enumerate(names):
        points = [(epoch["epoch"], epoch["metrics"][name]) for epoch in epochs if name in (epoch.get("metrics") or {})]
        label = subject.label if several else formatting.metric_name(name) if len(names) > 1 else None
        if points:
            x, y = zip(*points, strict=True)
            traces.append(plots.line(label, x, y, at if several else place))
    return traces


def _best(subject: RunView) -> int | None:
    best = subject.run.metadata.get("training", {}).get("best_epoch")
    return best if isinstance(best, int) and best > 0 else None


def _said(subject: RunView, epochs: list[dict[str, Any]], several: bool) -> str:
    seconds = [epoch["seconds"] for epoch in epochs if isinstance(epoch.get("seconds"), int | float)]
    facts = [f"{len(epochs)} epochs"]
    if seconds:
        facts.append(f"{formatting.seconds(sum(seconds) / len(seconds))} each")
    if (best := _best(subject)) is not None:
        stopped = subject.run.metadata["training"].get("early_stop")
        mark = "" if several else ", the dashed line"
        end = "no better one followed in time" if stopped else "training ran to its end"
        facts.append(f"the best was {best}{mark}, and {end}")
    return f"{f'{subject.label}: ' if several else ''}{'; '.join(facts)}."
