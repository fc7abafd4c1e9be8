"""Report runs to the experiment trackers that a config names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from recctl import progress, urls
from recctl.config import Config, flatten
from recctl.errors import ConfigError
from recctl.runs import Run
from recctl.tracking import MLflowLogger, Status, TensorBoardLogger, Tracker

# Sections of a config that do not describe the fitted model.
_UNTRACKED_SECTIONS = {"tracking", "tuning", "engine", "models"}


def require_trackers(config: Config) -> None:
    """Check that the trackers of a config can be used.

    Raises:
        ConfigError: A package is not installed.
    """
    list(_make_trackers(config, Path()))


def make_trackers(run: Run, config: Config) -> list[Tracker]:
    """Make the trackers of a config for an existing run; without them, and with a notice, if one can't be used here."""
    try:
        return list(_make_trackers(config, run.path))
    except ConfigError as error:
        progress.notice(f"{error}; the run continues without tracking")
        return []


def begin_tracking(trackers: Sequence[Tracker], run: Run, config: Config, resumed: bool) -> None:
    """Report that a run begins or is resumed."""
    if not trackers:
        return
    params = flatten(config.model_dump(exclude=_UNTRACKED_SECTIONS))
    params = {name: urls.redact(value) if isinstance(value, str) else value for name, value in params.items()}
    for tracker in trackers:
        tracker.begin(run.id, params, {"recctl.run_id": run.id}, resumed=resumed)


def end_tracking(trackers: Sequence[Tracker], run: Run, status: Status) -> None:
    """Report the metrics of each part, the seconds of each stage, and the final status of a run."""
    if not trackers:
        return
    values = {
        f"{split_part}/{metric_key}": value
        for split_part, metrics in run.metrics().items()
        for metric_key, value in metrics.items()
    }
    for stage, seconds in run.metadata["timings"].items():
        values[f"seconds/{stage}"] = seconds
    step = run.metadata.get("training", {}).get("best_epoch", 0)
    for tracker in trackers:
        tracker.log(values, step)
        tracker.end(status)


def _make_trackers(config: Config, run_folder: Path) -> Iterator[Tracker]:
    section = config.tracking
    if section is None:
        return
    if section.mlflow is not None:
        yield MLflowLogger(section.mlflow.uri, section.mlflow.experiment)
    if section.tensorboard is True:
        yield TensorBoardLogger(run_folder / "tensorboard")
    elif section.tensorboard:
        yield TensorBoardLogger(Path(section.tensorboard) / run_folder.name)
