"""NCF: an epoch, and the ranking of a catalog for every user, against RecBole's NeuMF; and how well it ranks.

Settings are RecBole's: 64 dim, layers [128, 64], 1 negative, batches of 2048 pairs, 8:1:1 within users. The floor is
the time that the products of the layers alone take at the machine's measured rate, for every pair of an epoch; of a
ranking, those above the first layer. An epoch may be below it: it takes each distinct user and item of a batch through
the first layer once.
"""

from __future__ import annotations

import pandas as pd
from side_by_side import Measure, gemm_rate, in_turns, recbole, report, report_recbole_ndcg, seconds_of

from recctl import EarlyStopping, Evaluator, InteractionDataset, NCFRecommender, load_movielens

ML = "MovieLens-100K"
LAYERS = [128, 64]
SETTINGS = {"embedding_dim": 64, "hidden_layers": LAYERS, "n_negatives": 1, "batch_size": 1024, "dropout": 0.1}


def floors(n_pairs: int, n_users: int, n_items: int) -> tuple[float, float]:
    """Seconds that the layers' products of an epoch and of a ranking take at the measured rate of float32 GEMM."""
    rate = gemm_rate()
    whole = 128 * LAYERS[0] + LAYERS[0] * LAYERS[1]
    return 6 * whole * n_pairs / rate, 2 * LAYERS[0] * LAYERS[1] * n_users * n_items / rate


def speed(rows: pd.DataFrame, train: InteractionDataset, validation: InteractionDataset) -> None:
    """Epoch and ranking in turns with RecBole's."""
    model = NCFRecommender(**SETTINGS)
    evaluator = Evaluator(["ndcg"], [10])
    model.train_epoch(train)
    evaluator.evaluate(model, validation)
    with recbole("NeuMF", rows) as ask:
        last: list[float] = []

        def their_epoch() -> float:
            last[:] = ask()
            return last[0]

        measures: dict[str, Measure | None] = {
            "epoch": lambda: seconds_of(lambda: model.train_epoch(train)),
            "ranking": lambda: seconds_of(lambda: evaluator.evaluate(model, validation)),
            "their epoch": their_epoch if ask else None,
            "their ranking": (lambda: last[1]) if ask else None,  # asked for after the epoch it follows
        }
        medians = in_turns(measures, repeats=7)
    floor = floors(2 * train.matrix.nnz, train.n_users, train.n_items)
    for name, least in zip(("epoch", "ranking"), floor, strict=True):
        ours = medians[name]
        if f"their {name}" in medians:
            report(f"ncf: {name}", ML, {"recctl": ours, "RecBole NeuMF": medians[f"their {name}"]})
        report(f"ncf: {name}", ML, {"recctl": ours, "the layers' products at GEMM rate": least})


def main() -> None:
    """Print a line for each measurement."""
    rows = load_movielens("100k")
    train, validation, test = InteractionDataset(rows).split(0.1, 0.1, within_user=True)
    speed(rows, train, validation)
    stopping = EarlyStopping(patience=6, monitor="ndcg@10")
    model = NCFRecommender(batch_size=1024, epochs=60)
    report_recbole_ndcg("ncf", model, stopping, "RecBole NeuMF, 40 epochs", 0.268, (train, validation, test))


if __name__ == "__main__":
    main()
