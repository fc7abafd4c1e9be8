"""Backtests: models are compared in several windows of time, those of `split.strategy: rolling`.

Each model is fitted in each window by a run of its own, whose config has the temporal split with the dates of the
window: it can be repeated, evaluated and reported like any other run. The data are read and encoded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from recctl.config import Config, LoadedConfig
from recctl.config.loading import with_values
from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import split_windows
from recctl.experiment.comparison.entries import ComparisonEntry
from recctl.experiment.config_checks import CHECKS
from recctl.experiment.use_of_ratings import model_of
from recctl.metrics import MetricKey

# Fewer windows say too little about how figures vary from one to the next.
MIN_WINDOWS_FOR_INTERVAL = 10

_SECTION = ("split",)


def is_backtest(entries: Sequence[ComparisonEntry]) -> bool:
    """Whether models have to be fitted in several windows."""
    return any(entry.run is None and entry.loaded.config.split.strategy == "rolling" for entry in entries)


def problems(entries: Sequence[ComparisonEntry], *, refit: bool) -> Iterator[str]:
    """Yield why a backtest of these models is not possible."""
    for entry in entries:
        if entry.run is not None:
            yield (
                f"{entry.label} is a run, which has one window; a backtest fits every model in every window: give the "
                f"config of the model instead of {entry.run.id}"
            )
    if refit:
        yield "--refit tests only the best model, once; in a backtest, write training.refit: true instead"


def plan_windows(dataset: InteractionDataset, config: Config) -> list[dict[str, Any]]:
    """The windows of a config, the oldest first, as the comparison records them.

    Returns:
        For each window, the options of its temporal split, where its parts begin and end, and their sizes.

    Raises:
        DataError: A part of a window would be empty.
    """
    options = config.split.model_dump(exclude={"strategy"})
    windows = []
    for number, split in enumerate(split_windows(dataset, **options), start=1):
        assert split.window is not None  # it is by dates
        n_train, n_validation, n_test = np.bincount(split.parts, minlength=3)[:3].tolist()
        windows.append(
            {
                "number": number,
                "split": {"strategy": "temporal", **split.options},
                **split.window.record(),
                "interactions": {"train": n_train, "validation": n_validation, "test": n_test},
            }
        )
    return windows


def config_of_window(loaded: LoadedConfig, window: Mapping[str, Any]) -> LoadedConfig:
    """The config of a model in one window: with its temporal split instead of the rolling one."""
    values: dict[tuple[str | int, ...], Any] = {_SECTION: dict(window["split"])}
    if loaded.config.backtest is not None:
        values["backtest",] = None
    if loaded.config.models:  # a file of recommendations, of which there may be one for each window
        entry = dict(loaded.given["models"][0])
        entry["recommendations"] = file_of_window(entry["recommendations"], window)
        values["models",] = [entry]
    return with_values(loaded, values, CHECKS)


def file_of_window(file: str, window: Mapping[str, Any]) -> str:
    """The file of recommendations of a window: `{window}` is its number, `{test_start}` the date of its test part."""
    return file.replace("{window}", str(window["number"])).replace("{test_start}", str(window["test_start"]))


def begins_warm(config: Config) -> bool:
    """Whether a model begins in each window from its model of the window before."""
    is_wanted = config.backtest is not None and config.backtest.warm_start
    return is_wanted and model_of(config).warm_start_parameters is not None


def describe_window(window: Mapping[str, Any]) -> str:
    """A window in words: `window 2, test 2026-09-16 until 2026-09-23`."""
    return f"window {window['number']}, test {window['test_start']} until {window['test_end']}"


# ---- results


def are_overlapping(windows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether test of a window begins before that of the one before it ends."""
    # Dates and moments of one format: the order of the texts is that of time.
    return any(later["test_start"] < earlier["test_end"] for earlier, later in pairwise(windows))


