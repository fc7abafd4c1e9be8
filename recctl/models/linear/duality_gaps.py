"""Duality gaps of elastic nets in float64, for problems whose gaps float32 is too coarse to measure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.kernels.elastic_net import ElasticNetOptions

Float64Array = NDArray[np.float64]

# Dense blocks of residuals and gradients take this many bytes together.
_BLOCK_BYTES = 2**27
# A gradient in float32 is wrong by some 2^-24 |x_j|^2, and its square, summed over the weights in use and divided by
# 2 l2, is the error of the gap. Measured errors reach 2^-35 |x_j|^4 / l2; the rest of this factor is a margin.
_RELATIVE_ERROR = 2.0**-32


def float32_is_too_coarse(largest_squared_norm: float, l2: float, tol: float) -> bool:
    """Whether rounding in float32 can hide a gap of `tol` times the squared norm of a target."""
    return _RELATIVE_ERROR * largest_squared_norm > l2 * tol


def duality_gaps(matrix: InteractionMatrix, weights: InteractionMatrix, options: ElasticNetOptions) -> Float32Array:
    """Measure the gap of each item from the residuals in float64; see `recctl.kernels.elastic_net` for the formula.

    The cost is `nnz(matrix)` times the number of items, twice.

    Args:
        matrix: Interactions X, `(n_users, n_items)`.
        weights: Weights W, `(n_items, n_items)`: column j belongs to item j.
        options: The problem. Where an item has `limit` weights, its problem is that of these weights.

    Returns:
        The gap of each item divided by its squared norm, 0 for an item without interactions, `(n_items,)`.
    """
    interactions = csr_array(matrix.to_scipy(), dtype=np.float64)
    solution = csc_array(weights.to_scipy(), dtype=np.float64)
    n_users, n_items = interactions.shape
    columns = csc_array(interactions)
    transposed = csr_array(interactions.T)
    squared_norms = np.asarray((interactions**2).sum(axis=0)).ravel()
    gaps = np.zeros(n_items)
    block = max(1, _BLOCK_BYTES // (8 * (n_users + 4 * n_items)))
    for begin in range(0, n_items, block):
        end = min(begin + block, n_items)
        block_weights = solution[:, begin:end].toarray()
        residuals = columns[:, begin:end].toarray() - interactions @ block_weights
        terms = _gap_terms(transposed @ residuals, block_weights, options)
        if options.limit:
            is_at_limit = np.count_nonzero(block_weights, axis=0) >= options.limit
            terms[(block_weights == 0) & is_at_limit] = 0
        # An item is no feature of itself.
        terms[np.arange(begin, end), np.arange(end - begin)] = 0
        gaps[begin:end] = terms.sum(axis=0)
    # An item without interactions has no weights, and its gap is 0.
    relative: Float32Array = (gaps / np.maximum(squared_norms, np.finfo(np.float64).tiny)).astype(np.float32)
    return relative


def _gap_terms(gradient: Float64Array, weights: Float64Array, options: ElasticNetOptions) -> Float64Array:
    low = -options.l1 if options.signed else -np.inf
    clipped = np.clip(gradient, low, options.l1)
    distance = weights - (gradient - clipped) / options.l2
    return options.l2 / 2 * distance**2 + options.l1 * np.abs(weights) - clipped * weights
