"""Users that are evaluated, the items that are excluded for them, and their relevant items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.data import columns
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError
from recctl.evaluation.segments import Segment
from recctl.kernels import hit_flags
from recctl.models.base import Recommender, id_tables
from recctl.ranking import TieBreaker

# Users that the model was not fitted on and that have no history are excluded, count as 0, or get the most popular
# items, as `Recommender.recommend(..., on_unknown="popular")` answers.
OnUnknownUser = Literal["skip", "zero", "popular"]
# Which items are neither candidates nor relevant.
Exclude = Literal["known", "train", "none"]
# How the gain of a relevant item in NDCG follows from its rating.
Gain = Literal["rating", "exp2"]

# 2**64 is still exact to 16 digits; a list with a higher gain would be decided by this one item.
_MAX_EXPONENT = 64


class KnownPairs(NamedTuple):
    """Pairs of users and items that are known.

    Attributes:
        users: The user ids of the rows.
        items: The item ids of the columns.
        matrix: The pairs.
    """

    users: Vocabulary
    items: Vocabulary
    matrix: InteractionMatrix

    @classmethod
    def of_data(cls, data: InteractionDataset) -> KnownPairs:
        """The pairs of a data set."""
        return cls(data.user_vocabulary, data.item_vocabulary, data.matrix_of(None))

    @classmethod
    def of_model(cls, model: Recommender) -> KnownPairs:
        """The pairs that a model was fitted on."""
        return cls(model.user_vocabulary, model.item_vocabulary, model.seen)


@dataclass(frozen=True, eq=False)
class Relevance:
    """The relevant items of some users.

    Attributes:
        items: Relevant items that can be recommended, shape `(n, n_items)`; its values are their ratings if relevance
            is graded.
        counts: Number of relevant items of each user, including items that the model does not know, shape `(n,)`.
        ratings: The ratings of all relevant items of each user, including items that the model does not know, the
            highest first, as the values of a matrix of n rows; None if relevance is binary.
    """

    items: InteractionMatrix
    counts: Int64Array
    ratings: InteractionMatrix | None = None

    def take(self, positions: Int32Array) -> Relevance:
        """Select users."""
        ratings = None if self.ratings is None else self.ratings.take(positions)
        return Relevance(self.items.take(positions), self.counts[positions], ratings)


@dataclass(frozen=True, eq=False)
class UserGroup:
    """Users with relevant items that the model scores in the same way.

    Attributes:
        users: Codes in the vocabulary of the test data, ascending, shape `(n,)`.
        model_users: Codes in the vocabulary of the model, shape `(n,)`; -1 for users that it was not fitted on.
        histories: What each user is scored by, shape `(n, n_items)`; None: by what the model was fitted on.
        excluded: Items that must not be recommended, shape `(n_rows, n_items)`.
        excluded_rows: The row of each user in `excluded`, shape `(n,)`.
        relevance: The relevant items of each user.
        in_segments: Those of them that are in each segment of items or interactions.
        popularity: Scores of all items in place of the model's, for users who get the most popular items, shape
            `(n_items,)`; None for users that the model scores.
        user_hashes: Hashes of the ids of such users, by which ties are broken, shape `(n,)`.
    """

    users: Int32Array
    model_users: Int32Array
    histories: InteractionMatrix | None
    excluded: InteractionMatrix
    excluded_rows: Int32Array
    relevance: Relevance
    in_segments: tuple[Relevance, ...] = ()
    popularity: Float32Array | None = None
    user_hashes: NDArray[np.uint64] | None = None

    @property
    def relevant(self) -> InteractionMatrix:
        """Relevant items that can be recommended, shape `(n, n_items)`."""
        return self.relevance.items

    @property
    def n_relevant(self) -> Int64Array:
        """Number of relevant items of each user, including items that the model does not know, shape `(n,)`."""
        return self.relevance.counts

    def score(self, model: Recommender, positions: Int32Array) -> Float32Array:
        """Return the scores of all items for the users at some positions in the group."""
        if self.popularity is not None:
            return np.tile(self.popularity, (len(positions), 1))
        if self.histories is not None:
            return model.score_histories(self.histories.take(positions))
        return model.score_users(self.model_users[positions])

    def excluded_items(self, positions: Int32Array) -> InteractionMatrix:
        """Return the excluded items of the users at some positions in the group."""
        return self.excluded.take(self.excluded_rows[positions])

    def ties(self, model: Recommender) -> TieBreaker:
        """Return what breaks ties in the scores of the users."""
        if self.user_hashes is not None:
            return TieBreaker.of_ids(self.user_hashes, model.item_vocabulary.hashes)
        if self.histories is not None and (self.model_users < 0).any():
            return model.ties_of_histories(self.histories)
        return model.ties_of_users(self.model_users)


@dataclass(frozen=True, eq=False)
class EvalUsers:
    """All users of a test part with relevant items.

    Attributes:
        groups: Users that the model can score: those it was fitted on, by their codes or by all that is known of them;
            then other users, by their history; then, on request, users who get the most popular items.
        users: Codes of all users in the means, in the vocabulary of the test data: the users of the groups, then users
            that can't be scored and count as 0.
        n_relevant: Number of relevant items of each.
        n_in_segments: Number of them in each segment of items or interactions.
        n_folded_in: Number of users that the model was not fitted on and that are scored, by their history if they
            have one.
        n_popular: Number of users who get the most popular items, because they can't be scored.
        n_skipped: Number of users that can't be scored and are excluded.
        left_out: Number of excluded test interactions by reason.
    """

    groups: tuple[UserGroup, ...]
    users: Int32Array
    n_relevant: Int64Array
    n_in_segments: tuple[Int64Array, ...]
    n_folded_in: int
    n_popular: int
    n_skipped: int
    left_out: dict[str, int]


def collect_eval_users(
    model: Recommender,
    test: InteractionDataset,
    history: InteractionDataset | None = None,
    known: InteractionDataset | None = None,
    excluded: Sequence[KnownPairs] = (),
    *,
    exclude: Exclude = "known",
    threshold: float | None = None,
    on_unknown: OnUnknownUser = "skip",
    gain: Gain | None = None,
    segments: Sequence[Segment] = (),
) -> EvalUsers:
    """Collect the users of a test part that have relevant items.

    Args:
        model: A fitted model; the interactions it was fitted on are seen.
        test: The relevant interactions; the latest of repeated pairs counts.
        history: Interactions of users that the model was not fitted on.
        known: All interactions of the test users before the test part, seen ones included; None: no others.
        excluded: Other pairs that are neither candidates nor relevant, as those that other models were fitted on.
        exclude: Which items are neither candidates nor relevant: "known": seen ones and those in `known`; "train":
            seen ones; "none": no items.
        threshold: The minimum rating of relevant interactions; None: all are relevant.
        on_unknown: Whether users that the model was not fitted on and that have no history are excluded ("skip"),
            count as 0 ("zero"), or get the most popular items ("popular"). Lists that were made elsewhere are measured
            as they are unless it is "skip".
        gain: How gains follow from ratings, which are then kept; None: relevance is binary.
        segments: Segments of items or interactions, for which relevant items are collected separately too.

    Raises:
        DataError: A threshold or a gain is given but test has no ratings that suit it, or the model needs ratings and
            the history has none.
    """
    relevant, left_out = _relevant_pairs(test, threshold, gain)
    if exclude == "train":
        known = None
    n_all_relevant = relevant.nnz
    excluded = list(excluded)
    if known is not None and exclude == "known":
        excluded.append(KnownPairs.of_data(known))
    for pairs in excluded:
        in_codes_of_test = _recode(pairs, test.user_vocabulary, test.item_vocabulary)
        relevant = _filter(relevant, ~contained(relevant, in_codes_of_test))
    n_relevant_by_user = np.diff(relevant.starts)
    in_segments = tuple(_restrict(relevant, segment, test) for segment in segments)
    collector = _GroupCollector(model, test, relevant, in_segments, known, excluded, exclude)
    model_users = model.user_vocabulary.codes(test.user_vocabulary.ids)
    # The groups differ in the method by which the model scores them. Whether a user is folded in depends on the model,
    # not on the history: users it was fitted on never use `history`.
    fitted_users = np.flatnonzero(model_users >= 0).astype(np.int32)
    other_users = np.flatnonzero(model_users < 0).astype(np.int32)
    groups = collector.fitted_groups(fitted_users, model_users[fitted_users])
    histories = _read_histories(model, test.user_vocabulary.ids[other_users], history)
    is_scored = np.diff(histories.starts) > 0
    if model.serves_unknown_users and on_unknown != "skip":
        is_scored[:] = True
    folded_in = collector.folded_in_group(other_users[is_scored], histories.take(_indices(is_scored)))
    groups.append(folded_in)
    # Cold users without relevant items are not counted at all.
    cold_users = other_users[~is_scored]
    cold_users = cold_users[n_relevant_by_user[cold_users] > 0]
    n_popular = 0
    if on_unknown == "popular" and len(cold_users):
        with_popular_items = collector.popular_group(cold_users)
        groups.append(with_popular_items)
        n_popular = len(with_popular_items.users)
        cold_users = cold_users[:0]
    counted_cold = cold_users if on_unknown == "zero" else cold_users[:0]
    evaluated = np.concatenate([group.users for group in groups] + [counted_cold])
    n_relevant = np.concatenate([group.n_relevant for group in groups] + [n_relevant_by_user[counted_cold]])
    n_in_segments = []
    for number, restricted in enumerate(in_segments):
        counts = [group.in_segments[number].counts for group in groups]
        counts.append(np.diff(restricted.starts)[counted_cold])
        n_in_segments.append(np.concatenate(counts))
    n_skipped_pairs = int(n_relevant_by_user[cold_users].sum() - n_relevant_by_user[counted_cold].sum())
    left_out["of_unknown_users"] = n_skipped_pairs
    # The remainder: every relevant pair is evaluated, of an unknown user, or known, so the three numbers add up.
    left_out["known"] = n_all_relevant - n_skipped_pairs - int(n_relevant.sum())
    n_skipped = len(cold_users) - len(counted_cold)
    return EvalUsers(
        tuple(groups),
        evaluated,
        n_relevant,
        tuple(n_in_segments),
        len(folded_in.users),
        n_popular,
        n_skipped,
        left_out,
    )


@dataclass(frozen=True, eq=False)
class _GroupCollector:
    """Collects groups of users of a test part; the arguments are those of `collect_eval_users`.

    Attributes:
        relevant: Relevant items of all users of test, in the codes of test.
        in_segments: Those of them that are in each segment.
    """

    model: Recommender
    test: InteractionDataset
    relevant: InteractionMatrix
    in_segments: Sequence[InteractionMatrix]
    known: InteractionDataset | None
    excluded: Sequence[KnownPairs]
    exclude: Exclude

    @cached_property
    def excluded_by_user(self) -> list[InteractionMatrix]:
        """`excluded` for each user of test, in items of the model, each `(n_test_users, n_items)`."""
        return [_recode(pairs, self.test.user_vocabulary, self.model.item_vocabulary) for pairs in self.excluded]

    @cached_property
    def model_items(self) -> Int32Array:
        """The model's code of each item of test; -1 for items that it does not know."""
        return self.model.item_vocabulary.codes(self.test.item_vocabulary.ids)

    def fitted_groups(self, users: Int32Array, model_users: Int32Array) -> list[UserGroup]:
        """Users that the model was fitted on.

        A model that reads the order of a history is given all that is known, as published protocols do: asked for the
        item after next, it would be measured on another task. Other models answer from what they were fitted on.
        """
        seen = self.model.seen
        if self.known is None or not self.model.reads_order:
            return [self._group(users, model_users, None, seen, model_users)]
        histories = _read_histories(self.model, self.test.user_vocabulary.ids[users], self.known)
        has_history = np.diff(histories.starts) > 0
        without = ~has_history
        by_code = self._group(users[without], model_users[without], None, seen, model_users[without])
        by_history = self._group(
            users[has_history],
            model_users[has_history],
            histories.take(_indices(has_history)),
            seen,
            model_users[has_history],
        )
        return [by_code, by_history]

    def folded_in_group(self, users: Int32Array, histories: InteractionMatrix) -> UserGroup:
        """Users that the model was not fitted on and that have a history."""
        model_users = np.full(len(users), -1, np.int32)
        return self._group(users, model_users, histories, histories, np.arange(len(users), dtype=np.int32))

    def popular_group(self, users: Int32Array) -> UserGroup:
        """Users that can't be scored and get the most popular items, as `Recommender.rank_popular` ranks them."""
        model_users = np.full(len(users), -1, np.int32)
        group = self._group(users, model_users, None, self._nothing(), np.zeros(len(users), np.int32))
        popularity = self.model.seen.column_counts().astype(np.float32)
        return replace(group, popularity=popularity, user_hashes=self.test.user_vocabulary.hashes[group.users])

    def _nothing(self) -> InteractionMatrix:
        """One row without items."""
        seen = self.model.seen
        return InteractionMatrix(np.zeros(2, np.int64), seen.columns[:0], seen.values[:0], seen.n_columns)

    def _group(
        self,
        users: Int32Array,
        model_users: Int32Array,
        histories: InteractionMatrix | None,
        seen: InteractionMatrix,
        seen_rows: Int32Array,
    ) -> UserGroup:
        """Make a group of the users who have relevant items.

        Args:
            users: Codes in the vocabulary of test, ascending, shape `(n,)`.
            model_users: Codes in the vocabulary of the model, shape `(n,)`.
            histories: What each user is scored by; None: by what the model was fitted on.
            seen: Seen items, shape `(n_rows, n_items)`.
            seen_rows: The row of each user in `seen`, shape `(n,)`.
        """
        excluded, excluded_rows = self._excluded(users, seen, seen_rows)
        relevance = self._relevance(self.relevant.take(users), excluded, excluded_rows)
        kept = np.flatnonzero(relevance.counts).astype(np.int32)
        in_segments = [
            self._relevance(restricted.take(users), excluded, excluded_rows).take(kept)
            for restricted in self.in_segments
        ]
        return UserGroup(
            users[kept],
            model_users[kept],
            None if histories is None else histories.take(kept),
            excluded,
            excluded_rows[kept],
            relevance.take(kept),
            tuple(in_segments),
        )

    def _relevance(
        self, relevant: InteractionMatrix, excluded: InteractionMatrix, excluded_rows: Int32Array
    ) -> Relevance:
        """The relevant items of users in the codes of the model, which rankings use.

        Args:
            relevant: In the codes of test, shape `(n, n_test_items)`.
            excluded: Items that must not be recommended, shape `(n_rows, n_items)`.
            excluded_rows: The row of each user in `excluded`, shape `(n,)`.
        """
        # Items that the model does not know become -1.
        recoded = InteractionMatrix(
            relevant.starts, self.model_items[relevant.columns], relevant.values, excluded.n_columns
        )
        # Three kinds of relevant items: unknown to the model (a miss), excluded, and recommendable.
        is_known = recoded.columns >= 0
        known_to_model = _filter(recoded, is_known)
        is_excluded = contained(known_to_model, excluded, excluded_rows)
        recommendable = _filter(known_to_model, ~is_excluded)
        n_unknown = np.diff(recoded.starts) - np.diff(known_to_model.starts)
        counts = n_unknown + np.diff(recommendable.starts)
        if relevant.is_binary:
            return Relevance(recommendable, counts)
        is_counted = ~is_known
        is_counted[is_known] = ~is_excluded
        return Relevance(recommendable, counts, _sort_by_value(_filter(recoded, is_counted)))

    def _excluded(
        self, users: Int32Array, seen: InteractionMatrix, seen_rows: Int32Array
    ) -> tuple[InteractionMatrix, Int32Array]:
        """The excluded items of some users, and the row of each user among them."""
        if self.exclude == "none" and not self.excluded:
            return self._nothing(), np.zeros(len(users), np.int32)
        if not self.excluded:
            return seen, seen_rows
        matrices = [pairs.take(users) for pairs in self.excluded_by_user]
        if self.exclude != "none":
            matrices.append(seen.take(seen_rows))
        row_codes = np.concatenate([matrix.rows for matrix in matrices])
        column_codes = np.concatenate([matrix.columns for matrix in matrices])
        union = InteractionMatrix.from_pairs(row_codes, column_codes, None, (len(users), seen.n_columns))
        return union, np.arange(len(users), dtype=np.int32)