def interval_over_windows(values: Sequence[float | None], confidence: float) -> dict[str, float] | None:
    """Student's t interval of the mean over windows, for ten or more.

    It takes the windows as a sample of independent weeks; they are neither drawn at random nor independent, so it is
    rather too narrow.
    """
    known_values = [value for value in values if value is not None]
    if len(known_values) < MIN_WINDOWS_FOR_INTERVAL or len(known_values) < len(values):
        return None
    from scipy.special import stdtrit  # slow to import, and needed for backtests only

    mean = float(np.mean(known_values))
    error = float(np.std(known_values, ddof=1)) / math.sqrt(len(known_values))
    margin = float(stdtrit(len(known_values) - 1, (1 + confidence) / 2)) * error
    return {"low": mean - margin, "high": mean + margin}


def add_windows(document: dict[str, Any], windows: Sequence[Mapping[str, Any]]) -> None:
    """Add to a comparison what it says about single windows, and sentences about them.

    Args:
        document: The comparison; each metric of a model has `windows`, its estimates in each.
        windows: From `plan_windows`.
    """
    document["windows"] = [dict(window) for window in windows]
    can_have_interval = not are_overlapping(windows)
    for model in document["compared"]:
        for record in model["metrics"].values():
            values = [estimate["value"] for estimate in record["windows"]]
            differences = [estimate["difference"] for estimate in record["windows"]]
            known_values = [value for value in values if value is not None]
            record["spread"] = float(np.std(known_values, ddof=1)) if len(known_values) > 1 else None
            record["over_windows"] = None
            record["difference_over_windows"] = None
            if can_have_interval:
                record["over_windows"] = interval_over_windows(values, document["confidence"])
                record["difference_over_windows"] = interval_over_windows(differences, document["confidence"])
    for metric_key in document["compared"][0]["metrics"]:
        _count_wins(document["compared"], metric_key)
    document["words"] += list(_sentences(document))


def _count_wins(models: Sequence[dict[str, Any]], metric_key: str) -> None:
    """Add how many windows each model wins: in which its value is better than that of every other model."""
    sign = MetricKey.parse(metric_key).sign
    for model in models:
        model["metrics"][metric_key]["windows_won"] = 0
    for position in range(len(models[0]["metrics"][metric_key]["windows"])):
        values = [model["metrics"][metric_key]["windows"][position]["value"] for model in models]
        if any(value is None for value in values):
            continue
        best_value = max(sign * value for value in values)
        winners = [model for model, value in zip(models, values, strict=True) if sign * value == best_value]
        if len(winners) == 1:
            winners[0]["metrics"][metric_key]["windows_won"] += 1


def _sentences(document: Mapping[str, Any]) -> Iterator[str]:
    metric = document["metric"]
    n_windows = len(document["windows"])
    records = {model["label"]: model["metrics"][metric] for model in document["compared"]}
    wins = ", ".join(f"{label} {record['windows_won']}" for label, record in records.items())
    yield f"Of {n_windows} windows, won in {metric}: {wins}."
    claim = f"Intervals and p-values are about these {n_windows} windows and users such as theirs"
    if n_windows >= MIN_WINDOWS_FOR_INTERVAL and not are_overlapping(document["windows"]):
        for label, record in records.items():
            interval = record["difference_over_windows"]
            if interval is not None:
                yield (
                    f"Over windows, {label} differs from {document['reference']} by {record['difference']:+.4f} "
                    f"({document['confidence']:.0%} interval {interval['low']:+.4f} to {interval['high']:+.4f}, if "
                    "windows are taken as independent)."
                )
        yield f"{claim}, unless they are over windows."
        return
    reason = f"of fewer than {MIN_WINDOWS_FOR_INTERVAL} windows"
    if n_windows >= MIN_WINDOWS_FOR_INTERVAL:
        reason = "of windows whose test parts overlap"
    yield f"{claim}; no interval over windows is given {reason}."
