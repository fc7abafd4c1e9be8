"""Evaluation as a peer does it: scores of EASE and the metrics of their ranking at 5, 10 and 20.

usage: PYTHON evaluation.py irspack|skrecsys WORLD      in the peer's virtual environment

WORLD is a folder with `train.npz` and `test.npz` (SciPy matrices, a row for each test user) and `weights.npy`. Every
line read from stdin is answered by one evaluation and a line of JSON: seconds, and the metrics. Making the peer's
model object is not timed.
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
    """Its evaluator asks a model for blocks of scores."""
    from irspack import DenseSLIMRecommender
    from irspack.evaluation import Evaluator

    model = DenseSLIMRecommender(train)
    # It multiplies in float64: float32 weights it would convert for every block, at many times the products' cost. And
    # of the sizes of blocks, the one it is fastest with.
    model._W = weights.astype(np.float64)
    evaluator = Evaluator(test, mb_size=1024)
    return lambda: evaluator.get_scores(model, K_VALUES)


def skrecsys(train: sp.csr_matrix, test: sp.csr_matrix, weights: np.ndarray) -> Callable[[], dict[str, float]]:
    """Its evaluation asks a model for recommendations; its EASE makes them without a matrix of scores."""
    from skrecsys import metrics
    from skrecsys.recommendation import EASE

    class Given(EASE):
        def _fit(self, interactions: Any) -> None:
            self.similarity_ = weights.astype(np.float64)

    pairs = lambda matrix: np.column_stack(matrix.nonzero()).astype(np.int64)  # noqa: E731
    model, held_out = Given().fit(pairs(train)), pairs(test)
    assert (model.item_ids_ == np.arange(train.shape[1])).all()
    names = ["precision", "recall", "ndcg", "hit_rate", "average_precision", "reciprocal_rank"]
    measured = [getattr(metrics, f"{name}_at_k") for name in names]
    return lambda: metrics.evaluate_recommender(model, held_out, metrics=measured, k=K_VALUES)


def main(peer: str, world: str) -> None:
    """Answer every line with one evaluation."""
    train, test = (sp.csr_matrix(sp.load_npz(Path(world) / f"{part}.npz")) for part in ("train", "test"))
    evaluate = {"irspack": irspack, "skrecsys": skrecsys}[peer](train, test, np.load(Path(world) / "weights.npy"))
    for _ in sys.stdin:
        start = time.perf_counter()
        found = evaluate()
        seconds = time.perf_counter() - start
        print(
            json.dumps({"seconds": seconds, "metrics": {key: float(value) for key, value in found.items()}}), flush=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
