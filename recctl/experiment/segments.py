"""The segments that a config names: their columns are read with the data, and checked before anything is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl import progress
from recctl.config import Config, LoadedConfig
from recctl.config.schema import TableConfig
from recctl.config.segments import SegmentSpec, parse_segment
from recctl.data.columns import RATING, format_value
from recctl.data.dataset import InteractionDataset
from recctl.data.labels import Labels
from recctl.data.sources.tables import TableKind, find_table, read_attributes
from recctl.data.titles import match_ids
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError
from recctl.evaluation.segments import FittedCounts, Segment, SegmentMaker, interaction_labels, require_groups
from recctl.models.base import Recommender

_MAX_LISTED = 3  # ids in a message


def segment_specs(config: Config) -> list[SegmentSpec]:
    """Return the segments of a config."""
    return [parse_segment(entry) for entry in config.evaluation.segments]


def segment_columns(config: Config) -> list[str]:
    """Return the columns of the interactions that are read for segments only."""
    columns = [spec.column for spec in segment_specs(config) if spec.by == "interactions"]
    # Ratings are read anyway.
    return list(dict.fromkeys(column for column in columns if column is not None and column != RATING))


class _Table(NamedTuple):
    name: str
    ids: pa.ChunkedArray
    columns: dict[str, Labels]


class AttributeTables:
    """The columns of the tables of users and items by which a config divides them, read when they are first used.

    Args:
        loaded: The config.
    """

    def __init__(self, loaded: LoadedConfig) -> None:
        self._loaded = loaded
        self._specs = segment_specs(loaded.config)

    def require_files(self) -> None:
        """Check that the tables exist and have the columns, which needs no interactions.

        Raises:
            DataError: A file or a column is missing; with a suggestion.
        """
        for kind in ("items", "users"):
            table = self._config(kind)
            if table is not None:
                find_table(kind, table.file, self._loaded.base)
        _ = self._tables

    def require_groups(self, dataset: InteractionDataset) -> None:
        """Check that all columns divide the users, items and interactions of a data set into groups.

        Raises:
            DataError: One does not, such as a column of ids or of prices.
        """
        users = self.labels("users", dataset.user_vocabulary)
        items = self.labels("items", dataset.item_vocabulary)
        for spec in self._specs:
            if spec.by == "users":
                require_groups(spec, users[str(spec.column)])
            elif spec.by == "items":
                require_groups(spec, items[str(spec.column)])
            elif spec.by == "interactions":
                require_groups(spec, interaction_labels(dataset, spec))

    def labels(self, kind: TableKind, vocabulary: Vocabulary) -> dict[str, Labels]:
        """Return the labels of the users or items of a data set by column; those without a row have none.

        Raises:
            DataError: The table has none of the ids, or can't be read.
        """
        table = self._tables.get(kind)
        if table is None:
            return {}
        codes = match_ids(vocabulary, table.ids).to_pandas()
        has_code = codes.notna().to_numpy()
        rows = np.flatnonzero(has_code)
        row_codes = codes[has_code].to_numpy(np.int64)
        if not len(rows):
            raise DataError(
                f"{table.name}: none of its ids is in the data ({format_value(table.ids[0].as_py())} there, "
                f"{format_value(vocabulary.ids[0])} in the data); check data.{kind}.id"
            )
        _notice_missing(kind, table.name, vocabulary, row_codes)
        labels = {}
        for name, column in table.columns.items():
            by_code = np.full(len(vocabulary), -1, np.int32)
            # Of several rows of an id, the last one counts.
            by_code[row_codes] = column.codes[rows]
            labels[name] = Labels(by_code, column.values)
            n_conflicting = len(np.unique(row_codes[by_code[row_codes] != column.codes[rows]]))
            if n_conflicting:
                progress.notice(
                    f"{table.name}: {n_conflicting:,} {kind} have several values of {name}; the last is used"
                )
        return labels

    @cached_property
    def _tables(self) -> dict[TableKind, _Table]:
        tables: dict[TableKind, _Table] = {}
        kinds: tuple[TableKind, ...] = ("items", "users")
        for kind in kinds:
            columns = [str(spec.column) for spec in self._specs if spec.by == kind]
            table = self._config(kind)
            if not columns or table is None:
                continue
            path = find_table(kind, table.file, self._loaded.base)
            tables[kind] = self._read(kind, path, table, list(dict.fromkeys(columns)))
        return tables

    def _read(self, kind: TableKind, path: Path, table: TableConfig, columns: Sequence[str]) -> _Table:
        options = table.model_dump(exclude={"file", "id", "title"})
        options["encoding"] = table.encoding or self._loaded.config.data.encoding
        id_column = self._loaded.config.data.model_dump()[kind]["id"]
        with progress.task(f"Reading {path.name}"):
            ids, texts = read_attributes(kind, path, id_column, columns, **options)
        return _Table(path.name, ids, {name: Labels.encode(column.to_pandas()) for name, column in texts.items()})

    def _config(self, kind: TableKind) -> TableConfig | None:
        data = self._loaded.config.data
        return data.items if kind == "items" else data.users


def _notice_missing(kind: str, name: str, vocabulary: Vocabulary, codes: NDArray[np.int64]) -> None:
    has_row = np.zeros(len(vocabulary), bool)
    has_row[codes] = True
    n_missing = int((~has_row).sum())
    if n_missing:
        listed = ", ".join(format_value(one) for one in vocabulary.ids[~has_row][:_MAX_LISTED].tolist())
        progress.notice(f"{name}: no row for {n_missing:,} of the {len(vocabulary):,} {kind}, e.g. {listed}")


def make_segments(
    config: Config, measured: InteractionDataset, fitted: FittedCounts, tables: AttributeTables
) -> list[Segment]:
    """Make the segments of a config for measured data.

    Args:
        config: Its section `evaluation` is used.
        measured: The measured interactions.
        fitted: What models were fitted on.
        tables: The tables of users and items.
    """
    with progress.silence():  # the data set as a whole was reported
        users = tables.labels("users", measured.user_vocabulary)
        items = tables.labels("items", measured.item_vocabulary)
    maker = SegmentMaker(measured, fitted, users, items)
    return [segment for spec in segment_specs(config) for segment in maker.make(spec)]


def counts_of_data(fitted: InteractionDataset) -> FittedCounts:
    """Count the interactions that a model was fitted on."""
    return FittedCounts(
        fitted.user_vocabulary,
        np.bincount(fitted.users, minlength=fitted.n_users),
        fitted.item_vocabulary,
        np.bincount(fitted.items, minlength=fitted.n_items),
    )


def counts_of_models(models: Sequence[Recommender]) -> FittedCounts:
    """Count the pairs that models were fitted on, for data that are measured without those of the runs.

    Of several models, the one that was fitted on most of a user or an item counts.
    """
    counts = [
        FittedCounts(
            model.user_vocabulary,
            np.diff(model.seen.starts),
            model.item_vocabulary,
            model.seen.column_counts().astype(np.int64),
        )
        for model in models
    ]
    if len(counts) == 1:
        return counts[0]
    users = _union([count.users for count in counts])
    items = _union([count.items for count in counts])
    by_user = np.max([count.of_users(users) for count in counts], axis=0)
    by_item = np.max([count.of_items(items) for count in counts], axis=0)
    return FittedCounts(users, by_user, items, by_item)


def _union(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    return Vocabulary(np.unique(np.concatenate([vocabulary.ids for vocabulary in vocabularies])))
