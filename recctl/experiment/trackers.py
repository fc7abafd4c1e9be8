"""Which other programs are told of a run, and of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from recctl import progress
from recctl.config import Config
from recctl.errors import ConfigError
from recctl.runs import Run
from recctl.tracking import MLflowLogger, Status, TensorBoardLogger, Tracker

# Of a config: what says nothing of the model that is fitted.
_LEFT_OUT = {"tracking", "tuning", "engine", "models"}


def require_trackers(config: Config) -> None:
    """Refuse trackers that can't work here, before anything is read.

    Raises:
        ConfigError: A package is not installed.
    """
    list(_trackers(config, Path()))


def trackers_of(run: Run, config: Config) -> list[Tracker]:
    """The trackers that a config wants, for a run that exists; without those that can't work here, which is told."""
    try:
        return list(_trackers(config, run.path))
    except ConfigError as error:
        progress.notice(f"{error}; the run goes on without it")
        return []


def _trackers(config: Config, folder: Path) -> Iterator[Tracker]:
    section = config.tracking
    if section is None:
        return
    if section.mlflow is not None:
        yield MLflowLogger(section.mlflow.uri, section.mlflow.experiment)
    if section.tensorboard:
        kept = section.tensorboard
        yield TensorBoardLogger(folder / "tensorboard" if kept is True else Path(kept) / folder.name)


def begin_tracking(trackers: Sequence[Tracker], run: Run, config: Config, resumed: bool) -> None:
    """Tell of a run that begins, or goes on."""
    params = dict(_flat("", config.model_dump(exclude=_LEFT_OUT))) if trackers else {}
    for tracker in trackers:
        tracker.begin(run.id, params, {"recctl.run_id": run.id}, resumed=resumed)


def end_tracking(trackers: Sequence[Tracker], run: Run, status: Status) -> None:
    """Tell how a run ended: the metrics of its parts, and the seconds of its stages."""
    if not trackers:
        return
    figures = {f"{part}/{key}": value for part, values in run.metrics().items() for key, value in values.items()}
    figures |= {f"seconds/{stage}": seconds for stage, seconds in run.metadata["timings"].items()}
    step = run.metadata.get("training", {}).get("best_epoch", 0)
    for tracker in trackers:
        tracker.log(figures, step)
        tracker.end(status)


def _flat(name: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, dict):
            yield from _flat(path, value)
        else:
            yield path, value
