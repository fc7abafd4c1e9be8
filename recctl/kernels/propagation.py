"""Propagation of embeddings over a symmetric user-item graph, as in LightGCN (He et al., 2020)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recctl.engines import map_threads
from recctl.kernels.compile import F32, F32_2D, FLOAT, I32, I64, INT, OUT_F32_2D, VOID, kernel

# Edges per task. Constant, so that tasks depend on the data alone; for fewer edges, starting a thread does not pay.
_EDGES_PER_TASK = 1 << 18


@kernel(VOID, I64, I32, F32, F32_2D, F32_2D, FLOAT, OUT_F32_2D, INT, INT, fastmath={"contract", "reassoc"})
def _propagate_rows(starts, columns, values, dense, base, scale, out, first, last):
    # `out = (base + A @ dense) * scale` for the rows `first..last`.
    n_columns = dense.shape[1]
    scale32 = np.float32(scale)
    for row in range(first, last):
        for j in range(n_columns):
            out[row, j] = base[row, j]
        p = starts[row]
        end = starts[row + 1]
        # Eight rows of the dense matrix at a time: the row of results is read and written once for all.
        while p + 8 <= end:
            column0 = columns[p]
            column1 = columns[p + 1]
            column2 = columns[p + 2]
            column3 = columns[p + 3]
            column4 = columns[p + 4]
            column5 = columns[p + 5]
            column6 = columns[p + 6]
            column7 = columns[p + 7]
            value0 = values[p]
            value1 = values[p + 1]
            value2 = values[p + 2]
            value3 = values[p + 3]
            value4 = values[p + 4]
            value5 = values[p + 5]
            value6 = values[p + 6]
            value7 = values[p + 7]
            for j in range(n_columns):
                left = value0 * dense[column0, j] + value1 * dense[column1, j]
                left = left + value2 * dense[column2, j] + value3 * dense[column3, j]
                right = value4 * dense[column4, j] + value5 * dense[column5, j]
                right = right + value6 * dense[column6, j] + value7 * dense[column7, j]
                out[row, j] += left + right
            p += 8
        while p < end:
            column = columns[p]
            value = values[p]
            for j in range(n_columns):
                out[row, j] += value * dense[column, j]
            p += 1
        if scale32 != 1:
            for j in range(n_columns):
                out[row, j] *= scale32


def propagate(
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    vectors: NDArray[np.float32],
    n_layers: int,
    buffers: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> NDArray[np.float32]:
    """Mean over the layers, `(I + A + ... + A^n_layers) / (n_layers + 1) @ vectors`.

    Computed by Horner's rule, `vectors + A (vectors + A (...))`, so that no layer is stored. Because A is symmetric,
    the gradient with respect to `vectors` is the same product, applied to the gradient with respect to the result.

    Args:
        starts: Row starts of A.
        columns: Columns of A.
        values: Values of A.
        vectors: Embeddings, `(n, d)`.
        n_layers: At least 1.
        buffers: Two arrays of the shape of `vectors` to work in, one of which is returned; allocated by default.

    Returns:
        `(n, d)` float32; the same for any number of threads.
    """
    if buffers is None:
        buffers = (np.empty_like(vectors), np.empty_like(vectors))
    out, other = buffers
    cuts = np.unique(np.searchsorted(starts, np.arange(0, max(1, len(columns)), _EDGES_PER_TASK))).tolist()
    cuts.append(len(vectors))
    tasks = list(pairwise(cuts))
    dense = vectors
    for layer in range(n_layers):
        scale = 1 / (n_layers + 1) if layer == n_layers - 1 else 1.0

        # The defaults bind the arrays of this layer.
        def compute_rows(task, dense=dense, scale=scale, out=out):
            first, last = task
            _propagate_rows(starts, columns, values, dense, vectors, scale, out, first, last)

        if len(tasks) == 1:
            compute_rows(tasks[0])
        else:
            for _ in map_threads(compute_rows, tasks):
                pass
        # The result is the next input; the other buffer takes the next result.
        dense = out
        out = other
        other = dense
    return dense


@kernel(VOID, I64, F32_2D, OUT_F32_2D)
def add_rows(nodes, rows, out):
    """Scatter-add: `out[nodes[i]] += rows[i]`; repeated nodes accumulate."""
    for i in range(len(nodes)):
        node = nodes[i]
        for j in range(out.shape[1]):
            out[node, j] += rows[i, j]
