"""Operations on the rows of factor matrices: normalization, and additional columns."""

from __future__ import annotations

import numpy as np

from recctl.data.matrix import Float32Array


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Scale each row to length 1; rows of zeros remain zeros."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    unit: Float32Array = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return unit


def with_columns(vectors: Float32Array, *columns: Float32Array | float) -> Float32Array:
    """Append columns to vectors.

    Args:
        vectors: `(n, d)`.
        columns: For each new column, its values `(n,)`, or one value for all rows.

    Returns:
        `(n, d + len(columns))`.
    """
    n_dimensions = vectors.shape[1]
    extended = np.empty((len(vectors), n_dimensions + len(columns)), np.float32)
    extended[:, :n_dimensions] = vectors
    for position, column in enumerate(columns, n_dimensions):
        extended[:, position] = column
    return extended
