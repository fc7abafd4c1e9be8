"""Ranking quality on Gowalla, on the split published with LightGCN, compared with published results.

Hyperparameters are chosen by recall@20 on 10 % of the training interactions; then a model is fitted on all of them and
evaluated once on test. Published results: BARS (Zhu et al., 2022, "BARS: Towards Open Benchmarking for Recommender
Systems").
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from side_by_side import data_path, report_value

from recctl import Evaluator, InteractionDataset, Recommender, make_model

METRICS = ["recall@20", "ndcg@20"]
PUBLISHED: dict[str, tuple[str, list[float]]] = {"slim": ("SLIM in BARS", [0.1699, 0.1382])}
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "slim": [{"l1_reg": 1.0, "l2_reg": l2_reg} for l2_reg in (10.0, 30.0, 100.0)],
    "als": [
        {"n_factors": 256, "reg_by": "pairs", "alpha": alpha, "reg": reg}
        for alpha, reg in ((40.0, 0.003), (60.0, 0.004), (80.0, 0.005))
    ],
}


def read_user_lists(path: Path) -> pd.DataFrame:
    """Read a file with one user per line: the user, then the items."""
    lines = [line.split() for line in path.read_text().splitlines()]
    users = np.repeat([int(line[0]) for line in lines], [len(line) - 1 for line in lines])
    items = np.array(list(chain.from_iterable(line[1:] for line in lines)), np.int64)
    return pd.DataFrame({"user_id": users, "item_id": items})


def evaluate(model: Recommender, train: InteractionDataset, test: InteractionDataset) -> dict[str, float]:
    """The metrics of a fitted model."""
    evaluator = Evaluator(metrics=["recall", "ndcg"], k_values=[20])
    return evaluator.evaluate(model, test, task="ranking", train_data=train)


def choose_hyperparameters(name: str, dataset: InteractionDataset) -> dict[str, Any]:
    """The candidate with the best recall@20 on validation."""
    train, validation = dataset.split(test_size=0.1, seed=42)
    values = []
    for candidate in CANDIDATES[name]:
        model = make_model(name, **candidate).fit(train)
        values.append(evaluate(model, train, validation)[METRICS[0]])
        print(f"{name} {candidate}: {METRICS[0]} {values[-1]:.4f} on validation", flush=True)
    return CANDIDATES[name][int(np.argmax(values))]


def main() -> None:
    """Print two lines for each model."""
    folder = data_path("gowalla")
    if folder is None:
        return
    train, test = (InteractionDataset(read_user_lists(folder / f"{part}.txt")) for part in ("train", "test"))
    for name in CANDIDATES:
        chosen = choose_hyperparameters(name, train)
        values = evaluate(make_model(name, **chosen).fit(train), train, test)
        settings = ", ".join(f"{key} {value}" for key, value in chosen.items())
        peer, published_values = PUBLISHED.get(name, ("", [None, None]))
        for metric, published in zip(METRICS, published_values, strict=True):
            title = f"{name}: {metric} ({settings})"
            report_value(title, "Gowalla, published split", values[metric], peer=peer, peer_value=published)


if __name__ == "__main__":
    main()
