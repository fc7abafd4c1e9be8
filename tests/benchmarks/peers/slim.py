"""Fit SLIM of a peer for each line of stdin; all have the same objective.

usage: PYTHON slim.py PEER PAIRS.npy L1_REG L2_REG N_NEIGHBORS|0 OUT.npz      in the peers' virtual environment

PAIRS is an int64 array `(n, 2)` of distinct (user, item) pairs. The answer is a line with the seconds of a fit. The
weights are written to OUT, with items in ascending order of their ids; column `j` predicts item `j`.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

warnings.filterwarnings("ignore")


def irspack(pairs: np.ndarray, l1_reg: float, l2_reg: float, n_neighbors: int | None) -> Callable[[], sp.csr_matrix]:
    """irspack, from a matrix; its `n_users * alpha` is the sum of recctl's regularizations."""
    from irspack import SLIMRecommender

    users, items = (np.unique(column, return_inverse=True)[1] for column in pairs.T)
    train = sp.csr_matrix((np.ones(len(pairs), np.float32), (users, items)))
    alpha = (l1_reg + l2_reg) / train.shape[0]
    ratio = l1_reg / (l1_reg + l2_reg)

    def fit() -> sp.csr_matrix:
        model = SLIMRecommender(train, alpha=alpha, l1_ratio=ratio, top_k=n_neighbors, n_threads=2)
        model.learn()
        return model.W

    return fit


def skrecsys(pairs: np.ndarray, l1_reg: float, l2_reg: float, n_neighbors: int | None) -> Callable[[], sp.csr_matrix]:
    """skrecsys, from pairs; its objective is recctl's divided by the number of users."""
    from skrecsys.recommendation import SLIMElasticNet

    alpha = (l1_reg + l2_reg) / len(np.unique(pairs[:, 0]))
    ratio = l1_reg / (l1_reg + l2_reg)
    return lambda: SLIMElasticNet(alpha, ratio, n_neighbors or 10**6).fit(pairs).similarity_


def fastslim(pairs: np.ndarray, l1_reg: float, l2_reg: float, n_neighbors: int | None) -> Callable[[], sp.csr_matrix]:
    """fastslim, from a matrix, with all items; its objective is recctl's."""
    import fastslim

    if n_neighbors:
        raise ValueError("fastslim has no limit of neighbors")
    users, items = (np.unique(column, return_inverse=True)[1] for column in pairs.T)
    train = sp.csr_matrix((np.ones(len(pairs), np.float32), (users, items)))
    return lambda: fastslim.SLIM(lambd=l1_reg, beta=l2_reg, tol=1e-4, n_threads=2).fit(train).weights


def main(peer: str, path: str, l1_reg: str, l2_reg: str, n_neighbors: str, out: str) -> None:
    """Fit once for each line of stdin."""
    make_fit = {"irspack": irspack, "skrecsys": skrecsys, "fastslim": fastslim}[peer]
    fit = make_fit(np.load(path), float(l1_reg), float(l2_reg), int(n_neighbors) or None)
    for _ in sys.stdin:
        begin = time.perf_counter()
        weights = fit()
        seconds = time.perf_counter() - begin
        sp.save_npz(out, sp.csr_matrix(weights))
        print(seconds, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
