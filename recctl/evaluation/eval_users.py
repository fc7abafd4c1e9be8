"""Users that are evaluated, their seen items, and their relevant items."""

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
    """Users with relevant items that the model scores in the same way.

    Attributes:
        users: Codes in the vocabulary of the test data, ascending, shape `(n,)`.
        rows: The row of each user in `seen`, shape `(n,)`.
        seen: Items that must not be recommended, shape `(n_rows, n_items)`.
        relevant: Relevant items that can be recommended, shape `(n, n_items)`.
        n_relevant: Number of relevant items of each user, including items that the model does not know, shape `(n,)`.
        fitted_on: Whether the model was fitted on these users; otherwise it scores them by their history in `seen`.
    """

    users: Int32Array
    rows: Int32Array
    seen: InteractionMatrix
    relevant: InteractionMatrix
    n_relevant: Int64Array
    fitted_on: bool

    def score(self, model: Recommender, positions: Int32Array) -> Float32Array:
        """Return the scores of all items for the users at some positions in the group."""
        user_rows = self.rows[positions]
        if self.fitted_on:
            return model.score_users(user_rows)
        return model.score_histories(self.seen.take(user_rows))

    def seen_items(self, positions: Int32Array) -> InteractionMatrix:
        """Return the seen items of the users at some positions in the group."""
        return self.seen.take(self.rows[positions])


