"""What was measured: every metric with its interval, and what is traded for what along the list."""

from __future__ import annotations

from typing import Any

from recctl.errors import RecctlError
from recctl.metrics import MetricKey
from recctl.reports.render import formatting, plots
from recctl.reports.render.html import Html, figure, grid, join, note, table, tag
from recctl.reports.report_data import LeftOutError, ReportData, RunView


def metrics(material: ReportData) -> Html | None:
    """Every metric of one run, by part, with the interval of each."""
    if len(material.subjects) != 1:
        return None
    return metrics_of(material, material.subjects[0])


def each_alone(material: ReportData) -> Html | None:
    """The metrics of several runs, one after another: for runs that can't be compared."""
    if len(material.subjects) < 2 or material.comparison is not None:
        return None
    shown = [[tag("h3", one.label), metrics_of(material, one)] for one in material.subjects if one.metrics]
    if not shown:
        raise LeftOutError("nothing was measured")
    why = note(f"They can't be set side by side: {material.why_not_compared}.")
    return join([why, *shown])


def metrics_of(material: ReportData, subject: RunView) -> Html:
    """A row for each metric, and for each part its value and interval."""
    parts = list(subject.metrics)
    if not parts:
        raise LeftOutError("nothing was measured")
    known, problems = {}, []
    for part in parts:
        try:
            known[part] = material.intervals(subject, part)
        except RecctlError as error:
            problems.append(str(error))
    heads = ["Metric"]
    for part in parts:
        heads += [part.capitalize(), *(["95% interval"] if part in known else [])]
    keys = list(dict.fromkeys(key for part in parts for key in subject.metrics[part]))
    rows = [_row(subject, key, parts, known, subject.monitor.get("metric") == key) for key in keys]
    said = [
        note(
            "In bold the metric that runs are chosen by. Intervals are of the mean over users: bias-corrected and "
            f"accelerated bootstrap, {_users(known)}; metrics of the whole catalog, as coverage, have none."
        )
        if known
        else None,
        *(note(f"Without intervals: {text}.") for text in problems),
    ]
    return join([table("Metrics", heads, rows), said])


def _users(known: dict[str, dict[str, Any]]) -> str:
    counts = [
        f"{formatting.count(max(figure['n_users'] for figure in of.values()))} users of {part}"
        for part, of in known.items()
        if of
    ]
    return ", ".join(counts) or "no users"


def _row(subject: RunView, key: str, parts: list[str], known: dict[str, Any], is_monitor: bool) -> list[Any]:
    name = formatting.metric_name(key)
    row: list[Any] = [tag("b", name) if is_monitor else name]
    for part in parts:
        row.append(formatting.value(subject.metrics[part].get(key)))
        if part in known:
            row.append(formatting.interval(known[part].get(key, {})))
    return row


# ---- over k


def over_k(material: ReportData) -> Html:
    """Precision against recall as lists grow, and every ranking metric over the length of the list."""
    curves = _curves(material)
    if not curves:
        raise LeftOutError("no ranking metric was measured at several k")
    shown = []
    both = [(name, of) for name, of in curves if len(_shared_k(of)) > 1]
    if both:
        traces = [_trade_off(name, of, at, told=len(both) < 3) for at, (name, of) in enumerate(both)]
        ks = ", ".join(map(str, _shared_k(both[0][1])))
        shown.append(
            figure(
                "Precision against recall",
                plots.plot(traces, "Recall", "Precision", height=380),
                f"Each point is a length of the list, from left to right k = {ks}.",
            )
        )
    names = dict.fromkeys(base for _, of in curves for base, values in of.items() if len(values) > 1)
    wanted = [base for base in names if base not in ("precision", "recall")][:1] if both else list(names)[:2]
    for base in wanted:
        traces = [
            plots.line(name, list(of[base]), list(of[base].values()), at)
            for at, (name, of) in enumerate(curves)
            if base in of
        ]
        axis = {
            "title": "k, the length of the list",
            "tickvals": sorted({k for _, of in curves for k in of.get(base, {})}),
        }
        name = formatting.metric_name(base)
        shown.append(figure(f"{name} over k", plots.plot(traces, axis, name, height=380)))
    return grid(shown)


def _curves(material: ReportData) -> list[tuple[str, dict[str, dict[int, float]]]]:
    """By curve: values of each metric by k. The curves are the parts of one run, or the runs on one part."""
    if len(material.subjects) == 1:
        one = material.subjects[0]
        found = [(part.capitalize(), _by_k(values)) for part, values in one.metrics.items()]
    else:
        found = [(one.label, _by_k(one.metrics.get(material.part, {}))) for one in material.subjects]
    return [(name, of) for name, of in found if any(len(values) > 1 for values in of.values())]


def _by_k(values: dict[str, float]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for key, value in values.items():
        metric = MetricKey.parse(key)
        if metric.k is not None:
            found.setdefault(metric.name, {})[metric.k] = value
    return {name: dict(sorted(of.items())) for name, of in found.items()}


def _shared_k(of: dict[str, dict[int, float]]) -> list[int]:
    return sorted(of.get("precision", {}).keys() & of.get("recall", {}).keys())


def _trade_off(name: str, of: dict[str, dict[int, float]], at: int, told: bool) -> dict[str, Any]:
    """The curve of one; its points are named where that leaves room."""
    ks = _shared_k(of)
    return plots.line(
        name,
        [of["recall"][k] for k in ks],
        [of["precision"][k] for k in ks],
        at,
        mode="lines+markers+text" if told else "lines+markers",
        text=[f"k={k}" for k in ks],
        textposition="top right",
        textfont={"size": 11},
        cliponaxis=False,
    )
