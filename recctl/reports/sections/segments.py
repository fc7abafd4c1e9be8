"""For whom and for what a model is good: by users' activity and items' popularity, and what it recommends at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl import rng
from recctl.errors import RecctlError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.evaluation.significance import bca_interval, resample_means
from recctl.metrics import MetricKey
from recctl.reports.recompute import LENGTH, MOST_USERS, Lists
from recctl.reports.render import formatting, plots
from recctl.reports.render.html import Html, figure, grid, join, note
from recctl.reports.report_data import LeftOutError, ReportData, RunView

_BINS = 5
_RESAMPLES = 2000  # of the intervals of bins, which are only drawn


def quality(material: ReportData) -> Html:
    """Quality by what is known of users, and by how well items are known."""
    shown, reasons = [], []
    for draw in (_by_activity, _by_popularity):
        try:
            shown.append(draw(material))
        except RecctlError as error:
            reasons.append(str(error))
    if not shown:
        raise LeftOutError("; ".join(dict.fromkeys(reasons)))
    return join([grid(shown), *(note(f"Left out: {reason}.") for reason in reasons)])


def _by_activity(material: ReportData) -> Html:
    """The stored metric of users, by how many of their interactions are known."""
    metric, part, again = material.metric, material.part, material.reread
    if MetricKey.parse(metric).metric.of == "counts":
        raise LeftOutError(f"{metric} is none of single users, so that it can't be told by their activity")
    tables = {one.label: one.per_user(part) for one in material.subjects if metric in one.metrics.get(part, {})}
    if not tables:
        raise LeftOutError(f"{metric} was not measured on {part}")
    codes = {label: again.dataset.user_vocabulary.codes(table["user_id"]) for label, table in tables.items()}
    every = np.concatenate([again.activity[of] for of in codes.values()])
    bins = bins_of(every)
    traces = []
    for at, (label, table) in enumerate(tables.items()):
        where = np.searchsorted(bins[1:], again.activity[codes[label]], side="right")
        found = []
        for place in range(len(bins)):
            some = table[where == place]
            of = (
                compare_paired({label: some}, label, [metric], seed=material.seed, n_resamples=_RESAMPLES)
                if len(some)
                else None
            )
            figure_ = of.figures.get(metric, {}).get(label) if of else None
            found.append(asdict(figure_) if figure_ else {"value": None})
        traces.append(_with_gaps(label if len(tables) > 1 else None, _names(bins, every), found, at, len(tables)))
    name = formatting.metric_name(metric)
    axis = {"title": "Known interactions of the user", "type": "category"}
    return figure(
        f"{name} by users' activity",
        plots.plot(traces, axis, f"{name}, {part}", height=380),
        f"Users of {part} in {len(bins)} groups of about the same size, with 95% intervals.",
    )


def _by_popularity(material: ReportData) -> Html:
    """The share of what people liked in validation that is found, by how often train has it; or the error there."""
    again = material.reread
    _ = again.validation
    rating = MetricKey.parse(material.metric).metric.of == "errors"
    pairs = {}
    for one in material.subjects:
        if one.label in again.models:
            pairs[one.label] = _errors(material, one) if rating else _hits(again.lists(one.label, _threshold(one)))
    pairs = {label: of for label, of in pairs.items() if len(of[0])}
    if not pairs:
        raise LeftOutError("; ".join(again.without.values()) or "no held-out item is known to the model")
    popularity = {label: again.popularity[of[1]] for label, of in pairs.items()}
    every = np.concatenate(list(popularity.values()))
    bins = bins_of(every)
    traces = []
    for at, (label, (people, _, values)) in enumerate(pairs.items()):
        where = np.searchsorted(bins[1:], popularity[label], side="right")
        found = [_pooled(people[where == place], values[where == place], material.seed) for place in range(len(bins))]
        traces.append(_with_gaps(label if len(pairs) > 1 else None, _names(bins, every), found, at, len(pairs)))
    axis = {"title": "Interactions of the item in train", "type": "category"}
    title = "Mean absolute error" if rating else "Share found in the first 10"
    heading = "Errors by items' popularity" if rating else "What is found, by items' popularity"
    return figure(
        heading,
        plots.plot(traces, axis, title, height=380),
        f"Interactions of validation in {len(bins)} groups of about the same size, with 95% intervals; the models are "
        "those fitted on train.",
    )


def _threshold(subject: RunView) -> float | None:
    return subject.loaded.config.evaluation.relevance_threshold


def _hits(lists: Lists) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return lists.pair_people, lists.pair_items, lists.found.astype(np.float64)


def _errors(material: ReportData, subject: RunView) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """People, items and absolute errors of the ratings of validation that can be predicted."""
    again = material.reread
    part = again.validation
    if part.ratings is None:
        raise LeftOutError("the data have no ratings")
    users, items = part.user_vocabulary.ids[part.users], part.item_vocabulary.ids[part.items]
    predicted = again.models[subject.label].predict(users, items, on_unknown="skip")
    told = np.isfinite(predicted)
    codes = again.dataset.item_vocabulary.codes(items)
    return part.users[told], codes[told], np.abs(predicted - part.ratings)[told].astype(np.float64)


def bins_of(values: NDArray[Any]) -> NDArray[Any]:
    """The lower ends of at most five ranges of whole numbers that hold about as many values each."""
    ends = np.quantile(values, np.arange(_BINS) / _BINS, method="inverted_cdf")
    return np.unique(ends)


def _names(bins: NDArray[Any], values: NDArray[Any]) -> list[str]:
    last = [*(bins[1:] - 1), values.max()]
    return [
        f"{low:,}" if low == high else f"{low:,}–{high:,}"
        for low, high in zip(bins.tolist(), map(int, last), strict=True)
    ]


def _pooled(people: NDArray[Any], values: NDArray[Any], seed: int) -> dict[str, Any]:
    """The mean of values, and its interval for users that are drawn with all of theirs."""
    if not len(values):
        return {"value": None}
    _, person = np.unique(people, return_inverse=True)
    weights = np.bincount(person).astype(np.float64)
    means = np.bincount(person, values)[:, None] / weights[:, None]
    observed = np.average(means, axis=0, weights=weights)
    resampled = resample_means(means, rng.stream(seed, "bootstrap"), _RESAMPLES, weights)
    low, high = bca_interval(resampled, observed, (weights / weights.mean())[:, None] * (means - observed))
    return {"value": float(observed[0]), "low": float(low[0]), "high": float(high[0])}


def _with_gaps(
    name: str | None, names: list[str], found: Sequence[dict[str, Any]], at: int, n_traces: int
) -> dict[str, Any]:
    """Bars for one model; for several, points that stand beside one another."""
    there = [place for place, one in enumerate(found) if one["value"] is not None]
    x, y = [names[place] for place in there], [found[place]["value"] for place in there]
    trace = plots.bars(name, x, y, at) if n_traces == 1 else plots.line(name, x, y, at, points=True)
    if n_traces == 1:
        trace["marker"]["opacity"] = 0.85
    drawn = plots.with_intervals(trace, [found[place] for place in there])
    drawn["error_y"]["color"] = "@text" if n_traces == 1 else plots.colour(at)
    return drawn


# ---- the catalog


def catalog(material: ReportData) -> Html:
    """How long the tail of the catalog is, and how much of it is recommended."""
    again = material.reread
    counts = np.sort(again.popularity)[::-1]
    counts = counts[counts > 0]
    at = plots.thinned(len(counts))
    tail = plots.plot(
        [plots.line(None, [place + 1 for place in at], counts[at].tolist(), 0, points=False)],
        {"title": "Items, the most popular first", "type": "log", "dtick": 1},
        {"title": "Interactions in train", "type": "log", "dtick": 1},
        height=360,
    )
    shown = [figure("The long tail", tail, _tail_in_words(counts))]
    lists = {
        one.label: again.lists(one.label, _threshold(one)) for one in material.subjects if one.label in again.models
    }
    lists = {label: of for label, of in lists.items() if len(of.items)}
    if lists:
        shown += [_concentration(again.popularity, lists), _coverage(lists)]
    some = max((len(of.items) for of in lists.values()), default=0)
    which = "validation" if again.prepared.split.has_validation else "train"
    drawn = " (drawn at random)" if some >= MOST_USERS else ""
    said = (
        f"Recommendations are the first {LENGTH} of {formatting.count(some)} users of {which}{drawn}, by the models "
        "fitted on train."
    )
    return join([grid(shown, small=len(shown) == 3), note(said) if lists else None])


def _tail_in_words(counts: NDArray[Any]) -> str:
    half = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) + 1
    once = float((counts == 1).mean())
    return (
        f"Half of all interactions are with {formatting.count(half)} of {formatting.count(len(counts))} items; "
        f"{formatting.share(once)} of the items have one."
    )


def _concentration(popularity: NDArray[Any], lists: dict[str, Lists]) -> Html:
    order = np.argsort(-popularity, kind="stable")
    at = plots.thinned(len(order), 120)
    x = [(place + 1) / len(order) for place in at]

    def curve(counts: NDArray[Any]) -> list[float]:
        shares = np.cumsum(counts[order]) / max(1, counts.sum())
        return [float(shares[place]) for place in at]

    traces = [
        plots.line("Train", x, curve(popularity), 6, points=False, line={"color": "@7", "width": 2, "dash": "dash"})
    ]
    for place, (label, of) in enumerate(lists.items()):
        recommended = np.bincount(of.items[:, :10][of.items[:, :10] >= 0], minlength=len(popularity))
        name = label if len(lists) > 1 else "Recommended"
        traces.append(plots.line(name, x, curve(recommended), place, points=False))
    percent = {"tickformat": ".0%", "range": [0, 1.01]}
    return figure(
        "How much goes to popular items",
        plots.plot(
            traces,
            percent | {"title": "Items, the most popular first", "dtick": 0.5, "ticklabeloverflow": "allow"},
            percent | {"title": "Share"},
            height=360,
        ),
        "A curve above that of train recommends popular items more than people take them.",
    )


def _coverage(lists: dict[str, Lists]) -> Html:
    traces = []
    for at, (label, of) in enumerate(lists.items()):
        first = np.full(of.items.max() + 1, LENGTH)
        for place in reversed(range(LENGTH)):
            items = of.items[:, place]
            first[items[items >= 0]] = place
        shares = np.cumsum(np.bincount(first[first < LENGTH], minlength=LENGTH)) / of.n_items
        traces.append(plots.line(label if len(lists) > 1 else None, range(1, LENGTH + 1), shares.tolist(), at))
    axis = {"title": "Share of the catalog", "tickformat": "~%", "rangemode": "tozero"}
    return figure(
        "Coverage",
        plots.plot(traces, {"title": "k, the length of the list", "range": [0, LENGTH + 1]}, axis, height=360),
        "Items that are recommended to anybody at all.",
    )
