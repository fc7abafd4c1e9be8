"""Quality on Gowalla, the split that LightGCN was published with, against published figures.

Settings are chosen by recall@20 on a tenth of the training interactions, then fitted on all of them and measured on
test once. Published: BARS (Zhu et al., 2022, "BARS: Towards Open Benchmarking for Recommender Systems").
"""

from __future__ import annotations

import json
import os
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

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


def read(path: Path) -> pd.DataFrame:
    """A user, then its items, a user a line."""
    lines = [line.split() for line in path.read_text().splitlines()]
    users = np.repeat([int(line[0]) for line in lines], [len(line) - 1 for line in lines])
    items = np.array(list(chain.from_iterable(line[1:] for line in lines)), np.int64)
    return pd.DataFrame({"user_id": users, "item_id": items})


def measured(model: Recommender, train: InteractionDataset, held_out: InteractionDataset) -> dict[str, float]:
    """The metrics of a fitted model."""
    evaluator = Evaluator(metrics=["recall", "ndcg"], k_values=[20])
    return evaluator.evaluate(model, held_out, task="ranking", train_data=train)


def main() -> None:
    """Print two lines for each model."""
    folder = Path(os.environ.get("RECCTL_BENCH_DATA", "")) / "gowalla"
    if not folder.exists():
        print(f"gowalla is left out: no {folder}; see $RECCTL_BENCH_DATA in the README of the benchmarks", flush=True)
        return
    train, test = (InteractionDataset(read(folder / f"{part}.txt")) for part in ("train", "test"))
    fitting, validation = train.split(test_size=0.1, seed=42)
    for name, candidates in CANDIDATES.items():
        found = {}
        for at, settings in enumerate(candidates):
            model = make_model(name, **settings).fit(fitting)
            found[at] = measured(model, fitting, validation)[METRICS[0]]
            print(f"{name} {settings}: {METRICS[0]} {found[at]:.4f} on validation", flush=True)
        chosen = candidates[max(found, key=found.__getitem__)]
        results = measured(make_model(name, **chosen).fit(train), train, test)
        source, figures = PUBLISHED.get(name, ("", [0.0, 0.0]))
        settings = ", ".join(f"{key} {value}" for key, value in chosen.items())
        for metric, published in zip(METRICS, figures, strict=True):
            line: dict[str, Any] = {"bench": f"{name}: {metric} ({settings})", "data": "Gowalla, published split"}
            line |= {"value": round(results[metric], 4), "unit": ""}
            if published:
                line |= {"peer": source, "peer_value": published, "ratio": round(results[metric] / published, 3)}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
