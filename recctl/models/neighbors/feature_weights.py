"""TF-IDF and BM25: weights of the features by which items or users are compared.

In terms of text retrieval, items are documents and their users are terms; or users are documents and their items are
terms. Features that nearly all have say little about similarity. With `x` the weight of feature `f` in row `i`, `N` the
number of rows, `n_f` the number of rows with the feature, and `|i|` the sum of the weights of row `i`:

    idf(f)    log(1 + (N - n_f + 1/2) / (n_f + 1/2))
    tf_idf    x idf(f)
    bm25      x (k1 + 1) / (x + k1 (1 - b + b |i| / mean length)) idf(f)

See Robertson & Zaragoza, 2009, "The Probabilistic Relevance Framework: BM25 and Beyond". 1 is added within the
logarithm, as Lucene does, so that no weight is negative.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recctl.data.matrix import Float32Array, InteractionMatrix

Float64Array = NDArray[np.float64]
Weighting = Literal["none", "tf_idf", "bm25"]


@dataclass(frozen=True, eq=False)
class FeatureWeights:
    """The weights of features, fitted to the rows of a matrix; other rows are weighted alike.

    Attributes:
        weighting: The scheme.
        idf: The inverse document frequency of each feature, `(n_features,)`; empty without a weighting.
        mean_length: The mean length of a row, above 0.
        k1: How late `bm25` saturates with the weight of a feature.
        b: How much `bm25` reduces the weights of long rows, from 0 to 1.
    """

    weighting: Weighting
    idf: Float32Array
    mean_length: float
    k1: float
    b: float

    @classmethod
    def of(cls, rows: InteractionMatrix, weighting: Weighting, k1: float, b: float) -> FeatureWeights:
        """Fit the weights to the rows of a matrix, `(n_rows, n_features)`."""
        if weighting == "none":
            return cls(weighting, np.empty(0, np.float32), 1.0, k1, b)
        n_with = rows.column_counts()
        idf = np.log1p((rows.n_rows - n_with + 0.5) / (n_with + 0.5)).astype(np.float32)
        mean_length = float(_lengths(rows).mean())
        # 0 if all ratings are 0.
        return cls(weighting, idf, mean_length or 1.0, k1, b)

    def apply(self, rows: InteractionMatrix) -> InteractionMatrix:
        """Weight the features of rows, `(n, n_features)`."""
        if self.weighting == "none":
            return rows
        frequencies: NDArray[np.floating] = np.ones(rows.nnz, np.float32) if rows.is_binary else rows.values
        if self.weighting == "bm25":
            penalties = self.k1 * (1 - self.b + self.b * _lengths(rows) / self.mean_length)
            denominators = np.abs(frequencies) + penalties[rows.rows]
            # A rating of 0 has weight 0, also where the denominator is 0.
            frequencies = frequencies * (self.k1 + 1) / np.where(frequencies == 0, 1, denominators)
        return replace(rows, values=(frequencies * self.idf[rows.columns]).astype(np.float32))


def _lengths(rows: InteractionMatrix) -> Float64Array:
    """The sum of the absolute weights of each row."""
    if rows.is_binary:
        return np.diff(rows.starts).astype(np.float64)
    return np.bincount(rows.rows, np.abs(rows.values), rows.n_rows).astype(np.float64)
