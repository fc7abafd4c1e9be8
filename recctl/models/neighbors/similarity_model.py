"""The base of models by nearest neighbors: their hyperparameters, and what these mean for rows of a matrix."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Between, Choices, hyperparameter
from recctl.models.base.onnx_graph import Value
from recctl.models.neighbors.feature_weights import FeatureWeights, Weighting
from recctl.models.neighbors.search import Neighborhood
from recctl.ranking import TieBreaker

_NO_VALUES = np.empty(0, np.float32)


class _UsesWeights:
    """Whether a model uses weights: on the class True, on an instance by its hyperparameter `similarity`."""

    def __get__(self, model: SimilarityModel | None, owner: type) -> bool:
        return model is None or model.similarity != "jaccard"


class SimilarityModel(Recommender):
    """A model that compares items by their users, or users by their items."""

    uses_weights = _UsesWeights()
    too_large_advice: ClassVar[str] = "lower n_neighbors, or raise data.min_item_interactions"

    similarity: Literal["cosine", "jaccard", "dot"] = hyperparameter(
        "cosine", help="The similarity; dot is cosine without normalization.", search=Choices(("cosine", "jaccard"))
    )
    n_neighbors: int = hyperparameter(
        100, ge=1, help="Maximum number of neighbors of each item or user.", search=Between(10, 1000, log=True)
    )
    shrinkage: float = hyperparameter(
        10.0,
        ge=0,
        help="Reduces similarities supported by few interactions; 0 for none; dot has none.",
        search=Between(1.0, 1000.0, log=True),
        when={"similarity": ("cosine", "jaccard")},
    )
    weighting: Weighting = hyperparameter(
        "none",
        help="Weighting of what is shared: rare interactions count more; jaccard has none.",
        when={"similarity": ("cosine", "dot")},
    )
    bm25_k1: float = hyperparameter(
        1.2,
        ge=0,
        help="For bm25: how slowly the effect of a rating or weight saturates.",
        when={"similarity": ("cosine", "dot"), "weighting": ("bm25",)},
    )
    bm25_b: float = hyperparameter(
        0.75,
        ge=0,
        le=1,
        help="For bm25: normalization by the number of interactions.",
        when={"similarity": ("cosine", "dot"), "weighting": ("bm25",)},
    )

    def _used(self, matrix: InteractionMatrix) -> InteractionMatrix:
        """Interactions with the values that the similarity uses: Jaccard uses none."""
        if self.similarity == "jaccard":
            return replace(matrix, values=_NO_VALUES)
        return matrix

    def _graph_of_used(self, histories: Value) -> Value:
        """`_used` as a graph."""
        if self.similarity == "jaccard":
            return histories.is_nonzero().cast(np.float32)
        return histories

    def _feature_weights(self, rows: InteractionMatrix) -> FeatureWeights:
        """The weights of features, fitted to the rows that are compared."""
        weighting: Weighting = "none" if self.similarity == "jaccard" else self.weighting
        return FeatureWeights.of(rows, weighting, self.bm25_k1, self.bm25_b)

    def _neighborhood(
        self,
        rows: InteractionMatrix,
        row_sizes: Float32Array,
        by_feature: InteractionMatrix,
        column_sizes: Float32Array,
        ties: TieBreaker,
        without_diagonal: bool = True,
    ) -> Neighborhood:
        """What `find_neighbors` searches in, with the similarity that the hyperparameters select."""
        return Neighborhood(
            rows,
            by_feature,
            row_sizes,
            column_sizes,
            ties,
            shrinkage=self._effective_shrinkage,
            union=self.similarity == "jaccard",
            without_diagonal=without_diagonal,
        )

    @property
    def _effective_shrinkage(self) -> float:
        return 0.0 if self.similarity == "dot" else self.shrinkage

    def _row_sizes(self, rows: InteractionMatrix) -> Float32Array:
        """The size of each row: the number of its interactions for Jaccard, 1 for the dot product, else its norm."""
        counts = np.diff(rows.starts)
        if self.similarity == "jaccard":
            return counts.astype(np.float32)
        if self.similarity == "dot":
            return np.ones(rows.n_rows, np.float32)
        if rows.is_binary:
            return np.sqrt(counts).astype(np.float32)
        squares = np.bincount(rows.rows, rows.values.astype(np.float64) ** 2, rows.n_rows)
        return np.sqrt(squares).astype(np.float32)
