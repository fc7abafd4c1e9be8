"""Evaluation and export by models that score by dense products, compared with a bare loop of these products.

The loop computes the matrix products of the same blocks of users, on as many threads: no histories, activations,
ranking, metrics and files. Weights are those of one epoch, which scores as fast as a trained model. NCF, which has a
product for each pair of a user and an item, scores a sample of Beauty's users.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from itertools import count, pairwise

import numpy as np
import pandas as pd
from bench_gowalla import read_user_lists
from bench_sasrec import split_leave_last
from side_by_side import alternate, data_path, report, seconds_of

from recctl import (
    BPRRecommender,
    Evaluator,
    InteractionDataset,
    LightGCNRecommender,
    MultVAERecommender,
    NCFRecommender,
    Recommender,
    SASRecRecommender,
    export_model,
    load_movielens,
)
from recctl.data.matrix import Float32Array, Int32Array
from recctl.kernels import packing
from recctl.models.nn import sasrec_numpy
from recctl.ranking import map_blocks

MODELS: tuple[Recommender, ...] = (
    BPRRecommender(),
    LightGCNRecommender(),
    MultVAERecommender(),
    NCFRecommender(),
    SASRecRecommender(),
)
MAX_PAIRS_OF_NCF = 3_000_000
# Computes the products of a block of users.
Products = Callable[[Int32Array], None]


def random_matrix(n_rows: int, n_columns: int) -> Float32Array:
    """A matrix of standard normal numbers."""
    return np.random.default_rng(0).standard_normal((n_rows, n_columns), np.float32)


def products_of_layers(widths: list[int], items: Float32Array) -> Products:
    """Products of layers of these widths for each user, and of the last one with all items, `(n_items, width)`."""
    layers = [random_matrix(n_in, n_out) for n_in, n_out in pairwise(widths)]

    def compute(users: Int32Array) -> None:
        hidden = np.ones((len(users), widths[0]), np.float32)
        for layer in layers:
            hidden = hidden @ layer
            hidden[:] = 1  # numbers that grow from layer to layer would be slower to multiply
        hidden @ items.T

    return compute


def products_of_ncf(model: NCFRecommender) -> Products:
    """Products of GMF, and of the layers above the first for each pair of a user and an item."""
    users_gmf = random_matrix(len(model.user_vocabulary), model.embedding_dim)
    items_gmf = random_matrix(len(model.item_vocabulary), model.embedding_dim)
    n_items_at_once = 512
    widths = model.hidden_layers
    layers = [random_matrix(n_out, n_in) for n_in, n_out in pairwise(widths)]
    inputs = [random_matrix(width, n_items_at_once) for width in widths]

    def compute(users: Int32Array) -> None:
        users_gmf[users] @ items_gmf.T
        for _ in users:
            for begin in range(0, len(items_gmf), n_items_at_once):
                n_items = min(n_items_at_once, len(items_gmf) - begin)
                for layer, below in zip(layers, inputs, strict=False):
                    layer @ below[:, :n_items]

    return compute


def products_of_sasrec(model: SASRecRecommender) -> Products:
    """Products of each position in all blocks but the last, of each history in the last, and with all items."""
    dim = model.embedding_dim
    items = random_matrix(len(model.item_vocabulary), dim)
    square = random_matrix(dim, dim)

    def compute(users: Int32Array) -> None:
        histories = model.histories.take(users)
        for rows in sasrec_numpy._blocks(histories, model.max_length):
            block = histories.take(rows)
            packed = packing.pack_inputs(block.starts, block.columns, model.max_length)
            states = np.ones((len(packed.inputs), dim), np.float32)
            for _ in range(model.n_blocks - 1):
                for _ in ("queries", "keys", "values", "output", "up", "down"):
                    states @ square
                for n_rows, width in packed.shapes:
                    table = np.ones((n_rows, width, dim), np.float32)
                    table @ table.swapaxes(1, 2) @ table
            for _ in ("query", "query times keys", "values", "output", "up", "down"):
                states[: len(rows)] @ square
        np.ones((len(users), dim), np.float32) @ items.T

    return compute


def products_of(model: Recommender) -> Products:
    """The products of a model's scores."""
    match model:
        case NCFRecommender():
            return products_of_ncf(model)
        case SASRecRecommender():
            return products_of_sasrec(model)
        case MultVAERecommender():
            widths = [*model.hidden_layers, model.embedding_dim, *reversed(model.hidden_layers)]
            return products_of_layers(widths, model.embeddings().items[:, :-1])
    items = model.embeddings().items
    return products_of_layers([items.shape[1]], items)


def measure(data: str, model: Recommender, train: InteractionDataset, held_out: pd.DataFrame) -> None:
    """Print an evaluation and an export of a model, compared with its products."""
    model.train_epoch(train)
    n_items = train.n_items
    user_ids = train.user_vocabulary.ids
    if isinstance(model, NCFRecommender):
        user_ids = user_ids[: MAX_PAIRS_OF_NCF // n_items]
    is_measured = held_out.user_id.isin(user_ids) & held_out.item_id.isin(train.item_vocabulary.ids)
    test = InteractionDataset(held_out[is_measured])
    user_ids = test.user_vocabulary.ids
    users = train.user_vocabulary.codes(user_ids)
    evaluator = Evaluator(["ndcg"], [10])
    compute_products = products_of(model)
    title = f"{data}, {len(users):,} users, {n_items:,} items"

    def run_products() -> None:
        for _ in map_blocks(lambda rows: compute_products(users[rows]), len(users), n_items):
            pass

    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def export() -> None:
            path = f"{folder}/{next(numbers)}"
            export_model(model, "recommendations", path, users=user_ids.tolist(), k=10, file_format="parquet")

        measures = {
            "evaluation": lambda: seconds_of(lambda: evaluator.evaluate(model, test)),
            "products": lambda: seconds_of(run_products),
            "export": lambda: seconds_of(export),
        }
        alternate(measures, repeats=1)
        medians = alternate(measures, repeats=7)
    for name in ("evaluation", "export"):
        seconds = {"recctl": medians[name], "its products alone": medians["products"]}
        report(f"{model.name}: {name} of top 10", title, seconds)


def main() -> None:
    """Print a line for each comparison."""
    rows = load_movielens("100k").sort_values(["user_id", "timestamp"], kind="stable")
    tables = {"MovieLens-100K": rows}
    path = data_path("beauty", "Beauty.txt")
    if path is not None:
        tables["Amazon Beauty"] = read_user_lists(path)
    for data, table in tables.items():
        train, _, held_out = split_leave_last(table)
        dataset = InteractionDataset(train)
        for model in MODELS:
            measure(data, model.clone(), dataset, held_out)


if __name__ == "__main__":
    main()
