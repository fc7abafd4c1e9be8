"""Fits of peers, on request.

usage: PYTHON fitting.py PEER PAIRS.npy      in the peers' virtual environment

PAIRS is an int64 array `(n, 2)` of distinct pairs of a user and an item. Every line read from stdin is answered by one
fit and a line with its seconds, from the peer's own kind of input to a model that can recommend.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

warnings.filterwarnings("ignore")
L2_REG = 500.0
N_NEIGHBORS = 100


def matrix_of(pairs: np.ndarray) -> sp.csr_matrix:
    """The binary matrix, users by items, of those that occur."""
    codes = [np.unique(column, return_inverse=True)[1] for column in pairs.T]
    return sp.csr_matrix((np.ones(len(pairs), np.float32), codes))


def numpy_ease(pairs: np.ndarray) -> Callable[[], object]:
    """The paper's Algorithm 1 in float64, as most implementations have it."""
    train = matrix_of(pairs)

    def fit() -> np.ndarray:
        gram = np.asarray((train.T @ train).todense(), np.float64)
        gram[np.diag_indices(len(gram))] += L2_REG
        inverse = np.linalg.inv(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0)
        return weights

    return fit


def skrecsys_ease(pairs: np.ndarray) -> Callable[[], object]:
    """Takes the pairs."""
    from skrecsys.recommendation import EASE

    return lambda: EASE(l2_reg=L2_REG).fit(pairs)


def irspack_ease(pairs: np.ndarray) -> Callable[[], object]:
    """Takes the matrix."""
    from irspack import DenseSLIMRecommender

    train = matrix_of(pairs)
    return lambda: DenseSLIMRecommender(train, reg=L2_REG).learn()


def implicit_knn(pairs: np.ndarray) -> Callable[[], object]:
    """Takes the matrix."""
    from implicit.nearest_neighbours import CosineRecommender

    train = matrix_of(pairs)
    return lambda: CosineRecommender(K=N_NEIGHBORS).fit(train, show_progress=False)


PEERS = {
    "numpy, float64 inverse": numpy_ease,
    "skrecsys": skrecsys_ease,
    "irspack": irspack_ease,
    "implicit": implicit_knn,
}


def main(peer: str, path: str) -> None:
    """Answer every line with one fit."""
    fit = PEERS[peer](np.load(path))
    for _ in sys.stdin:
        begin = time.perf_counter()
        fit()
        print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
