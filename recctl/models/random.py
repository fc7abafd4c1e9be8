"""Random: the floor."""

from __future__ import annotations

import numpy as np

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import hashing
from recctl.models.base import Recommender
from recctl.models.hyperparameters import hyperparameter


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
        hashing.uniform(self.seed, histories.starts, histories.columns, scores)
        return scores