def count_pairs(data: InteractionDataset, pairs: KnownPairs) -> int:
    """Number of distinct pairs of a data set that are among others."""
    in_codes_of_data = _recode(pairs, data.user_vocabulary, data.item_vocabulary)
    return int(contained(data.matrix_of(None), in_codes_of_data).sum())


def _recode(pairs: KnownPairs, users: Vocabulary, items: Vocabulary) -> InteractionMatrix:
    """Pairs in the codes of other vocabularies, without their values, `(len(users), len(items))`."""
    matrix = pairs.matrix
    own_users = pairs.users.codes(users.ids)
    # An empty row at the end serves the users that the pairs do not have.
    starts = np.append(matrix.starts, matrix.starts[-1])
    rows = np.where(own_users >= 0, own_users, matrix.n_rows).astype(np.int32)
    by_user = InteractionMatrix(starts, matrix.columns, matrix.values[:0], matrix.n_columns).take(rows)
    item_codes = items.codes(pairs.items.ids)[by_user.columns]
    recoded = InteractionMatrix(by_user.starts, item_codes, by_user.values, len(items))
    return _filter(recoded, item_codes >= 0)


def contained(matrix: InteractionMatrix, other: InteractionMatrix, rows: Int32Array | None = None) -> NDArray[np.bool_]:
    """Whether `other` contains each entry of a matrix.

    Args:
        matrix: The matrix, `(n_rows, n_items)`.
        other: Another one.
        rows: The row of `other` that each row is compared with; None: the same one.
    """
    if rows is None:
        rows = np.arange(matrix.n_rows, dtype=np.int32)
    is_contained = np.empty(matrix.nnz, np.uint8)
    hit_flags.contained(matrix.starts, matrix.columns, rows, other.starts, other.columns, other.n_columns, is_contained)
    return is_contained.astype(bool)


