"""Popularity: the same items for everyone."""

from __future__ import annotations

import numpy as np

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import fitted
from recctl.models.base.onnx_graph import ScoreGraph, Value


class PopularityRecommender(Recommender):
    """The items that most people had.

    Known as TopPop since Cremonesi, Koren & Turrin, 2010, "Performance of Recommender Algorithms on Top-N
    Recommendation Tasks". An item's score is the number of distinct users who interacted with it in the data the model
    was fitted on; ratings don't count. Nothing is minimised. It is the baseline that a personalised model has to beat
    to be worth its cost.

    Costs one pass over the interactions, and `n_items` numbers of memory.
    """

    name = "popularity"
    serves_empty_history = True

    counts: Float32Array = fitted("(n_items,)")

    def _fit(self, interactions: InteractionDataset) -> None:
        self.counts = interactions.matrix.column_counts().astype(np.float32)

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        return np.tile(self.counts, (histories.n_rows, 1))

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        return histories * 0.0 + graph.constant(self.counts, "counts")
