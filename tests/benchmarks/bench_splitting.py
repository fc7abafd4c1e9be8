"""Splits and preparation of 20 million interactions."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from recctl.data import preprocessing
from recctl.data.dataset import InteractionDataset
from recctl.data.leakage import leakage_report
from recctl.data.splitting import make_split
from recctl.data.synthetic import generate


def measure(name: str, n: int, function: Callable[[], Any]) -> Any:
    """Time one call, print its line, give its result."""
    start = time.perf_counter()
    result = function()
    seconds = round(time.perf_counter() - start, 3)
    print(json.dumps({"bench": name, "data": f"{n / 1e6:.0f}M rows", "seconds": seconds}), flush=True)
    return result


def main(n: int = 20_000_000) -> None:
    """Print one line for each strategy and step."""
    generate(100, 100, 1000)  # compiles what is not compiled yet
    frame = measure("generate", n, lambda: generate(n // 144, n // 740, n))
    # As a log comes: users mixed, and times in no order, which is the slow case.
    frame = frame.sample(frac=1, random_state=0, ignore_index=True)
    dataset = InteractionDataset(frame)
    for strategy, options in (
        ("random", {}),
        ("random", {"within_user": True}),
        ("temporal", {}),
        ("leave_last", {}),
        ("user", {}),
        ("k_fold", {}),
    ):
        told = "".join(f" {name}" for name in options)
        split = measure(
            f"split {strategy}{told}", n, lambda s=strategy, o=options: make_split(dataset, s, val_size=0.1, **o)
        )
    measure("leakage report", n, lambda: leakage_report(split, dataset))
    measure("take train and test", n, lambda: (split.train(dataset), split.test(dataset)))
    measure("describe", n, dataset.describe)
    measure("content hash", n, dataset.content_hash)
    measure("filter_by_interaction_count", n, lambda: preprocessing.filter_by_interaction_count(frame, 20, 20))
    measure("drop_duplicates", n, lambda: preprocessing.drop_duplicates(frame))
    measure("drop_duplicates mean", n, lambda: preprocessing.drop_duplicates(frame, "mean"))
    measure("sample_interactions users", n, lambda: preprocessing.sample_interactions(frame, fraction=0.5, by="users"))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
