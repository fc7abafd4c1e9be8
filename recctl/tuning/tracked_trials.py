"""What experiment trackers record of a trial: a run of its own below that of the search."""

from __future__ import annotations

from pathlib import Path
from time import time
from typing import Any

from optuna.trial import FrozenTrial

from recctl.config import LoadedConfig, flatten
from recctl.errors import ConfigError
from recctl.experiment import tracked_run
from recctl.experiment.data import resolve_config
from recctl.models.base.search_space import Space
from recctl.runs import Run
from recctl.tracking import PartStatus, Record
from recctl.tuning import results
from recctl.tuning.outcomes import Outcome, outcome_of
from recctl.tuning.study import Study


def tracked_trial(
    run: Run, loaded: LoadedConfig, space: Space, study: Study, trial: FrozenTrial, folder: Path, label: str | None
) -> tuple[Record, list[tracked_run.Value], PartStatus, float]:
    """Describe a finished trial.

    Args:
        run: The run of the search.
        loaded: Its config.
        space: Its space.
        study: Its study.
        trial: The trial.
        folder: Folder of the trial, with the history of its epochs.
        label: The model, if the search is one over several.

    Returns:
        Its record, its values, how it ended, and when.
    """
    outcome = outcome_of(trial)
    state: PartStatus = outcome.state
    properties = {
        **tracked_run.properties(run),
        "recctl.kind": "trial",
        "recctl.parent_run": run.id,
        "recctl.trial": str(trial.number),
        "recctl.trial_state": state,
    }
    title = f"trial {trial.number}"
    if label is not None:
        properties["recctl.label"] = label
        title = f"{label}, {title}"
    if outcome.error is not None:
        properties["recctl.error"] = outcome.error
    started = time() if trial.datetime_start is None else trial.datetime_start.timestamp()
    ended = time() if trial.datetime_complete is None else trial.datetime_complete.timestamp()
    record = Record(title, _params(loaded, space, study, trial), {}, properties, started=started)
    return record, _values(outcome, folder), state, ended


def _params(loaded: LoadedConfig, space: Space, study: Study, trial: FrozenTrial) -> dict[str, Any]:
    """All hyperparameters of a trial, and what else it varies, by their paths in the config."""
    point = study.point_of(trial)
    varied = {
        ".".join(map(str, dimension.path)): point[dimension.name]
        for dimension in space.dimensions
        if dimension.name in point
    }
    try:
        config = resolve_config(results.with_point(loaded, space, point))
    except ConfigError:  # the trial failed, because its values contradict each other
        return varied
    return {**flatten(varied), **tracked_run.model_params(config["model"], config["seed"])}


def _values(outcome: Outcome, folder: Path) -> list[tracked_run.Value]:
    step = outcome.best_epoch or 0
    values = list(tracked_run.epochs(folder))
    values += [(f"validation/{metric_key}", value, step) for metric_key, value in outcome.metrics.items()]
    for position, metrics in enumerate(outcome.windows or [], start=1):
        values += [(f"windows/{metric_key}", value, position) for metric_key, value in metrics.items()]
    values.append(("seconds/fit", outcome.fit_seconds, step))
    values.append(("seconds/evaluate", outcome.evaluate_seconds, step))
    return values
