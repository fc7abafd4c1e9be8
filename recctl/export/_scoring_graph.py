"""The complete scoring function of a model as a graph: from the caller's input to scores, or to the top k."""

from __future__ import annotations

from typing import Literal

import numpy as np

from recctl.data.matrix import InteractionMatrix
from recctl.errors import UnsupportedError
from recctl.models.base import Recommender
from recctl.models.base.onnx_graph import Operand, ScoreGraph, Value

Input = Literal["user", "history", "sequence"]


def supported_inputs(model: Recommender) -> list[Input]:
    """Inputs that a graph of the model can take, the model's natural input first.

    Raises:
        UnsupportedError: The model has no graph.
    """
    model_type: type[Recommender] = type(model)
    # Detected by overriding: a method that raises would have to be called on a fitted model to find out.
    scores_histories = model_type._graph_of_histories is not Recommender._graph_of_histories
    inputs: list[Input] = []
    if scores_histories and model.reads_order:
        inputs.append("sequence")
    if scores_users(model):
        inputs.append("user")
    if scores_histories and not model.reads_order:
        inputs.append("history")
        # A sequence has no ratings, so models that need them cannot be scored from it.
        if not model.needs_ratings:
            inputs.append("sequence")
        if not scores_users(model):
            inputs.append("user")
    if not inputs:
        raise UnsupportedError(
            f"onnx: {model.name} has no graph: {model_type.__name__} has neither _graph_of_histories nor "
            "_graph_of_users (see recctl.models.base)"
        )
    return inputs


def scores_users(model: Recommender) -> bool:
    """Whether the model has a graph for known users; otherwise their training history is used."""
    model_type: type[Recommender] = type(model)
    return (
        model_type._graph_of_users is not Recommender._graph_of_users
        or model_type.embeddings is not Recommender.embeddings
    )


def score_graph(model: Recommender, input_kind: Input, k: int | None = None, exclude_seen: bool = True) -> ScoreGraph:
    """Build the graph of a model.

    Args:
        model: A fitted model.
        input_kind: Its input, one of `supported_inputs(model)`:
            `user` int64 `(batch,)`: codes of users it was fitted on;
            `history` float32 `(batch, n_items)`: weights of the items in each history (1, or ratings), else 0;
            `sequence` int64 `(batch, length)`: item codes, oldest first, padded with -1 on the left.
            A graph fails for codes that do not exist.
        k: List length; None for the scores of all items.
        exclude_seen: With `k`: leave out the items of the history, or those that the user was fitted on.

    Returns:
        A graph with the output `scores` float32 `(batch, n_items)`; with `k`, `items` int64 and `scores` float32, both
        `(batch, k)`, where rows with fewer items end in -1 and minus infinity.
    """
    graph = ScoreGraph()
    n_items = len(model.item_vocabulary)
    # Seen items are masked only where a top k is computed.
    needs_mask = k is not None and exclude_seen
    history: Value | None = None
    if input_kind == "history":
        history = graph.input("history", np.float32, ("batch", n_items), _describe_history(model))
        scores = model._graph_of_histories(graph, history)
    elif input_kind == "sequence":
        sequence = graph.input("sequence", np.int64, ("batch", "length"), _describe_sequence(model))
        codes = sequence.require_range(-1, n_items, "item_code")
        if model.reads_order:
            # An empty history may have no padding at all: reading order needs one position.
            codes = graph.apply("Pad", codes, np.array([0, 1, 0, 0], np.int64), -1)
        if needs_mask or not model.reads_order:
            history = _history_weights(codes, n_items)
        scores = model._graph_of_histories(graph, codes if model.reads_order or history is None else history)
    else:
        n_users = len(model.user_vocabulary)
        user = graph.input("user", np.int64, ("batch",), _describe_user(n_users))
        users = user.require_range(0, n_users, "user_code")
        if needs_mask or not scores_users(model):
            seen_codes, seen_weights = _seen_items(users, model.seen)
            history = _history_weights(seen_codes, n_items, seen_weights)
        if scores_users(model) or history is None:
            scores = model._graph_of_users(graph, users)
        else:
            scores = model._graph_of_histories(graph, history)
    if k is None:
        description = "Score of each item; higher is better. Column c is the item at position c of items.json, from 0."
        graph.output("scores", scores, np.float32, ("batch", n_items), description)
    else:
        _output_top_k(scores, history if needs_mask else None, min(k, n_items))
    return graph


