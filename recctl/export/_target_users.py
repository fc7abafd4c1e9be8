"""Whom recommendations are for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recctl.data import columns
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.export._id_lists import ids_of
from recctl.export._table_files import id_type
from recctl.models.base import Recommender, id_tables
from recctl.models.base.id_tables import OnUnknown
from recctl.ranking import rank_block


@dataclass(frozen=True, eq=False)
class Audience:
    """People in the order asked, and how they are answered.

    Attributes:
        ids: Their ids, `(n,)`.
        rows: Of each, the row that `scores` and `seen` know the person by; -1 for those the model can't serve. `(n,)`.
        scores: Scores of every item for some rows.
        seen: What they had.
        popular: Users of each item, for those the model can't serve; None where there are none of them.
    """

    ids: pa.Array
    rows: Int32Array
    scores: Callable[[Int32Array], Float32Array]
    seen: Callable[[Int32Array], InteractionMatrix]
    popular: Float32Array | None

    def best(
        self, places: Int32Array, k: int, exclude_seen: bool, barred: Float32Array | None
    ) -> tuple[Int32Array, Float32Array]:
        """The k best items of a block of people; as `ranking.rank_block`.

        Args:
            places: Which of them, by place in `ids`.
            k: At most the number of items.
            exclude_seen: Leave out what they had.
            barred: Added to each person's scores: minus infinity for items that nobody gets, else 0.
        """
        rows = self.rows[places]
        known = rows[rows >= 0]
        items, best = np.empty((len(rows), k), np.int32), np.empty((len(rows), k), np.float32)
        if len(known):
            scores = self.scores(known)
            if barred is not None:
                scores += barred
            ranked = rank_block(scores, k, self.seen(known) if exclude_seen else None)
            items[rows >= 0], best[rows >= 0] = ranked
        if self.popular is not None and len(known) < len(rows):
            counts = self.popular + (np.float32(0) if barred is None else barred)
            items[rows < 0], best[rows < 0] = rank_block(counts[None], k, None)
        return items, best


def of_users(model: Recommender, given: Path | list[int | str] | None, on_unknown: OnUnknown) -> Audience:
    """Known users: all of them, or those given."""
    vocabulary = model.user_vocabulary
    if given is None:
        ids: Any = vocabulary.ids
        rows = np.arange(len(ids), dtype=np.int32)
    else:
        ids = ids_of(given, columns.USER, vocabulary)
        rows = vocabulary.codes(ids)
        id_tables.require_known(f"{model.name}: user", ids, rows >= 0, on_unknown)
        ids, rows = _kept(ids, rows, on_unknown)
    return Audience(
        pa.array(ids, id_type(vocabulary)), rows, model.score_users, model.seen.take, _popularity(model, rows)
    )


def of_histories(model: Recommender, path: Path, on_unknown: OnUnknown) -> Audience:
    """People that the model never saw, by what they had."""
    text = model.item_vocabulary.is_text
    table = read_file(path, ReadOptions(id_type="text" if text else "auto")).frame
    ids, matrix = id_tables.histories_to_matrix(table, model.item_vocabulary)
    matrix = matrix if model.reads_order else id_tables.distinct_items(matrix)
    served = np.ones(len(ids), bool) if model.serves_empty_history else np.diff(matrix.starts) > 0
    id_tables.require_history(model.name, ids, served, on_unknown)
    ids, rows = _kept(ids, np.where(served, np.arange(len(ids)), -1).astype(np.int32), on_unknown)

    def scores(rows: Int32Array) -> Float32Array:
        return model.score_histories(matrix.take(rows))

    return Audience(pa.array(ids), rows, scores, matrix.take, _popularity(model, rows))


def _kept(ids: list[Any], rows: Int32Array, on_unknown: OnUnknown) -> tuple[list[Any], Int32Array]:
    if on_unknown != "skip" or (rows >= 0).all():
        return ids, rows
    return [ids[at] for at in np.flatnonzero(rows >= 0).tolist()], rows[rows >= 0]


def _popularity(model: Recommender, rows: Int32Array) -> Float32Array | None:
    return None if (rows >= 0).all() else model.seen.column_counts().astype(np.float32)