def _indices(mask: NDArray[np.bool_]) -> Int32Array:
    return np.flatnonzero(mask).astype(np.int32)


def _restrict(relevant: InteractionMatrix, segment: Segment, test: InteractionDataset) -> InteractionMatrix:
    """Keep the relevant pairs of a segment of items or interactions; all in the codes of test."""
    if segment.unit == "items":
        return _filter(relevant, segment.members[relevant.columns])
    # Of repeated pairs the latest counts, as it does for the rating.
    is_member = test.matrix_of(segment.members.astype(np.float32))
    return _filter(relevant, contained(relevant, _filter(is_member, is_member.values > 0)))


def _relevant_pairs(
    test: InteractionDataset, threshold: float | None, gain: Gain | None
) -> tuple[InteractionMatrix, dict[str, int]]:
    """The relevant pairs in the codes of test, and the number of the other interactions by reason.

    The values of the pairs are their ratings if a gain is given.
    """
    if threshold is not None and test.ratings is None:
        raise DataError(f"test: has no ratings, so relevance_threshold={threshold:g} can't be applied; leave it out")
    if gain is not None and test.ratings is None:
        raise DataError(f"test: has no ratings, so gain={gain!r} can't be applied; leave it out for binary relevance")
    # Ratings are kept only where they are used: without values the matrix takes half the memory.
    pairs = test.matrix_of(None if threshold is None and gain is None else test.ratings)
    relevant = pairs
    if threshold is not None:
        relevant = _filter(pairs, pairs.values >= threshold)
    if gain is None:
        relevant = InteractionMatrix(relevant.starts, relevant.columns, relevant.values[:0], relevant.n_columns)
    else:
        _require_gains(relevant.values, gain)
    return relevant, {"repeated": len(test) - pairs.nnz, "rated_below_threshold": pairs.nnz - relevant.nnz}


