"""Random: the floor."""

from __future__ import annotations

import numpy as np

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import counter_rng
from recctl.kernels.counter_rng import GOLDEN_GAMMA, MIX_1, MIX_2
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value


class RandomRecommender(Recommender):
    """Items in random order: the floor that every other model must be clearly above.

    A score is uniform in [0, 1) and follows from the seed, the person's history and the item by a hash (SplitMix64:
    Steele, Lea & Flood, 2014, "Fast Splittable Pseudorandom Number Generators"). It is the same whenever and beside
    whomever a person is asked about, on any number of threads; people with the same history get the same items.

    Nothing is learnt; fitting costs nothing.
    """

    name = "random"
    serves_empty_history = True

    seed: int = hyperparameter(42, ge=0, lt=2**63, help="Another seed, another order of the items.")

    def _fit(self, interactions: InteractionDataset) -> None:
        """Nothing to do."""

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        counter_rng.uniform(self.seed, histories.starts, histories.columns, scores)
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        items = graph.constant(np.arange(len(self.item_vocabulary), dtype=np.int64), "items")
        seed_hash = _mixed(graph.constant(np.uint64(self.seed + 1).astype(np.int64)))
        had = histories.is_nonzero().cast(np.int64)
        key = _mixed(seed_hash ^ (had @ _mixed(seed_hash ^ items).unsqueeze(1)))
        return _shifted(_mixed(key + items), 40).cast(np.float32) * 2.0**-24


def _mixed(counter: Value) -> Value:
    """SplitMix64, as in `recctl.kernels.counter_rng`; products of int64 have the same bits as those of uint64."""
    z = counter * GOLDEN_GAMMA.astype(np.int64)
    z = (z ^ _shifted(z, 30)) * MIX_1.astype(np.int64)
    z = (z ^ _shifted(z, 27)) * MIX_2.astype(np.int64)
    return z ^ _shifted(z, 31)


def _shifted(value: Value, by: int) -> Value:
    """The bits of an int64 moved to the right, zeros after them."""
    moved = value.graph.apply("BitShift", value.cast(np.uint64), np.uint64(by), direction="RIGHT")
    return moved.cast(np.int64)
