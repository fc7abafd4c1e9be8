"""The ranking of an audience in blocks, and its judgement."""

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
from recctl.ranking import map_blocks, rank_block


@dataclass(frozen=True, eq=False)
class Protocol:
    """How people are asked and what is measured.

    Attributes:
        metrics: Names of ranking metrics.
        k_values: Cutoffs, ascending.
        n_negatives: How many candidates are drawn beside the relevant ones; None: all items are candidates.
        seeds: The seed of each test user's draw, shape `(n_test_users,)`; empty where nothing is drawn.
    """

    metrics: Sequence[str]
    k_values: Sequence[int]
    n_negatives: int | None
    seeds: Int64Array

    @property
    def lists(self) -> list[str]:
        """The metrics that are functions of lists."""
        return [name for name in self.metrics if METRICS[name].of == "lists"]

    @property
    def counts(self) -> list[str]:
        """The metrics that are functions of how often items are recommended."""
        return [name for name in self.metrics if METRICS[name].of == "counts"]

    @property
    def per_user_keys(self) -> list[MetricKey]:
        """Keys of the values that each user has, in the order of the columns."""
        by_user = self.lists + [name for name in self.metrics if METRICS[name].of == "pairs"]
        return metric_keys(by_user, self.k_values, sampled=self.n_negatives is not None)


def evaluate_rankings(model: Recommender, audience: EvalUsers, protocol: Protocol) -> tuple[Float64Array, Int64Array]:
    """Rank for everyone in the audience, each once, and judge every metric and cutoff by that ranking.

    Returns:
        A row for each user of the audience, a column for each of `per_user_keys`; and how often each item is among the
        first k, `(n_k_values, n_items)`, all 0 where no metric asks for it.
    """
    n_items = len(model.item_vocabulary)
    catalog = Catalog(model.seen)
    if "diversity" in protocol.metrics:
        _ = catalog.users  # made before there are threads, which would each make it
    values = np.zeros((len(audience.users), len(protocol.per_user_keys)))
    recommended = np.zeros((len(protocol.k_values), n_items), np.int64)
    done = 0
    with progress.task("Evaluating", sum(len(group.users) for group in audience.groups), "users") as task:
        for group in audience.groups:
            block = _Block(model, group, protocol, catalog)
            for block_values, items in map_blocks(block, len(group.users), n_items):
                values[done : done + len(block_values)] = block_values
                done += len(block_values)
                if protocol.counts:
                    _count(items, protocol.k_values, recommended)
                task.update(done)
    return values, np.cumsum(recommended, axis=0)


class _Block:
    """Judges a block of a group; called on all threads."""

    def __init__(self, model: Recommender, group: UserGroup, protocol: Protocol, catalog: Catalog) -> None:
        self.model = model
        self.group = group
        self.protocol = protocol
        self.catalog = catalog

    def __call__(self, who: Int32Array) -> tuple[Float64Array, Int32Array]:
        """Values of these people, and their lists."""
        group, protocol = self.group, self.protocol
        scores = group.score(self.model, who)
        _refuse_nan(scores, self.model)
        masked, relevant = group.masked(who), group.relevant.take(who)
        if protocol.n_negatives is not None:
            candidate_sampling.keep_candidates(
                scores,
                masked.starts,
                masked.columns,
                relevant.starts,
                relevant.columns,
                protocol.n_negatives,
                protocol.seeds[group.users[who]],
            )
        items, _ = rank_block(scores, protocol.k_values[-1], masked)
        hits = np.empty(items.shape)
        hit_flags.hits(items, relevant.starts, relevant.columns, relevant.n_columns, hits)
        lists = Lists(items, hits, group.n_relevant[who], self.catalog)
        ks = np.array(protocol.k_values) - 1
        columns = [METRICS[name].compute(lists)[:, ks] for name in protocol.lists]
        if "auc" in protocol.metrics:
            ordered, n_others = np.empty(len(who)), np.empty(len(who), np.int64)
            hit_flags.ordered_pairs(scores, relevant.starts, relevant.columns, ordered, n_others)
            columns.append(auc(ordered, lists.n_relevant, n_others)[:, None])
        return np.concatenate(columns, axis=1) if columns else np.empty((len(who), 0)), items


def _refuse_nan(scores: Float32Array, model: Recommender) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        suspicious = np.isnan(scores.sum())  # infinities of both signs are, too
    if suspicious and np.isnan(scores).any():
        raise DataError(f"{model.name}: some of its scores are not numbers (NaN); no ranking follows from them")


def _count(items: Int32Array, k_values: Sequence[int], counts: Int64Array) -> None:
    """Add each recommended item to the counts of the lowest cutoff that reaches its place."""
    level = np.searchsorted(k_values, np.arange(1, items.shape[1] + 1))
    at = (level * counts.shape[1] + items)[items >= 0]
    np.add.at(counts.reshape(-1), at, 1)
