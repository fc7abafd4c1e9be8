"""SASRec: targets a second of training against RecTools and RecBole, and how well it ranks beside RecTools'.

A target is an item that a position of a history is trained to tell; all have the full softmax, 2 blocks, 1 head, 64
dim, the last 50 items, dropout 0.2. RecTools takes batches of 128 histories as recctl does; of Beauty it is given ten
steps, as an epoch takes minutes. RecBole makes an example of each target, 2048 a batch, and is given one step. The
floor is the time that the operations of logits and blocks take at the machine's measured rate of float32 GEMM.

Ranking is leave-one-out over all items that a user did not have. Dropout and epochs are chosen by NDCG@10 on the items
before the last, ours and theirs by the same loop; then a fresh model is fitted with those too, and ranks the last. Ours
learns from windows of whole histories, 32 a step, and RecTools' from the last 51 items, 128 histories a step.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from bench_gowalla import read
from side_by_side import RUNNER, gemm_rate, process, python_of, report, seconds_of

from recctl import Evaluator, InteractionDataset, SASRecRecommender, load_movielens

ML = "MovieLens-100K"
DROPOUTS = (0.2, 0.5)
PATIENCE, MOST = 10, 150
SETTINGS = {"embedding_dim": 64, "n_blocks": 2, "n_heads": 1, "max_length": 50}

Step = Callable[[], list[float]]
Make = Callable[[pd.DataFrame, pd.DataFrame, float], AbstractContextManager[Step]]


@contextmanager
def peer(name: str, rows: pd.DataFrame, steps: int, dropout: float, held: pd.DataFrame | None = None) -> Iterator[Step]:
    """A peer's process: a function that trains, and gives its seconds, its targets and what it came to on `held`."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for part in (rows, held):
            if part is not None:
                files.append(Path(folder) / f"{len(files)}.npy")
                np.save(files[-1], part[["user_id", "item_id"]].to_numpy())
        command = [python_of(name), RUNNER.with_name("sasrec.py"), name, files[0], steps, dropout, *files[1:]]
        # RecBole leaves files where it is started.
        with process(command, folder=Path(folder)) as ask:
            yield ask


def speed(data: str, rows: pd.DataFrame, peers: dict[str, int], repeats: int, rate: float) -> None:
    """Targets a second, in turns with peers that are given so many steps."""
    train = InteractionDataset(rows)
    model = SASRecRecommender(**SETTINGS, batch_size=128, windows="last")
    model.train_epoch(train)
    lengths = np.minimum(rows.groupby("user_id").size() - 1, SETTINGS["max_length"])
    n_targets = int(lengths.sum())
    ours = [seconds_of(lambda: model.train_epoch(train))]
    for name, steps in peers.items():
        if not python_of(name):
            continue
        theirs = []
        with peer(name, rows, steps, 0.2) as ask:
            ask()
            for _ in range(repeats):
                seconds, targets = ask()
                theirs.append(targets / seconds)
                ours.append(seconds_of(lambda: model.train_epoch(train)))
        value, other = n_targets / statistics.median(ours), statistics.median(theirs)
        line = {"bench": "sasrec: targets of the softmax a second", "data": data, "value": round(value), "unit": "/s"}
        print(
            json.dumps(line | {"peer": name, "peer_value": round(other, 1), "ratio": round(value / other, 1)}),
            flush=True,
        )
    n_items, dim, n_blocks = train.n_items, SETTINGS["embedding_dim"], SETTINGS["n_blocks"]
    operations = n_targets * (6 * n_items * dim + n_blocks * 36 * dim**2)
    medians = {"recctl": statistics.median(ours), "its products at GEMM rate": operations / rate}
    report("sasrec: an epoch of the softmax", data, medians)


@contextmanager
def ours(rows: pd.DataFrame, held: pd.DataFrame, dropout: float) -> Iterator[Step]:
    """A function that trains an epoch and gives hit rate and NDCG at 10."""
    train, evaluator = InteractionDataset(rows), Evaluator(["hit_rate", "ndcg"], [10])
    known = InteractionDataset(held[held.user_id.isin(rows.user_id) & held.item_id.isin(rows.item_id)])
    model = SASRecRecommender(**SETTINGS, batch_size=32, dropout=dropout)

    def step() -> list[float]:
        model.train_epoch(train)
        return list(evaluator.evaluate(model, known).values())

    yield step


@contextmanager
def rectools(rows: pd.DataFrame, held: pd.DataFrame, dropout: float) -> Iterator[Step]:
    """The same of RecTools."""
    with peer("rectools", rows, 0, dropout, held) as ask:
        yield lambda: ask()[2:]


def tuned(make: Make, parts: list[pd.DataFrame]) -> list[float]:
    """Hit rate and NDCG at 10 on test, with the dropout and the epochs that are best on validation."""
    train, validation, test = parts
    found = []
    for dropout in DROPOUTS:
        with make(train, validation, dropout) as step:
            curve = [step()[1]]
            while len(curve) - int(np.argmax(curve)) <= PATIENCE and len(curve) < MOST:
                curve.append(step()[1])
        found.append((max(curve), int(np.argmax(curve)) + 1, dropout))
    _, epochs, dropout = max(found)
    print(f"{make.__name__}: of {found} dropout {dropout}, {epochs} epochs", flush=True)
    with make(pd.concat([train, validation]), test, dropout) as step:
        return [step() for _ in range(epochs)][-1]


def quality(name: str, theirs: Make) -> None:
    """How well both rank MovieLens-100K."""
    if not python_of(name.lower()):
        return
    parts = leave_last(load_movielens("100k").sort_values(["user_id", "timestamp"], kind="stable"))
    results = zip(("hit rate@10", "NDCG@10"), tuned(ours, parts), tuned(theirs, parts), strict=True)
    for metric, value, other in results:
        line = {"bench": f"sasrec: {metric} on test, leave-one-out", "data": ML, "value": round(value, 4), "unit": ""}
        figures = {"peer": name, "peer_value": round(other, 4), "ratio": round(value / other, 3)}
        print(json.dumps(line | figures), flush=True)


def leave_last(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Train, the item before the last of each user, and the last."""
    left = rows.groupby("user_id").cumcount(ascending=False)
    return [rows[left > 1], rows[left == 1], rows[left == 0]]


def main() -> None:
    """Print a line for each measurement."""
    rate = gemm_rate()
    train = leave_last(load_movielens("100k").sort_values(["user_id", "timestamp"], kind="stable"))[0]
    speed(ML, train, {"rectools": 0, "recbole": 1}, 3, rate)
    path = Path(os.environ.get("RECCTL_BENCH_DATA", "")) / "beauty" / "Beauty.txt"
    if path.exists():
        speed("Amazon Beauty", leave_last(read(path))[0], {"rectools": 10}, 3, rate)
    else:
        print(f"beauty is left out: no {path}; see $RECCTL_BENCH_DATA in the README of the benchmarks", flush=True)
    quality("RecTools", rectools)


if __name__ == "__main__":
    main()
