"""RP3beta: random walks of three steps, with less weight for popular items."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Between, Choices, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, matmul_sparse
from recctl.models.neighbors.search import Neighborhood, find_neighbors, search_bytes, weighted_sums
from recctl.ranking import TieBreaker


class RP3betaRecommender(Recommender):
    """RP3beta (Paudel et al., 2017, "Updatable, Accurate, Diverse, and Scalable Recommendations", ACM TiiS).

    A random walk goes from an item of the history to one of its users, and on to an item of this user. With the weight
    `x_ui` of an interaction, 1 for implicit data, `|x_u|` and `|x_i|` the sums of the weights of user `u` and of item
    `i`, and `n_i` the number of users of item `i`, an item `j` of the history adds to the score of item `i`

        w[j, i] = sum over users u of (x_uj / |x_j|)^alpha (x_ui / |x_u|)^alpha / n_i^beta

    times the rating or weight of `j` in the history. `alpha` above 1 favors likely steps; `beta` is the penalty of
    popular items. With `alpha = 1` and `beta = 0` these are the transition probabilities of P3; with `beta = 0` those
    of P3alpha (Cooper et al., 2014, "Random Walks in Recommender Systems", WWW Companion). There is no objective.

    For each item `i` only the `n_neighbors` items `j` with the largest `w[j, i]` are kept; of equal ones, those with
    the lower hash of both ids. With `normalize`, the weights `w[j, i]` of each item `j` of the history then sum to 1.
    Only positive ratings or weights are walked along. Users that are not in the training data are scored in the same
    way.

    Cost: time proportional to the sum of squared history lengths, on all threads; 8 bytes of memory per item and
    neighbor. The items-by-items matrix is never built. The result does not depend on the number of threads.

    Deviations from the paper: transition probabilities are computed exactly instead of by sampled walks, and only the
    largest are kept, as in Ferrari Dacrema et al., 2021, "A Troubling Analysis of Reproducibility and Progress in
    Recommender Systems Research", ACM TOIS, who also combine `alpha` with `beta`. The first step, from the user to an
    item of the history, is not raised to `alpha`. Walks that return to their first item are left out.

    Examples:
        ```python
        from recctl import RP3betaRecommender

        model = RP3betaRecommender(beta=0.5).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "rp3beta"
    uses_weights = True
    too_large_advice: ClassVar[str] = "lower n_neighbors, or raise data.min_item_interactions"

    alpha: float = hyperparameter(1.0, ge=0, help="Exponent of the transition probabilities.", search=Between(0.0, 2.0))
    beta: float = hyperparameter(
        0.6, ge=0, help="Exponent of the popularity by which scores are divided.", search=Between(0.0, 2.0)
    )
    n_neighbors: int = hyperparameter(
        100, ge=1, help="Maximum number of weights of each item.", search=Between(10, 1000, log=True)
    )
    normalize: bool = hyperparameter(
        False, help="Whether the weights of each item of a history sum to 1.", search=Choices((False, True))
    )

    weights: InteractionMatrix = fitted("(n_items, n_items)")

    def _fit(self, interactions: InteractionDataset) -> None:
        by_user = _positive(interactions.matrix)
        to_user = by_user.transpose()
        to_item = self._step_to_item(by_user).transpose()
        n_users_of_item = np.maximum(np.diff(to_user.starts), 1).astype(np.float64)
        hashes = self.item_vocabulary.hashes
        neighborhood = Neighborhood(
            rows=to_item,
            by_feature=self._powers(by_user),
            row_sizes=(n_users_of_item**self.beta).astype(np.float32),
            column_sizes=(_sums(to_user) ** self.alpha).astype(np.float32),
            ties=TieBreaker.of_ids(hashes, hashes),
        )
        # Transposed, so that the score of a history is a sum of the rows of its items.
        weights = find_neighbors(neighborhood, self.n_neighbors, "rp3beta: walks").transpose()
        if self.normalize:
            values = weights.values / _sums(weights)[weights.rows]
            weights = replace(weights, values=values.astype(np.float32))
        self.weights = weights

    def _step_to_item(self, by_user: InteractionMatrix) -> InteractionMatrix:
        """The probabilities of the steps from users to items, raised to `alpha`."""
        values = np.ones(by_user.nnz) if by_user.is_binary else by_user.values.astype(np.float64)
        values = (values / _sums(by_user)[by_user.rows]) ** self.alpha
        return replace(by_user, values=values.astype(np.float32))

    def _powers(self, by_user: InteractionMatrix) -> InteractionMatrix:
        """The weights of interactions, raised to `alpha`."""
        if by_user.is_binary or self.alpha == 1:
            return by_user
        return replace(by_user, values=by_user.values ** np.float32(self.alpha))

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        return weighted_sums(histories, self.weights)

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        return matmul_sparse(histories, self.weights)

    def _similarity(self, items: Int32Array) -> Float32Array:
        # Row j: what an interaction with item j adds to the score of every other item.
        rows = self.weights.take(items)
        # Minus infinity: items that no walk reaches are not similar at all, and are not listed.
        similarity = np.full((len(items), rows.n_columns), -np.inf, np.float32)
        similarity[rows.rows, rows.columns] = rows.values
        return similarity

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        n_weights = n_items * min(self.n_neighbors, n_items)
        return super()._sizes(n_users, n_items, n_interactions) | {"weights": n_weights}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """The transposed interactions, the steps, the weights as found and transposed, and work arrays."""
        weights = search_bytes(n_items, n_items, self.n_neighbors) + 8 * n_items * min(self.n_neighbors, n_items)
        return 24 * n_interactions + weights


def _positive(matrix: InteractionMatrix) -> InteractionMatrix:
    """The interactions with a weight above 0."""
    if matrix.is_binary or matrix.values.min(initial=1) > 0:
        return matrix
    is_positive = matrix.values > 0
    counts = np.bincount(matrix.rows[is_positive], minlength=matrix.n_rows)
    starts = np.concatenate(([0], np.cumsum(counts)))
    return InteractionMatrix(starts, matrix.columns[is_positive], matrix.values[is_positive], matrix.n_columns)


def _sums(matrix: InteractionMatrix) -> NDArray[np.float64]:
    """The sum of the values of each row; 1 for rows without any."""
    sums = np.diff(matrix.starts).astype(np.float64)
    if not matrix.is_binary:
        sums[:] = np.bincount(matrix.rows, matrix.values, matrix.n_rows)
    return np.where(sums > 0, sums, 1.0)
