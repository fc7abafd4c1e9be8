"""SVD++ and SVD: seconds of fits compared with Surprise at equal settings, and the RMSE of both on one split.

The benchmark also measures RMSE and MAE of the defaults over five folds, the growth of an epoch's time with the number
of ratings, and compilation.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import (
    PEER_FOLDER,
    Measure,
    alternate,
    peer_process,
    peer_python,
    report,
    report_compilation,
    report_value,
    seconds_of,
)

from recctl import Evaluator, InteractionDataset, SVDPlusPlusRecommender, SVDRecommender, load_movielens
from recctl.models.factors.biased_factors import BiasedFactors

ML = "MovieLens-100K"
SETTINGS = {"n_factors": 20, "n_epochs": 20, "lr": 0.005, "reg": 0.02}
SURPRISE_SETTINGS: dict[str, object] = {
    "n_factors": 20,
    "n_epochs": 20,
    "lr_all": 0.005,
    "reg_all": 0.02,
    "random_state": 0,
}
# Surprise's name of each model, recctl's class, and Surprise's settings.
MODELS: list[tuple[str, type[BiasedFactors], dict[str, object]]] = [
    ("SVDpp", SVDPlusPlusRecommender, SURPRISE_SETTINGS | {"cache_ratings": True}),
    ("SVD", SVDRecommender, SURPRISE_SETTINGS),
]
# RMSE and MAE over five folds, from Surprise's documentation.
PUBLISHED = {SVDPlusPlusRecommender: (0.919, 0.721), SVDRecommender: (0.934, 0.737)}


@contextmanager
def start_surprise(
    name: str, settings: dict[str, object], parts: list[pd.DataFrame], errors: list[float]
) -> Iterator[Measure | None]:
    """Start a process of Surprise.

    Args:
        name: Surprise's name of the model.
        settings: Its arguments.
        parts: Train and test.
        errors: Each fit appends its RMSE on test.

    Yields:
        A function that fits once and returns the seconds; None if Surprise is not installed.
    """
    python = peer_python("surprise")
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "train.npy", Path(folder) / "test.npy"]
        for file, rows in zip(files, parts, strict=True):
            np.save(file, rows[["user_id", "item_id", "rating"]].to_numpy(np.float64))
        command = [python, PEER_FOLDER / "rating.py", name, *files, json.dumps(settings)]
        with peer_process(command) as send_request:

            def fit() -> float:
                seconds, error = send_request()
                errors.append(error)
                return seconds

            yield fit


def compare_with_surprise(rows: pd.DataFrame) -> None:
    """Print seconds and RMSE at equal settings on one split."""
    is_test = np.random.default_rng(42).random(len(rows)) < 0.2
    train = rows[~is_test]
    test = rows[is_test]
    for name, model, settings in MODELS:
        peer = f"Surprise {name}"
        errors: list[float] = []
        with start_surprise(name, settings, [train, test], errors) as fit_peer:
            measures = {
                "recctl": lambda model=model: seconds_of(lambda: model(**SETTINGS).fit(train)),
                peer: fit_peer,
            }
            report(f"{model.name}: fit, 20 factors, 20 epochs", ML, alternate(measures, repeats=5))
        rmse = Evaluator(["rmse"]).evaluate(model(**SETTINGS).fit(train), test, "rating_prediction")["rmse"]
        peer_rmse = errors[0] if errors else None
        report_value(f"{model.name}: the same, RMSE on one split", ML, rmse, peer=peer, peer_value=peer_rmse)


def measure_five_folds(rows: pd.DataFrame) -> None:
    """Print the means of RMSE and MAE over five folds with the defaults, compared with Surprise's documentation."""
    folds = list(InteractionDataset(rows, implicit=False).k_fold(5))
    evaluator = Evaluator(["rmse", "mae"])
    for model, published_values in PUBLISHED.items():
        fold_values = [evaluator.evaluate(model().fit(train), test, "rating_prediction") for train, test in folds]
        for metric, published in zip(("rmse", "mae"), published_values, strict=True):
            mean = float(np.mean([values[metric] for values in fold_values]))
            title = f"{model.name}: defaults, 5 folds, {metric.upper()}"
            report_value(title, ML, mean, peer="Surprise's table", peer_value=published)


def measure_growth() -> None:
    """Print the time of an epoch per rating; the ratings per user and per item are constant for large data."""
    rng = np.random.default_rng(0)
    for n_rows in (10**5, 10**6, 10**7):
        users = np.repeat(np.arange(n_rows // 100), 100)
        items = (rng.random(n_rows) ** 2 * max(1000, n_rows // 500)).astype(np.int64)
        ratings = rng.integers(1, 6, n_rows).astype(np.float32)
        rows = pd.DataFrame({"user_id": users, "item_id": items, "rating": ratings})
        dataset = InteractionDataset(rows, implicit=False)
        model = SVDPlusPlusRecommender(lr=0.001)
        model.train_epoch(dataset)
        seconds = min(seconds_of(lambda model=model, dataset=dataset: model.train_epoch(dataset)) for _ in range(5))
        data = f"{n_rows:.0e} synthetic".replace("e+0", "e")
        report_value("svdpp: an epoch, a rating", data, 1e9 * seconds / dataset.matrix.nnz, "ns", digits=1)


def main() -> None:
    """Print a line for each measurement."""
    rows = load_movielens("100k")
    SVDPlusPlusRecommender().fit(rows.iloc[:1000])
    compare_with_surprise(rows)
    measure_five_folds(rows)
    measure_growth()
    report_compilation("svdpp", "sgd")


if __name__ == "__main__":
    main()
