"""The beginning and the end of a run: what it reads, what stands in its metadata whatever happens."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from recctl import progress
from recctl.config import Config, LoadedConfig
from recctl.data.splitting import Split
from recctl.engines import available_memory, peak_memory
from recctl.errors import ArtifactError, DataError, RecctlError, TrainingError
from recctl.experiment.data import Prepared, prepare, resolve_config
from recctl.experiment.trackers import begin_tracking, end_tracking, trackers_of
from recctl.runs import Run, RunStore
from recctl.runs.store import run_hashes
from recctl.tracking import Status, Tracker


def prepare_for(loaded: LoadedConfig, run: Run | None = None) -> tuple[Prepared, float]:
    """What a config reads and splits, and the seconds it took; by the split of a run that exists, if one is given.

    Raises:
        DataError: The data or the split are not what the run was made with.
    """
    start = perf_counter()
    prepared = prepare(loaded) if run is None else prepare(loaded, _stored_split(run), run_hashes(run)[0])
    return prepared, round(perf_counter() - start, 4)


def _stored_split(run: Run) -> Split:
    recording = run.metadata.get("split", {})
    stored = Split(run.split_parts(), recording.get("strategy", ""), recording.get("options", {}))
    if stored.hash() != recording.get("hash"):
        raise DataError(f"{run.id}: split.npz is not the split that the run was made with (its hash differs)")
    return stored


def begin(
    store: RunStore,
    loaded: LoadedConfig,
    kind: str,
    prepared: Prepared,
    seconds: float,
    parent: Run | None = None,
    **facts: Any,
) -> Run:
    """A new run, with its config, split, data and other facts recorded; what is to be known of them is told."""
    config = loaded.config
    source = Path(config.data.source)
    what = {"train": config.model.name, "fit": config.model.name, "split": "split"}
    label = f"{what.get(kind, f'{kind}-{config.model.name}')}-{source.name.split('.')[0] or source.name}"
    facts |= {**prepared.record, "config": loaded.origin, "parent_run": parent.id if parent else None}
    facts |= {"timings": {"prepare": seconds}, "memory": {"available_bytes": available_memory()}}
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", label)[:60]
    run = Run.create(store.root, name, kind, resolve_config(loaded), prepared.split.parts, facts)
    for note in prepared.notes:
        run.log(f"note: {note}")
        progress.notice(note)
    return run


@contextmanager
def recording(run: Run, config: Config | None = None, *, resumed: bool = False) -> Iterator[list[Tracker]]:
    """Whatever happens in the block stands in the run's metadata and log afterwards.

    Gives the trackers that a config wants, for the training to tell them of its epochs; they are told of the rest here.
    """
    trackers = trackers_of(run, config) if config else []
    try:
        if config:
            begin_tracking(trackers, run, config, resumed)
        yield trackers
        end_tracking(trackers, run, "complete")
        run.log("complete")
        _end(run, "complete")
    except KeyboardInterrupt:
        end_tracking(trackers, run, "interrupted")
        _broken_off(run, "interrupted", "interrupted")
        progress.notice(f"interrupted; go on with: {resume_command(run)}")
        raise
    except BaseException as error:
        message = str(error) if isinstance(error, RecctlError) else f"{type(error).__name__}: {error}"
        _broken_off(run, "failed", traceback.format_exc(), message)
        end_tracking(trackers, run, "failed")
        if isinstance(error, TrainingError | MemoryError):
            progress.notice(f"what to try: recctl diagnose {run.id}")
        if isinstance(error, OSError | ArtifactError):
            progress.notice(f"when that is mended, go on with: {resume_command(run)}")
        raise


def _broken_off(run: Run, status: Status, text: str, error: str | None = None) -> None:
    """Note why, where there is room for it. Where there is none, the run is one whose process died."""
    with suppress(OSError):
        run.log(text)
    with suppress(OSError):
        _end(run, status, error)


def _end(run: Run, status: Status, error: str | None = None) -> None:
    run.metadata.setdefault("memory", {})["peak_bytes"] = peak_memory()
    run.end(status, error)


def resume_command(run: Run) -> str:
    """What goes on with a run that was broken off."""
    verb = run.metadata.get("kind")
    return f"recctl {verb if verb in ('tune', 'compare') else 'train'} --resume {run.id}"
