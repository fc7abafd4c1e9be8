"""Ranking metrics: rank the items for all evaluated users in blocks, and evaluate each ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from recctl import progress
from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.errors import DataError
from recctl.evaluation.eval_users import EvalUsers, Gain, Relevance, UserGroup
from recctl.evaluation.given_lists import GivenLists, GivenRankings
from recctl.kernels import candidate_sampling, hit_flags
from recctl.metrics import METRICS, Catalog, Float64Array, Lists, MetricKey, metric_keys
from recctl.metrics.definitions import auc
from recctl.models.base import Recommender
from recctl.ranking import TieBreaker, map_blocks, rank_block


@dataclass(frozen=True, eq=False)
class Protocol:
    """How items are ranked and which metrics are computed.

    Attributes:
        metrics: Names of ranking metrics.
        k_values: Cutoffs, ascending.
        n_negatives: Number of candidates sampled in addition to the relevant items; None: all items are candidates.
        seeds: The seed of each test user's sample, shape `(n_test_users,)`; empty if nothing is sampled.
        gain: How the gain of a relevant item in NDCG follows from its rating; None: all gains are 1.
    """

    metrics: Sequence[str]
    k_values: Sequence[int]
    n_negatives: int | None
    seeds: Int64Array
    gain: Gain | None = None

    @property
    def list_metrics(self) -> list[str]:
        """The metrics that are functions of the recommended lists."""
        return [metric_name for metric_name in self.metrics if METRICS[metric_name].of == "lists"]

    @property
    def count_metrics(self) -> list[str]:
        """The metrics that are functions of how often each item is recommended."""
        return [metric_name for metric_name in self.metrics if METRICS[metric_name].of == "counts"]

    @property
    def per_user_keys(self) -> list[MetricKey]:
        """Keys of the values that each user has, in the order of the columns."""
        pair_metrics = [metric_name for metric_name in self.metrics if METRICS[metric_name].of == "pairs"]
        return metric_keys(self.list_metrics + pair_metrics, self.k_values, sampled=self.n_negatives is not None)

    @property
    def of_relevant_items(self) -> Protocol:
        """The same protocol with the metrics alone that depend on which items are relevant."""
        accuracy = [metric_name for metric_name in self.metrics if METRICS[metric_name].kind == "accuracy"]
        return replace(self, metrics=accuracy)


class RankingValues(NamedTuple):
    """What an evaluation of rankings returns.

    Attributes:
        per_user: The values of each user, shape `(n_users, n_per_user_keys)`; zeros for users that are not scored.
        counts: How often each item is among the first k, shape `(n_k_values, n_items)`; zeros if no metric needs it.
        in_segments: For each segment of items or interactions the values of the users who have relevant items in it,
            in their order, shape `(n_users_of_segment, n_keys)`, with the keys of `Protocol.of_relevant_items`.
    """

    per_user: Float64Array
    counts: Int64Array
    in_segments: list[Float64Array]


def evaluate_rankings(
    model: Recommender, users: EvalUsers, protocol: Protocol, given: GivenRankings | None = None
) -> RankingValues:
    """Rank the items once for each user, and compute all metrics, cutoffs and segments from this ranking.

    Args:
        model: The model, or the lists that were given in its place.
        users: The users.
        protocol: How items are ranked and which metrics are computed.
        given: The rankings, if they are lists that were made elsewhere.
    """
    n_items = len(model.item_vocabulary)
    catalog = Catalog(model.seen)
    if "diversity" in protocol.metrics:
        _ = catalog.users  # cached property: compute it once, before several threads would
    values = np.zeros((len(users.users), len(protocol.per_user_keys)))
    counts = np.zeros((len(protocol.k_values), n_items), np.int64)
    n_keys_of_segment = len(protocol.of_relevant_items.per_user_keys)
    in_segments = [np.zeros((np.count_nonzero(n_relevant), n_keys_of_segment)) for n_relevant in users.n_in_segments]
    n_done_in_segments = [0] * len(in_segments)
    n_done = 0
    n_scored = sum(len(user_group.users) for user_group in users.groups)
    with progress.task("Evaluating", n_scored, "users") as task:
        for position, user_group in enumerate(users.groups):
            given_items = None if given is None else given.items[position]
            evaluator = _BlockEvaluator(model, user_group, user_group.ties(model), protocol, catalog, given_items)
            for block_values, items, segment_values in map_blocks(
                evaluator, len(user_group.users), n_items, "evaluation of users"
            ):
                # `map_blocks` computes on several threads, but yields blocks in the order of users.
                values[n_done : n_done + len(block_values)] = block_values
                n_done += len(block_values)
                for number, values_of_segment in enumerate(segment_values):
                    begin = n_done_in_segments[number]
                    n_done_in_segments[number] += len(values_of_segment)
                    in_segments[number][begin : n_done_in_segments[number]] = values_of_segment
                if protocol.count_metrics:
                    _add_counts(items, protocol.k_values, counts)
                task.update(n_done)
    if isinstance(model, GivenLists):
        counts = counts[:, model.in_catalog]
    # Each item was counted at the lowest cutoff only: the cumulative sum gives the counts at every cutoff.
    return RankingValues(values, np.cumsum(counts, axis=0), in_segments)


@dataclass(frozen=True, eq=False)
class _BlockEvaluator:
    """Evaluates blocks of users of a group; called by several threads at once.

    Attributes:
        given_items: The lists of the group's users, if they were made elsewhere, `(n_users, max_k)`.
    """

    model: Recommender
    group: UserGroup
    ties: TieBreaker
    protocol: Protocol
    catalog: Catalog
    given_items: Int32Array | None = None

    def __call__(self, positions: Int32Array) -> tuple[Float64Array, Int32Array, list[Float64Array]]:
        """Return the values of some users, `(n, n_per_user_keys)`, their lists, `(n, max_k)`, and values by segment."""
        relevance = self.group.relevance.take(positions)
        scores, items = self._rank(positions, relevance)
        values = self._values(scores, items, relevance, self.protocol)
        # The ranking and the candidates are those of all relevant items; only which of them count differs.
        of_segments = self.protocol.of_relevant_items
        segment_values = []
        for in_segment in self.group.in_segments:
            rows = np.flatnonzero(in_segment.counts[positions]).astype(np.int32)
            of_rows = in_segment.take(positions[rows])
            # Only AUC reads scores; a copy of them for nothing would take longer than all the rest.
            scores_of_rows = scores[rows] if "auc" in of_segments.metrics else scores
            segment_values.append(self._values(scores_of_rows, items[rows], of_rows, of_segments))
        return values, items, segment_values

    def _rank(self, positions: Int32Array, relevance: Relevance) -> tuple[Float32Array, Int32Array]:
        """The scores of some users, `(n, n_items)`, and their lists, `(n, max_k)`; given lists have no scores."""
        if self.given_items is not None:
            return np.empty((0, 0), np.float32), self.given_items[positions]
        scores = self.group.score(self.model, positions)
        _refuse_nan(scores, self.model)
        excluded_items = self.group.excluded_items(positions)
        if self.protocol.n_negatives is not None:
            candidate_sampling.keep_candidates(
                scores,
                excluded_items.starts,
                excluded_items.columns,
                relevance.items.starts,
                relevance.items.columns,
                self.protocol.n_negatives,
                self.protocol.seeds[self.group.users[positions]],
            )
        largest_k = self.protocol.k_values[-1]
        items, _ = rank_block(scores, largest_k, excluded_items, self.ties.take(positions))
        return scores, items

    def _values(
        self, scores: Float32Array, items: Int32Array, relevance: Relevance, protocol: Protocol
    ) -> Float64Array:
        """The values of some users, `(n, n_per_user_keys)`.

        Args:
            scores: Scores of all items, minus infinity for those that are no candidates, shape `(n, n_items)`.
            items: The lists, shape `(n, max_k)`.
            relevance: Which items are relevant.
            protocol: The metrics to compute.
        """
        relevant = relevance.items
        # float64: metrics sum them, and integers would be converted for each of them.
        hits = np.empty(items.shape)
        hit_flags.hits(items, relevant.starts, relevant.columns, relevant.n_columns, hits)
        in_catalog = items
        if isinstance(self.model, GivenLists):
            # Nothing is known of the users of an item that is not in the training data: it is a hit or a miss, no more.
            in_catalog = np.where((items >= 0) & self.model.in_catalog[items], items, np.int32(-1))
        ranked_lists = Lists(in_catalog, hits, relevance.counts, self.catalog)
        if protocol.gain is not None:
            ranked_lists = replace(
                ranked_lists,
                gains=_gains_of_hits(items, relevant, protocol.gain),
                ideal_gains=_ideal_gains(relevance, items.shape[1], protocol.gain),
            )
        # A list metric gives its values at all cutoffs up to max_k.
        cutoffs = np.array(protocol.k_values) - 1
        columns = [METRICS[metric_name].compute(ranked_lists)[:, cutoffs] for metric_name in protocol.list_metrics]
        if "auc" in protocol.metrics:
            n_ordered = np.empty(len(items))
            n_others = np.empty(len(items), np.int64)
            hit_flags.ordered_pairs(scores, relevant.starts, relevant.columns, n_ordered, n_others)
            columns.append(auc(n_ordered, ranked_lists.n_relevant, n_others)[:, None])
        if not columns:
            return np.empty((len(items), 0))
        return np.concatenate(columns, axis=1)


def _gain(ratings: Float32Array, gain: Gain) -> Float64Array:
    """The gain of relevant items by their ratings."""
    exact_ratings = ratings.astype(np.float64)
    # Burges et al., "Learning to rank using gradient descent", ICML 2005, use 2**rating - 1.
    return exact_ratings if gain == "rating" else np.exp2(exact_ratings) - 1


def _gains_of_hits(items: Int32Array, relevant: InteractionMatrix, gain: Gain) -> Float64Array:
    """The gain of the item at each position of the lists, `(n, k)`."""
    gains = np.empty(items.shape)
    hit_flags.gains_of_hits(
        items, relevant.starts, relevant.columns, _gain(relevant.values, gain), relevant.n_columns, gains
    )
    return gains


def _ideal_gains(relevance: Relevance, k: int, gain: Gain) -> Float64Array:
    """The gains of the first k relevant items of each user, the highest first, `(n, k)`."""
    ideal = np.zeros((len(relevance.counts), k))
    ratings = relevance.ratings
    if ratings is None:  # no user has relevant items
        return ideal
    places = np.arange(ratings.nnz) - ratings.starts[ratings.rows]
    is_within = places < k
    ideal[ratings.rows[is_within], places[is_within]] = _gain(ratings.values[is_within], gain)
    return ideal


def _refuse_nan(scores: Float32Array, model: Recommender) -> None:
    # The maximum of NumPy is NaN if any score is.
    if np.isnan(scores.max(initial=-np.inf)):
        raise DataError(f"{model.name}: some scores are not numbers (NaN), so items can't be ranked by them")


def _add_counts(items: Int32Array, k_values: Sequence[int], counts: Int64Array) -> None:
    """Count each recommended item once, at the lowest cutoff that includes its rank; -1 is an empty place."""
    ranks = np.arange(1, items.shape[1] + 1)
    cutoff_level = np.searchsorted(k_values, ranks)
    cell_numbers = (cutoff_level * counts.shape[1] + items)[items >= 0]
    np.add.at(counts.reshape(-1), cell_numbers, 1)
