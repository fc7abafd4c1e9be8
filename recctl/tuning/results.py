"""What a search leaves in its run: trials.parquet, best.yaml, importances, figures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from recctl import atomic, experiment
from recctl.config import LoadedConfig, to_yaml
from recctl.config.loading import with_values
from recctl.experiment.data import resolve_config
from recctl.models.base.search_space import Point, Space
from recctl.runs import Run
from recctl.tuning.study import Study, outcome_of

# Importances of fewer trials say nothing.
_ENOUGH = 10


def with_point(loaded: LoadedConfig, space: Space, point: Point) -> LoadedConfig:
    """A config with the values of a point.

    Raises:
        ConfigError: They are no values it may have, or not together.
    """
    values: dict[tuple[str | int, ...], Any] = {
        dimension.path: point[dimension.name] for dimension in space.dimensions if dimension.name in point
    }
    return with_values(loaded, values, experiment.CHECKS)


def table(study: Study, monitors: list[str]) -> pd.DataFrame:
    """A row for each trial that is over: number, state, values, what it tried, everything measured, seconds."""
    front = set(study.pareto())
    return pd.DataFrame([_row(study, trial, monitors, front) for trial in study.over()])


def _row(study: Study, trial: FrozenTrial, monitors: list[str], front: set[int]) -> dict[str, Any]:
    noted = outcome_of(trial)
    point = {
        # A column has one type: what is neither number nor text nor nothing is written as text.
        name: value if value is None or isinstance(value, bool | int | float | str) else str(value)
        for name, value in study.point_of(trial).items()
    }
    values = dict(zip(monitors, noted.get("values") or [None] * len(monitors), strict=True))
    row = {"number": trial.number, "state": noted.get("state", trial.state.name.lower()), **values, **point}
    row |= {key: value for key, value in noted.get("metrics", {}).items() if key not in values}
    row |= {key: noted.get(key) for key in ("chosen_epoch", "fit_seconds", "evaluate_seconds", "error")}
    return row | ({"pareto": trial.number in front} if len(monitors) > 1 else {})


def write(run: Run, study: Study, loaded: LoadedConfig, monitors: list[str]) -> None:
    """Write what there is so far: a search that is broken off has a best trial too."""
    trials = table(study, monitors)
    if not len(trials):
        return
    sink = io.BytesIO()
    trials.to_parquet(sink, index=False)
    run.save_file("trials.parquet", sink.getvalue())
    best = study.best()
    if best is None:
        return
    values = ", ".join(f"{key} = {value:.6g}" for key, value in zip(monitors, best.values, strict=True))
    head = f"# The best of {len(trials)} trials of {run.id}, number {best.number}: {values} on validation\n"
    config = resolve_config(with_point(loaded, study.space, study.point_of(best)))
    for name in ("tuning", "engine"):
        config.pop(name, None)
    run.save_file("best.yaml", (head + to_yaml(config)).encode())


def importances(study: Study) -> dict[str, float]:
    """What share each dimension has in how well trials do, by PED-ANOVA (Watanabe et al., 2023); empty if too few."""
    complete = study.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(complete) < _ENOUGH or len(study.space.dimensions) < 2:
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(
                study.study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=None if len(study.signs) == 1 else lambda trial: trial.values[0],
            )
    except (ValueError, RuntimeError):  # all trials alike
        return {}
    return {name: round(float(value), 4) for name, value in found.items()}


def write_figures(folder: Path, study: Study, monitor: str) -> list[str]:
    """Draw the history of the search, slices, parallel coordinates and importances, a page each that works offline.

    Returns:
        The names of the pages.
    """
    from optuna import visualization

    complete = study.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(complete) < 2:
        return []
    several = len(study.signs) > 1
    target = (lambda trial: trial.values[0]) if several else None
    plots: dict[str, Callable[[], Any]] = {
        "history": lambda: visualization.plot_optimization_history(study.study, target=target, target_name=monitor),
        "slices": lambda: visualization.plot_slice(study.study, target=target, target_name=monitor),
        "parallel": lambda: visualization.plot_parallel_coordinate(study.study, target=target, target_name=monitor),
    }
    if several:
        plots["pareto"] = lambda: visualization.plot_pareto_front(study.study)
    written = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, plot in plots.items():
            _write_page(folder / f"{name}.html", plot())
            written.append(f"{name}.html")
    return written


def _write_page(path: Path, figure: Any) -> None:
    from plotly.offline import get_plotlyjs

    script = path.with_name("plotly.min.js")
    if not script.exists():
        atomic.write_bytes(script, get_plotlyjs().encode())
    atomic.write_bytes(path, figure.to_html(include_plotlyjs="directory").encode())
