"""Evaluate EASE by a peer's evaluator for each line of stdin: scores, rankings, and metrics at 5, 10 and 20.

usage: PYTHON evaluation.py irspack|skrecsys FOLDER      in the peers' virtual environment

FOLDER holds `train.npz` and `test.npz` (SciPy matrices, one row per test user) and `weights.npy`. The answer is a line
of JSON: seconds and metrics. The construction of the peer's model is not timed.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

warnings.filterwarnings("ignore")
K_VALUES = [5, 10, 20]


def irspack(train: sp.csr_matrix, test: sp.csr_matrix, weights: np.ndarray) -> Callable[[], dict[str, float]]:
    """irspack's evaluator, which requests blocks of scores from a model."""
    from irspack import DenseSLIMRecommender
    from irspack.evaluation import Evaluator

    model = DenseSLIMRecommender(train)
    # irspack multiplies in float64, and would convert float32 weights for every block, which costs many times the
    # products. 1024 is the block size with which it is fastest.
    model._W = weights.astype(np.float64)
    evaluator = Evaluator(test, mb_size=1024)
    return lambda: evaluator.get_scores(model, K_VALUES)


def skrecsys(train: sp.csr_matrix, test: sp.csr_matrix, weights: np.ndarray) -> Callable[[], dict[str, float]]:
    """skrecsys's evaluation, which requests recommendations; its EASE makes them without a matrix of scores."""
    from skrecsys import metrics
    from skrecsys.recommendation import EASE

    class EaseWithWeights(EASE):
        def _fit(self, interactions: Any) -> None:
            self.similarity_ = weights.astype(np.float64)

    model = EaseWithWeights().fit(_pairs(train))
    test_pairs = _pairs(test)
    assert (model.item_ids_ == np.arange(train.shape[1])).all()
    names = ["precision", "recall", "ndcg", "hit_rate", "average_precision", "reciprocal_rank"]
    functions = [getattr(metrics, f"{name}_at_k") for name in names]
    return lambda: metrics.evaluate_recommender(model, test_pairs, metrics=functions, k=K_VALUES)


def _pairs(matrix: sp.csr_matrix) -> np.ndarray:
    return np.column_stack(matrix.nonzero()).astype(np.int64)


def main(peer: str, folder: str) -> None:
    """Evaluate once for each line of stdin."""
    train, test = (sp.csr_matrix(sp.load_npz(Path(folder) / f"{part}.npz")) for part in ("train", "test"))
    make_evaluation = {"irspack": irspack, "skrecsys": skrecsys}[peer]
    evaluate = make_evaluation(train, test, np.load(Path(folder) / "weights.npy"))
    for _ in sys.stdin:
        begin = time.perf_counter()
        values = evaluate()
        seconds = time.perf_counter() - begin
        metrics = {key: float(value) for key, value in values.items()}
        print(json.dumps({"seconds": seconds, "metrics": metrics}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
