"""Item-kNN: the items most similar to the items of the history."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.models.base.hyperparameters import fitted
from recctl.models.base.onnx_graph import ScoreGraph, Value, matmul_sparse
from recctl.models.neighbors.search import find_neighbors, search_bytes, weighted_sums
from recctl.models.neighbors.similarity_model import SimilarityModel
from recctl.ranking import TieBreaker


class ItemKNNRecommender(SimilarityModel):
    """Item-based k-nearest neighbors (Deshpande & Karypis, 2004, "Item-Based Top-N Recommendation Algorithms", TOIS).

    Score of item `i`: the sum of the similarities `s[i, j]` over those of the `n_neighbors` items `j` most similar to
    `i` that are in the history; ratings or weights of the data weight the sum. With `x_i` the column of item `i` in the
    interactions, and `U_i` the users of item `i`:

        cosine     s[i, j] = x_i . x_j / (|x_i| |x_j| + shrinkage)
        jaccard    s[i, j] = |U_i & U_j| / (|U_i | U_j| + shrinkage)
        dot        s[i, j] = x_i . x_j

    Shrinkage reduces similarities supported by few users, as in Ferrari Dacrema et al., 2019, "Are We Really Making
    Much Progress?", RecSys. Only positive similarities are used. Of equally similar items, those with the lower hash of
    both ids are neighbors. Jaccard ignores ratings and weights. There is no objective.

    With `weighting`, items are compared by the weights of their users, so that users with few interactions say more:
    with `idf(u) = log(1 + (N - n_u + 1/2) / (n_u + 1/2))` for a user with `n_u` of `N` items, `x_ui` is replaced by

        tf_idf     x_ui idf(u)
        bm25       x_ui (bm25_k1 + 1) / (x_ui + bm25_k1 (1 - bm25_b + bm25_b |U_i| / mean |U_j|)) idf(u)

    (Robertson & Zaragoza, 2009, "The Probabilistic Relevance Framework: BM25 and Beyond"); scores still add up the
    history as it is. Of implicit's models, the BM25 recommender is `dot` with `bm25`, and the TF-IDF recommender
    `cosine` with `tf_idf`, both with `shrinkage` 0; their idf is `log(N / (1 + n_u))`, and TF-IDF takes the root of
    ratings.

    Cost: time proportional to the sum of squared history lengths, on all threads; 8 bytes of memory per item and
    neighbor. The items-by-items matrix is never built. The result does not depend on the number of threads.

    Deviations from the paper: the neighbors are those of the scored item, as in Sarwar et al., 2001, "Item-Based
    Collaborative Filtering Recommendation Algorithms", WWW, not those of the items in the history. Similarities are not
    normalized, and users with long histories are not down-weighted.

    Examples:
        ```python
        from recctl import ItemKNNRecommender

        model = ItemKNNRecommender(n_neighbors=50).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "item-knn"

    weights: InteractionMatrix = fitted("(n_items, n_items)")

    def _fit(self, interactions: InteractionDataset) -> None:
        by_user = self._used(interactions.matrix)
        by_item = by_user.transpose()
        feature_weights = self._feature_weights(by_item)
        if feature_weights.weighting != "none":
            by_item = feature_weights.apply(by_item)
            by_user = by_item.transpose()
        sizes = self._row_sizes(by_item)
        # Equally similar items have the order of similar items, so that these are the best of all.
        hashes = self.item_vocabulary.hashes
        neighborhood = self._neighborhood(by_item, sizes, by_user, sizes, TieBreaker.of_ids(hashes, hashes))
        neighbors = find_neighbors(neighborhood, self.n_neighbors, "item-knn: neighbors")
        # Transposed, so that the score of a history is a sum of the rows of its items.
        self.weights = neighbors.transpose()

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        return weighted_sums(self._used(histories), self.weights)

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        return matmul_sparse(self._graph_of_used(histories), self.weights)

    def _similarity(self, items: Int32Array) -> Float32Array:
        neighbors = self._neighbors.take(items)
        # Minus infinity: items that are no neighbors are not similar at all, and are not listed.
        similarity = np.full((len(items), neighbors.n_columns), -np.inf, np.float32)
        similarity[neighbors.rows, neighbors.columns] = neighbors.values
        return similarity

    @cached_property
    def _neighbors(self) -> InteractionMatrix:
        """The neighbors of each item, with their similarities, a row per item."""
        return self.weights.transpose()

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        n_weights = n_items * min(self.n_neighbors, n_items)
        return super()._sizes(n_users, n_items, n_interactions) | {"weights": n_weights}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The transposed interactions; the neighbors as they are found and transposed; work arrays of the threads."""
        n_weighted = 0 if self.weighting == "none" or self.similarity == "jaccard" else n_interactions
        transposed = 16 * n_interactions + 20 * n_weighted
        neighbors = search_bytes(n_items, n_items, self.n_neighbors) + 8 * n_items * min(self.n_neighbors, n_items)
        return transposed + neighbors
