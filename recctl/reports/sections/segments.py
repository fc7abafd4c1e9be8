"""Quality by user activity and item popularity, and the popularity of what is recommended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recctl import rng
from recctl.data.matrix import Int64Array
from recctl.errors import ArtifactError, RecctlError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.evaluation.segments import Bins
from recctl.evaluation.significance import bca_interval, resample_means
from recctl.metrics import MetricKey
from recctl.reports.errors import SectionOmittedError
from recctl.reports.recompute import LIST_LENGTH, MAX_USERS, RecommendationLists
from recctl.reports.render import formatting, plots
from recctl.reports.render.blocks import Block, Figure, Grid, Inline, Note, Table
from recctl.reports.report_data import ReportData
from recctl.reports.run_view import RunView

# Intervals of bins are only drawn, so that fewer resamples than for tables (10,000) suffice.
_N_RESAMPLES = 2000
_HIT_CUTOFF = 10

Estimate = dict[str, Any]
"""The value of a bin and the ends of its interval; the value is None for an empty bin."""


# ---- quality by user activity and item popularity


def quality(report_data: ReportData) -> list[Block]:
    """Quality in the segments of the config, and by the number of interactions of users, and of items."""
    measured = measured_segments(report_data)
    figures = []
    reasons = []
    if measured is not None:
        figures += _segment_figures(report_data.metric, report_data.part, measured)
    makers = [_quality_by_popularity]
    if measured is None or not any(key.startswith("activity=") for key in measured.keys):
        makers.insert(0, _quality_by_activity)
    for make_figure in makers:
        try:
            figures.append(make_figure(report_data))
        except RecctlError as error:
            reasons.append(str(error))
    if not figures:
        raise SectionOmittedError("; ".join(dict.fromkeys(reasons)))
    blocks: list[Block] = [Grid(figures)]
    if measured is not None:
        blocks += [_segment_table(report_data.metric, report_data.part, measured), Note(_segment_note(measured))]
    blocks += [Note(f"A figure is omitted: {reason}.") for reason in reasons]
    return blocks


# ---- segments of the config


@dataclass(frozen=True)
class MeasuredSegments:
    """The segments that all models of a report have.

    Attributes:
        keys: The key of each, such as `country=DE`.
        names: The name of each in tables, with the range of a quantile.
        n_users: Number of users of each.
        estimates: By label of the model, the estimates of each by metric; of a comparison with differences.
        confidence: Level of the intervals.
        correction: What p-values are corrected for; None without a comparison.
    """

    keys: list[str]
    names: list[str]
    n_users: list[int]
    estimates: dict[str, list[dict[str, Estimate]]]
    confidence: float = 0.95
    correction: str | None = None


def measured_segments(report_data: ReportData) -> MeasuredSegments | None:
    """The stored segments on the part of the report; None if there are none."""
    if report_data.comparison is not None:
        return _compared_segments(report_data.comparison)
    if report_data.has_several_models:  # figures that can't be compared must not stand side by side
        return None
    by_label = {}
    for view in report_data.views:
        try:
            by_label[view.label] = view.run.segments().get(report_data.part, {})
        except ArtifactError:
            by_label[view.label] = {}
    if not by_label:
        return None
    first, *others = by_label.values()
    keys = [key for key in first if all(key in other for other in others)]
    if not keys:
        return None
    return MeasuredSegments(
        keys,
        [_segment_name(key, first[key]) for key in keys],
        [first[key]["n_users"] for key in keys],
        {label: [segments[key]["metrics"] for key in keys] for label, segments in by_label.items()},
    )


def _compared_segments(comparison: dict[str, Any]) -> MeasuredSegments | None:
    segments = comparison.get("segments")
    if not segments:
        return None
    labels = [model["label"] for model in comparison["compared"]]
    return MeasuredSegments(
        list(segments),
        [_segment_name(key, segment) for key, segment in segments.items()],
        [segment["n_users"] for segment in segments.values()],
        {label: [segment["models"].get(label, {}) for segment in segments.values()] for label in labels},
        comparison["confidence"],
        comparison["segment_correction"],
    )


def _segment_name(key: str, segment: dict[str, Any]) -> str:
    return f"{key} ({segment['range']})" if segment.get("range") else key


def _segment_figures(metric: str, part: str, measured: MeasuredSegments) -> list[Figure]:
    """A figure for each entry of the config: the metric of each model by segment."""
    figures = []
    groups: dict[str, list[int]] = {}
    for position, key in enumerate(measured.keys):
        # `new_users` and `known_users` are one entry.
        group = key.partition("=")[0] if "=" in key else key.removeprefix("new_").removeprefix("known_")
        groups.setdefault(group, []).append(position)
    metric_name = formatting.metric_name(metric)
    for group, positions in groups.items():
        names = [
            plots.escape_label(measured.names[position].partition("=")[2] or measured.names[position])
            for position in positions
        ]
        traces = []
        for index, (label, estimates) in enumerate(measured.estimates.items()):
            of_group = [estimates[position].get(metric, {"value": None}) for position in positions]
            traces.append(_estimates_trace(label, names, of_group, index, n_traces=len(measured.estimates)))
        if not any(trace["x"] for trace in traces):
            continue
        axis_settings = {"title": group, "type": "category", "categoryorder": "array", "categoryarray": names}
        figures.append(
            Figure(
                f"{metric_name} by {group}",
                plots.plot(traces, axis_settings, f"{metric_name}, {part}", height=380),
                f"With {measured.confidence:.0%} intervals of {metric_name} over the users of each segment.",
            )
        )
    return figures


def _segment_table(metric: str, part: str, measured: MeasuredSegments) -> Table:
    """A row for each segment and model."""
    metric_name = formatting.metric_name(metric)
    is_compared = measured.correction is not None
    headings = ["Segment", "Users", "Model", metric_name, f"{measured.confidence:.0%} interval"]
    if is_compared:
        headings += ["Difference", "Interval of the difference", "p (Holm)"]
    table_rows: list[list[Inline]] = []
    for position, name in enumerate(measured.names):
        for label, estimates in measured.estimates.items():
            figure = estimates[position].get(metric, {})
            row_cells: list[Inline] = [
                name,
                formatting.count(measured.n_users[position]),
                label,
                formatting.metric_value(figure.get("value")),
                formatting.interval(figure),
            ]
            if is_compared:
                row_cells += [
                    formatting.difference(figure.get("difference")),
                    formatting.interval(figure, "difference_"),
                    formatting.p_value(figure.get("p_holm")),
                ]
            table_rows.append(row_cells)
    return Table(f"{metric_name} by segment on {part}", headings, table_rows, text_columns=(0, 2))


def _segment_note(measured: MeasuredSegments) -> str:
    note = (
        "A segment of users has the mean over its users. A segment of items or interactions counts only those as "
        "relevant; lists and candidates are those of the whole, and users without relevant items in it are left out."
    )
    if measured.correction is not None:
        note += f" p-values are corrected: {measured.correction}."
    return note


# ---- recomputed quality by activity and popularity


def _quality_by_activity(report_data: ReportData) -> Figure:
    """The stored per-user metric, by the number of input interactions of the user."""
    metric = report_data.metric
    part = report_data.part
    recomputed = report_data.recomputed
    if MetricKey.parse(metric).metric.of == "counts":
        raise SectionOmittedError(f"{metric} is not a mean over users, so it has no values by user activity")
    tables = {view.label: view.per_user(part) for view in report_data.views if metric in view.metrics.get(part, {})}
    if not tables:
        raise SectionOmittedError(f"{metric} was not measured on {part}")
    activity = {}
    for label, user_table in tables.items():
        activity[label] = recomputed.user_counts[recomputed.dataset.user_vocabulary.codes(user_table["user_id"])]
    bins = Bins(np.concatenate(list(activity.values())))
    traces = []
    for color_index, (label, user_table) in enumerate(tables.items()):
        bin_numbers = bins.assign(activity[label])
        estimates = [
            _mean_of_users(user_table[bin_numbers == number], metric, report_data.seed) for number in range(len(bins))
        ]
        traces.append(_estimates_trace(label, bins.ranges, estimates, color_index, n_traces=len(tables)))
    metric_name = formatting.metric_name(metric)
    axis_settings = {"title": "Interactions of the user", "type": "category"}
    return Figure(
        f"{metric_name} by user activity",
        plots.plot(traces, axis_settings, f"{metric_name}, {part}", height=380),
        f"Users of {part} in {len(bins)} groups of about equal size, with 95% intervals of {metric_name}.",
    )


def _mean_of_users(table: pd.DataFrame, metric: str, seed: int) -> Estimate:
    if not len(table):
        return {"value": None}
    # The same estimator as in comparisons, so that equal figures have equal intervals.
    result = compare_paired({"model": table}, "model", [metric], seed=seed, n_resamples=_N_RESAMPLES)
    figure = result.estimates.get(metric, {}).get("model")
    return {"value": None} if figure is None else asdict(figure)


@dataclass(frozen=True, eq=False)
class _HeldOutPairs:
    """Validation pairs of a model: a hit or an absolute error for each.

    Attributes:
        users: A number for each user, shape `(n_pairs,)`.
        items: Item codes of the data set, shape `(n_pairs,)`.
        values: 1 for a hit, else 0; or the absolute error of the predicted rating, shape `(n_pairs,)`.
    """

    users: NDArray[Any]
    items: NDArray[Any]
    values: NDArray[np.float64]


def _quality_by_popularity(report_data: ReportData) -> Figure:
    """The share of validation pairs that are among the first 10, or the mean absolute error, by item popularity."""
    recomputed = report_data.recomputed
    _ = recomputed.validation  # raises if there is none
    is_rating_task = MetricKey.parse(report_data.metric).metric.of == "errors"
    held_out_pairs: dict[str, _HeldOutPairs] = {}
    for view in report_data.views:
        if view.label in recomputed.models:
            pairs_of_model = _errors(report_data, view) if is_rating_task else _hits(report_data, view)
            if len(pairs_of_model.users):
                held_out_pairs[view.label] = pairs_of_model
    if not held_out_pairs:
        reasons = "; ".join(recomputed.unavailable.values())
        raise SectionOmittedError(reasons or "the model knows no item of the validation part")
    popularity = {label: recomputed.item_counts[held_out.items] for label, held_out in held_out_pairs.items()}
    bins = Bins(np.concatenate(list(popularity.values())))
    traces = []
    for color_index, (label, held_out) in enumerate(held_out_pairs.items()):
        bin_numbers = bins.assign(popularity[label])
        estimates = []
        for number in range(len(bins)):
            in_bin = bin_numbers == number
            # Pairs of one user are dependent, so that the interval resamples users and not pairs.
            estimates.append(_pooled_mean(held_out.users[in_bin], held_out.values[in_bin], report_data.seed))
        traces.append(_estimates_trace(label, bins.ranges, estimates, color_index, n_traces=len(held_out_pairs)))
    axis_settings = {"title": "Interactions of the item in train", "type": "category"}
    if is_rating_task:
        plot_title = "Mean absolute error"
        explanation = "Predictions of the models that were fitted on train."
    else:
        # Pooled over all users: a group has too few pairs of each user for the mean over users.
        plot_title = f"Recall@{_HIT_CUTOFF}"
        explanation = f"Share of items among the first {_HIT_CUTOFF} recommendations of the models fitted on train."
    return Figure(
        f"{plot_title} by item popularity",
        plots.plot(traces, axis_settings, f"{plot_title}, validation", height=380),
        f"{explanation} Validation interactions in {len(bins)} groups of about equal size, with 95% intervals of "
        f"{plot_title}.",
    )


def _hits(report_data: ReportData, view: RunView) -> _HeldOutPairs:
    lists = report_data.recomputed.lists(view)
    return _HeldOutPairs(lists.pair_rows, lists.pair_items, lists.hits.astype(np.float64))


def _errors(report_data: ReportData, view: RunView) -> _HeldOutPairs:
    """Absolute errors of the validation ratings that the model can predict; the latest of repeated pairs counts."""
    recomputed = report_data.recomputed
    validation = recomputed.validation
    validation = validation.take(validation.latest_rows())
    if validation.ratings is None:
        raise SectionOmittedError("the data have no ratings")
    user_ids = validation.user_vocabulary.ids[validation.users]
    item_ids = validation.item_vocabulary.ids[validation.items]
    predicted = recomputed.models[view.label].predict(user_ids, item_ids, on_unknown="skip")
    has_prediction = np.isfinite(predicted)
    errors = np.abs(predicted - validation.ratings)
    return _HeldOutPairs(
        users=validation.users[has_prediction],
        items=recomputed.dataset.item_vocabulary.codes(item_ids)[has_prediction],
        values=errors[has_prediction].astype(np.float64),
    )


def _pooled_mean(users: NDArray[Any], values: NDArray[np.float64], seed: int) -> Estimate:
    """The mean of values with a bootstrap interval that resamples users, each with all of their values."""
    if not len(values):
        return {"value": None}
    _, user_numbers = np.unique(users, return_inverse=True)
    weights = np.bincount(user_numbers).astype(np.float64)
    user_means = np.bincount(user_numbers, values)[:, None] / weights[:, None]
    pooled_mean = np.average(user_means, axis=0, weights=weights)
    resampled = resample_means(user_means, rng.stream(seed, "bootstrap"), _N_RESAMPLES, weights)
    # The influence of a user on a ratio of sums: the acceleration of BCa is computed from it.
    influence = (weights / weights.mean())[:, None] * (user_means - pooled_mean)
    lower_bound, upper_bound = bca_interval(resampled, pooled_mean, influence)
    return {"value": float(pooled_mean[0]), "low": float(lower_bound[0]), "high": float(upper_bound[0])}


def _estimates_trace(
    label: str, names: Sequence[str], estimates: Sequence[Estimate], index: int, n_traces: int
) -> plots.Plot:
    """The estimates of one model with intervals; bars for a single model, lines for several. Empty bins are skipped."""
    known_estimates = [
        (bin_name, estimate)
        for bin_name, estimate in zip(names, estimates, strict=True)
        if estimate["value"] is not None
    ]
    bin_names = [bin_name for bin_name, _ in known_estimates]
    bin_values = [estimate["value"] for _, estimate in known_estimates]
    intervals = [estimate for _, estimate in known_estimates]
    # Bars of several models would hide each other's intervals.
    if n_traces == 1:
        trace = plots.bars(None, bin_names, bin_values, index)
        trace["marker"]["opacity"] = 0.85
        error_color = "@text"
    else:
        trace = plots.line(label, bin_names, bin_values, index, markers=True)
        error_color = plots.color(index)
    with_intervals = plots.with_intervals(trace, intervals)
    with_intervals["error_y"]["color"] = error_color
    return with_intervals


# ---- the catalog


def catalog(report_data: ReportData) -> list[Block]:
    """The long tail of the catalog, and how much of the catalog is recommended."""
    recomputed = report_data.recomputed
    lists = {}
    for view in report_data.views:
        if view.label in recomputed.models:
            lists_of_model = recomputed.lists(view)
            if len(lists_of_model.items):
                lists[view.label] = lists_of_model
    figures = [_long_tail(recomputed.item_counts)]
    if not lists:
        return [Grid(figures)]
    figures += [_concentration(recomputed.item_counts, lists), _coverage(lists)]
    n_users = max(len(lists_of_model.items) for lists_of_model in lists.values())
    part = "validation" if recomputed.has_validation else "train"
    sample = ", a random sample" if n_users >= MAX_USERS else ""
    description = (
        f"Recommendations are the first {LIST_LENGTH} items for {formatting.count(n_users)} users of {part}{sample}, "
        "by the models that were fitted on train."
    )
    return [Grid(figures, small=True), Note(description)]


def _long_tail(item_counts: Int64Array) -> Figure:
    # Logarithmic axes have no zero, so that items without interactions in train are not drawn.
    counts = np.sort(item_counts[item_counts > 0])[::-1]
    item_ranks = plots.thin_out(len(counts))
    trace = plots.line(None, [item_rank + 1 for item_rank in item_ranks], counts[item_ranks].tolist(), 0, markers=False)
    x_axis = {"title": "Popularity rank of the item", "type": "log", "dtick": 1}
    y_axis = {"title": "Interactions in train", "type": "log", "dtick": 1}
    n_for_half = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2)) + 1
    share_of_single = float((counts == 1).mean())
    description = (
        f"The {formatting.count(n_for_half)} most popular of {formatting.count(len(counts))} items have half of all "
        f"interactions; {formatting.percent(share_of_single)} of the items have only one."
    )
    return Figure("Long tail", plots.plot([trace], x_axis, y_axis, height=360), description)


def _concentration(item_counts: Int64Array, lists: dict[str, RecommendationLists]) -> Figure:
    """Lorenz-like curves: the cumulative share of interactions and of recommendations, by popularity of the item."""
    by_popularity = np.argsort(-item_counts, kind="stable")
    item_ranks = plots.thin_out(len(by_popularity), 120)
    item_shares = [(item_rank + 1) / len(by_popularity) for item_rank in item_ranks]

    def cumulative_shares(counts: NDArray[Any]) -> list[float]:
        shares = np.cumsum(counts[by_popularity]) / max(1, counts.sum())
        return [float(share) for share in shares[item_ranks]]

    train_line = {"color": "@7", "width": 2, "dash": "dash"}
    traces = [plots.line("Train", item_shares, cumulative_shares(item_counts), 6, markers=False, line=train_line)]
    for color_index, (label, lists_of_model) in enumerate(lists.items()):
        items = lists_of_model.items[:, :_HIT_CUTOFF]
        # Over the codes of the whole data set, so that all models share the axis.
        recommended = np.bincount(items[items >= 0], minlength=len(item_counts))
        curve_name = label if len(lists) > 1 else "Recommended"
        traces.append(plots.line(curve_name, item_shares, cumulative_shares(recommended), color_index, markers=False))
    percent = {"tickformat": ".0%", "range": [0, 1.01]}  # space for the line at 100%
    x_axis = percent | {"title": "Items, most popular first", "dtick": 0.5, "ticklabeloverflow": "allow"}
    return Figure(
        "Popularity bias",
        plots.plot(traces, x_axis, percent | {"title": "Cumulative share"}, height=360),
        f"Shares of the interactions in train and of the first {_HIT_CUTOFF} recommendations. Curves above that of "
        "train favor popular items.",
    )


def _coverage(lists: dict[str, RecommendationLists]) -> Figure:
    traces = []
    for color_index, (label, lists_of_model) in enumerate(lists.items()):
        curve_name = label if len(lists) > 1 else None
        traces.append(plots.line(curve_name, range(1, LIST_LENGTH + 1), _coverage_by_k(lists_of_model), color_index))
    x_axis = {"title": "List length k", "range": [0, LIST_LENGTH + 1]}
    y_axis = {"title": "Share of the catalog", "tickformat": "~%", "rangemode": "tozero"}
    return Figure(
        "Coverage",
        plots.plot(traces, x_axis, y_axis, height=360),
        "The share of items that are recommended to at least one user.",
    )


def _coverage_by_k(lists: RecommendationLists) -> list[float]:
    """The share of the items that occur among the first k recommendations of any user, for each k."""
    # The first position at which each item is recommended; later positions are overwritten by earlier ones.
    # LIST_LENGTH stands for never.
    first_position = np.full(lists.items.max() + 1, LIST_LENGTH)
    for position in reversed(range(LIST_LENGTH)):
        items = lists.items[:, position]
        first_position[items[items >= 0]] = position
    new_items = np.bincount(first_position[first_position < LIST_LENGTH], minlength=LIST_LENGTH)
    shares: list[float] = (np.cumsum(new_items) / lists.n_items).tolist()
    return shares
