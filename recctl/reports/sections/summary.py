"""What stands above everything else: what the runs are, how they ended, and their main figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recctl.errors import RecctlError
from recctl.reports.render import formatting
from recctl.reports.render.html import Html, code, join, paragraph, tag
from recctl.reports.report_data import HELD_OUT, LeftOutError, ReportData, RunView
from recctl.runs import Run, RunStore
from recctl.runs.store import run_hashes


def title(material: ReportData) -> str:
    """What the page is about, in words."""
    first = material.runs[0]
    data = first.metadata.get("data", {}).get("source")
    on = f" on {data}" if data else ""
    if len(material.runs) > 1:
        return f"{', '.join(one.label for one in material.subjects) or 'Runs'}{on}"
    kind = first.metadata.get("kind")
    label = material.subjects[0].label if material.subjects else ""
    if kind == "compare":
        return f"Comparison of {', '.join(first.metadata.get('labels', [])) or 'models'}{on}"
    if kind == "tune":
        return f"Search for the best {label}{on}"
    if kind == "split":
        return f"Split{on.replace(' on ', ' of ')}"
    return f"{label}{on}"


def lead(material: ReportData) -> Html:
    """The runs, what a person should be warned of, and the main figures."""
    runs = [paragraph(code(run.id), f" · {_state(run)}") for run in material.runs]
    warnings = [tag("div", tag("p", text), class_="warning", role="note") for text in _warnings(material)]
    tiles = [tag("div", tag("dt", name), tag("dd", value)) for name, value in _tiles(material)]
    return join([runs, warnings, tag("dl", tiles, class_="tiles") if tiles else None])


def _state(run: Run) -> str:
    kind = {
        "train": "trained and evaluated",
        "fit": "fitted, not evaluated",
        "tune": "a search",
        "compare": "a comparison",
        "split": "a split",
    }
    made = kind.get(str(run.metadata.get("kind")), str(run.metadata.get("kind")))
    return f"{made} · {run.status} · {formatting.moment(run.metadata.get('created'))}"


def _warnings(material: ReportData) -> Iterator[str]:
    for run in material.runs:
        if run.status != "complete":
            error = f": {run.metadata['error']}" if "error" in run.metadata else ""
            yield f"{run.id} is {run.status}, not complete{error}. What it has until then is shown."
    for one in material.subjects:
        try:
            one.run.metrics()
        except RecctlError as error:
            yield str(error)
    yield from (f"Left out of the comparison: {text}" for text in material.lost)
    looks = _test_looks(material)
    if looks > len(material.subjects):
        yield (
            f"The test set of this split was evaluated {looks} times by the runs in this directory. "
            "Results of models that were chosen on it are too optimistic: choose models on validation."
        )


def _test_looks(material: ReportData) -> int:
    if material.part != "test" or not material.subjects:
        return 0
    run = material.subjects[0].run
    data, split = run_hashes(run)
    return RunStore(run.path.parent).count_test_evaluations(data, split) if data and split else 0


def _tiles(material: ReportData) -> Iterator[tuple[str, Any]]:
    """Names and values of the main figures."""
    first = material.runs[0].metadata
    if len(material.subjects) == 1:
        yield from _figures(material, material.subjects[0])
    elif material.comparison is not None:
        document = material.comparison
        yield "Best", _with_small(document["best"], f"chosen on {document['chosen_on']}")
        best = next(model for model in document["compared"] if model["label"] == document["best"])
        figure = best["metrics"][document["metric"]]
        yield _of(document["metric"], document["on"]), _figure(figure)
    data = first.get("data", {})
    if "interactions" in data:
        whose = f"{formatting.count(data.get('users'))} users, {formatting.count(data.get('items'))} items"
        yield "Interactions", _with_small(formatting.count(data["interactions"]), whose)


def _figures(material: ReportData, subject: RunView) -> Iterator[tuple[str, Any]]:
    try:
        metric = material.metric
    except LeftOutError:
        return
    for part in HELD_OUT:
        found = subject.metrics.get(part, {}).get(metric)
        if found is not None:
            yield _of(metric, part), _figure({"value": found} | _interval(material, subject, part, metric))
    seconds = subject.run.metadata.get("timings", {}).get("fit")
    if seconds is not None:
        yield "Fit", formatting.seconds(seconds)
    models = subject.run.metadata.get("models", [])
    if models and "bytes" in models[-1]:
        yield "Model file", formatting.size(models[-1]["bytes"])


def _interval(material: ReportData, subject: RunView, part: str, metric: str) -> dict[str, Any]:
    try:
        return material.intervals(subject, part).get(metric, {})
    except RecctlError:
        return {}


def _of(metric: str, part: str) -> str:
    return f"{formatting.metric_name(metric)}, {part}"


def _figure(figure: dict[str, Any]) -> list[Any]:
    between = formatting.interval(figure)
    return _with_small(formatting.value(figure["value"]), None if between == formatting.NOTHING else between)


def _with_small(value: str, small: str | None) -> list[Any]:
    return [value, None if small is None else tag("small", small)]