def _require_gains(ratings: Float32Array, gain: Gain) -> None:
    """Check that the ratings of relevant interactions can be gains, which are above 0."""
    lowest = ratings.min(initial=np.inf)
    highest = ratings.max(initial=-np.inf)
    if lowest <= 0:
        raise DataError(
            f"test: a relevant interaction has the rating {lowest:g}, so gain={gain!r} can't be applied, because gains "
            "are above 0; set relevance_threshold to the lowest rating of a relevant interaction"
        )
    if gain == "exp2" and highest > _MAX_EXPONENT:
        raise DataError(
            f"test: a relevant interaction has the rating {highest:g}, so gain='exp2' would be 2**{highest:g}; "
            "use gain='rating'"
        )


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


def _filter(matrix: InteractionMatrix, kept: NDArray[np.bool_]) -> InteractionMatrix:
    """Keep some entries of a matrix."""
    # The new start of a row is the number of entries kept before it: one pass, without a loop over rows.
    n_kept_before = np.concatenate([[0], np.cumsum(kept)])
    starts = n_kept_before[matrix.starts]
    values = matrix.values if matrix.is_binary else matrix.values[kept]
    return InteractionMatrix(starts, matrix.columns[kept], values, matrix.n_columns)


def _sort_by_value(matrix: InteractionMatrix) -> InteractionMatrix:
    """Sort the entries of each row, the highest value first."""
    order = np.lexsort((-matrix.values, matrix.rows))
    return InteractionMatrix(matrix.starts, matrix.columns[order], matrix.values[order], matrix.n_columns)
