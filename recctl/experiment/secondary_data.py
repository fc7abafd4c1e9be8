"""Interactions besides those of a run, such as next month's, read as the run's own data are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from recctl import progress, urls
from recctl.config import Config, LoadedConfig
from recctl.config.loading import with_values
from recctl.data import text_ids
from recctl.data.columns import ITEM, USER
from recctl.data.dataset import InteractionDataset
from recctl.data.preprocessing import selects_training_data
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError
from recctl.experiment.data import read_dataset
from recctl.runs.evaluations import MeasuredData

_MAX_LISTED = 3  # ids in a message


class SecondaryData(NamedTuple):
    """Interactions of a file.

    Attributes:
        dataset: The interactions.
        measured: Their identity, for evaluation records.
    """

    dataset: InteractionDataset
    measured: MeasuredData


def read_secondary(loaded: LoadedConfig, file: str | Path, users: Vocabulary, items: Vocabulary) -> SecondaryData:
    """Read a file by the `data` section of a run: columns, delimiter, preprocessing and all.

    The minimum numbers of interactions and the steps that select training data (by counts, at random, by time) do not
    apply: they would bias what is measured.

    Args:
        loaded: The config of the run, with overrides that say in what the file differs.
        file: The file, a folder or a pattern of parts, or their URL; a relative path starts from the working directory.
        users: The user ids of a model; they decide whether ids are int or text.
        items: The item ids.

    Raises:
        DataError: The file can't be read, or an id is text where those of the model are integers.
    """
    read = read_dataset(_config_for_file(loaded, file, users, items))
    name = urls.redact(str(file))
    dataset = _with_types_of(read.dataset, users, items, name)
    return SecondaryData(dataset, MeasuredData(None, dataset.content_hash(), file=name))


def notice_left_out(name: str, counts: Mapping[str, Any]) -> None:
    """Say how many interactions of a file were not measured, or can only be missed, and why.

    Args:
        name: The file.
        counts: The counts of an evaluation record, by task.
    """
    ranking = counts.get("ranking")
    if ranking is None:
        return
    left_out = ranking["left_out"]
    reasons = {
        "of users that the model does not know": left_out["of_unknown_users"],
        "of items that the user already had, and the model was fitted on": left_out["known"],
        "repeated": left_out["repeated"],
        "rated below the relevance threshold": left_out["rated_below_threshold"],
    }
    listed = [f"{n_rows:,} {reason}" for reason, n_rows in reasons.items() if n_rows]
    if listed:
        progress.notice(f"{name}: left out: {'; '.join(listed)}")
    if ranking["n_unknown_items"]:
        progress.notice(
            f"{name}: {ranking['n_unknown_items']:,} interactions are with items that the model does not know; they "
            "count as misses"
        )


def _config_for_file(loaded: LoadedConfig, file: str | Path, users: Vocabulary, items: Vocabulary) -> LoadedConfig:
    id_types = {_id_type(users), _id_type(items)}
    values: dict[tuple[str | int, ...], Any] = {
        ("data", "source"): str(file) if urls.is_url(file) else str(Path(file).expanduser().resolve()),
        ("data", "checksum"): None,
        ("data", "id_type"): "text" if len(id_types) > 1 else id_types.pop(),
        ("data", "min_user_interactions"): 0,
        ("data", "min_item_interactions"): 0,
        ("data", "preprocess"): _kept_steps(loaded.config, urls.redact(str(file))),
        # Whatever the model learns from: ratings are read if the metrics or the steps need them.
        ("data", "implicit"): True,
        # Of a predefined split, whose other files must not be read.
        ("split",): {"strategy": "random"},
    }
    return with_values(loaded, values)


def _kept_steps(config: Config, name: str) -> list[dict[str, Any]]:
    """The preprocessing steps that say what an interaction is; those that select training data are left out."""
    kept = []
    for step in config.data.preprocess:
        skipped = [step_name for step_name in step if selects_training_data(step_name)]
        if skipped:
            progress.notice(f"{name}: {skipped[0]} is not applied: it selects data to fit models on")
        else:
            kept.append(step)
    return kept


def _id_type(vocabulary: Vocabulary) -> str:
    return "text" if vocabulary.is_text else "int"


def _with_types_of(dataset: InteractionDataset, users: Vocabulary, items: Vocabulary, name: str) -> InteractionDataset:
    """Convert ids that were read as text because those of the other column are text."""
    if dataset.user_vocabulary.is_text == users.is_text and dataset.item_vocabulary.is_text == items.is_text:
        return dataset
    columns: dict[str, Any] = {
        USER: _ids(dataset.user_vocabulary, users, USER, name)[dataset.users],
        ITEM: _ids(dataset.item_vocabulary, items, ITEM, name)[dataset.items],
    }
    if dataset.ratings is not None:
        columns["rating"] = dataset.ratings
    if dataset.timestamps is not None:
        columns["timestamp"] = dataset.timestamps
    converted = InteractionDataset.from_columns(columns)
    converted.labels = dataset.labels
    return converted


def _ids(vocabulary: Vocabulary, target: Vocabulary, role: str, name: str) -> Any:
    if vocabulary.is_text == target.is_text:
        return vocabulary.ids
    texts = pa.chunked_array([pa.array(vocabulary.ids, pa.large_string())])
    are_integers = text_ids.are_integers(texts)
    if not are_integers.all():
        listed = ", ".join(repr(one) for one in vocabulary.ids[~are_integers][:_MAX_LISTED].tolist())
        raise DataError(
            f"{name}: {role}: {listed}: not a whole number, unlike the ids that the model was fitted on; correct the "
            "file, or name another column, as in --set data.columns." + f"{role}=NAME"
        )
    return text_ids.cast_integers(texts)
