"""Ranking metrics: rank the items for all evaluated users in blocks, and evaluate each ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recctl import progress
from recctl.data.matrix import Float32Array, Int32Array, Int64Array
from recctl.errors import DataError
from recctl.evaluation.eval_users import EvalUsers, UserGroup
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
    """

    metrics: Sequence[str]
    k_values: Sequence[int]
    n_negatives: int | None
    seeds: Int64Array

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


def evaluate_rankings(model: Recommender, users: EvalUsers, protocol: Protocol) -> tuple[Float64Array, Int64Array]:
    """Rank the items once for each user, and compute all metrics and cutoffs from this ranking.

    Returns:
        The values of each user, shape `(n_users, n_per_user_keys)`; zeros for users that are not scored. And how often
        each item is among the first k, shape `(n_k_values, n_items)`; zeros if no metric needs it.
    """
    n_items = len(model.item_vocabulary)
    catalog = Catalog(model.seen)
    if "diversity" in protocol.metrics:
        _ = catalog.users  # cached property: compute it once, before several threads would
    values = np.zeros((len(users.users), len(protocol.per_user_keys)))
    counts = np.zeros((len(protocol.k_values), n_items), np.int64)
    n_done = 0
    n_scored = sum(len(user_group.users) for user_group in users.groups)
    with progress.task("Evaluating", n_scored, "users") as task:
        for user_group in users.groups:
            evaluator = _BlockEvaluator(model, user_group, user_group.ties(model), protocol, catalog)
            for block_values, items in map_blocks(evaluator, len(user_group.users), n_items):
                # `map_blocks` computes on several threads, but yields blocks in the order of users.
                values[n_done : n_done + len(block_values)] = block_values
                n_done += len(block_values)
                if protocol.count_metrics:
                    _add_counts(items, protocol.k_values, counts)
                task.update(n_done)
    # Each item was counted at the lowest cutoff only: the cumulative sum gives the counts at every cutoff.
    return values, np.cumsum(counts, axis=0)


@dataclass(frozen=True, eq=False)
class _BlockEvaluator:
    """Evaluates blocks of users of a group; called by several threads at once."""

    model: Recommender
    group: UserGroup
    ties: TieBreaker
    protocol: Protocol
    catalog: Catalog

    def __call__(self, positions: Int32Array) -> tuple[Float64Array, Int32Array]:
        """Return the values of some users, `(n, n_per_user_keys)`, and their lists, `(n, max_k)`."""
        scores = self.group.score(self.model, positions)  # (n, n_items)
        _refuse_nan(scores, self.model)
        excluded_items = self.group.excluded_items(positions)
        relevant = self.group.relevant.take(positions)
        if self.protocol.n_negatives is not None:
            candidate_sampling.keep_candidates(
                scores,
                excluded_items.starts,
                excluded_items.columns,
                relevant.starts,
                relevant.columns,
                self.protocol.n_negatives,
                self.protocol.seeds[self.group.users[positions]],
            )
        largest_k = self.protocol.k_values[-1]
        items, _ = rank_block(scores, largest_k, excluded_items, self.ties.take(positions))
        # float64: metrics sum them, and integers would be converted for each of them.
        hits = np.empty(items.shape)
        hit_flags.hits(items, relevant.starts, relevant.columns, relevant.n_columns, hits)
        ranked_lists = Lists(items, hits, self.group.n_relevant[positions], self.catalog)
        # A list metric gives its values at all cutoffs up to max_k.
        cutoffs = np.array(self.protocol.k_values) - 1
        columns = [METRICS[metric_name].compute(ranked_lists)[:, cutoffs] for metric_name in self.protocol.list_metrics]
        if "auc" in self.protocol.metrics:
            n_ordered = np.empty(len(positions))
            n_others = np.empty(len(positions), np.int64)
            hit_flags.ordered_pairs(scores, relevant.starts, relevant.columns, n_ordered, n_others)
            columns.append(auc(n_ordered, ranked_lists.n_relevant, n_others)[:, None])
        if not columns:
            return np.empty((len(positions), 0)), items
        return np.concatenate(columns, axis=1), items


def _refuse_nan(scores: Float32Array, model: Recommender) -> None:
    # The sum is NaN if any score is, or if there are infinities of both signs; most blocks need no second pass.
    with np.errstate(invalid="ignore", over="ignore"):
        may_have_nan = np.isnan(scores.sum())
    if may_have_nan and np.isnan(scores).any():
        raise DataError(f"{model.name}: some scores are not numbers (NaN), so items can't be ranked by them")


def _add_counts(items: Int32Array, k_values: Sequence[int], counts: Int64Array) -> None:
    """Count each recommended item once, at the lowest cutoff that includes its rank; -1 is an empty place."""
    ranks = np.arange(1, items.shape[1] + 1)
    cutoff_level = np.searchsorted(k_values, ranks)
    cell_numbers = (cutoff_level * counts.shape[1] + items)[items >= 0]
    np.add.at(counts.reshape(-1), cell_numbers, 1)
