"""Differences of models within segments, and where the order of models changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from recctl.evaluation.paired_comparison import PairedComparison, compare_windows
from recctl.evaluation.significance import holm
from recctl.metrics import MetricKey

if TYPE_CHECKING:
    import pandas as pd

    from recctl.experiment.comparison.result import ComparisonOptions, MeasuredRun

CORRECTION = "holm, over the models and segments by each metric"

Segments = dict[str, dict[str, Any]]
"""By key: `n_users`, `definition`, `range` and, by label and metric key, the estimates of each model."""


def shared_segments(runs: Mapping[str, Sequence[MeasuredRun]]) -> tuple[list[str], list[str]]:
    """Return the keys of the segments that all runs have, and of those that only some have or that differ."""
    every_run = [measured for some_runs in runs.values() for measured in some_runs]
    all_keys = list(dict.fromkeys(key for measured in every_run for key in measured.record.segments))
    shared = []
    for key in all_keys:
        found = [measured.record.segments.get(key) for measured in every_run]
        definitions = [segment["definition"] for segment in found if segment is not None]
        if len(definitions) == len(every_run) and all(definition == definitions[0] for definition in definitions):
            shared.append(key)
    return shared, [key for key in all_keys if key not in shared]


def compare_segments(
    runs: Mapping[str, Sequence[MeasuredRun]],
    reference: str,
    metrics: Sequence[str],
    options: ComparisonOptions,
    average: Callable[[list[pd.DataFrame]], pd.DataFrame],
) -> Segments:
    """Compare models within each segment that all of their runs have.

    In a backtest the figure of a model is the mean over the windows in which all models have users of the segment.

    Args:
        runs: The figures of the runs of each model, by label.
        reference: The model that the others are compared with.
        metrics: The metrics to compare; those that a segment does not have are left out there.
        options: How models are compared.
        average: Averages the values of each user over several runs.
    """
    keys, _ = shared_segments(runs)
    positions = sorted({measured.window for some_runs in runs.values() for measured in some_runs})
    segments: Segments = {}
    for key in keys:
        first = next(iter(runs.values()))[0].record.segments[key]
        segment = {"n_users": 0, "definition": first["definition"], "models": {}}
        if "range" in first and len(positions) == 1:
            segment["range"] = first["range"]
        segments[key] = segment
        tables = _shared_windows(_tables_by_window(runs, key, positions, average))
        if len(positions) > 1:
            segment["windows"] = list(tables)
        if not tables:
            continue
        comparison = _compare(tables, list(runs), reference, metrics, options)
        segment["n_users"] = comparison.n_users
        for label, some_runs in runs.items():
            segment["models"][label] = {
                metric_key: _record(comparison, key, metric_key, label, some_runs)
                for metric_key in comparison.estimates
            }
    _correct(segments, metrics)
    return segments


def _tables_by_window(
    runs: Mapping[str, Sequence[MeasuredRun]],
    key: str,
    positions: Sequence[int],
    average: Callable[[list[pd.DataFrame]], pd.DataFrame],
) -> dict[int, dict[str, pd.DataFrame]]:
    """By window, then by label, the values of the users in a segment, averaged over seeds and folds."""
    tables: dict[int, dict[str, pd.DataFrame]] = {}
    for position in positions:
        tables[position] = {}
        for label, some_runs in runs.items():
            # A fold or a window may have no user in a segment that others have.
            of_runs = [
                measured.segment_tables[key]
                for measured in some_runs
                if measured.window == position and len(measured.segment_tables.get(key, ()))
            ]
            if of_runs:
                tables[position][label] = average(of_runs)
    return {position: by_label for position, by_label in tables.items() if len(by_label) == len(runs)}


def _shared_windows(tables: dict[int, dict[str, pd.DataFrame]]) -> dict[int, dict[str, pd.DataFrame]]:
    """The windows in which some user was evaluated for all models."""
    shared = {}
    for position, by_label in tables.items():
        users = [set(table["user_id"]) for table in by_label.values()]
        if set.intersection(*users):
            shared[position] = by_label
    return shared


def _compare(
    tables: dict[int, dict[str, pd.DataFrame]],
    labels: Sequence[str],
    reference: str,
    metrics: Sequence[str],
    options: ComparisonOptions,
) -> PairedComparison:
    every_table = [table for by_label in tables.values() for table in by_label.values()]
    return compare_windows(
        {label: [by_label[label] for by_label in tables.values()] for label in labels},
        reference,
        [metric_key for metric_key in metrics if all(metric_key in table for table in every_table)],
        seed=options.seed,
        confidence=options.confidence,
        test=options.test,
        n_resamples=options.n_resamples,
    )


def _record(
    comparison: PairedComparison, key: str, metric_key: str, label: str, runs: Sequence[MeasuredRun]
) -> dict[str, Any]:
    """The estimate of a metric of a model, with its spread over windows, or over seeds and folds."""
    record = _plain(asdict(comparison.estimates[metric_key][label]))
    windows = comparison.windows.get(metric_key, {}).get(label, [])
    if len(windows) > 1:
        record["windows"] = [_plain(asdict(estimate)) for estimate in windows]
        values = [estimate.value for estimate in windows]
    else:
        figures = [measured.record.segments[key]["metrics"].get(metric_key) for measured in runs]
        values = [figure["value"] for figure in figures if figure is not None]
    record["spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return record


def _plain(estimate: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an estimate, without NaN, which JSON can't express."""
    return {name: None if value is None or math.isnan(value) else value for name, value in estimate.items()}


