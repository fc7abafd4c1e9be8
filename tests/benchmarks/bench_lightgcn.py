"""LightGCN: an epoch against RecBole's, propagation against torch's sparse products, and how well it ranks.

An epoch has RecBole's settings: 2 layers, 64 dim, BPR, batches of 2048 interactions, 8:1:1 within users. The floor is
the time that the operations of its propagations take at the machine's measured rate of float32 GEMM, which has its
numbers in registers; here each comes from memory and is used once.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from bench_gowalla import read
from side_by_side import gemm_rate, in_turns, recbole, report, report_recbole_ndcg, seconds_of

from recctl import EarlyStopping, InteractionDataset, LightGCNRecommender, load_movielens
from recctl.data.matrix import InteractionMatrix
from recctl.engines import torch_threads
from recctl.kernels import propagation
from recctl.models.lightgcn import _normalised

ML = "MovieLens-100K"
SETTINGS = {"embedding_dim": 64, "n_layers": 2, "loss": "bpr", "reg": 1e-5, "batch_size": 2048, "learning_rate": 0.001}


def speed(rows: pd.DataFrame, train: InteractionDataset, rate: float) -> None:
    """An epoch in turns with RecBole's."""
    model = LightGCNRecommender(**SETTINGS)
    model.train_epoch(train)
    with recbole("LightGCN", rows) as ask:
        peer = (lambda: ask()[0]) if ask else None
        medians = in_turns({"recctl": lambda: seconds_of(lambda: model.train_epoch(train)), "RecBole": peer}, repeats=7)
    report("lightgcn: an epoch of bpr", ML, medians)
    steps = -(-train.matrix.nnz // 2048)
    least = steps * 2 * 2 * 2 * train.matrix.nnz * 2 * 64 / rate
    report("lightgcn: an epoch of bpr", ML, {"recctl": medians["recctl"], "propagation at GEMM rate": least})


def propagations(name: str, seen: InteractionMatrix, rate: float) -> None:
    """3 layers over the graph, against torch's products of a CSR matrix, MKL's where torch has it."""
    import torch

    graph = _normalised(seen)
    vectors = np.random.default_rng(0).standard_normal((graph.n_rows, 64), np.float32)
    rooms = np.empty_like(vectors), np.empty_like(vectors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = (torch.from_numpy(part) for part in (graph.starts, graph.columns.astype(np.int64), graph.values))
        theirs = torch.sparse_csr_tensor(*parts, size=(graph.n_rows, graph.n_rows))

    def layers() -> None:
        mean = own = torch.from_numpy(vectors)
        for _ in range(3):
            mean = own + theirs @ mean

    def ours() -> None:
        propagation.propagate(graph.starts, graph.columns, graph.values, vectors, 3, rooms)

    with torch_threads():
        medians = in_turns({"recctl": lambda: seconds_of(ours), "torch CSR": lambda: seconds_of(layers)}, repeats=15)
    report("lightgcn: propagation, 3 layers", name, medians)
    least = 3 * 2 * seen.nnz * 2 * 64 / rate
    report("lightgcn: propagation, 3 layers", name, {"recctl": medians["recctl"], "at GEMM rate": least})


def main() -> None:
    """Print a line for each measurement."""
    rows = load_movielens("100k")
    train, validation, test = InteractionDataset(rows).split(0.1, 0.1, within_user=True)
    rate = gemm_rate()
    speed(rows, train, rate)
    propagations(ML, train.matrix, rate)
    path = Path(os.environ.get("RECCTL_BENCH_DATA", "")) / "gowalla" / "train.txt"
    if path.exists():
        propagations("Gowalla", InteractionDataset(read(path)).matrix, rate)
    else:
        print(f"gowalla is left out: no {path}; see $RECCTL_BENCH_DATA in the README of the benchmarks", flush=True)
    stopping = EarlyStopping(patience=10, monitor="ndcg@10")
    model = LightGCNRecommender(learning_rate=0.003, epochs=150)
    report_recbole_ndcg("lightgcn", model, stopping, "RecBole LightGCN, 100 epochs", 0.282, (train, validation, test))


if __name__ == "__main__":
    main()
