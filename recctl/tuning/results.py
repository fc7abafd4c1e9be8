"""The files that a search writes into its run, trials.parquet and best.yaml; and parameter importances."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from recctl import experiment
from recctl.config import LoadedConfig, to_yaml
from recctl.config.loading import with_values
from recctl.experiment.data import resolve_config
from recctl.models.base.search_space import Point, Space, is_same
from recctl.runs import Run, layout
from recctl.tuning import spaces
from recctl.tuning.outcomes import outcome_of
from recctl.tuning.study import Study

# Importances of fewer trials are mostly noise.
_MIN_TRIALS_FOR_IMPORTANCES = 10


def with_point(loaded: LoadedConfig, space: Space, point: Point) -> LoadedConfig:
    """A config with the values of a point.

    Raises:
        ConfigError: A value is not allowed, or the values contradict each other.
    """
    # Values that the config has are left as they are: of the config's own point nothing is set.
    current = spaces.config_values(loaded.config, space)
    values: dict[tuple[str | int, ...], Any] = {
        dimension.path: point[dimension.name]
        for dimension in space.dimensions
        if dimension.name in point and not is_same(point[dimension.name], current[dimension.name])
    }
    return with_values(loaded, values, experiment.CHECKS)


def table(study: Study, monitors: list[str]) -> pd.DataFrame:
    """One row a finished trial: number, state, monitored metrics, point, all metrics, seconds and error."""
    pareto_front = set(study.pareto())
    return pd.DataFrame([_row(study, trial, monitors, pareto_front) for trial in study.finished_trials()])


def _row(study: Study, trial: FrozenTrial, monitors: list[str], pareto_front: set[int]) -> dict[str, Any]:
    outcome = outcome_of(trial)
    # A baseline outside the search space has metrics, but no value in Optuna's storage.
    measured: Sequence[float | None] = outcome.values or [outcome.metrics.get(monitor) for monitor in monitors]
    values = dict(zip(monitors, measured, strict=True))
    table_row: dict[str, Any] = {"number": trial.number, "state": outcome.state}
    table_row |= values
    table_row |= {dimension_name: _cell(value) for dimension_name, value in study.point_of(trial).items()}
    table_row |= {metric_key: value for metric_key, value in outcome.metrics.items() if metric_key not in values}
    table_row |= {
        "chosen_epoch": outcome.best_epoch,  # the name of earlier versions
        "fit_seconds": outcome.fit_seconds,
        "evaluate_seconds": outcome.evaluate_seconds,
        "error": outcome.error,
    }
    if outcome.windows:
        table_row["windows"] = [window_metrics[monitors[0]] for window_metrics in outcome.windows]
    if study.finished_baseline() is not None:
        table_row["in_space"] = trial.number != 0
    if len(monitors) > 1:
        table_row["pareto"] = trial.number in pareto_front
    return table_row


def _cell(value: Any) -> Any:
    """A value of a point as Parquet can store it: a list becomes text, because a column has one type."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def write(run: Run, study: Study, loaded: LoadedConfig, monitors: list[str]) -> None:
    """Write trials.parquet and best.yaml from the finished trials; an interrupted search has a best trial too."""
    trials = table(study, monitors)
    if not len(trials):
        return
    parquet_buffer = io.BytesIO()
    trials.to_parquet(parquet_buffer, index=False)
    run.save_file(layout.TRIALS, parquet_buffer.getvalue())
    best_trial = study.best()
    if best_trial is None:
        return
    values = ", ".join(
        f"{metric_key} = {value:.6g}" for metric_key, value in zip(monitors, best_trial.values, strict=True)
    )
    header_line = f"# Best of {len(trials)} trials of {run.id}: trial {best_trial.number}, {values} on validation\n"
    config = resolve_config(with_point(loaded, study.space, study.point_of(best_trial)))
    for section_name in ("tuning", "engine"):
        config.pop(section_name, None)
    run.save_file(layout.BEST_CONFIG, (header_line + to_yaml(config)).encode())


def importances(study: Study, monitors: list[str]) -> dict[str, dict[str, float]]:
    """Importance of each dimension for good values of each metric, by PED-ANOVA (Watanabe et al., 2023).

    Args:
        study: The search.
        monitors: Its metrics, in the order of the study's directions.

    Returns:
        By metric and dimension, the share of the importance; empty for few trials or a single dimension, and without
        metrics that have the same value in all trials.
    """
    complete = study.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(complete) < _MIN_TRIALS_FOR_IMPORTANCES or len(study.space.dimensions) < 2:
        return {}
    return {
        metric_key: _importances_for(study, position)
        for position, metric_key in enumerate(monitors)
        if len({trial.values[position] for trial in complete}) > 1
    }


def _importances_for(study: Study, position: int) -> dict[str, float]:
    """Importance of each dimension for the metric at a position."""
    # With a target, the evaluator asks what leads to low values, whatever the direction of the study.
    sign = study.signs[position]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes the importances")
        importance = optuna.importance.get_param_importances(
            study.study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: -sign * float(trial.values[position]),
        )
    return {dimension_name: round(float(value), 4) for dimension_name, value in importance.items()}
