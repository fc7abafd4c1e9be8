"""Fit a peer's model for each line of stdin.

usage: PYTHON fitting.py PEER PAIRS.npy      in the peers' virtual environment

PAIRS is an int64 array `(n, 2)` of distinct (user, item) pairs. The answer is a line with the seconds of a fit, from
the peer's input format to a fitted model.
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
BPR_FACTORS = 64
BPR_EPOCHS = 20


def to_matrix(pairs: np.ndarray) -> sp.csr_matrix:
    """The binary interaction matrix `(n_users, n_items)`."""
    codes = [np.unique(column, return_inverse=True)[1] for column in pairs.T]
    return sp.csr_matrix((np.ones(len(pairs), np.float32), codes))


def numpy_ease(pairs: np.ndarray) -> Callable[[], object]:
    """EASE as in the paper's Algorithm 1, in float64, like most implementations."""
    train = to_matrix(pairs)

    def fit() -> np.ndarray:
        gram = np.asarray((train.T @ train).todense(), np.float64)
        gram[np.diag_indices(len(gram))] += L2_REG
        inverse = np.linalg.inv(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0)
        return weights

    return fit


def skrecsys_ease(pairs: np.ndarray) -> Callable[[], object]:
    """EASE of skrecsys, from pairs."""
    from skrecsys.recommendation import EASE

    return lambda: EASE(l2_reg=L2_REG).fit(pairs)


def irspack_ease(pairs: np.ndarray) -> Callable[[], object]:
    """EASE of irspack, from a matrix."""
    from irspack import DenseSLIMRecommender

    train = to_matrix(pairs)
    return lambda: DenseSLIMRecommender(train, reg=L2_REG).learn()


def implicit_knn(pairs: np.ndarray) -> Callable[[], object]:
    """Item-kNN of implicit, from a matrix."""
    from implicit.nearest_neighbours import CosineRecommender

    train = to_matrix(pairs)
    return lambda: CosineRecommender(K=N_NEIGHBORS).fit(train, show_progress=False)


def implicit_bpr(pairs: np.ndarray) -> Callable[[], object]:
    """BPR of implicit with as many factors and epochs as the benchmark, from a matrix."""
    from implicit.bpr import BayesianPersonalizedRanking

    train = to_matrix(pairs)
    model = BayesianPersonalizedRanking(factors=BPR_FACTORS - 1, iterations=BPR_EPOCHS, verify_negative_samples=True)
    # It adds a factor for the bias.
    return lambda: model.fit(train, show_progress=False)


def irspack_user_knn(pairs: np.ndarray) -> Callable[[], object]:
    """User-kNN of irspack, from a matrix."""
    from irspack import CosineUserKNNRecommender

    train = to_matrix(pairs)
    return lambda: CosineUserKNNRecommender(train, top_k=N_NEIGHBORS, shrinkage=10.0).learn()


def irspack_rp3beta(pairs: np.ndarray) -> Callable[[], object]:
    """RP3beta of irspack, from a matrix."""
    from irspack import RP3betaRecommender

    train = to_matrix(pairs)
    return lambda: RP3betaRecommender(train, alpha=1.0, beta=0.6, top_k=N_NEIGHBORS).learn()


def rusket_ease(pairs: np.ndarray) -> Callable[[], object]:
    """EASE of rusket, from a matrix."""
    import rusket

    train = to_matrix(pairs)
    return lambda: rusket.EASE(regularization=L2_REG).fit(train)


def rusket_knn(pairs: np.ndarray) -> Callable[[], object]:
    """Item-kNN of rusket by the cosine, from a matrix."""
    import rusket

    train = to_matrix(pairs)
    return lambda: rusket.ItemKNN(method="cosine", k=N_NEIGHBORS).fit(train)


def rusket_bpr(pairs: np.ndarray) -> Callable[[], object]:
    """BPR of rusket with as many factors and epochs as the benchmark, from a matrix."""
    import rusket

    train = to_matrix(pairs)
    return lambda: rusket.BPR(factors=BPR_FACTORS, iterations=BPR_EPOCHS).fit(train)


def irspack_knn(pairs: np.ndarray) -> Callable[[], object]:
    """Item-kNN of irspack by the cosine, from a matrix."""
    from irspack import CosineKNNRecommender

    train = to_matrix(pairs)
    return lambda: CosineKNNRecommender(train, top_k=N_NEIGHBORS).learn()


PEERS = {
    "numpy, float64 inverse": numpy_ease,
    "skrecsys": skrecsys_ease,
    "irspack": irspack_ease,
    "implicit": implicit_knn,
    "implicit bpr": implicit_bpr,
    "irspack user-knn": irspack_user_knn,
    "irspack rp3beta": irspack_rp3beta,
    "irspack knn": irspack_knn,
    "rusket": rusket_ease,
    "rusket knn": rusket_knn,
    "rusket bpr": rusket_bpr,
}


def main(peer: str, path: str) -> None:
    """Fit once for each line of stdin."""
    fit = PEERS[peer](np.load(path))
    for _ in sys.stdin:
        begin = time.perf_counter()
        fit()
        print(time.perf_counter() - begin, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
