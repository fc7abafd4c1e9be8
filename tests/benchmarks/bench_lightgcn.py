"""LightGCN: an epoch compared with RecBole's, propagation compared with torch's sparse products, and ranking quality.

An epoch has RecBole's settings: 2 layers, 64 dim, BPR, batches of 2048 interactions, 8:1:1 within users. The lower
bound is the time of the arithmetic operations of all propagations at the measured rate of float32 GEMM; GEMM works on
numbers in registers, while propagation loads each number from memory and uses it once.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from bench_gowalla import read_user_lists
from side_by_side import alternate, data_path, gemm_rate, recbole_peer, report, report_recbole_ndcg, seconds_of

from recctl import EarlyStopping, InteractionDataset, LightGCNRecommender, load_movielens
from recctl.data.matrix import InteractionMatrix
from recctl.engines import torch_threads
from recctl.kernels import propagation
from recctl.models.lightgcn import _normalized

ML = "MovieLens-100K"
DIM = 64
BATCH_SIZE = 2048
SETTINGS = {
    "embedding_dim": DIM,
    "n_layers": 2,
    "loss": "bpr",
    "reg": 1e-5,
    "batch_size": BATCH_SIZE,
    "learning_rate": 0.001,
}


def propagation_seconds(n_interactions: int, n_propagations: int, rate: float) -> float:
    """Seconds of the operations of propagations through one layer, at a rate of operations per second."""
    # An interaction is two entries of the adjacency matrix; each takes a multiplication and an addition.
    return n_propagations * 2 * n_interactions * 2 * DIM / rate


def measure_epoch(rows: pd.DataFrame, train: InteractionDataset, rate: float) -> None:
    """Print an epoch compared with RecBole's and with the lower bound."""
    model = LightGCNRecommender(**SETTINGS)
    model.train_epoch(train)
    with recbole_peer("LightGCN", rows) as train_and_rank:
        measures = {
            "recctl": lambda: seconds_of(lambda: model.train_epoch(train)),
            "RecBole": (lambda: train_and_rank()[0]) if train_and_rank else None,
        }
        medians = alternate(measures, repeats=7)
    report("lightgcn: an epoch of bpr", ML, medians)
    n_interactions = train.matrix.nnz
    n_steps = -(-n_interactions // BATCH_SIZE)
    # Two layers, forward and backward.
    lower_bound = propagation_seconds(n_interactions, n_steps * 2 * 2, rate)
    medians = {"recctl": medians["recctl"], "propagation at GEMM rate": lower_bound}
    report("lightgcn: an epoch of bpr", ML, medians)


def measure_propagation(data: str, seen: InteractionMatrix, rate: float) -> None:
    """Print propagation through 3 layers, compared with torch's products of a CSR matrix (MKL's if torch has it)."""
    import torch

    graph = _normalized(seen)
    vectors = np.random.default_rng(0).standard_normal((graph.n_rows, DIM), np.float32)
    workspace = (np.empty_like(vectors), np.empty_like(vectors))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch_graph = torch.sparse_csr_tensor(
            torch.from_numpy(graph.starts),
            torch.from_numpy(graph.columns.astype(np.int64)),
            torch.from_numpy(graph.values),
            size=(graph.n_rows, graph.n_rows),
        )

    def propagate() -> None:
        propagation.propagate(graph.starts, graph.columns, graph.values, vectors, 3, workspace)

    def propagate_by_torch() -> None:
        base = torch.from_numpy(vectors)
        layer_sum = base
        for _ in range(3):
            layer_sum = base + torch_graph @ layer_sum

    measures = {"recctl": lambda: seconds_of(propagate), "torch CSR": lambda: seconds_of(propagate_by_torch)}
    with torch_threads():
        medians = alternate(measures, repeats=15)
    report("lightgcn: propagation, 3 layers", data, medians)
    lower_bound = propagation_seconds(seen.nnz, 3, rate)
    report("lightgcn: propagation, 3 layers", data, {"recctl": medians["recctl"], "at GEMM rate": lower_bound})


def main() -> None:
    """Print a line for each measurement."""
    rows = load_movielens("100k")
    train, validation, test = InteractionDataset(rows).split(0.1, 0.1, within_user=True)
    rate = gemm_rate()
    measure_epoch(rows, train, rate)
    measure_propagation(ML, train.matrix, rate)
    path = data_path("gowalla", "train.txt")
    if path is not None:
        measure_propagation("Gowalla", InteractionDataset(read_user_lists(path)).matrix, rate)
    stopping = EarlyStopping(patience=10, monitor="ndcg@10")
    model = LightGCNRecommender(learning_rate=0.003, epochs=150)
    report_recbole_ndcg("lightgcn", model, stopping, "RecBole LightGCN, 100 epochs", 0.282, (train, validation, test))


if __name__ == "__main__":
    main()
