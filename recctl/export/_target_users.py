"""The users that recommendations are exported for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recctl.data import columns
from recctl.data.id_hashes import hash_id_list
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.read_file import read_file
from recctl.export._id_lists import read_ids
from recctl.export._table_files import id_type
from recctl.models.base import Recommender, id_tables
from recctl.models.base.id_tables import OnUnknown
from recctl.ranking import TieBreaker, rank_block


@dataclass(frozen=True, eq=False)
class TargetUsers:
    """Users in the requested order, and how to score them.

    Attributes:
        ids: Their ids, `(n,)`.
        rows: Row of each user for `scores` and `seen`, `(n,)`; -1 for users that the model cannot score.
        scores: Returns the scores of all items for some rows, `(n_rows, n_items)`.
        seen: Returns the seen items of some rows.
        popular: Number of users of each item, for users that the model cannot score; None if there are none.
        ties: Orders items with equal scores, a key for each user.
    """

    ids: pa.Array
    rows: Int32Array
    scores: Callable[[Int32Array], Float32Array]
    seen: Callable[[Int32Array], InteractionMatrix]
    popular: Float32Array | None
    ties: TieBreaker

    def rank(
        self, indices: Int32Array, k: int, exclude_seen: bool, item_mask: Float32Array | None
    ) -> tuple[Int32Array, Float32Array]:
        """Top-k items and scores of a block of users, `(n, k)` each; see `ranking.rank_block`.

        Args:
            indices: Indices of the users in `ids`.
            k: List length, at most the number of items.
            exclude_seen: Whether to leave out seen items.
            item_mask: Added to the scores of every user: minus infinity for excluded items, else 0.
        """
        rows = self.rows[indices]
        is_known = rows >= 0
        known_rows = rows[is_known]
        items = np.empty((len(rows), k), np.int32)
        top_scores = np.empty((len(rows), k), np.float32)
        if len(known_rows):
            scores = self.scores(known_rows)
            if item_mask is not None:
                # In place: scores are a new array, and a copy of a block can take gigabytes.
                scores += item_mask
            seen = self.seen(known_rows) if exclude_seen else None
            known_ties = self.ties.take(indices[is_known])
            items[is_known], top_scores[is_known] = rank_block(scores, k, seen, known_ties)
        if self.popular is not None and len(known_rows) < len(rows):
            counts = self.popular if item_mask is None else self.popular + item_mask
            other_ties = self.ties.take(indices[~is_known])
            other_scores = np.tile(counts, (len(other_ties.row_keys), 1))
            items[~is_known], top_scores[~is_known] = rank_block(other_scores, k, None, other_ties)
        return items, top_scores


def known_users(model: Recommender, users: Path | list[int | str] | None, on_unknown: OnUnknown) -> TargetUsers:
    """Users that the model was fitted on: all of them, or the given ones."""
    vocabulary = model.user_vocabulary
    if users is None:
        ids: Any = vocabulary.ids
        rows = np.arange(len(ids), dtype=np.int32)
        hashes = vocabulary.hashes
    else:
        ids = read_ids(users, columns.USER, vocabulary)
        rows = vocabulary.codes(ids)
        id_tables.require_known(f"{model.name}: user", ids, rows >= 0, on_unknown)
        kept = _kept_positions(rows, on_unknown)
        ids = [ids[position] for position in kept.tolist()]
        rows = rows[kept]
        hashes = hash_id_list(ids)
    id_array = pa.array(ids, id_type(vocabulary))
    ties = TieBreaker.of_ids(hashes, model.item_vocabulary.hashes)
    return TargetUsers(id_array, rows, model.score_users, model.seen.take, _popularity(model, rows), ties)


def users_with_histories(model: Recommender, path: Path, on_unknown: OnUnknown) -> TargetUsers:
    """Users that the model was not fitted on, with their histories from a file."""
    # Item ids must have the model's type to be found: text ids such as 007 must not become integers.
    options = ReadOptions(
        id_type="text" if model.item_vocabulary.is_text else "auto", needs_ratings=not model.seen.is_binary
    )
    interactions = read_file(path, options).frame
    ids, matrix = id_tables.histories_to_matrix(interactions, model.item_vocabulary)
    if not model.reads_order:
        matrix = id_tables.distinct_items(matrix)
    has_history = np.ones(len(ids), bool) if model.serves_empty_history else np.diff(matrix.starts) > 0
    id_tables.require_history(model.name, ids, has_history, on_unknown)
    all_rows = np.where(has_history, np.arange(len(ids)), -1).astype(np.int32)
    kept = _kept_positions(all_rows, on_unknown)
    ids = [ids[position] for position in kept.tolist()]
    rows = all_rows[kept]
    ties = model.ties_of_histories(matrix).take(kept)

    def scores(block: Int32Array) -> Float32Array:
        return model.score_histories(matrix.take(block))

    return TargetUsers(pa.array(ids), rows, scores, matrix.take, _popularity(model, rows), ties)


def _kept_positions(rows: Int32Array, on_unknown: OnUnknown) -> Int32Array:
    """Positions of the users that are exported: without those that the model cannot score if these are skipped."""
    is_kept = rows >= 0 if on_unknown == "skip" else np.ones(len(rows), bool)
    return np.flatnonzero(is_kept).astype(np.int32)


def _popularity(model: Recommender, rows: Int32Array) -> Float32Array | None:
    if (rows >= 0).all():
        return None
    return model.seen.column_counts().astype(np.float32)
