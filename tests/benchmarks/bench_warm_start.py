"""Warm starts: epochs (als: iterations) to within 1 % of the NDCG@10 of a fit from scratch, after 5 % more data.

Interactions are ordered by time: the first 90 % are today's, which are 5 % more than yesterday's, and the rest is
validation. Beauty has no times, only the order within each user, and users of MovieLens-100K rate all of their items
within a few days, so that hardly any has interactions on both sides of a point in time. In both, the interactions of
each user are therefore spread evenly over the whole time, in their order. The networks are measured on MovieLens-100K
only, to keep it short, with three seeds.

Yesterday's model and today's from scratch are fitted with the same hyperparameters. Another model of today begins from
yesterday's; networks then train for a third of the epochs. The learning rates of networks fall by a cosine schedule in
all of these fits: with a constant rate, the best epoch of a noisy curve, and thus the figure, would be a matter of
luck. The figure is the number of epochs after which each of the two models of today reaches 99 % of the NDCG@10 on
validation that the fit from scratch ends with; 0 for a warm start that begins with it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from statistics import median
from typing import Any, NamedTuple

import pandas as pd
from bench_gowalla import read_user_lists
from side_by_side import data_path, report_value

from recctl import Evaluator, InteractionDataset, Recommender, load_movielens, make_model

METRIC = "ndcg@10"
SHARE = 0.99  # of the value from scratch
SEEDS = (42, 43, 44)  # of networks
ITERATIONS = 15  # of als
EPOCHS = 30
WARM_EPOCHS = EPOCHS // 3
MODELS: dict[str, dict[str, Any]] = {
    "als": {"n_factors": 32, "tol": 0.0},
    "lightgcn": {"embedding_dim": 32, "n_layers": 2, "learning_rate": 0.01, "schedule": "cosine"},
    "ncf": {"embedding_dim": 16, "hidden_layers": [32, 16], "schedule": "cosine"},
    "sasrec": {"embedding_dim": 32, "n_blocks": 1, "learning_rate": 0.004, "schedule": "cosine"},
}


class Growth(NamedTuple):
    """Data that grow by 5 %."""

    yesterday: InteractionDataset
    new: InteractionDataset
    today: InteractionDataset
    validation: InteractionDataset

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Growth:
        """Cut interactions, ordered by time within each user, at two points in time."""
        position = rows.groupby("user_id").cumcount() + 0.5
        share = position / rows.groupby("user_id")["item_id"].transform("size")
        rows = rows.assign(timestamp=1_700_000_000 + 1e6 * share)[["user_id", "item_id", "timestamp"]]
        rows = rows.sort_values("timestamp", kind="stable").reset_index(drop=True)
        now = int(0.9 * len(rows))
        before = int(now / 1.05)
        return cls(*map(InteractionDataset, (rows[:before], rows[before:now], rows[:now], rows[now:])))


class Curves(NamedTuple):
    """NDCG@10 on validation of two models of today.

    Attributes:
        from_scratch: After each epoch or iteration of the fit from scratch.
        warm: The same of the warm start, and first the value that it begins with.
    """

    from_scratch: list[float]
    warm: list[float]

    @property
    def goal(self) -> float:
        """The value to reach."""
        return SHARE * self.from_scratch[-1]


def growing_sets() -> Iterator[tuple[str, list[str], Growth]]:
    """Yield (name, models to measure, data) of each available dataset."""
    movielens = load_movielens("100k").sort_values("timestamp", kind="stable")
    yield "MovieLens-100K", list(MODELS), Growth.of(movielens)
    path = data_path("beauty", "Beauty.txt")
    if path is not None:
        yield "Amazon Beauty", ["als"], Growth.of(read_user_lists(path))


def ndcg(model: Recommender, validation: InteractionDataset) -> float:
    """NDCG@10 of a model."""
    return Evaluator(["ndcg"], [10]).evaluate(model, validation)[METRIC]


def train(
    model: Recommender, data: InteractionDataset, validation: InteractionDataset, warm_start: Recommender | None = None
) -> list[float]:
    """Fit a network; returns NDCG@10 on validation after each epoch."""
    values: list[float] = []

    def keep(model: Recommender, metrics: dict[str, float]) -> None:
        values.append(metrics[METRIC])

    def validate(model: Recommender) -> dict[str, float]:
        return {METRIC: ndcg(model, validation)}

    model.fit(data, validation=validate, callbacks=[keep], warm_start=warm_start)
    return values


def network_curves(name: str, growth: Growth, seed: int) -> Curves:
    """Fit a network of yesterday, and both of today."""
    parameters = MODELS[name] | {"seed": seed}
    parent = make_model(name, **parameters, epochs=EPOCHS).fit(growth.yesterday)
    from_scratch = train(make_model(name, **parameters, epochs=EPOCHS), growth.today, growth.validation)
    # With a learning rate that is hardly above 0, the weights after an epoch are those that the warm start begins with.
    unchanged = make_model(name, **parameters | {"learning_rate": 1e-12}, epochs=1)
    warm = train(unchanged, growth.today, growth.validation, parent)
    warm += train(make_model(name, **parameters, epochs=WARM_EPOCHS), growth.today, growth.validation, parent)
    return Curves(from_scratch, warm)


def als_curves(growth: Growth) -> Curves:
    """Fit als, which has no epochs, for each number of iterations; there is no value before the first one."""
    parent = make_model("als", **MODELS["als"], n_iterations=ITERATIONS).fit(growth.yesterday)

    def values(warm_start: Recommender | None) -> list[float]:
        models = (make_model("als", **MODELS["als"], n_iterations=n) for n in range(1, ITERATIONS + 1))
        return [ndcg(model.fit(growth.today, warm_start=warm_start), growth.validation) for model in models]

    return Curves(values(None), [-math.inf, *values(parent)])


def steps_to(goal: float, values: list[float]) -> float:
    """The position of the first value that reaches the goal, from 0; infinity if none does."""
    return next((step for step, value in enumerate(values) if value >= goal), math.inf)


def report(name: str, data: str, curves: list[Curves]) -> None:
    """Print the medians over seeds of the epochs, or iterations, of a model on a dataset."""
    unit = "iterations" if name == "als" else "epochs"
    for curve in curves:
        print(f"# {name}, {data}: goal {curve.goal:.4f}")
        for how, values in (("from scratch", curve.from_scratch), ("warm", curve.warm)):
            print(f"# {how}:", *(f"{value:.4f}" for value in values), flush=True)
    from_scratch = median(1 + steps_to(curve.goal, curve.from_scratch) for curve in curves)
    warm = median(steps_to(curve.goal, curve.warm) for curve in curves)
    if math.isinf(warm):
        reached = median(max(curve.warm) / curve.from_scratch[-1] for curve in curves)
        print(f"# {name}, {data}: the warm start reaches {reached:.1%} of the fit from scratch", flush=True)
        return
    seeds = f", {len(curves)} seeds" if len(curves) > 1 else ""
    report_value(
        f"{name}: {unit} to 99 % of the NDCG@10 of a fit from scratch, warm start{seeds}",
        f"{data}, 5 % more",
        warm,
        peer="from scratch",
        peer_value=from_scratch,
    )


def main() -> None:
    """Print a line for each model and dataset; `bench_warm_start.py als sasrec` measures only these models."""
    chosen = sys.argv[1:] or list(MODELS)
    for data, names, growth in growing_sets():
        for name in names:
            if name not in chosen:
                continue
            curves = [als_curves(growth)] if name == "als" else [network_curves(name, growth, seed) for seed in SEEDS]
            report(name, data, curves)


if __name__ == "__main__":
    main()
