"""Vectors at length 1, and with dimensions beside their own."""

from __future__ import annotations

import numpy as np

from recctl.data.matrix import Float32Array


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Each row at length 1; rows of zeros stay so."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    unit: Float32Array = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return unit


def with_columns(vectors: Float32Array, *columns: Float32Array | float) -> Float32Array:
    """The vectors with a value of each of the columns at their end."""
    wider = np.empty((len(vectors), vectors.shape[1] + len(columns)), np.float32)
    wider[:, : vectors.shape[1]] = vectors
    for at, column in enumerate(columns, vectors.shape[1]):
        wider[:, at] = column
    return wider
