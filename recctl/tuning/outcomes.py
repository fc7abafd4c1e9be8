"""The outcome of a trial, and how Optuna's storage holds it: one user attribute for each figure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from recctl.metrics import MetricKey
from recctl.models.base.search_space import Point

State = Literal["complete", "pruned", "failed"]

# User attributes of a trial that are no metrics.
OWNER_KEY = "owner"
PROCESS_KEY = "process"
HEARTBEAT_KEY = "alive"
_BASELINE_KEY = "baseline"
_NOT_METRICS = frozenset(
    {OWNER_KEY, PROCESS_KEY, HEARTBEAT_KEY, _BASELINE_KEY, "fit_seconds", "evaluate_seconds", "best_epoch", "error"}
)
_BASELINE_REASON = "the config's own values lie outside the search space: measured for comparison, never the best"
_STATES: dict[TrialState, State] = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}
# Versions before 0.3 stored the whole outcome as one attribute.
_OUTCOME_KEY = "recctl"


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Attributes:
        state: complete, pruned, or failed.
        values: The monitored metrics, in order.
        metrics: All metrics on validation, by key.
        fit_seconds: Duration of the fit.
        evaluate_seconds: Duration of the evaluation.
        best_epoch: Best epoch of a model trained in epochs.
        error: Reason of a failure.
        windows: The metrics on validation of each window of a rolling split, of which `metrics` are the means.
    """

    state: State
    values: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    fit_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    best_epoch: int | None = None
    error: str | None = None
    windows: list[dict[str, float]] | None = None

    def as_attributes(self) -> dict[str, Any]:
        """The figures as user attributes of an Optuna trial, which has the state and the values itself."""
        attributes: dict[str, Any] = {"fit_seconds": self.fit_seconds, "evaluate_seconds": self.evaluate_seconds}
        if self.best_epoch is not None:
            attributes["best_epoch"] = self.best_epoch
        if self.error is not None:
            attributes["error"] = self.error
        for metric_key, value in self.metrics.items():
            attributes[metric_key] = _as_json(value)
        for number, window_metrics in enumerate(self.windows or [], start=1):
            for metric_key, value in window_metrics.items():
                attributes[f"{_window_prefix(number)}{metric_key}"] = _as_json(value)
        return attributes


def outcome_of(trial: FrozenTrial) -> Outcome:
    """The outcome of a finished trial, in the form of any version."""
    attributes = trial.user_attrs
    if _OUTCOME_KEY in attributes:
        return _of_earlier_version(trial, attributes[_OUTCOME_KEY])
    error = attributes.get("error")
    state = _STATES.get(trial.state, "failed")
    if baseline_of(attributes) is not None and error is None:
        state = "complete"
    times_and_epoch = {
        "fit_seconds": attributes.get("fit_seconds", 0.0),
        "evaluate_seconds": attributes.get("evaluate_seconds", 0.0),
        "best_epoch": attributes.get("best_epoch"),
    }
    if state != "complete":
        # A trial may have figures of an attempt that was interrupted.
        return Outcome(state, error=error, **times_and_epoch)
    return Outcome(
        state,
        values=list(trial.values or []),
        metrics=_metrics(attributes),
        windows=_windows(attributes),
        **times_and_epoch,
    )


def _of_earlier_version(trial: FrozenTrial, stored: Mapping[str, Any]) -> Outcome:
    return Outcome(
        state=stored.get("state", _STATES.get(trial.state, "failed")),
        values=stored.get("values", []),
        metrics=stored.get("metrics", {}),
        fit_seconds=stored.get("fit_seconds", 0.0),
        evaluate_seconds=stored.get("evaluate_seconds", 0.0),
        best_epoch=stored.get("chosen_epoch"),
        error=stored.get("error"),
        windows=stored.get("windows"),
    )


def _metrics(attributes: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The metrics among user attributes, in which users of Optuna may have put others."""
    metrics = {}
    for name, value in attributes.items():
        metric_key = name.removeprefix(prefix)
        is_number = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        if is_number and name.startswith(prefix) and "/" not in metric_key and metric_key not in _NOT_METRICS:
            metrics[metric_key] = math.nan if value is None else float(value)
    # Databases return attributes in any order.
    return dict(sorted(metrics.items(), key=_by_name_and_cutoff))


def _by_name_and_cutoff(item: tuple[str, float]) -> tuple[str, int, bool]:
    key = MetricKey.parse(item[0])
    return key.name, key.k or 0, key.sampled


def _windows(attributes: Mapping[str, Any]) -> list[dict[str, float]] | None:
    windows: list[dict[str, float]] = []
    while metrics := _metrics(attributes, _window_prefix(len(windows) + 1)):
        windows.append(metrics)
    return windows or None


def _window_prefix(number: int) -> str:
    return f"window {number}/"


def _as_json(value: float) -> float | None:
    """A figure as JSON can hold it: Optuna's tools in a browser can't read NaN."""
    return None if math.isnan(value) else value


# ---- the baseline: trial 0, if the config's own values lie outside the search space


def baseline_attributes(point: Point) -> dict[str, Any]:
    """The values of a baseline as user attributes. The last one marks the trial as a baseline."""
    values = {f"{_BASELINE_KEY}/{name}": value for name, value in point.items()}
    return values | {_BASELINE_KEY: _BASELINE_REASON}


def baseline_of(attributes: Mapping[str, Any]) -> Point | None:
    """The values of a baseline, in the form of any version; None for any other trial."""
    stored = attributes.get(_BASELINE_KEY)
    if stored is None:
        return None
    if isinstance(stored, dict):  # a version before 0.3
        return stored
    prefix = f"{_BASELINE_KEY}/"
    return {name.removeprefix(prefix): value for name, value in attributes.items() if name.startswith(prefix)}