def _describe_user(n_users: int) -> str:
    return (
        f"Codes of users: positions in users.json, 0 to {n_users - 1}. Users are those that the model was fitted on. "
        "Other codes are an error."
    )


def _describe_history(model: Recommender) -> str:
    weight = "1" if model.seen.is_binary else "the rating"
    return (
        f"A history in each row: {weight} for each item that the user has interacted with, 0 for all others. "
        "Column c is the item at position c of items.json, from 0."
    )


def _describe_sequence(model: Recommender) -> str:
    order = "oldest first" if model.reads_order else "in any order"
    return (
        f"A history in each row: codes of items that the user has interacted with, {order}, padded with -1 on the "
        f"left. Codes are positions in items.json, 0 to {len(model.item_vocabulary) - 1}. Other codes are an error."
    )


def _history_weights(codes: Value, n_items: int, weights: Operand = 1.0) -> Value:
    """Weights of all items, `(n, n_items)`, from item codes `(n, length)` with -1 as padding."""
    graph = codes.graph
    # The batch size is known only when the graph runs.
    shape = graph.apply("Concat", codes.dim_size(0).reshape(1), np.array([n_items + 1], np.int64), axis=0)
    zeros = graph.apply("Expand", 0.0, shape)
    weights = graph.apply("Expand", weights, graph.apply("Shape", codes))
    # Padding is scattered to an extra last column, which is then cut off.
    columns = graph.apply("Where", codes < 0, n_items, codes)
    return graph.apply("ScatterElements", zeros, columns, weights, axis=1).slice(1, 0, n_items)


def _seen_items(users: Value, seen: InteractionMatrix) -> tuple[Value, Operand]:
    """Padded item codes `(n, longest)` and weights of known users; the seen items are stored in the graph."""
    graph = users.graph
    begin = graph.constant(seen.starts[:-1], "seen_begin").gather(users).unsqueeze(1)
    length = graph.constant(np.diff(seen.starts), "seen_length").gather(users)
    longest = graph.apply("ReduceMax", length, keepdims=0)
    offsets = graph.apply("Range", 0, longest, 1).unsqueeze(0)
    is_item = offsets < length.unsqueeze(1)
    # Offsets past a user's last item are masked below, but the gather must stay within the array.
    positions = graph.apply("Min", offsets + begin, seen.nnz - 1)
    items = graph.constant(seen.columns, "seen_items").gather(positions).cast(np.int64)
    codes = graph.apply("Where", is_item, items, -1)
    if seen.is_binary:
        return codes, 1.0
    return codes, graph.constant(seen.values, "seen_weights").gather(positions)


def _output_top_k(scores: Value, history: Value | None, k: int) -> None:
    """Add the outputs `items` and `scores`: the top k outside the history; of equal scores the lower code first."""
    graph = scores.graph
    if history is not None:
        scores = graph.apply("Where", history.is_nonzero(), np.float32(-np.inf), scores)
    top_scores, items = graph.apply_two_outputs("TopK", scores, np.array([k], np.int64), axis=1)
    # TopK always returns k items; those at minus infinity are excluded ones.
    items = graph.apply("Where", graph.apply("IsInf", top_scores), -1, items)
    left_out = "" if history is None else " Items that the user has interacted with are left out."
    of_items = (
        f"Codes of the {k} items with the highest scores, best first: positions in items.json, from 0; -1 where no "
        f"item is left.{left_out}"
    )
    graph.output("items", items, np.int64, ("batch", k), of_items)
    of_scores = "Scores of the items in the same places; minus infinity where no item is left."
    graph.output("scores", top_scores, np.float32, ("batch", k), of_scores)
