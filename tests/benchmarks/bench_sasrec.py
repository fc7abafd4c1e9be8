"""SASRec: targets per second of training compared with RecTools and RecBole; ranking quality compared with RecTools.

A target is an item that the model predicts at a position of a history. All models have the full softmax, 2 blocks, 1
head, 64 dim, the last 50 items, and dropout 0.2. RecTools and recctl use batches of 128 histories; on Beauty, where
RecTools' epoch takes minutes, it runs ten steps. RecBole makes a training example of each target, with batches of 2048,
and runs one step. The lower bound is the time of the operations of logits and blocks at the measured rate of float32
GEMM.

Ranking is leave-one-out over all items that the user has not seen. Dropout and epochs are chosen by NDCG@10 on the
second to last items, with the same loop for both; then a new model is fitted on these too, and ranks the last items.
recctl trains on windows of whole histories, 32 per step, RecTools on the last 51 items, 128 histories per step.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from bench_gowalla import read_user_lists
from side_by_side import (
    PEER_FOLDER,
    data_path,
    gemm_rate,
    peer_process,
    peer_python,
    report,
    report_value,
    seconds_of,
)

from recctl import Evaluator, InteractionDataset, SASRecRecommender, load_movielens

ML = "MovieLens-100K"
DROPOUTS = (0.2, 0.5)
PATIENCE = 10
MAX_EPOCHS = 150
DIM = 64
N_BLOCKS = 2
MAX_LENGTH = 50
SETTINGS = {"embedding_dim": DIM, "n_blocks": N_BLOCKS, "n_heads": 1, "max_length": MAX_LENGTH}

# Trains an epoch, and returns measurements.
TrainEpoch = Callable[[], list[float]]
# Starts a model on train, with the held-out items and the dropout.
StartModel = Callable[[pd.DataFrame, pd.DataFrame, float], AbstractContextManager[TrainEpoch]]


@contextmanager
def start_peer(
    name: str, rows: pd.DataFrame, steps: int, dropout: float, held_out: pd.DataFrame | None = None
) -> Iterator[TrainEpoch]:
    """Start the process of a peer.

    Yields:
        A function that trains for a number of steps (0: an epoch), and returns the seconds, the number of targets, and,
        with held-out items, hit rate and NDCG at 10.
    """
    columns = ["user_id", "item_id"]
    with tempfile.TemporaryDirectory() as folder:
        train_file = Path(folder) / "0.npy"
        np.save(train_file, rows[columns].to_numpy())
        command = [peer_python(name), PEER_FOLDER / "sasrec.py", name, train_file, steps, dropout]
        if held_out is not None:
            held_out_file = Path(folder) / "1.npy"
            np.save(held_out_file, held_out[columns].to_numpy())
            command.append(held_out_file)
        # RecBole writes files into its working directory.
        with peer_process(command, folder=Path(folder)) as send_request:
            yield send_request


def measure_speed(data: str, rows: pd.DataFrame, peers: dict[str, int], repeats: int, rate: float) -> None:
    """Print targets per second, compared with peers, which run this number of steps (0: an epoch)."""
    train = InteractionDataset(rows)
    model = SASRecRecommender(**SETTINGS, batch_size=128, windows="last")
    model.train_epoch(train)
    n_targets = int(np.minimum(rows.groupby("user_id").size() - 1, MAX_LENGTH).sum())
    seconds = [seconds_of(lambda: model.train_epoch(train))]
    for name, steps in peers.items():
        if not peer_python(name):
            continue
        peer_rates = []
        with start_peer(name, rows, steps, 0.2) as train_peer:
            train_peer()
            for _ in range(repeats):
                peer_seconds, n_peer_targets = train_peer()
                peer_rates.append(n_peer_targets / peer_seconds)
                seconds.append(seconds_of(lambda: model.train_epoch(train)))
        report_value(
            "sasrec: targets of the softmax a second",
            data,
            n_targets / statistics.median(seconds),
            "/s",
            digits=1,
            peer=name,
            peer_value=statistics.median(peer_rates),
        )
    # Forward and backward pass of the logits, and of the 12 DIM² weights of a block.
    n_operations = n_targets * (6 * train.n_items * DIM + N_BLOCKS * 36 * DIM**2)
    medians = {"recctl": statistics.median(seconds), "its products at GEMM rate": n_operations / rate}
    report("sasrec: an epoch of the softmax", data, medians)


@contextmanager
def start_recctl(rows: pd.DataFrame, held_out: pd.DataFrame, dropout: float) -> Iterator[TrainEpoch]:
    """Yield a function that trains an epoch and returns hit rate and NDCG at 10."""
    train = InteractionDataset(rows)
    evaluator = Evaluator(["hit_rate", "ndcg"], [10])
    is_known = held_out.user_id.isin(rows.user_id) & held_out.item_id.isin(rows.item_id)
    test = InteractionDataset(held_out[is_known])
    model = SASRecRecommender(**SETTINGS, batch_size=32, dropout=dropout)

    def train_epoch() -> list[float]:
        model.train_epoch(train)
        return list(evaluator.evaluate(model, test).values())

    yield train_epoch


@contextmanager
def start_rectools(rows: pd.DataFrame, held_out: pd.DataFrame, dropout: float) -> Iterator[TrainEpoch]:
    """Yield a function that trains an epoch of RecTools and returns hit rate and NDCG at 10."""
    with start_peer("rectools", rows, 0, dropout, held_out) as train_epoch:
        yield lambda: train_epoch()[2:]


def tune(start_model: StartModel, parts: list[pd.DataFrame]) -> list[float]:
    """Hit rate and NDCG at 10 on test, with the dropout and the number of epochs that are best on validation."""
    train, validation, test = parts
    candidates = []
    for dropout in DROPOUTS:
        with start_model(train, validation, dropout) as train_epoch:
            ndcgs = [train_epoch()[1]]
            while len(ndcgs) - int(np.argmax(ndcgs)) <= PATIENCE and len(ndcgs) < MAX_EPOCHS:
                ndcgs.append(train_epoch()[1])
        candidates.append((max(ndcgs), int(np.argmax(ndcgs)) + 1, dropout))
    _, n_epochs, dropout = max(candidates)
    name = start_model.__name__.removeprefix("start_")
    print(f"{name}: of {candidates} dropout {dropout}, {n_epochs} epochs", flush=True)
    with start_model(pd.concat([train, validation]), test, dropout) as train_epoch:
        values: list[float] = []
        for _ in range(n_epochs):
            values = train_epoch()
    return values


def measure_quality(peer: str, start_model: StartModel) -> None:
    """Print hit rate and NDCG on MovieLens-100K, compared with a peer."""
    if not peer_python(peer.lower()):
        return
    parts = split_leave_last(load_movielens("100k").sort_values(["user_id", "timestamp"], kind="stable"))
    values = tune(start_recctl, parts)
    peer_values = tune(start_model, parts)
    for metric, value, peer_value in zip(("hit rate@10", "NDCG@10"), values, peer_values, strict=True):
        title = f"sasrec: {metric} on test, leave-one-out"
        report_value(title, ML, value, peer=peer, peer_value=peer_value)


def split_leave_last(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Train, the second to last item of each user, and the last item; `rows` are in order of time."""
    n_later = rows.groupby("user_id").cumcount(ascending=False)
    return [rows[n_later > 1], rows[n_later == 1], rows[n_later == 0]]


def main() -> None:
    """Print a line for each measurement."""
    rate = gemm_rate()
    train = split_leave_last(load_movielens("100k").sort_values(["user_id", "timestamp"], kind="stable"))[0]
    measure_speed(ML, train, {"rectools": 0, "recbole": 1}, 3, rate)
    path = data_path("beauty", "Beauty.txt")
    if path is not None:
        measure_speed("Amazon Beauty", split_leave_last(read_user_lists(path))[0], {"rectools": 10}, 3, rate)
    measure_quality("RecTools", start_rectools)


if __name__ == "__main__":
    main()
