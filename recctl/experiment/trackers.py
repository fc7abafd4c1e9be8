"""Report runs to the experiment trackers that a config names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

from recctl import progress
from recctl.config import Config
from recctl.errors import ConfigError
from recctl.experiment import tracked_run
from recctl.runs import Run
from recctl.tracking import MLflowLogger, Status, TensorBoardLogger, Tracker

# Trackers of the run that is being recorded: a run that begins meanwhile, such as a model of a comparison, is a part
# of it.
_enclosing: ContextVar[Sequence[Tracker]] = ContextVar("_enclosing", default=())


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
        message = f"{error}; the run continues without tracking"
        run.log(message)
        progress.notice(message)
        return []


def begin_tracking(
    trackers: Sequence[Tracker], run: Run, *, resumed: bool, properties: Mapping[str, str] | None = None
) -> None:
    """Report that a run begins or is resumed.

    Args:
        trackers: Made for the run.
        run: The run.
        resumed: Whether it was begun before.
        properties: Tags beside those of every run, such as its label in a comparison.
    """
    if not trackers:
        return
    parents = {type(parent): parent for parent in _enclosing.get()}
    for tracker in trackers:
        record = tracked_run.record_of(run, properties, parents.get(type(tracker)))
        tracker.begin_record(record, resumed=resumed, on_failure=run.log)


@contextmanager
def enclosing(trackers: Sequence[Tracker]) -> Iterator[None]:
    """Record the runs that begin inside the block as parts of the one that these trackers record."""
    if not trackers:
        yield
        return
    token = _enclosing.set(trackers)
    try:
        yield
    finally:
        _enclosing.reset(token)


def end_tracking(trackers: Sequence[Tracker], run: Run, status: Status) -> None:
    """Report the results and the files of a run, and how it ended."""
    if not trackers:
        return
    try:
        _report_results(trackers, run)
    finally:
        for tracker in trackers:
            tracker.end(status)


def track_part(trackers: Sequence[Tracker], run: Run, properties: Mapping[str, str]) -> None:
    """Report a run that was made before as a part of the one that is recorded."""
    if not trackers:
        return
    record = tracked_run.record_of(run, properties)
    # The tag that identifies a run stays that of its own record, which a resumed run continues.
    record = replace(record, tags={"recctl.compared_run": run.id})
    ended = tracked_run.end_time(run)
    for tracker in trackers:
        tracker.log_part(record, tracked_run.results(run), "complete", ended)


def _report_results(trackers: Sequence[Tracker], run: Run) -> None:
    steps: dict[int, dict[str, float | None]] = defaultdict(dict)
    for name, value, step in tracked_run.results(run):
        steps[step][name] = value
    properties = tracked_run.final_properties(run)
    for tracker in trackers:
        for step, values in steps.items():
            tracker.log(values, step)
        tracker.add_properties(properties)
        for path, folder in tracked_run.files(run):
            tracker.log_file(path, folder)


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
