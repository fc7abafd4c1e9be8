"""Warm starts: epochs (als: iterations) to within 1 % of the NDCG@10 of a fit from scratch, after 5 % more data.

Interactions are ordered by time: the first 90 % are today's, which are 5 % more than yesterday's, and the rest is
validation. Beauty has no times, only the order within each user, and users of MovieLens-100K rate all of their items
within a few days, so that hardly any has interactions on both sides of a point in time. In both, the interactions of
each user are therefore spread evenly over the whole time, in their order. The networks are measured on a third of the
users of MovieLens-100K, and not on Beauty, to keep it short.

The fit from scratch is that of today's data with early stopping by NDCG@10 on validation; als has its default number of
iterations. Yesterday's model was fitted in the same way, and stopped by the interactions that are new today. Another
model begins from it, with the same hyperparameters. The figure is the number of epochs after which each of the two
models of today's data reaches 99 % of the NDCG@10 on validation of the fit from scratch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd
from bench_gowalla import read_user_lists
from side_by_side import data_path, report_value

from recctl import EarlyStopping, Evaluator, InteractionDataset, Recommender, load_movielens, make_model

METRIC = "ndcg@10"
SHARE = 0.99  # of the value from scratch
PATIENCE = 3
MAX_EPOCHS = 100
ITERATIONS = 15  # of als
MODELS: dict[str, dict[str, Any]] = {
    "als": {"n_factors": 32, "tol": 0.0},
    "lightgcn": {"embedding_dim": 32, "n_layers": 2, "learning_rate": 0.005},
    "ncf": {"embedding_dim": 16, "hidden_layers": [32, 16]},
    "sasrec": {"embedding_dim": 32, "n_blocks": 1},
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


def growing_sets() -> Iterator[tuple[str, list[str], Growth]]:
    """Yield (name, models to measure, data) of each available dataset."""
    movielens = load_movielens("100k").sort_values("timestamp", kind="stable")
    yield "MovieLens-100K", ["als"], Growth.of(movielens)
    networks = ["lightgcn", "ncf", "sasrec"]
    yield "MovieLens-100K, every third user", networks, Growth.of(movielens[movielens.user_id % 3 == 0])
    path = data_path("beauty", "Beauty.txt")
    if path is not None:
        yield "Amazon Beauty", ["als"], Growth.of(read_user_lists(path))


def ndcg(model: Recommender, validation: InteractionDataset) -> float:
    """NDCG@10 of a model."""
    return Evaluator(["ndcg"], [10]).evaluate(model, validation)[METRIC]


def train(
    name: str,
    data: InteractionDataset,
    validation: InteractionDataset,
    warm_start: Recommender | None = None,
    goal: float | None = None,
) -> tuple[Recommender, list[float]]:
    """Train until NDCG@10 on validation does not rise any more, or reaches a goal.

    Returns:
        The model of the best epoch, and NDCG@10 after each epoch.
    """
    values: list[float] = []

    def is_reached(model: Recommender, metrics: dict[str, float]) -> bool:
        values.append(metrics[METRIC])
        return goal is not None and values[-1] >= goal

    stopping = EarlyStopping(patience=PATIENCE, monitor=METRIC)
    model = make_model(name, **MODELS[name], epochs=MAX_EPOCHS).fit(
        data,
        validation=lambda model: {METRIC: ndcg(model, validation)},
        callbacks=[is_reached, stopping],
        warm_start=warm_start,
    )
    return model, values


def fit_als(
    data: InteractionDataset, validation: InteractionDataset, warm_start: Recommender | None = None
) -> list[float]:
    """NDCG@10 after each iteration of als, which has no epochs: a fit for each number of iterations."""
    models = (make_model("als", **MODELS["als"], n_iterations=n) for n in range(1, ITERATIONS + 1))
    return [ndcg(model.fit(data, warm_start=warm_start), validation) for model in models]


def epochs_to(goal: float, values: list[float]) -> int:
    """The first epoch that reaches a value, from 1."""
    return next(epoch for epoch, value in enumerate(values, 1) if value >= goal)


def measure(name: str, data: str, growth: Growth) -> None:
    """Print the epochs of a model on a dataset."""
    if name == "als":
        unit = "iterations"
        parent = make_model("als", **MODELS["als"], n_iterations=ITERATIONS).fit(growth.yesterday)
        from_scratch = fit_als(growth.today, growth.validation)
        goal = SHARE * from_scratch[-1]
        warm = fit_als(growth.today, growth.validation, parent)
    else:
        unit = "epochs"
        parent, _ = train(name, growth.yesterday, growth.new)
        _, from_scratch = train(name, growth.today, growth.validation)
        goal = SHARE * max(from_scratch)
        _, warm = train(name, growth.today, growth.validation, parent, goal)
    before = ndcg(parent, growth.validation)
    print(f"# {name}, {data}: parent {before:.4f}, goal {goal:.4f}")
    for how, values in (("from scratch", from_scratch), ("warm", warm)):
        print(f"# {how}:", *(f"{value:.4f}" for value in values), flush=True)
    if max(warm) < goal:
        print(
            f"# {name}, {data}: the warm start stopped at {max(warm) / max(from_scratch):.1%} of the best", flush=True
        )
        return
    report_value(
        f"{name}: {unit} to 99 % of the NDCG@10 of a fit from scratch, warm start",
        f"{data}, 5 % more",
        epochs_to(goal, warm),
        peer="from scratch",
        peer_value=epochs_to(goal, from_scratch),
    )


def main() -> None:
    """Print a line for each model and dataset; `bench_warm_start.py als sasrec` measures only these models."""
    chosen = sys.argv[1:] or list(MODELS)
    for data, names, growth in growing_sets():
        for name in names:
            if name in chosen:
                measure(name, data, growth)


if __name__ == "__main__":
    main()
