"""The life of a run: prepare its data, create it, record how it ends."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any

from recctl import progress, urls
from recctl.config import Config, LoadedConfig
from recctl.config.schema import source_name
from recctl.data.splitting import Split
from recctl.engines import available_memory, peak_memory
from recctl.errors import ArtifactError, DataError, RecctlError, TrainingError
from recctl.experiment.data import Prepared, SplitFunction, prepare, resolve_config
from recctl.experiment.run_config import LOCATIONS, file_locations, require_files
from recctl.experiment.segments import AttributeTables
from recctl.experiment.titles import titles_to_store
from recctl.experiment.trackers import begin_tracking, enclosing, end_tracking, make_trackers
from recctl.kernels import loading
from recctl.runs import Run, RunStore
from recctl.runs.store import run_hashes
from recctl.tracking import Status, Tracker

_MAX_LABEL = 60  # characters of a run id between its time and its random end


def prepare_for(
    loaded: LoadedConfig,
    run: Run | None = None,
    make_split: SplitFunction | None = None,
    *,
    models: Iterable[str] | None = None,
    evaluates: bool = True,
) -> tuple[Prepared, float]:
    """Read and split the data of a config, and load the kernels for the work that follows.

    Args:
        loaded: The config.
        run: An existing run whose split is used, and whose data must be the same.
        make_split: Without a run: makes the split, in place of the one that the config describes.
        models: Names of the models that will be fitted; None for that of the config.
        evaluates: Whether they will be evaluated.

    Returns:
        The data set with its split, and the seconds it took.

    Raises:
        DataError: The data or the split differ from those of the run.
    """
    if models is None:
        models = [loaded.config.model.name]
    # Before the clock starts: loading compiled kernels is spent once per process, not per run.
    loading.load(loading.kernels_of_training(models, evaluates=evaluates))
    start_time = perf_counter()
    if run is None:
        # Before the data are read, which may take minutes.
        AttributeTables(loaded).require_files()
        prepared = prepare(loaded, make_split)
        if prepared.tables is not None:
            # Before a model is fitted, which may take hours.
            prepared.tables.require_groups(prepared.dataset)
    else:
        require_files(run, loaded)
        data_hash, _ = run_hashes(run)
        prepared = prepare(loaded, _stored_split(run), data_hash)
    return prepared, round(perf_counter() - start_time, 4)


def _stored_split(run: Run) -> Split:
    recorded = run.metadata.get("split", {})
    split = Split(run.split_parts(), recorded.get("strategy", ""), recorded.get("options", {}))
    # The hash guards against an edited or damaged split.npz, which would silently mix train and test.
    if split.hash() != recorded.get("hash"):
        raise DataError(f"{run.id}: split.npz is not the split that the run was created with (its hash differs)")
    return split


def begin(
    store: RunStore,
    loaded: LoadedConfig,
    kind: str,
    prepared: Prepared,
    seconds: float,
    parent: Run | None = None,
    **metadata: Any,
) -> Run:
    """Create a run and record its config, data and split; notes on the data are logged and displayed.

    Args:
        store: The runs directory.
        loaded: The config.
        kind: "train", "fit", "split", "tune" or "lists".
        prepared: The data set and its split.
        seconds: The time that preparing them took.
        parent: The run that this one belongs to.
        **metadata: Other entries of metadata.json.
    """
    metadata |= prepared.record
    metadata["config"] = loaded.origin
    metadata["parent_run"] = parent.id if parent else None
    metadata["timings"] = {"prepare": seconds}
    # Recorded at the start: after a failure, `diagnose` compares it with the peak.
    metadata["memory"] = {"available_bytes": available_memory()}
    run_label = _label(kind, loaded.config)
    config_values = resolve_config(loaded)
    metadata[LOCATIONS] = file_locations(config_values, store.root)
    titles = titles_to_store(loaded, prepared.dataset.item_vocabulary)
    metadata["titles"] = titles.record
    run = Run.create(
        store.root, run_label, kind, config_values, prepared.split.parts, metadata, extra_files=titles.files
    )
    for note in [*prepared.notes, *titles.notes]:
        run.log(f"note: {note}")
        progress.notice(note)
    return run


def _label(kind: str, config: Config) -> str:
    """The middle of a run id: model and data, such as `ease-movielens-100k` or `tune-als-ratings`."""
    source = source_name(config.data.source)
    if kind in ("train", "fit"):
        subject = config.model.name
    elif kind == "split":
        subject = "split"
    elif kind == "lists":
        subject = f"lists-{config.models[0].name}"
    elif config.models:
        subject = f"{kind}-models"
    else:
        subject = f"{kind}-{config.model.name}"
    run_label = f"{subject}-{source.split('.')[0] or source}"
    # Run ids are names of directories on every system.
    return re.sub(r"[^A-Za-z0-9._-]+", "-", run_label)[:_MAX_LABEL]


@contextmanager
def recording(
    run: Run, config: Config | None = None, *, resumed: bool = False, properties: Mapping[str, str] | None = None
) -> Iterator[list[Tracker]]:
    """Record in the run's metadata, its log and its trackers how the block ends.

    Args:
        run: A run that has begun.
        config: Names the trackers; no run is tracked if None.
        resumed: Whether the run was begun before.
        properties: Facts for the trackers beside those of every run, such as its label in a comparison.

    Yields:
        The trackers, to be passed to the training as callbacks.
    """
    trackers = make_trackers(run, config) if config else []
    try:
        begin_tracking(trackers, run, resumed=resumed, properties=properties)
        with enclosing(trackers):
            yield trackers
        # Trackers end before the status is recorded: a run that is complete has reported everything.
        end_tracking(trackers, run, "complete")
        locations = {tracker.name: tracker.location for tracker in trackers if tracker.location}
        if locations:
            run.metadata["tracking"] = locations
        run.log("complete")
        _end(run, "complete")
    except KeyboardInterrupt:
        # The status first: a tracker that hangs, or is interrupted again, must not delay it.
        _end_early(run, "interrupted", "interrupted")
        _end_tracking_early(trackers, run, "interrupted")
        progress.notice(f"interrupted; resume with: {resume_command(run)}")
        raise
    except BaseException as error:  # also SystemExit: the run must not stay "running"
        message = str(error) if isinstance(error, RecctlError) else f"{type(error).__name__}: {error}"
        message = urls.hide(message)
        _end_early(run, "failed", urls.hide(traceback.format_exc()), message)
        _end_tracking_early(trackers, run, "failed")
        if isinstance(error, TrainingError | MemoryError):
            progress.notice(f"for possible causes: recctl diagnose {run.id}")
        if isinstance(error, OSError | ArtifactError):
            progress.notice(f"once this is fixed, resume with: {resume_command(run)}")
        raise


def _end_early(run: Run, status: Status, log_text: str, error: str | None = None) -> None:
    # On a full disk nothing can be recorded. The run is then shown as died, because its process is gone.
    with suppress(OSError):
        run.log(log_text)
    with suppress(OSError):
        _end(run, status, error)


def _end_tracking_early(trackers: Sequence[Tracker], run: Run, status: Status) -> None:
    # What made the run fail, such as a full disk, may also prevent this.
    with suppress(OSError, RecctlError):
        end_tracking(trackers, run, status)


def _end(run: Run, status: Status, error: str | None = None) -> None:
    run.metadata.setdefault("memory", {})["peak_bytes"] = peak_memory()
    run.end(status, error)


def next_step(run: Run) -> str | None:
    """Say what to do about a run that did not complete; None if there is nothing to do."""
    if run.status not in ("died", "interrupted", "failed"):
        return None
    search = run.metadata.get("tuning", {})
    if run.status == "failed" and search.get("all_failed"):
        # Resumed, it would have the same trials.
        return f"for possible causes: recctl diagnose {run.id}"
    if run.status == "failed" and search.get("none_picked"):
        return f"choose one of its trials with: {resume_command(run)} --pick CONDITION"
    return f"resume with: {resume_command(run)}"


def resume_command(run: Run) -> str:
    """Return the command that resumes an interrupted run."""
    run_kind = run.metadata.get("kind")
    command = run_kind if run_kind in ("tune", "compare") else "train"
    return f"recctl {command} --resume {run.id}"
