"""User-kNN: what the users most similar to a user interacted with."""

from __future__ import annotations

from functools import cached_property
from time import perf_counter
from typing import Self

import numpy as np

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import tie_keys
from recctl.models.base import fit_probe
from recctl.models.base.hyperparameters import Choices, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, matmul_sparse, shift_right, splitmix64
from recctl.models.neighbors.feature_weights import FeatureWeights, Weighting
from recctl.models.neighbors.search import find_neighbors, search_bytes, weighted_sums
from recctl.models.neighbors.similarity_model import SimilarityModel
from recctl.ranking import TieBreaker


class UserKNNRecommender(SimilarityModel):
    """User-based k-nearest neighbors (Resnick et al., 1994, "GroupLens", CSCW), for rankings.

    Score of item `i` for user `u`: the sum of the similarities `s[u, v]` over those of the `n_neighbors` users `v` most
    similar to `u` that interacted with `i`; their ratings or weights of `i` weight the sum. With `x_u` the row of user
    `u` in the interactions, and `I_u` the items of user `u`:

        cosine     s[u, v] = x_u . x_v / (|x_u| |x_v| + shrinkage)
        jaccard    s[u, v] = |I_u & I_v| / (|I_u | I_v| + shrinkage)
        dot        s[u, v] = x_u . x_v

    Shrinkage reduces similarities supported by few items, as in Ferrari Dacrema et al., 2019, "Are We Really Making
    Much Progress?", RecSys. Only positive similarities are used. Of equally similar users, those with the lower hash of
    both ids are neighbors. Jaccard ignores ratings and weights. There is no objective.

    With `weighting`, users are compared by the weights of their items, so that popular items say less (Breese et al.,
    1998, "Empirical Analysis of Predictive Algorithms for Collaborative Filtering", UAI): with
    `idf(i) = log(1 + (N - n_i + 1/2) / (n_i + 1/2))` for an item with `n_i` of `N` users, `x_ui` is replaced by

        tf_idf     x_ui idf(i)
        bm25       x_ui (bm25_k1 + 1) / (x_ui + bm25_k1 (1 - bm25_b + bm25_b |I_u| / mean |I_v|)) idf(i)

    (Robertson & Zaragoza, 2009, "The Probabilistic Relevance Framework: BM25 and Beyond"); scores still add up the
    interactions of the neighbors as they are.

    Users that are not in the training data have the neighbors of their history. A known user is no neighbor of its own;
    an unknown user with the same history has that user as the nearest neighbor.

    Cost: time proportional to the sum of the squared numbers of users of the items, on all threads; 8 bytes of memory
    per user and neighbor. The users-by-users matrix is never built. The result does not depend on the number of
    threads.

    Deviations from the paper: similarities are not Pearson correlations, and scores are sums and not predicted ratings,
    neither centered nor normalized, as usual for rankings.

    Examples:
        ```python
        from recctl import UserKNNRecommender

        model = UserKNNRecommender(n_neighbors=50).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "user-knn"
    too_large_advice = "lower n_neighbors, or raise data.min_user_interactions"

    weighting: Weighting = hyperparameter(
        "none",
        help="Weighting of shared items: rare items count more; jaccard has none.",
        search=Choices(("none", "tf_idf", "bm25")),
        when={"similarity": ("cosine", "dot")},
    )

    neighbors: InteractionMatrix = fitted("(n_users, n_users)")

    def _fit(self, interactions: InteractionDataset) -> None:
        hashes = self.user_vocabulary.hashes
        ties = TieBreaker.of_ids(hashes, hashes)
        by_user = self._feature_weights_of_items.apply(self._interactions)
        neighborhood = self._neighborhood(by_user, self._user_sizes, self._weighted_by_item, self._user_sizes, ties)
        self.neighbors = find_neighbors(neighborhood, self.n_neighbors, "user-knn: neighbors")

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        neighbors = self._neighbors_of(histories) if users is None else self.neighbors.take(users)
        return weighted_sums(neighbors, self._interactions)

    def _neighbors_of(self, histories: InteractionMatrix, title: str = "") -> InteractionMatrix:
        """The neighbors of users with these histories, `(n, n_users)`; with a title on all threads."""
        ties = self.ties_of_histories(histories)
        ties = TieBreaker(ties.row_keys, self.user_vocabulary.hashes)
        rows = self._feature_weights_of_items.apply(self._used(histories))
        neighborhood = self._neighborhood(
            rows, self._row_sizes(rows), self._weighted_by_item, self._user_sizes, ties, without_diagonal=False
        )
        return find_neighbors(neighborhood, self.n_neighbors, title)

    # Of the training data, for the neighbors of histories; computed at the first use.

    @cached_property
    def _interactions(self) -> InteractionMatrix:
        """The interactions with the values that the similarity uses, `(n_users, n_items)`."""
        return self._used(self.seen)

    @cached_property
    def _feature_weights_of_items(self) -> FeatureWeights:
        return self._feature_weights(self._interactions)

    @cached_property
    def _weighted_by_item(self) -> InteractionMatrix:
        """The weighted interactions by which users are compared, `(n_items, n_users)`."""
        return self._feature_weights_of_items.apply(self._interactions).transpose()

    @cached_property
    def _user_sizes(self) -> Float32Array:
        return self._row_sizes(self._feature_weights_of_items.apply(self._interactions))

    # ---- ONNX

    def _graph_of_users(self, graph: ScoreGraph, users: Value) -> Value:
        counts = np.diff(self.neighbors.starts)
        n_users = len(counts)
        # Padding is scattered to an extra last column, which is then cut off.
        neighbors = np.full((n_users, max(1, int(counts.max()))), n_users, np.int64)
        similarities = np.zeros(neighbors.shape, np.float32)
        is_neighbor = np.arange(neighbors.shape[1]) < counts[:, np.newaxis]
        neighbors[is_neighbor] = self.neighbors.columns
        similarities[is_neighbor] = self.neighbors.values
        return self._graph_of_neighbors(
            graph.constant(neighbors, "neighbors").gather(users),
            graph.constant(similarities, "similarities").gather(users),
        )

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        similarities = self._graph_of_similarities(graph, self._graph_of_used(histories))
        # TopK prefers the lower index of equal values: sorted by their tie keys first, users are found as in a fit.
        order = self._graph_of_tie_order(graph, histories)
        ordered = graph.apply("GatherElements", similarities, order, axis=1)
        k = min(self.n_neighbors, len(self.user_vocabulary))
        best, places = graph.apply_two_outputs("TopK", ordered, np.array([k], np.int64), axis=1)
        neighbors = graph.apply("GatherElements", order, places, axis=1)
        return self._graph_of_neighbors(neighbors, graph.apply("Max", best, 0.0))

    def _graph_of_similarities(self, graph: ScoreGraph, histories: Value) -> Value:
        """The similarities of histories with every user, `(n, n_users)`."""
        weights = self._feature_weights_of_items
        if weights.weighting == "bm25":
            lengths = graph.apply("Abs", histories).sum(1, keepdims=True)
            penalties = (lengths * (weights.b / weights.mean_length) + (1 - weights.b)) * weights.k1
            denominators = graph.apply("Abs", histories) + penalties
            is_zero = graph.apply("Equal", histories, 0.0)
            denominators = graph.apply("Where", is_zero, np.float32(1), denominators)
            histories = histories * (weights.k1 + 1) / denominators
        if weights.weighting != "none":
            histories = histories * weights.idf
        dots = matmul_sparse(histories, self._weighted_by_item, "raise data.min_item_interactions")
        if self.similarity == "dot":
            return dots
        if self.similarity == "jaccard":
            sizes = histories.sum(1, keepdims=True)
            denominators = sizes + self._user_sizes - dots
        else:
            sizes = graph.apply("Sqrt", (histories * histories).sum(1, keepdims=True))
            denominators = sizes * self._user_sizes
        denominators = denominators + self.shrinkage
        # 0 for users without items in common, also where the denominator is 0.
        is_similar = graph.apply("Greater", dots, 0.0)
        return graph.apply("Where", is_similar, dots / graph.apply("Where", is_similar, denominators, 1.0), 0.0)

    def _graph_of_tie_order(self, graph: ScoreGraph, histories: Value) -> Value:
        """The users in ascending order of their tie keys for each history, int64 `(n, n_users)`."""
        items = tie_keys.mixed(self.item_vocabulary.hashes).astype(np.int64)
        is_seen = histories.is_nonzero().cast(np.int64)
        row_keys = splitmix64((is_seen @ graph.constant(items, "items").unsqueeze(1)) ^ tie_keys.SALT.astype(np.int64))
        users = graph.constant(self.user_vocabulary.hashes.astype(np.int64), "users")
        # The upper half, as in the search of neighbors; among equal ones the lower index, too.
        keys = shift_right(splitmix64(row_keys ^ users), 32)
        n_users = np.array([len(self.user_vocabulary)], np.int64)
        _, order = graph.apply_two_outputs("TopK", keys, n_users, axis=1, largest=0)
        return order

    def _graph_of_neighbors(self, neighbors: Value, similarities: Value) -> Value:
        """Scores from the neighbors, int64 `(n, k)`, and their similarities; neighbor `n_users` is padding."""
        graph = neighbors.graph
        n_users = len(self.user_vocabulary)
        shape = graph.apply("Concat", neighbors.dim_size(0).reshape(1), np.array([n_users + 1], np.int64), axis=0)
        zeros = graph.apply("Expand", 0.0, shape)
        of_users = graph.apply("ScatterElements", zeros, neighbors, similarities, axis=1).slice(1, 0, n_users)
        return matmul_sparse(of_users, self._interactions, "raise data.min_item_interactions")

    # ---- estimates

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        n_neighbors = n_users * min(self.n_neighbors, n_users)
        return super()._sizes(n_users, n_items, n_interactions) | {"neighbors": n_neighbors}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The transposed interactions, weighted if they are; the neighbors as they are found; and work arrays."""
        n_weighted = 0 if self.weighting == "none" or self.similarity == "jaccard" else n_interactions
        return 8 * n_interactions + 20 * n_weighted + search_bytes(n_users, n_users, self.n_neighbors)

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """Find the neighbors of samples of the users among all users."""
        begin = perf_counter()
        sizes = self._sizes(interactions.n_users, interactions.n_items, len(interactions))
        dummy = fit_probe.dummy_model(self, interactions, sizes)
        matrix = interactions.matrix
        dummy._neighbors_of(matrix.take(np.zeros(1, np.int32)))  # computes what is computed once
        seconds_once = perf_counter() - begin

        def measure(share: float) -> float:
            n_sampled = max(1, round(share * matrix.n_rows))
            sample = np.linspace(0, matrix.n_rows - 1, n_sampled).astype(np.int32)
            histories = matrix.take(sample)
            begin = perf_counter()
            with progress.silence():
                dummy._neighbors_of(histories, "user-knn: neighbors")
            return perf_counter() - begin

        return seconds_once + fit_probe.extrapolate_seconds(measure), dummy
