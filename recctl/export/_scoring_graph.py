"""A model's whole scoring function as a graph: from what callers have to scores, or to the best items."""

from __future__ import annotations

from typing import Literal

import numpy as np

from recctl.data.matrix import InteractionMatrix
from recctl.errors import UnsupportedError
from recctl.models.base import Recommender
from recctl.models.base.onnx_graph import Operand, ScoreGraph, Value

Input = Literal["user", "history", "sequence"]


def inputs_of(model: Recommender) -> list[Input]:
    """What a graph of the model can be asked with, the model's own way first.

    Raises:
        UnsupportedError: The model has no graph.
    """
    cls: type[Recommender] = type(model)
    scores_histories = cls._graph_of_histories is not Recommender._graph_of_histories
    found: list[Input] = []
    if scores_histories and model.reads_order:
        found.append("sequence")
    if scores_users(model):
        found.append("user")
    if scores_histories and not model.reads_order:
        found += ["history"] if model.needs_ratings else ["history", "sequence"]
        if not scores_users(model):
            found.append("user")
    if not found:
        raise UnsupportedError(
            f"onnx: {model.name} can't be written as a graph: {cls.__name__} has neither _graph_of_histories nor "
            "_graph_of_users (recctl.models.base says what they return)"
        )
    return found


def scores_users(model: Recommender) -> bool:
    """Whether the model has a graph of its own for known users; others are served by their history."""
    cls: type[Recommender] = type(model)
    return cls._graph_of_users is not Recommender._graph_of_users or cls.embeddings is not Recommender.embeddings


def score_graph(model: Recommender, given: Input, k: int | None = None, exclude_seen: bool = True) -> ScoreGraph:
    """The graph of a model.

    Args:
        model: A fitted one.
        given: Its input, one of `inputs_of(model)`:
            `user` int64 `(batch,)`: codes of users it was fitted on;
            `history` float32 `(batch, n_items)`: weights of the items somebody had (1, or ratings), 0 for others;
            `sequence` int64 `(batch, length)`: codes of these items, oldest first, behind as many -1 as a row is short
            of the longest.
        k: How many items to give; None for the scores of all.
        exclude_seen: Whether these leave out what is in the history, or what the model was fitted on.

    Returns:
        With outputs `scores` float32 `(batch, n_items)`; or `items` int64 and `scores` float32, `(batch, k)`, rows with
        fewer items left ending in -1 and minus infinity.
    """
    graph, n_items = ScoreGraph(), len(model.item_vocabulary)
    masked = k is not None and exclude_seen
    if given == "history":
        history = graph.input("history", np.float32, ("batch", n_items))
        scores = model._graph_of_histories(graph, history)
    elif given == "sequence":
        asked = graph.input("sequence", np.int64, ("batch", "length"))
        history = _history(asked, n_items) if masked or not model.reads_order else asked
        scores = model._graph_of_histories(graph, asked if model.reads_order else history)
    else:
        asked = graph.input("user", np.int64, ("batch",))
        history = _history(*_seen_of(asked, model.seen)) if masked or not scores_users(model) else asked
        scores = (
            model._graph_of_users(graph, asked) if scores_users(model) else model._graph_of_histories(graph, history)
        )
    if k is None:
        graph.output("scores", scores, np.float32, ("batch", n_items))
    else:
        _give_best(scores, history if masked else None, min(k, n_items))
    return graph


def _history(items: Value, n_items: int, weights: Operand = 1.0) -> Value:
    """Rows of weights of all items, `(n, n_items)`, from item codes `(n, length)`, -1 for none."""
    graph = items.graph
    shape = graph.apply("Concat", items.dim_size(0).reshape(1), np.array([n_items + 1], np.int64), axis=0)
    nothing = graph.apply("Expand", 0.0, shape)
    weights = graph.apply("Expand", weights, graph.apply("Shape", items))
    # What is none goes to a column of its own, which is then left out.
    places = graph.apply("Where", items < 0, n_items, items)
    return graph.apply("ScatterElements", nothing, places, weights, axis=1).slice(1, 0, n_items)


def _seen_of(users: Value, seen: InteractionMatrix) -> tuple[Value, int, Operand]:
    """What `_history` takes, of known users: the rows of `seen` are part of the graph."""
    graph = users.graph
    begin = graph.constant(seen.starts[:-1], "seen_begin").gather(users).unsqueeze(1)
    length = graph.constant(np.diff(seen.starts), "seen_length").gather(users)
    longest = graph.apply("ReduceMax", length, keepdims=0)
    places = graph.apply("Range", 0, longest, 1).unsqueeze(0)
    filled = places < length.unsqueeze(1)
    places = graph.apply("Min", places + begin, seen.nnz - 1)
    items = graph.constant(seen.columns, "seen_items").gather(places).cast(np.int64)
    weights: Operand = 1.0 if seen.is_binary else graph.constant(seen.values, "seen_weights").gather(places)
    return graph.apply("Where", filled, items, -1), seen.n_columns, weights


def _give_best(scores: Value, history: Value | None, k: int) -> None:
    """Outputs `items` and `scores`: the k best that are not in the history; of equal scores the lower code first."""
    graph = scores.graph
    if history is not None:
        scores = graph.apply("Where", history.is_nonzero(), np.float32(-np.inf), scores)
    best, items = graph.apply_two_outputs("TopK", scores, np.array([k], np.int64), axis=1)
    items = graph.apply("Where", graph.apply("IsInf", best), -1, items)
    graph.output("items", items, np.int64, ("batch", k))
    graph.output("scores", best, np.float32, ("batch", k))
