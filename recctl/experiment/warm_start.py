"""Warm starts: the run whose model a training begins from (`training.warm_start`), and whether it may."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl import progress
from recctl.config import Config, LoadedConfig
from recctl.config.loading import with_values
from recctl.data.dataset import InteractionDataset
from recctl.errors import ArtifactError, ConfigError, DataError
from recctl.experiment.config_checks import CHECKS
from recctl.experiment.data import Prepared
from recctl.experiment.lifecycle import begin
from recctl.models.base import Recommender
from recctl.models.base.warm_start import (
    FittedPairs,
    fitted_pairs,
    require_same_kind,
    require_shared_ids,
    shared_rows,
)
from recctl.models.registry import load_model, make_model
from recctl.runs import Run, RunStore, layout

_KEY = ("training", "warm_start")


@dataclass(frozen=True, eq=False)
class WarmStart:
    """The model that a training begins from.

    Attributes:
        run: Its run.
        model_entry: The entry of this version in the run's metadata.
        model: The model.
    """

    run: Run
    model_entry: dict[str, Any]
    model: Recommender

    def record(self, train: InteractionDataset) -> dict[str, Any]:
        """The entry of metadata.json: what identifies the model, and how much of the training data it knows."""
        users = shared_rows(train.user_vocabulary, self.model.user_vocabulary)
        items = shared_rows(train.item_vocabulary, self.model.item_vocabulary)
        # Of the model itself and, if it began from another one, of all before it.
        inherited: dict[str, Any] = self.run.metadata.get(layout.WARM_START) or {}
        n_fitted_again = fitted_pairs(self.model, train).n_fitted
        return {
            "run": self.run.id,
            "directory": str(self.run.path.resolve().parent),
            "version": self.model_entry["version"],
            "sha256": self.model_entry["sha256"],
            "fitted_on": self.model_entry["fitted_on"],
            "last_timestamp": self.model_entry.get("last_timestamp"),
            "users": {"known": len(users.new), "new": train.n_users - len(users.new)},
            "items": {"known": len(items.new), "new": train.n_items - len(items.new)},
            "pairs_not_in_train": self.model.seen.nnz - n_fitted_again + inherited.get("pairs_not_in_train", 0),
        }


def find_warm_start(loaded: LoadedConfig, store: RunStore) -> tuple[LoadedConfig, WarmStart | None]:
    """Find the run that a config's training begins from.

    Returns:
        The config with the id of this run in place of an alias, `latest` or a relative path, which may mean another
        run later; and the model. None if training begins from scratch.

    Raises:
        ArtifactError: There is no such run, or it has no model.
        ConfigError: It has another model, or one of another size.
    """
    reference = loaded.config.training.warm_start
    if reference is None:
        return loaded, None
    try:
        run = store.resolve_model(reference)
        model_entry = run.model_entry()
        model = load_model(run.path / model_entry["file"], model_entry["sha256"])
    except ArtifactError as error:
        raise ArtifactError(
            f"training.warm_start: {error}; name another run: --warm-start RUN, or begin from scratch: "
            "--set training.warm_start=null"
        ) from None
    _require_same_kind(loaded.config, run, model)
    is_stored_here = run.path.resolve().parent == store.root.resolve()
    lasting_reference = run.id if is_stored_here else str(run.path.resolve())
    return with_values(loaded, {_KEY: lasting_reference}, CHECKS), WarmStart(run, model_entry, model)


def describe_record(record: dict[str, Any]) -> str:
    """Describe an entry of metadata.json in a line: run, version, and the users and items that the model knew."""
    known = [
        f"{record[side]['known']:,} of {record[side]['known'] + record[side]['new']:,} {side}"
        for side in ("users", "items")
    ]
    return f"{record['run']} v{record['version']} ({record['fitted_on']}), which knows {' and '.join(known)}"


def refuse_warm_start(loaded: LoadedConfig, command: str) -> None:
    """Refuse `training.warm_start` for a command that fits several models, each from scratch.

    Raises:
        ConfigError: The config has it.
    """
    if loaded.config.training.warm_start is not None:
        raise ConfigError(
            f"{loaded.origin}: training.warm_start: {command} fits each model from scratch, so that no figure depends "
            "on another run; remove it, or --set training.warm_start=null"
        )


def require_unseen(warm_start: WarmStart, prepared: Prepared, store: RunStore) -> None:
    """Check that the model, and those that it began from in turn, were fitted on no held-out pair.

    Pairs that are in train as well do not count, nor do those of models that were fitted on older interactions only:
    they are users who come back to an item.

    Raises:
        DataError: Another pair is held out that a model was fitted on.
    """
    train = prepared.split.train(prepared.dataset)
    require_shared_ids(warm_start.model, train.user_vocabulary, train.item_vocabulary)
    for ancestor in _lineage(warm_start, store):
        leaks = []
        for part in ("validation", "test"):
            held_out: InteractionDataset = getattr(prepared.split, part)(prepared.dataset)
            if not len(held_out) or _is_newer(held_out, ancestor.model_entry.get("last_timestamp")):
                continue
            pairs = fitted_pairs(ancestor.model, held_out, train)
            if pairs.n_fitted:
                leaks.append((part, pairs))
        if leaks:
            raise DataError(_leak_message(warm_start, ancestor, leaks))


def _lineage(warm_start: WarmStart, store: RunStore) -> Iterator[WarmStart]:
    """Yield the model and, where it lacks pairs of the one that it began from, that one, and so on."""
    yield warm_start
    run = warm_start.run
    while (record := run.metadata.get(layout.WARM_START)) and record["pairs_not_in_train"]:
        try:
            ancestor = _recorded_run(record, store)
            model_entry = ancestor.model_entry(record["version"])
            model = load_model(ancestor.path / model_entry["file"], record["sha256"])
        except ArtifactError:
            progress.notice(
                f"{run.id} began from {record['run']}, which does not exist any more: whether that was fitted on "
                "held-out pairs is unknown"
            )
            return
        yield WarmStart(ancestor, model_entry, model)
        run = ancestor


def _is_newer(held_out: InteractionDataset, last_timestamp: float | None) -> bool:
    return last_timestamp is not None and held_out.timestamps is not None and held_out.timestamps.min() > last_timestamp


def _leak_message(warm_start: WarmStart, ancestor: WarmStart, leaks: list[tuple[str, FittedPairs]]) -> str:
    counts = [f"{pairs.n_fitted:,} of the {pairs.n_pairs:,} pairs of {part}" for part, pairs in leaks]
    _, first = leaks[0]
    assert first.example is not None
    user, item = first.example
    model_name = f"{ancestor.run.id} v{ancestor.model_entry['version']}"
    if ancestor is not warm_start:
        model_name = f"{model_name}, from which {warm_start.run.id} began,"
    return (
        f"training.warm_start: {model_name} was fitted on {' and '.join(counts)}, such as user {user!r} and item "
        f"{item!r}, so that the figures would be too good; hold out newer interactions (split.strategy: temporal, or "
        f"--test-since {ancestor.run.id} with --set split.val_size=0), begin from a run that was fitted before them, "
        "or from scratch: --set training.warm_start=null"
    )


def _require_same_kind(config: Config, run: Run, parent: Recommender) -> None:
    model = make_model(config.model.name, **config.model.params)
    try:
        require_same_kind(model, parent)
    except ConfigError as error:
        raise ConfigError(*(f"training.warm_start: {run.id}: {problem}" for problem in error.problems)) from None


# ---- while the run lasts


def begin_from(
    store: RunStore,
    loaded: LoadedConfig,
    kind: str,
    prepared: Prepared,
    seconds: float,
    parent: Run | None = None,
    *,
    warm_start: WarmStart | None,
    **metadata: Any,
) -> Run:
    """Create a run; see `begin`. With a warm start, check that its model may be used, and record and keep it.

    Raises:
        DataError: The model was fitted on held-out pairs.
    """
    if warm_start is None:
        return begin(store, loaded, kind, prepared, seconds, parent, **metadata)
    require_unseen(warm_start, prepared, store)
    record = warm_start.record(prepared.split.train(prepared.dataset))
    run = begin(store, loaded, kind, prepared, seconds, parent, **metadata, **{layout.WARM_START: record})
    keep_model(run, warm_start)
    run.log(f"begins from {describe_record(record)}")
    progress.notice(f"begins from {describe_record(record)}")
    return run


def keep_model(run: Run, warm_start: WarmStart) -> None:
    """Keep the model in the run until it is complete: it can be resumed and refitted when the other run is gone.

    On most file systems this is a second name of the same file, which takes no space.
    """
    source = warm_start.run.path / warm_start.model_entry["file"]
    target = run.path / layout.CHECKPOINTS / layout.WARM_START_MODEL
    target.parent.mkdir(exist_ok=True)
    partial = target.with_name(f".{target.name}.tmp")
    try:
        os.link(source, partial)
    except OSError:
        shutil.copyfile(source, partial)
    partial.replace(target)


def drop_model(run: Run) -> None:
    """Delete the model that `keep_model` kept."""
    (run.path / layout.CHECKPOINTS / layout.WARM_START_MODEL).unlink(missing_ok=True)
    with suppress(OSError):  # other checkpoints
        (run.path / layout.CHECKPOINTS).rmdir()


def load_kept(run: Run) -> Recommender | None:
    """Load the model that a run begins from; None if it begins from scratch.

    Raises:
        ArtifactError: It is neither kept in the run, nor still in its own.
    """
    record = run.metadata.get(layout.WARM_START)
    if record is None:
        return None
    kept = run.path / layout.CHECKPOINTS / layout.WARM_START_MODEL
    if kept.exists():
        return load_model(kept, record["sha256"])
    try:
        parent = _recorded_run(record, RunStore(run.path.parent))
        return load_model(parent.path / parent.model_entry(record["version"])["file"], record["sha256"])
    except ArtifactError as error:
        raise ArtifactError(
            f"{run.id}: begins from {record['run']} v{record['version']}, which can't be read any more: {error}; train "
            "again from another run (--warm-start RUN) or from scratch (--set training.warm_start=null)"
        ) from None


def _recorded_run(record: dict[str, Any], store: RunStore) -> Run:
    """The run of a record: next to the runs of the store, or where it was."""
    for directory in (store.root, Path(record["directory"])):
        if (directory / record["run"] / layout.METADATA).exists():
            return Run.open(directory / record["run"])
    raise ArtifactError(f"{record['run']}: does not exist any more")
