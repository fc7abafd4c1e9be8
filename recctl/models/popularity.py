"""Popularity: the most popular items, the same for every user."""

from __future__ import annotations

from typing import Self

import numpy as np

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import fitted
from recctl.models.base.onnx_graph import ScoreGraph, Value


class PopularityRecommender(Recommender):
    """Most popular items (TopPop), a baseline without personalization.

    Cremonesi, Koren & Turrin, 2010, "Performance of Recommender Algorithms on Top-N Recommendation Tasks", RecSys.

    Score: the number of distinct users who interacted with the item in the data the model was fitted on; ratings are
    ignored. There is no objective. A personalized model that does not outperform this baseline is not worth its cost.

    Ties, items with equally many users, are ordered for each user by a hash of user and item, as in every model.

    Cost: one pass over the interactions, and 4 bytes of memory per item.

    Examples:
        ```python
        from recctl import PopularityRecommender

        model = PopularityRecommender().fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "popularity"
    serves_empty_history = True

    counts: Float32Array = fitted("(n_items,)")

    @classmethod
    def of_model(cls, model: Recommender) -> Self:
        """Popularity in the interactions that another model was fitted on; both share the matrix of these."""
        popularity = cls()
        popularity.user_vocabulary = model.user_vocabulary
        popularity.item_vocabulary = model.item_vocabulary
        popularity.seen = model.seen
        popularity.counts = model.seen.column_counts().astype(np.float32)
        return popularity

    def _fit(self, interactions: InteractionDataset) -> None:
        self.counts = interactions.matrix.column_counts().astype(np.float32)

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        return np.tile(self.counts, (histories.n_rows, 1))

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        return histories * 0.0 + graph.constant(self.counts, "counts")
