"""Differences of models within segments, and where the order of models changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from recctl.errors import DataError
from recctl.evaluation.paired_comparison import PairedComparison, compare_paired
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

    Args:
        runs: The figures of the runs of each model, by label.
        reference: The model that the others are compared with.
        metrics: The metrics to compare; those that a segment does not have are left out there.
        options: How models are compared.
        average: Averages the values of each user over several runs.
    """
    keys, _ = shared_segments(runs)
    segments: Segments = {}
    for key in keys:
        first = next(iter(runs.values()))[0].record.segments[key]
        segments[key] = {"n_users": 0, "definition": first["definition"], "models": {}}
        if "range" in first:
            segments[key]["range"] = first["range"]
        comparison = _compare_segment(key, runs, reference, metrics, options, average)
        if comparison is None:
            continue
        segments[key]["n_users"] = comparison.n_users
        for label, some_runs in runs.items():
            segments[key]["models"][label] = {
                metric_key: _record(asdict(estimates[label]), key, metric_key, some_runs)
                for metric_key, estimates in comparison.estimates.items()
            }
    _correct(segments, metrics)
    return segments


def _compare_segment(
    key: str,
    runs: Mapping[str, Sequence[MeasuredRun]],
    reference: str,
    metrics: Sequence[str],
    options: ComparisonOptions,
    average: Callable[[list[pd.DataFrame]], pd.DataFrame],
) -> PairedComparison | None:
    """The comparison within one segment; None if no user was evaluated for all models."""
    tables = {}
    for label, some_runs in runs.items():
        # A fold may have no user in a segment that others have.
        of_runs = [measured.segment_tables[key] for measured in some_runs if key in measured.segment_tables]
        if not of_runs:
            return None
        tables[label] = average(of_runs)
    measured_keys = [metric_key for metric_key in metrics if all(metric_key in table for table in tables.values())]
    try:
        return compare_paired(
            tables,
            reference,
            measured_keys,
            seed=options.seed,
            confidence=options.confidence,
            test=options.test,
            n_resamples=options.n_resamples,
        )
    except DataError:  # no user in common
        return None


def _record(estimate: dict[str, Any], key: str, metric_key: str, runs: Sequence[MeasuredRun]) -> dict[str, Any]:
    record = {name: None if value is None or math.isnan(value) else value for name, value in estimate.items()}
    figures = [measured.record.segments[key]["metrics"].get(metric_key) for measured in runs]
    values = [figure["value"] for figure in figures if figure is not None]
    record["spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return record


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
