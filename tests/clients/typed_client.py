"""A small program that uses recctl and is type-checked strictly: `.ci/wheel newest` checks and runs it.

Without the marker `py.typed` in the wheel, a type checker ignores all annotations of recctl and says so.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import assert_type

import recctl
from recctl.data import generate
from recctl.models.base import Recommender


def main(folder: Path) -> None:
    """Fit, evaluate, save and load a model."""
    dataset = recctl.InteractionDataset(generate(60, 40, 900, seed=1), implicit=True)
    train, test = dataset.split(test_size=0.2, seed=1)
    model = recctl.make_model("ease", l2_reg=50.0)
    assert_type(model, Recommender)
    model.fit(train.data)
    evaluator = recctl.Evaluator(metrics=["ndcg"], k_values=[5])
    metrics = evaluator.evaluate(model, test, train_data=train)
    assert_type(metrics["ndcg@5"], float)
    model.save(folder / "ease.pkl")
    loaded = recctl.load_model(folder / "ease.pkl")
    assert_type(loaded, Recommender)
    print(f"ndcg@5 {metrics['ndcg@5']:.4f}, {len(loaded.recommend([1, 2], k=3))} recommendations")
    runs = recctl.RunStore(folder / "runs").runs()
    print(f"{len(list(runs))} runs")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
