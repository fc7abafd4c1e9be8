"""Propagation of vectors over a symmetric graph of users and items, as LightGCN does it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.engines import map_threads
from recctl.kernels.compile import F32, F32_2D, FLOAT, I32, I64, INT, OUT_F32_2D, VOID, kernel

# Edges of a task: fixed, so that tasks are cut by the data alone. With fewer, starting threads costs more than is won.
_EDGES = 1 << 18


@kernel(VOID, I64, I32, F32, F32_2D, F32_2D, FLOAT, OUT_F32_2D, INT, INT, fastmath={"contract", "reassoc"})
def _layer(starts, columns, values, dense, base, scale, out, first, last):
    n, s = dense.shape[1], np.float32(scale)
    for row in range(first, last):
        for j in range(n):
            out[row, j] = base[row, j]
        p, end = starts[row], starts[row + 1]
        # Eight at a time: the row of results is read and written once for eight rows of the dense matrix.
        while p + 8 <= end:
            a, b, c, d = columns[p], columns[p + 1], columns[p + 2], columns[p + 3]
            e, f, g, h = columns[p + 4], columns[p + 5], columns[p + 6], columns[p + 7]
            va, vb, vc, vd = values[p], values[p + 1], values[p + 2], values[p + 3]
            ve, vf, vg, vh = values[p + 4], values[p + 5], values[p + 6], values[p + 7]
            for j in range(n):
                left = va * dense[a, j] + vb * dense[b, j] + vc * dense[c, j] + vd * dense[d, j]
                right = ve * dense[e, j] + vf * dense[f, j] + vg * dense[g, j] + vh * dense[h, j]
                out[row, j] += left + right
            p += 8
        while p < end:
            a, va = columns[p], values[p]
            for j in range(n):
                out[row, j] += va * dense[a, j]
            p += 1
        if s != 1:
            for j in range(n):
                out[row, j] *= s


def propagate(
    starts: NDArray[np.int64],
    columns: NDArray[np.int32],
    values: NDArray[np.float32],
    vectors: NDArray[np.float32],
    n_layers: int,
    rooms: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> NDArray[np.float32]:
    """The mean over layers, `(I + A + ... + A^n_layers) / (n_layers + 1) @ vectors`.

    By Horner's rule, `vectors + A (vectors + A (...))`: nothing is kept of a layer but the sum. As A is symmetric, the
    gradient by `vectors` is the same product with the gradient by the result.

    Args:
        starts: Row starts of A.
        columns: Columns of A.
        values: Values of A.
        vectors: `(n, d)`.
        n_layers: At least 1.
        rooms: Two arrays like `vectors` to compute in, one of which is returned; made unless given.

    Returns:
        `(n, d)` float32, whatever the number of threads.
    """
    into, other = rooms or (np.empty_like(vectors), np.empty_like(vectors))
    cuts = np.unique(np.searchsorted(starts, np.arange(0, len(columns), _EDGES)))
    tasks = list(zip(cuts.tolist(), [*cuts[1:].tolist(), len(vectors)], strict=True))
    dense = vectors
    for layer in range(n_layers):
        scale = 1 / (n_layers + 1) if layer == n_layers - 1 else 1.0

        def rows(task, dense=dense, scale=scale, into=into):
            _layer(starts, columns, values, dense, vectors, scale, into, *task)

        if len(tasks) == 1:
            rows(tasks[0])
        else:
            for _ in map_threads(rows, tasks):
                pass
        dense, into, other = into, other, into
    return dense


@kernel(VOID, I64, F32_2D, OUT_F32_2D)
def add_rows(nodes, rows, out):
    """Add each of some rows to the row of `out` that `nodes` says; repeats add up."""
    for at in range(len(nodes)):
        node = nodes[at]
        for j in range(out.shape[1]):
            out[node, j] += rows[at, j]
