"""NCF: an epoch, and ranking the catalog for all users, compared with RecBole's NeuMF; and ranking quality.

The settings are RecBole's: 64 dim, layers [128, 64], 1 negative, batches of 2048 pairs, 8:1:1 within users. The lower
bound is the time of the matrix products at the measured GEMM rate: of an epoch, those of all layers for every pair; of
a ranking, those above the first layer. An epoch may take less, because each distinct user and item of a batch goes
through the first layer once.
"""

from __future__ import annotations

import pandas as pd
from side_by_side import Measure, alternate, gemm_rate, recbole_peer, report, report_recbole_ndcg, seconds_of

from recctl import EarlyStopping, Evaluator, InteractionDataset, NCFRecommender, load_movielens

ML = "MovieLens-100K"
LAYERS = [128, 64]
SETTINGS = {"embedding_dim": 64, "hidden_layers": LAYERS, "n_negatives": 1, "batch_size": 1024, "dropout": 0.1}


def lower_bounds(n_pairs: int, n_users: int, n_items: int) -> dict[str, float]:
    """Seconds of the layers' products of an epoch and of a ranking, at the measured rate of float32 GEMM."""
    rate = gemm_rate()
    first_layer = 128 * LAYERS[0]
    second_layer = LAYERS[0] * LAYERS[1]
    return {
        "epoch": 6 * (first_layer + second_layer) * n_pairs / rate,
        "ranking": 2 * second_layer * n_users * n_items / rate,
    }


def measure_speed(rows: pd.DataFrame, train: InteractionDataset, validation: InteractionDataset) -> None:
    """Print epoch and ranking, compared with RecBole's and with the lower bounds."""
    model = NCFRecommender(**SETTINGS)
    evaluator = Evaluator(["ndcg"], [10])
    model.train_epoch(train)
    evaluator.evaluate(model, validation)
    measures: dict[str, Measure | None] = {
        "epoch": lambda: seconds_of(lambda: model.train_epoch(train)),
        "ranking": lambda: seconds_of(lambda: evaluator.evaluate(model, validation)),
    }
    with recbole_peer("NeuMF", rows) as train_and_rank:
        if train_and_rank:
            # RecBole's process trains and ranks in one request; the ranking's time is that of the latest request.
            latest_seconds: list[float] = []

            def run_peer() -> float:
                latest_seconds[:] = train_and_rank()
                return latest_seconds[0]

            measures["peer epoch"] = run_peer
            measures["peer ranking"] = lambda: latest_seconds[1]
        medians = alternate(measures, repeats=7)
    bounds = lower_bounds(2 * train.matrix.nnz, train.n_users, train.n_items)
    for name in ("epoch", "ranking"):
        seconds = medians[name]
        if f"peer {name}" in medians:
            report(f"ncf: {name}", ML, {"recctl": seconds, "RecBole NeuMF": medians[f"peer {name}"]})
        report(f"ncf: {name}", ML, {"recctl": seconds, "the layers' products at GEMM rate": bounds[name]})


def main() -> None:
    """Print a line for each measurement."""
    rows = load_movielens("100k")
    train, validation, test = InteractionDataset(rows).split(0.1, 0.1, within_user=True)
    measure_speed(rows, train, validation)
    stopping = EarlyStopping(patience=6, monitor="ndcg@10")
    model = NCFRecommender(batch_size=1024, epochs=60)
    report_recbole_ndcg("ncf", model, stopping, "RecBole NeuMF, 40 epochs", 0.268, (train, validation, test))


if __name__ == "__main__":
    main()
