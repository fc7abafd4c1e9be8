"""SVD++ and SVD: the fit against Surprise's at equal settings, with the RMSE of both on one split.

Also the RMSE and MAE of the defaults over five folds, the time of an epoch as ratings grow, and the time to compile.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import Measure, in_turns, process, python_of, report, report_compilation, seconds_of

from recctl import Evaluator, InteractionDataset, SVDPlusPlusRecommender, SVDRecommender, load_movielens
from recctl.models.factors.biased_factors import BiasedFactors

RUNNER = Path(__file__).parent / "peers" / "rating.py"
ML = "MovieLens-100K"
SETTINGS = {"n_factors": 20, "n_epochs": 20, "lr": 0.005, "reg": 0.02}
THEIRS = {"n_factors": 20, "n_epochs": 20, "lr_all": 0.005, "reg_all": 0.02, "random_state": 0}
PEERS: dict[str, tuple[type[BiasedFactors], dict[str, object]]] = {
    "SVDpp": (SVDPlusPlusRecommender, {**THEIRS, "cache_ratings": True}),
    "SVD": (SVDRecommender, THEIRS),
}


@contextmanager
def surprise(
    name: str, settings: dict[str, object], parts: list[pd.DataFrame], errors: list[float]
) -> Iterator[Measure | None]:
    """Surprise's process, as a function that makes it fit once and gives the seconds; its RMSE goes to `errors`."""
    python = python_of("surprise")
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{at}.npy" for at in range(2)]
        for file, rows in zip(files, parts, strict=True):
            np.save(file, rows[["user_id", "item_id", "rating"]].to_numpy(np.float64))
        with process([python, RUNNER, name, *files, json.dumps(settings)]) as ask:

            def once() -> float:
                seconds, error = ask()
                errors.append(error)
                return seconds

            yield once


def against_surprise(rows: pd.DataFrame) -> None:
    """Equal settings, one split: seconds and RMSE."""
    held_out = np.random.default_rng(42).random(len(rows)) < 0.2
    train, test = rows[~held_out], rows[held_out]
    for name, (model, settings) in PEERS.items():
        errors: list[float] = []
        fit = lambda model=model: seconds_of(lambda: model(**SETTINGS).fit(train))  # noqa: E731
        with surprise(name, settings, [train, test], errors) as peer:
            medians = in_turns({"recctl": fit, f"Surprise {name}": peer}, repeats=5)
            report(f"{model.name}: fit, 20 factors, 20 epochs", ML, medians)
        ours = Evaluator(["rmse"]).evaluate(model(**SETTINGS).fit(train), test, "rating_prediction")["rmse"]
        line = {"bench": f"{model.name}: the same, RMSE on one split", "data": ML, "value": round(ours, 4), "unit": ""}
        if errors:
            line |= {"peer": f"Surprise {name}", "peer_value": round(errors[0], 4), "ratio": round(ours / errors[0], 4)}
        print(json.dumps(line), flush=True)


def five_folds(rows: pd.DataFrame) -> None:
    """The mean over five folds, with the defaults; Surprise's documentation has the figures to compare with."""
    folds = list(InteractionDataset(rows, implicit=False).k_fold(5))
    for model, published in ((SVDPlusPlusRecommender, (0.919, 0.721)), (SVDRecommender, (0.934, 0.737))):
        found = [Evaluator(["rmse", "mae"]).evaluate(model().fit(a), b, "rating_prediction") for a, b in folds]
        for metric, theirs in zip(("rmse", "mae"), published, strict=True):
            ours = float(np.mean([fold[metric] for fold in found]))
            bench = f"{model.name}: defaults, 5 folds, {metric.upper()}"
            against = {"peer": "Surprise's table", "peer_value": theirs, "ratio": round(ours / theirs, 4)}
            print(json.dumps({"bench": bench, "data": ML, "value": round(ours, 4), "unit": "", **against}), flush=True)


def growth() -> None:
    """Nanoseconds a rating and epoch, with 100 ratings a user and as many users for each item at every size."""
    rng = np.random.default_rng(0)
    for n in (10**5, 10**6, 10**7):
        users = np.repeat(np.arange(n // 100), 100)
        items = (rng.random(n) ** 2 * max(1000, n // 500)).astype(np.int64)
        rows = pd.DataFrame({"user_id": users, "item_id": items, "rating": rng.integers(1, 6, n).astype(np.float32)})
        data = InteractionDataset(rows, implicit=False)
        model = SVDPlusPlusRecommender(lr=0.001)
        model.train_epoch(data)
        seconds = min(seconds_of(lambda model=model, data=data: model.train_epoch(data)) for _ in range(5))
        line = {"bench": "svdpp: an epoch, a rating", "data": f"{n:.0e} synthetic".replace("e+0", "e")}
        print(json.dumps(line | {"value": round(1e9 * seconds / data.matrix.nnz, 1), "unit": "ns"}), flush=True)


def main() -> None:
    """Print a line for each measurement."""
    rows = load_movielens("100k")
    SVDPlusPlusRecommender().fit(rows.iloc[:1000])
    against_surprise(rows)
    five_folds(rows)
    growth()
    report_compilation("svdpp", "sgd")


if __name__ == "__main__":
    main()
