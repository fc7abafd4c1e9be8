"""Splitting and preprocessing of 20 million interactions."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from side_by_side import print_json

from recctl.data import preprocessing
from recctl.data.dataset import InteractionDataset
from recctl.data.leakage import leakage_report
from recctl.data.splitting import make_split
from recctl.data.synthetic import generate

STRATEGIES: tuple[tuple[str, dict[str, bool]], ...] = (
    ("random", {}),
    ("random", {"within_user": True}),
    ("temporal", {}),
    ("leave_last", {}),
    ("user", {}),
    ("k_fold", {}),
)


def measure(name: str, n_rows: int, function: Callable[[], Any]) -> Any:
    """Time one call, print its line, and return its result."""
    begin = time.perf_counter()
    result = function()
    seconds = round(time.perf_counter() - begin, 3)
    print_json({"bench": name, "data": f"{n_rows / 1e6:.0f}M rows", "seconds": seconds})
    return result


def main(n_rows: int = 20_000_000) -> None:
    """Print a line for each strategy and each step."""
    generate(100, 100, 1000)  # compiles the kernels
    ordered = measure("generate", n_rows, lambda: generate(n_rows // 144, n_rows // 740, n_rows))
    # Users and times in random order are the slow case.
    frame = ordered.sample(frac=1, random_state=0, ignore_index=True)
    del ordered
    dataset = InteractionDataset(frame)
    for strategy, options in STRATEGIES:
        title = " ".join(["split", strategy, *options])
        split = measure(
            title,
            n_rows,
            lambda strategy=strategy, options=options: make_split(dataset, strategy, val_size=0.1, **options),
        )
    measure("leakage report", n_rows, lambda: leakage_report(split, dataset))
    measure("take train and test", n_rows, lambda: (split.train(dataset), split.test(dataset)))
    measure("describe", n_rows, dataset.describe)
    measure("content hash", n_rows, dataset.content_hash)
    steps: dict[str, Callable[[], Any]] = {
        "filter_by_interaction_count": lambda: preprocessing.filter_by_interaction_count(frame, 20, 20),
        "drop_duplicates": lambda: preprocessing.drop_duplicates(frame),
        "drop_duplicates mean": lambda: preprocessing.drop_duplicates(frame, "mean"),
        "sample_interactions users": lambda: preprocessing.sample_interactions(frame, fraction=0.5, by="users"),
    }
    for name, step in steps.items():
        measure(name, n_rows, step)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