@dataclass(frozen=True, eq=False)
class EvalUsers:
    """All users of a test part with relevant items.

    Attributes:
        groups: Users that the model can score: those it was fitted on, then those scored by their history.
        users: Codes of all users in the means, in the vocabulary of the test data: the users of the groups, then users
            that can't be scored and count as 0.
        n_relevant: Number of relevant items of each.
        n_skipped: Number of users that can't be scored and are excluded.
        left_out: Number of excluded test interactions by reason.
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
    """Collect the users of a test part that have relevant items.

    Args:
        model: A fitted model; the interactions it was fitted on are seen.
        test: The relevant interactions; the latest of repeated pairs counts.
        history: Interactions of users that the model was not fitted on.
        threshold: The minimum rating of relevant interactions; None: all are relevant.
        on_unknown: Whether users that can't be scored are excluded ("skip") or count as 0 ("zero").

    Raises:
        DataError: A threshold is given but test has no ratings, or the model needs ratings and the history has none.
    """
    relevant, left_out = _relevant_pairs(test, threshold)
    n_relevant_by_user = np.diff(relevant.starts)
    model_users = model.user_vocabulary.codes(test.user_vocabulary.ids)
    # Two groups, because the model scores them by different methods. Which one a user belongs to depends on the model,
    # not on the history: users it was fitted on never use `history`.
    known_users = np.flatnonzero(model_users >= 0).astype(np.int32)
    unknown = np.flatnonzero(model_users < 0).astype(np.int32)
    histories = _read_histories(model, test.user_vocabulary.ids[unknown], history)
    has_history = np.diff(histories.starts) > 0
    history_rows = np.flatnonzero(has_history).astype(np.int32)
    model_items = model.item_vocabulary.codes(test.item_vocabulary.ids)
    groups = (
        _make_group(known_users, model_users[known_users], model.seen, relevant, model_items, fitted_on=True),
        _make_group(unknown[has_history], history_rows, histories, relevant, model_items, fitted_on=False),
    )
    # Cold users without relevant items are not counted at all.
    cold_users = unknown[~has_history]
    cold_users = cold_users[n_relevant_by_user[cold_users] > 0]
    counted_cold = cold_users if on_unknown == "zero" else cold_users[:0]
    evaluated = np.concatenate([groups[0].users, groups[1].users, counted_cold])
    n_relevant = np.concatenate([groups[0].n_relevant, groups[1].n_relevant, n_relevant_by_user[counted_cold]])
    n_skipped_pairs = int(n_relevant_by_user[cold_users].sum() - n_relevant_by_user[counted_cold].sum())
    left_out["of_unknown_users"] = n_skipped_pairs
    # The remainder: every relevant pair is evaluated, of an unknown user, or seen, so the three numbers add up.
    left_out["seen"] = relevant.nnz - n_skipped_pairs - int(n_relevant.sum())
    return EvalUsers(groups, evaluated, n_relevant, len(cold_users) - len(counted_cold), left_out)


def _relevant_pairs(test: InteractionDataset, threshold: float | None) -> tuple[InteractionMatrix, dict[str, int]]:
    """The relevant pairs in the codes of test, and the number of the other interactions by reason."""
    if threshold is not None and test.ratings is None:
        raise DataError(f"test: has no ratings, so relevance_threshold={threshold:g} can't be applied; leave it out")
    ratings = None if threshold is None else test.ratings
    # Ratings are kept only for the threshold: relevance is binary, and without values the matrix takes half the memory.
    pairs = test.matrix_of(ratings)
    relevant = pairs
    if threshold is not None:
        relevant = _filter(pairs, pairs.values >= threshold)
    return relevant, {"repeated": len(test) - pairs.nnz, "rated_below_threshold": pairs.nnz - relevant.nnz}


def _read_histories(model: Recommender, ids: NDArray[Any], history: InteractionDataset | None) -> InteractionMatrix:
    """The history of each user id in the items of the model, `(n_ids, n_items)`; empty rows for users without one."""
    no_items = [np.empty(0, np.int32)] * len(ids)
    empty_histories = InteractionMatrix.from_rows(no_items, len(model.item_vocabulary))
    if history is None:
        return empty_histories
    # The position among `ids` of each user of the history.
    positions = np.full(history.n_users, -1, np.int32)
    user_codes = history.user_vocabulary.codes(ids)
    positions[user_codes[user_codes >= 0]] = np.flatnonzero(user_codes >= 0)
    is_requested = positions[history.users] >= 0
    if not is_requested.any():
        return empty_histories
    if not model.seen.is_binary and history.ratings is None:
        raise DataError("train_data: has no ratings, which the model needs to score users by their history")
    table = history.take(is_requested).data
    if model.seen.is_binary:
        # A model that was fitted on binary interactions must not score new users by ratings.
        table = table.drop(columns=columns.RATING, errors="ignore")
    _, histories = id_tables.histories_to_matrix(table, model.item_vocabulary)
    if not model.reads_order:
        histories = id_tables.distinct_items(histories)
    # The rows of `histories` are in the order of ids, as are codes. An empty row at the end serves all other users.
    row_of = np.full(len(ids), histories.n_rows, np.int32)
    row_of[positions[positions >= 0]] = np.arange(histories.n_rows)
    starts = np.append(histories.starts, histories.starts[-1])
    return InteractionMatrix(starts, histories.columns, histories.values, histories.n_columns).take(row_of)


def _make_group(
    users: Int32Array,
    rows: Int32Array,
    seen: InteractionMatrix,
    relevant: InteractionMatrix,
    model_items: Int32Array,
    fitted_on: bool,
) -> UserGroup:
    """Make a group of the users who have relevant items.

    Args:
        users: Codes in the vocabulary of test, shape `(n,)`.
        rows: Their rows in `seen`, shape `(n,)`.
        seen: Seen items, in the codes of the model.
        relevant: Relevant items of all users of test, in the codes of test.
        model_items: The model's code of each item of test; -1 for items that it does not know.
        fitted_on: Whether the model was fitted on these users.
    """
    relevant = relevant.take(users)
    # Into the codes of the model, which rankings use; items that it does not know become -1.
    relevant = InteractionMatrix(relevant.starts, model_items[relevant.columns], relevant.values[:0], seen.n_columns)
    # Three kinds of relevant items: unknown to the model (a miss), seen (excluded), and recommendable.
    known_items = _filter(relevant, relevant.columns >= 0)
    is_seen = np.empty(known_items.nnz, np.uint8)
    hit_flags.contained(
        known_items.starts, known_items.columns, rows, seen.starts, seen.columns, seen.n_columns, is_seen
    )
    recommendable = _filter(known_items, is_seen == 0)
    n_unknown = np.diff(relevant.starts) - np.diff(known_items.starts)
    n_relevant = n_unknown + np.diff(recommendable.starts)
    kept_users = np.flatnonzero(n_relevant).astype(np.int32)
    return UserGroup(
        users[kept_users], rows[kept_users], seen, recommendable.take(kept_users), n_relevant[kept_users], fitted_on
    )


def _filter(matrix: InteractionMatrix, kept: NDArray[np.bool_]) -> InteractionMatrix:
    """Keep some entries of a matrix, without their values."""
    # The new start of a row is the number of entries kept before it: one pass, without a loop over rows.
    n_kept_before = np.concatenate([[0], np.cumsum(kept)])
    starts = n_kept_before[matrix.starts]
    return InteractionMatrix(starts, matrix.columns[kept], matrix.values[:0], matrix.n_columns)
