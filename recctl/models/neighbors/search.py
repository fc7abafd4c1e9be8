"""The search of nearest neighbors among the rows of sparse matrices, and scores by sparse weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recctl import progress
from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.engines import map_threads, threads
from recctl.kernels import neighbours as kernels
from recctl.ranking import TieBreaker


@dataclass(frozen=True, eq=False)
class Neighborhood:
    """What neighbors are searched in, with the similarity of a row i and a column j.

    With `dot` the sum of the products over the features that they share, it is
    `dot / (row_sizes[i] * column_sizes[j] + shrinkage)`, or with `union`
    `dot / (row_sizes[i] + column_sizes[j] - dot + shrinkage)`.

    Attributes:
        rows: What neighbors are searched for, `(n_rows, n_features)`.
        by_feature: What can be a neighbor, `(n_features, n_columns)`.
        row_sizes: Size of each row, `(n_rows,)`.
        column_sizes: Size of each column, `(n_columns,)`.
        ties: Orders equally similar columns.
        shrinkage: At least 0.
        union: Which denominator to use.
        without_diagonal: Whether column i is no neighbor of row i, because both are the same item or user.
    """

    rows: InteractionMatrix
    by_feature: InteractionMatrix
    row_sizes: Float32Array
    column_sizes: Float32Array
    ties: TieBreaker
    shrinkage: float = 0.0
    union: bool = False
    without_diagonal: bool = True


def find_neighbors(neighborhood: Neighborhood, n_neighbors: int, title: str = "") -> InteractionMatrix:
    """The columns most similar to each row, of those with a similarity above 0, on all threads.

    Args:
        neighborhood: Rows, columns and their similarity.
        n_neighbors: The maximum number of neighbors of each row.
        title: Title of the progress report; empty to search without one, on the calling thread.

    Returns:
        Similarities, `(n_rows, n_columns)`.
    """
    rows = neighborhood.rows
    n_rows = rows.n_rows
    n_candidates = neighborhood.by_feature.n_columns
    if neighborhood.without_diagonal:
        n_candidates -= 1
    # At least one, so that arrays for a single item are not empty.
    n_slots = max(1, min(n_neighbors, n_candidates))
    neighbors = np.empty((n_rows, n_slots), np.int32)
    similarities = np.empty((n_rows, n_slots), np.float32)
    counts = np.empty(n_rows, np.int64)

    def search(begin: int, end: int) -> None:
        kernels.nearest(
            (rows.starts, rows.columns, rows.values),
            (neighborhood.by_feature.starts, neighborhood.by_feature.columns, neighborhood.by_feature.values),
            neighborhood.row_sizes,
            neighborhood.column_sizes,
            neighborhood.union,
            neighborhood.shrinkage,
            neighborhood.without_diagonal,
            neighborhood.ties.row_keys,
            neighborhood.ties.item_hashes,
            begin,
            neighbors[begin:end],
            similarities[begin:end],
            counts[begin:end],
        )

    if title:
        # Each task clears work arrays over all columns: as many tasks as any number of threads can use, and no more.
        task_size = max(64, n_rows // 256)
        tasks = range(0, n_rows, task_size)
        results = map_threads(lambda begin: search(begin, min(begin + task_size, n_rows)), tasks)
        for _ in progress.track(results, title, total=len(tasks)):
            pass
    else:
        search(0, n_rows)
    starts = np.concatenate(([0], np.cumsum(counts)))
    is_neighbor = np.arange(n_slots) < counts[:, np.newaxis]
    n_columns = neighborhood.by_feature.n_columns
    return InteractionMatrix(starts, neighbors[is_neighbor], similarities[is_neighbor], n_columns)


def search_bytes(n_rows: int, n_columns: int, n_neighbors: int) -> int:
    """Peak memory in bytes of `find_neighbors`, its result included: neighbors padded and packed, and work arrays."""
    return 17 * n_rows * min(n_neighbors, n_columns) + 12 * n_columns * threads()


def weighted_sums(histories: InteractionMatrix, weights: InteractionMatrix) -> Float32Array:
    """`histories @ weights` for two sparse matrices: scores of every item, `(n, n_items)`."""
    scores = np.empty((histories.n_rows, weights.n_columns), np.float32)
    kernels.sparse_sparse(
        histories.starts,
        histories.columns,
        histories.values,
        weights.starts,
        weights.columns,
        weights.values,
        scores,
    )
    return scores
