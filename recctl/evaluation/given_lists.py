"""Recommendation lists that were made elsewhere, measured as the lists of a model are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from recctl.data.columns import ITEM, USER, ids_of
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ConfigError, DataError
from recctl.evaluation.eval_users import EvalUsers, UserGroup, contained
from recctl.kernels.tie_keys import mixed
from recctl.metrics import METRICS, Float64Array
from recctl.models.base import Recommender
from recctl.ranking import TieBreaker

# Also a pandas or polars column.
Ids: TypeAlias = ArrayLike | pa.Array | pa.ChunkedArray


class ListEntryError(DataError):
    """An entry can't be used: its item or rank is given twice, or its rank or score is not a number.

    Attributes:
        row: The position of the entry in the table, from 0.
    """

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row


class GivenRankings(NamedTuple):
    """The lists of the evaluated users.

    Attributes:
        items: For each group of users their lists, best first, -1 after the end, `(n_group_users, k)`.
        n_known: Number of entries that were dropped, because their items are excluded for the user.
        n_without_list: Number of users who have no list.
    """

    items: list[Int32Array]
    n_known: int
    n_without_list: int


class GivenLists(Recommender):
    """Recommendation lists of a file or another program, to be measured by `Evaluator` like a model.

    Users and items are those of the training data, so that the same users are measured as for models that were fitted
    on them, and coverage and novelty refer to the same catalog. Items that a user may not be recommended are dropped
    from the list, and the positions close up. An item that the training data do not have is kept at its position: it
    is a hit if the user took it, else a miss. Users without a list have an empty one. Users that the training data do
    not have are measured with `on_unknown="zero"`, where models have 0 for them, and with `"popular"`, where models
    have the most popular items.

    Args:
        train: The interactions that models are fitted on.
        users: The user of each entry, as an array, a column of a data frame, or a list.
        items: The item of each entry.
        ranks: The rank of each entry, lower ones first.
        scores: The score of each entry, higher ones first, in place of ranks; equal ones are ordered by
            `recctl.ranking.ties`.

    Raises:
        DataError: A user has an item or a rank twice, or a rank or score is not a number.
        ConfigError: Both ranks and scores are given, or neither; or the arguments differ in length.
    """

    name = "recommendations"
    serves_unknown_users = True

    def __init__(
        self,
        train: InteractionDataset,
        users: Ids,
        items: Ids,
        *,
        ranks: ArrayLike | None = None,
        scores: ArrayLike | None = None,
    ) -> None:
        super().__init__()
        if (ranks is None) == (scores is None):
            raise ConfigError("GivenLists: give ranks or scores, and not both")
        user_ids = _encodable(users, USER)
        item_ids = _encodable(items, ITEM)
        values = _numbers("rank", ranks) if ranks is not None else _numbers("score", scores)
        if not len(user_ids) == len(item_ids) == len(values):
            raise ConfigError(
                f"GivenLists: {len(user_ids)} users, {len(item_ids)} items and {len(values)} ranks or scores; give one "
                "of each for every entry"
            )
        list_users, user_codes = Vocabulary.encode(user_ids)
        listed_items, item_codes = Vocabulary.encode(item_ids)
        all_items, _ = Vocabulary.encode(_concatenated(train.item_vocabulary, listed_items))
        item_codes = all_items.recode(item_codes, listed_items)
        self.user_vocabulary = train.user_vocabulary
        self.item_vocabulary = all_items
        new_codes = all_items.codes(train.item_vocabulary.ids)
        seen = train.matrix
        # Both vocabularies ascend, so that the columns of a row still do.
        self.seen = InteractionMatrix(seen.starts, new_codes[seen.columns], seen.values[:0], len(all_items))
        self.in_catalog = np.zeros(len(all_items), bool)
        self.in_catalog[new_codes] = True
        self.list_users = list_users
        if ranks is not None:
            order = _order_by_rank(user_codes, values)
        else:
            ties = TieBreaker.of_ids(list_users.hashes, all_items.hashes)
            order = _order_by_score(user_codes, item_codes, values, ties)
        _require_distinct_items(list_users, all_items, user_codes, item_codes)
        starts = np.zeros(len(list_users) + 1, np.int64)
        np.cumsum(np.bincount(user_codes, minlength=len(list_users)), out=starts[1:])
        self.lists = InteractionMatrix(starts, item_codes[order], seen.values[:0], len(all_items))

    @property
    def longest(self) -> int:
        """Length of the longest list."""
        return int(np.diff(self.lists.starts).max(initial=0))

    def counts(self, data: InteractionDataset) -> dict[str, int]:
        """The size of the file, and how many of its users and entries the data do not have."""
        is_unknown_item = data.item_vocabulary.codes(self.item_vocabulary.ids) < 0
        return {
            "users": len(self.list_users),
            "entries": self.lists.nnz,
            "longest": self.longest,
            "unknown_users": int((data.user_vocabulary.codes(self.list_users.ids) < 0).sum()),
            "unknown_items": int(is_unknown_item[self.lists.columns].sum()),
        }

    def rank(self, users: EvalUsers, vocabulary: Vocabulary, k: int) -> GivenRankings:
        """The first k items of each evaluated user's list, without those that are excluded for the user.

        Args:
            users: The users.
            vocabulary: The user ids of the test data, whose codes `users` has.
            k: Length of the lists.
        """
        items = []
        n_known = 0
        n_without_list = 0
        for group in users.groups:
            listed = self._lists_of(vocabulary.ids[group.users])
            n_without_list += int((np.diff(listed.starts) == 0).sum())
            is_kept = ~self._is_excluded(listed, group)
            n_known += int((~is_kept).sum())
            items.append(_first_items(listed, is_kept, k))
        return GivenRankings(items, n_known, n_without_list)

    def require_measurable(self, metrics: Sequence[str], k_values: Sequence[int], n_candidates: int | None) -> None:
        """Check that lists of this length can be measured.

        Raises:
            ConfigError: A metric needs more than lists, or a cutoff is beyond the longest list.
        """
        problems = list(unmeasurable(metrics, n_candidates))
        beyond = [cutoff for cutoff in k_values if cutoff > self.longest]
        if beyond:
            within = [cutoff for cutoff in k_values if cutoff <= self.longest] or [max(1, self.longest)]
            listed = ", ".join(map(str, within))
            problems.append(
                f"evaluation.k_values: {', '.join(map(str, beyond))}: beyond the longest list, which has "
                f"{self.longest} items; set evaluation.k_values: [{listed}]"
            )
        if problems:
            raise ConfigError(*problems)

    def _lists_of(self, user_ids: NDArray[Any]) -> InteractionMatrix:
        """The list of each user; empty for users without one."""
        codes = self.list_users.codes(user_ids)
        # An empty row at the end serves the users without a list.
        starts = np.append(self.lists.starts, self.lists.starts[-1])
        rows = np.where(codes >= 0, codes, len(self.list_users)).astype(np.int32)
        return InteractionMatrix(starts, self.lists.columns, self.lists.values, self.lists.n_columns).take(rows)

    def _is_excluded(self, listed: InteractionMatrix, group: UserGroup) -> NDArray[np.bool_]:
        return contained(listed, group.excluded, group.excluded_rows)


def unmeasurable(metrics: Sequence[str], n_candidates: int | None) -> list[str]:
    """Say which settings of an evaluation need the scores of a model, which lists do not have."""
    problems = []
    names = [name for name in metrics if name in METRICS and METRICS[name].of not in ("lists", "counts")]
    if names:
        verb = "needs" if len(names) == 1 else "need"
        problems.append(
            f"evaluation.metrics: {', '.join(names)} {verb} a score for every item, which recommendation lists do not "
            f"have; leave out {', '.join(names)}"
        )
    if n_candidates is not None:
        problems.append(
            f"evaluation.n_candidates: {n_candidates}: sampled candidates need a score for every item, which "
            "recommendation lists do not have; set evaluation.n_candidates: null"
        )
    return problems


def _concatenated(first: Vocabulary, second: Vocabulary) -> Ids:
    if first.is_text != second.is_text and len(second):
        raise DataError("the ids of lists and data differ in type: one is text, the other are integers")
    ids = np.concatenate([first.ids, second.ids.astype(first.ids.dtype)])
    return pa.array(ids, pa.large_string()) if first.is_text else ids


def _encodable(ids: Ids, role: str) -> NDArray[Any] | pa.Array | pa.ChunkedArray:
    """Ids as `Vocabulary.encode` takes them. Columns and lists are read as the columns of a data set are."""
    is_array = isinstance(ids, np.ndarray) and ids.dtype.kind in "iO"
    if is_array or isinstance(ids, pa.Array | pa.ChunkedArray):
        return ids
    import pandas as pd

    return ids_of(pd.Series(ids if isinstance(ids, pd.Series) else np.asarray(ids).astype(object)), role)


def _numbers(name: str, values: Any) -> Float64Array:
    numbers = np.asarray(values, np.float64)
    is_nan = np.isnan(numbers)
    if is_nan.any():
        raise ListEntryError(int(np.flatnonzero(is_nan)[0]), f"{name} is not a number (NaN); correct or remove the row")
    return numbers


def _order_by_rank(users: Int32Array, ranks: Float64Array) -> NDArray[np.int64]:
    order = np.lexsort((ranks, users))
    is_repeated = (np.diff(users[order]) == 0) & (np.diff(ranks[order]) == 0)
    if is_repeated.any():
        row = int(order[np.flatnonzero(is_repeated) + 1].min())
        raise ListEntryError(row, f"rank {ranks[row]:g} is given twice for this user; number the items of each list")
    return order


def _order_by_score(users: Int32Array, items: Int32Array, scores: Float64Array, ties: TieBreaker) -> NDArray[np.int64]:
    tie_keys = mixed(ties.row_keys[users] ^ ties.item_hashes[items])
    return np.lexsort((tie_keys, -scores, users))


def _require_distinct_items(
    list_users: Vocabulary, list_items: Vocabulary, users: Int32Array, items: Int32Array
) -> None:
    order = np.lexsort((items, users))
    is_repeated = (np.diff(users[order]) == 0) & (np.diff(items[order]) == 0)
    if is_repeated.any():
        row = int(order[np.flatnonzero(is_repeated) + 1].min())
        user = list_users.ids[users[row]]
        item = list_items.ids[items[row]]
        raise ListEntryError(row, f"user {user!s} has item {item!s} twice; keep one of the two")


def _first_items(listed: InteractionMatrix, is_kept: NDArray[np.bool_], k: int) -> Int32Array:
    """The first k kept entries of each row, `(n_rows, k)`; -1 after the end."""
    n_kept_before = np.concatenate([[0], np.cumsum(is_kept)])
    rows = listed.rows
    positions = n_kept_before[:-1] - n_kept_before[listed.starts[rows]]
    is_shown = is_kept & (positions < k)
    items = np.full((listed.n_rows, k), -1, np.int32)
    items[rows[is_shown], positions[is_shown]] = listed.columns[is_shown]
    return items
