"""Runs that measure recommendation lists that were made elsewhere, as runs of models are measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recctl import progress, urls
from recctl.config import LoadedConfig
from recctl.config.schema import ComparedModel
from recctl.data.sources.recommendations import file_hash, read_recommendations, row_label
from recctl.errors import ConfigError, DataError
from recctl.evaluation.given_lists import GivenLists, ListEntryError
from recctl.experiment import stages
from recctl.experiment.data import Prepared
from recctl.experiment.lifecycle import begin, recording
from recctl.experiment.monitors import selection_metric
from recctl.runs import Run, RunStore, layout
from recctl.runs.evaluations import NOT_FITTED, EvaluationRecord


def lists_entry(loaded: LoadedConfig) -> ComparedModel:
    """The entry of `models` of a config that has a single file of recommendations."""
    (entry,) = loaded.config.models
    return entry


def read_lists(loaded: LoadedConfig, prepared: Prepared, part: stages.Part) -> tuple[GivenLists, dict[str, Any]]:
    """Read the lists of a config, and check that they can be measured on a part.

    Args:
        loaded: The config; its only model is a file of recommendations.
        prepared: The data and the split, whose ids decide whether those of the file are int or text.
        part: The part that is to be measured.

    Returns:
        The lists, and the section `lists` of metadata.json.

    Raises:
        DataError: The file, or a row of it, can't be read.
        ConfigError: A metric needs more than lists, or a cutoff is beyond the longest list.
    """
    entry = lists_entry(loaded)
    assert entry.recommendations is not None
    config = loaded.config
    path = lists_path(loaded)
    data_columns = {str(role): column for role, column in config.data.columns.items()}
    columns = {str(role): column for role, column in entry.columns.items()}
    dataset = prepared.dataset
    with progress.task(f"Reading {path.name}"):
        table = read_recommendations(
            path,
            columns,
            data_columns,
            text_users=dataset.user_vocabulary.is_text,
            text_items=dataset.item_vocabulary.is_text,
        )
    # The same interactions as those of the models: their catalog, and what `evaluation.exclude: train` means.
    is_refitted = part == "test" and config.training.refit
    train = prepared.split.train_and_validation(dataset) if is_refitted else prepared.split.train(dataset)
    try:
        lists = GivenLists(train, table.users, table.items, **{f"{table.order_by}s": table.values})
    except ListEntryError as error:
        raise DataError(f"{row_label(path, error.row)}: {error}") from None
    try:
        lists.require_measurable(config.evaluation.metrics, config.evaluation.k_values, config.evaluation.n_candidates)
    except ConfigError as error:
        raise ConfigError(*(f"{path.name}: {problem}" for problem in error.problems)) from None
    record = {
        "version": 1,
        "model": lists.name,
        "name": entry.label or entry.name,
        "file": file_name(loaded),
        "sha256": table.sha256,
        "fitted_on": NOT_FITTED,
        "order_by": table.order_by,
        **lists.counts(dataset),
    }
    return lists, record


def lists_path(loaded: LoadedConfig) -> Path:
    """The file of the lists of a config."""
    file = str(lists_entry(loaded).recommendations)
    if urls.is_url(file):
        from recctl.data.sources.remote.files import local_table

        return local_table(file, "recommendations")
    return loaded.base / Path(file).expanduser()


def file_name(loaded: LoadedConfig) -> str:
    """The file of the lists of a config as runs record it: its path, or its URL without secrets."""
    file = str(lists_entry(loaded).recommendations)
    return urls.redact(file) if urls.is_url(file) else str(lists_path(loaded))


def require_same_files(configs: Sequence[LoadedConfig], hashes: Mapping[str, str]) -> None:
    """Check that files of lists are those of a comparison that is resumed.

    Args:
        configs: The config of the lists, or those of each window.
        hashes: The hash of each file, when the comparison began.

    Raises:
        DataError: One has changed, or is gone.
    """
    # A URL is read again, because its record has no secrets.
    paths = {file: Path(file) for file in hashes}
    paths |= {file_name(loaded): lists_path(loaded) for loaded in configs if file_name(loaded) in hashes}
    for file, sha256 in hashes.items():
        if not paths[file].is_file():
            raise DataError(f"{file}: recommendations: no such file any more; restore it to resume")
        if file_hash(paths[file]) != sha256:
            raise DataError(f"{file}: recommendations: has changed since the comparison began; start a new comparison")


def evaluate_recommendations(
    loaded: LoadedConfig, prepared: Prepared, seconds: float, store: RunStore, part: stages.Part = "test"
) -> Run:
    """Measure a file of recommendations as a run of its own, which can be compared with runs of models.

    Args:
        loaded: The config; its only model is a file of recommendations.
        prepared: The data and the split.
        seconds: The time that preparing them took.
        store: The runs directory.
        part: The part that is measured.

    Raises:
        DataError: The file, or a row of it, can't be read.
        ConfigError: A metric needs more than lists, or a cutoff is beyond the longest list.
    """
    lists, record = read_lists(loaded, prepared, part)
    run = begin(store, loaded, "lists", prepared, seconds, lists=record)
    with recording(run):
        measure_lists(run, loaded, prepared, lists, part)
    return run


def measure_lists(
    run: Run, loaded: LoadedConfig, prepared: Prepared, lists: GivenLists, part: stages.Part
) -> EvaluationRecord:
    """Measure lists on a part, and store the figures in a run."""
    with run.timed(f"evaluate_{part}"):
        record = stages.evaluate_part(run, part, prepared, lists, loaded.config)
    run.metadata[layout.LISTS]["monitor"] = selection_metric(loaded.config, record.metrics)
    notice_counts(run.metadata[layout.LISTS], record)
    return record


def notice_counts(lists_record: dict[str, Any], record: EvaluationRecord) -> None:
    """Say what of a file of lists does not count, and why."""
    ranking = record.counts["ranking"]
    given = ranking["lists"]
    reasons = {
        "entries are with items that the user already had, and were dropped (evaluation.exclude)": given["known"],
        "entries are with items that the data do not have; they count as misses": lists_record["unknown_items"],
        "users are not in the data": lists_record["unknown_users"],
        f"of {ranking['n_users']:,} evaluated users have no list": given["users_without_list"],
    }
    listed = [f"{count:,} {reason}" for reason, count in reasons.items() if count]
    if listed:
        progress.notice(f"{Path(lists_record['file']).name}: {'; '.join(listed)}")
