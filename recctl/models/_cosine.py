"""Likeness of vectors by the cosine between them."""

from __future__ import annotations

import numpy as np

from recctl.data.matrix import Float32Array


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Each row at length 1; rows of zeros stay so."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    unit: Float32Array = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)[:, None]
    return unit
