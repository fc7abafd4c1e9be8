"""Fit ALS of a peer for each line of stdin.

usage: PYTHON als.py PEER PAIRS.npy N_FACTORS OUT.npz      in the peers' virtual environment

PAIRS is an int64 array `(n, 2)` of distinct (user, item) pairs. Each line of stdin is a seed; the answer is a line with
the seconds of a fit. The factors are written to OUT, with users and items in ascending order of their ids.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

warnings.filterwarnings("ignore")
N_ITERATIONS = 15
Factors = tuple[np.ndarray, np.ndarray]


def irspack(train: sp.csr_matrix, n_factors: int) -> Callable[[int], Factors]:
    """irspack, loss of Hu et al.: its alpha0 is `1 / alpha`, its reg with nu = 1 is `reg` with `reg_by: pairs`."""
    from irspack import IALSRecommender

    settings = {"alpha0": 0.1, "reg": 0.003, "nu": 1.0, "loss_type": "ORIGINAL", "train_epochs": N_ITERATIONS}

    def fit(seed: int) -> Factors:
        model = IALSRecommender(train, n_components=n_factors, n_threads=2, random_seed=seed, **settings).learn()
        return model.get_user_embedding(), model.get_item_embedding()

    return fit


def implicit(train: sp.csr_matrix, n_factors: int) -> Callable[[int], Factors]:
    """implicit. Its confidence of interactions is alpha (recctl: 1 + alpha); its reg does not depend on counts."""
    from implicit.als import AlternatingLeastSquares

    settings = {"regularization": 0.01, "alpha": 10, "iterations": N_ITERATIONS, "num_threads": 2}

    def fit(seed: int) -> Factors:
        model = AlternatingLeastSquares(factors=n_factors, random_state=seed, **settings)
        model.fit(train, show_progress=False)
        return model.user_factors, model.item_factors

    return fit


def rusket(train: sp.csr_matrix, n_factors: int) -> Callable[[int], Factors]:
    """rusket. Its confidence of interactions is `1 + alpha`; its regularization does not depend on counts."""
    import rusket

    settings = {"factors": n_factors, "regularization": 0.01, "alpha": 40.0, "iterations": N_ITERATIONS}

    def fit(seed: int) -> Factors:
        model = rusket.ALS(seed=seed, **settings)
        model.fit(train)
        return np.asarray(model.user_factors), np.asarray(model.item_factors)

    return fit


def main(peer: str, path: str, n_factors: str, out: str) -> None:
    """Fit once for each line of stdin."""
    codes = [np.unique(column, return_inverse=True)[1] for column in np.load(path).T]
    train = sp.csr_matrix((np.ones(len(codes[0]), np.float32), codes))
    fit = {"irspack": irspack, "implicit": implicit, "rusket": rusket}[peer](train, int(n_factors))
    for line in sys.stdin:
        with contextlib.redirect_stdout(io.StringIO()):  # irspack prints its progress
            begin = time.perf_counter()
            users, items = fit(int(line))
            seconds = time.perf_counter() - begin
        np.savez(out, users=users, items=items)
        print(seconds, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
