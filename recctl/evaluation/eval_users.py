"""Who is asked for recommendations, what each may no longer be recommended, and what is relevant to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.data import columns
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.errors import DataError
from recctl.kernels import hit_flags
from recctl.models.base import Recommender, id_tables


@dataclass(frozen=True, eq=False)
class UserGroup:
    """People with something relevant, whom a model serves in one way.

    Attributes:
        users: Codes in test's vocabulary, ascending, shape `(n,)`.
        rows: Each one's row in `seen`, shape `(n,)`.
        seen: What may not be recommended, `(n_rows, n_items)`.
        relevant: Relevant items that may be recommended, `(n, n_items)`.
        n_relevant: Relevant items of each, those the model does not know included, shape `(n,)`.
        fitted_on: Whether the model was fitted on them; else `seen` is what they are folded in by.
    """

    users: Int32Array
    rows: Int32Array
    seen: InteractionMatrix
    relevant: InteractionMatrix
    n_relevant: Int64Array
    fitted_on: bool

    def score(self, model: Recommender, who: Int32Array) -> Float32Array:
        """Scores of every item for some of them."""
        rows = self.rows[who]
        return model.score_users(rows) if self.fitted_on else model.score_histories(self.seen.take(rows))

    def masked(self, who: Int32Array) -> InteractionMatrix:
        """What may not be recommended to some of them."""
        return self.seen.take(self.rows[who])


@dataclass(frozen=True, eq=False)
class EvalUsers:
    """Everyone in a test part who has something relevant.

    Attributes:
        groups: Those a model can serve: users it was fitted on, then people that are folded in.
        users: Codes of everyone who counts, in test's vocabulary: the groups' one after the other, then those who
            are not served and count 0.
        n_relevant: Relevant items of each.
        n_skipped: People who are not served and don't count.
        left_out: Test interactions that judge nothing, by reason.
    """

    groups: tuple[UserGroup, UserGroup]
    users: Int32Array
    n_relevant: Int64Array
    n_skipped: int
    left_out: dict[str, int]


def collect_eval_users(
    model: Recommender,
    test: InteractionDataset,
    history: InteractionDataset | None,
    threshold: float | None,
    on_unknown: str,
) -> EvalUsers:
    """The audience of a test part.

    Args:
        model: What it was fitted on says who is known, and what is masked.
        test: Its interactions are relevant; of repeated pairs the last one counts.
        history: What is known of people the model was not fitted on.
        threshold: Only interactions rated at least this are relevant; None: all are.
        on_unknown: "skip" or "zero": whether people that can't be served don't count, or count 0.

    Raises:
        DataError: Test has no ratings for the threshold, or history none for a model that was fitted on ratings.
    """
    relevant, left_out = _relevant(test, threshold)
    n_held_out = np.diff(relevant.starts)
    codes = model.user_vocabulary.codes(test.user_vocabulary.ids)
    known, others = np.flatnonzero(codes >= 0).astype(np.int32), np.flatnonzero(codes < 0).astype(np.int32)
    histories = _histories(model, test.user_vocabulary.ids[others], history)
    told = np.flatnonzero(np.diff(histories.starts)).astype(np.int32)
    item_codes = model.item_vocabulary.codes(test.item_vocabulary.ids)
    groups = (
        _group(known, codes[known], model.seen, relevant, item_codes, fitted_on=True),
        _group(others[told], told, histories, relevant, item_codes, fitted_on=False),
    )
    strangers = np.delete(others, told)
    strangers = strangers[n_held_out[strangers] > 0]
    counted = strangers if on_unknown == "zero" else strangers[:0]
    users = np.concatenate([*(group.users for group in groups), counted])
    n_relevant = np.concatenate([*(group.n_relevant for group in groups), n_held_out[counted]])
    of_skipped = int(n_held_out[strangers].sum() - n_held_out[counted].sum())
    left_out["of_unknown_users"] = of_skipped
    left_out["seen"] = relevant.nnz - of_skipped - int(n_relevant.sum())
    return EvalUsers(groups, users, n_relevant, len(strangers) - len(counted), left_out)


def _relevant(test: InteractionDataset, threshold: float | None) -> tuple[InteractionMatrix, dict[str, int]]:
    """The relevant pairs, in test's codes, and how many interactions are none."""
    if threshold is not None and test.ratings is None:
        raise DataError(f"test: no ratings, so that relevance_threshold={threshold:g} says nothing; leave it out")
    ratings = None if threshold is None else test.ratings
    pairs = InteractionMatrix.from_pairs(test.users, test.items, ratings, (test.n_users, test.n_items))
    relevant = pairs if threshold is None else _keep(pairs, pairs.values >= threshold)
    return relevant, {"repeated": len(test) - pairs.nnz, "rated_below_threshold": pairs.nnz - relevant.nnz}


def _histories(model: Recommender, ids: NDArray[Any], history: InteractionDataset | None) -> InteractionMatrix:
    """What each of these people interacted with, in the model's items; empty for those history does not know."""
    rows = [np.empty(0, np.int32)] * len(ids)
    nothing = InteractionMatrix.from_rows(rows, len(model.item_vocabulary))
    if history is None:
        return nothing
    place = np.full(history.n_users, -1, np.int32)
    codes = history.user_vocabulary.codes(ids)
    place[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    told = place[history.users] >= 0
    if not told.any():
        return nothing
    if not model.seen.is_binary and history.ratings is None:
        raise DataError("train_data: no ratings; the model was fitted on ratings, and folds people in by theirs")
    table = history.take(told).data
    if model.seen.is_binary:
        table = table.drop(columns=columns.RATING, errors="ignore")
    _, found = id_tables.histories_to_matrix(table, model.item_vocabulary)
    found = found if model.reads_order else id_tables.distinct_items(found)
    # Rows come in order of id, as codes do; those without history get the empty row that is put at the end.
    row_of = np.full(len(ids), found.n_rows, np.int32)
    row_of[place[place >= 0]] = np.arange(found.n_rows)
    starts = np.append(found.starts, found.starts[-1])
    return InteractionMatrix(starts, found.columns, found.values, found.n_columns).take(row_of)


def _group(
    users: Int32Array,
    rows: Int32Array,
    seen: InteractionMatrix,
    relevant: InteractionMatrix,
    item_codes: Int32Array,
    fitted_on: bool,
) -> UserGroup:
    """These users with what is relevant to them; those with nothing are left out."""
    theirs = relevant.take(users)
    theirs = InteractionMatrix(theirs.starts, item_codes[theirs.columns], theirs.values[:0], seen.n_columns)
    known = _keep(theirs, theirs.columns >= 0)
    is_seen = np.empty(known.nnz, np.uint8)
    hit_flags.contained(known.starts, known.columns, rows, seen.starts, seen.columns, seen.n_columns, is_seen)
    reachable = _keep(known, is_seen == 0)
    n_relevant = np.diff(theirs.starts) - np.diff(known.starts) + np.diff(reachable.starts)
    asked = np.flatnonzero(n_relevant).astype(np.int32)
    return UserGroup(users[asked], rows[asked], seen, reachable.take(asked), n_relevant[asked], fitted_on)


def _keep(matrix: InteractionMatrix, kept: NDArray[np.bool_]) -> InteractionMatrix:
    """Only some of a matrix' entries, without their values."""
    starts = np.concatenate([[0], np.cumsum(kept)])[matrix.starts]
    return InteractionMatrix(starts, matrix.columns[kept], matrix.values[:0], matrix.n_columns)