def _correct(segments: Segments, metrics: Sequence[str]) -> None:
    """Correct the p-values of each metric for the number of models and segments together."""
    for metric_key in metrics:
        tested = [
            estimates[metric_key]
            for segment in segments.values()
            for estimates in segment["models"].values()
            if metric_key in estimates and estimates[metric_key]["p"] is not None
        ]
        if not tested:
            continue
        for record, p_holm in zip(tested, holm([record["p"] for record in tested]), strict=True):
            record["p_holm"] = float(p_holm)


def remove_significance(segments: Segments) -> None:
    """Remove p-values: differences may be due to the training data."""
    for segment in segments.values():
        for estimates in segment["models"].values():
            for record in estimates.values():
                record["p"] = None
                record["p_holm"] = None


def order_sentences(document: Mapping[str, Any], describe: Callable[[Mapping[str, Any]], str]) -> list[str]:
    """Say in which segments the order of the models differs from that over all users.

    Args:
        document: The comparison, with its segments.
        describe: Describes the difference of a model, `{"label": ..., "metrics": ...}`, from the reference.
    """
    metric = document["metric"]
    overall = [model["label"] for model in document["compared"]]
    sentences = []
    n_ordered = 0
    for key, segment in document["segments"].items():
        values = {
            label: estimates[metric]["value"] for label, estimates in segment["models"].items() if metric in estimates
        }
        if len(values) < len(overall):
            continue
        n_ordered += 1
        sign = MetricKey.parse(metric).sign
        # Stable: models of equal value stay in the order over all users.
        order = sorted(overall, key=lambda label: -sign * values[label])
        if order == overall:
            continue
        listed = ", ".join(f"{label} {values[label]:.4f}" for label in order)
        sentence = (
            f"In {key} ({segment['n_users']:,} users) the order of models changes: {listed} in {metric}, but "
            f"{', '.join(overall)} over all users."
        )
        for label in _overtaking(order, overall, document["reference"]):
            sentence += f" {describe({'label': label, 'metrics': segment['models'][label]})} there."
        sentences.append(sentence)
    if n_ordered and not sentences:
        subject = "the only segment" if n_ordered == 1 else f"all {n_ordered} segments"
        sentences.append(f"The order of models by {metric} is the same in {subject}.")
    return sentences


def _overtaking(order: Sequence[str], overall: Sequence[str], reference: str) -> list[str]:
    """The models that are on the other side of the reference than over all users; only such differences are tested."""
    return [
        label
        for label in overall
        if label != reference
        and (order.index(label) < order.index(reference)) != (overall.index(label) < overall.index(reference))
    ]
