"""Random: items in random order, the weakest baseline."""

from __future__ import annotations

import numpy as np

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import counter_rng
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, shift_right, splitmix64


class RandomRecommender(Recommender):
    """Random items, the weakest baseline: any other model must clearly outperform it.

    Score: uniform in [0, 1), a hash of the seed, the user's history and the item (SplitMix64: Steele, Lea & Flood,
    2014, "Fast Splittable Pseudorandom Number Generators", OOPSLA). It depends neither on the number of threads nor on
    the other users in a request. Users with the same history get the same items.

    Cost: nothing is learned, and a fit takes no time.

    Examples:
        ```python
        from recctl import RandomRecommender

        model = RandomRecommender(seed=1).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "random"
    serves_empty_history = True

    seed: int = hyperparameter(
        42, ge=0, lt=2**63, help="Seed of the hash: another seed yields another order of the items."
    )

    def _fit(self, interactions: InteractionDataset) -> None:
        """There is nothing to learn."""

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        counter_rng.uniform(self.seed, histories.starts, histories.columns, scores)
        return scores

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        items = graph.constant(np.arange(len(self.item_vocabulary), dtype=np.int64), "items")
        seed_hash = splitmix64(graph.constant(np.uint64(self.seed + 1).astype(np.int64)))
        is_seen = histories.is_nonzero().cast(np.int64)
        history_hash = is_seen @ splitmix64(seed_hash ^ items).unsqueeze(1)
        key = splitmix64(seed_hash ^ history_hash)
        # The upper 24 of 64 bits: as many as a float32 in [0, 1) has.
        return shift_right(splitmix64(key + items), 40).cast(np.float32) * 2.0**-24
