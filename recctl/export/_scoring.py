"""A model's whole scoring function as a graph: from what callers have to scores, or to the best items."""

from __future__ import annotations

from typing import Literal

import numpy as np

from recctl.data.matrix import InteractionMatrix
from recctl.errors import UnsupportedError
from recctl.models._score_graph import ScoreGraph, Value
from recctl.models.base import Recommender

Input = Literal["user", "history", "sequence"]


def inputs_of(model: Recommender) -> list[Input]:
    """What a graph of the model can be asked with, the model's own way first.

    Raises:
        UnsupportedError: The model has no graph.
    """
    cls: type[Recommender] = type(model)
    scores_users = cls._graph_of_users is not Recommender._graph_of_users or cls.embeddings is not Recommender.embeddings
    scores_histories = cls._graph_of_histories is not Recommender._graph_of_histories
    found: list[Input] = []
    if scores_histories and model.reads_order:
        found.append("sequence")
    if scores_users:
        found.append("user")
    if scores_histories and not model.reads_order:
        found += ["history"] if model.needs_ratings else ["history", "sequence"]
        if not scores_users:
            found.append("user")
    if not found:
        raise UnsupportedError(
            f"onnx: {model.name} can't be written as a graph: {cls.__name__} has neither _graph_of_histories nor "
            "_graph_of_users (recctl.models.base says what they return)"
        )
    return found


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
    seen = None
    if given == "history":
        asked = graph.input("history", np.float32, ("batch", n_items))
        scores, seen = model._graph_of_histories(graph, asked), asked
    elif given == "sequence":
        asked = graph.input("sequence", np.int64, ("batch", "length"))
        seen = _weights_of(asked, n_items)
        scores = model._graph_of_histories(graph, asked if model.reads_order else seen)
    else:
        asked = graph.input("user", np.int64, ("batch",))
        if "user" == inputs_of(model)[-1]:
            seen = _weights_of(*_history_of(asked, model.seen))
            scores = model._graph_of_histories(graph, seen)
        else:
            scores = model._graph_of_users(graph, asked)
            if k is not None and exclude_seen:
                seen = _weights_of(_history_of(asked, model.seen)[0], n_items)
    if k is None:
        graph.output("scores", scores, np.float32, ("batch", n_items))
    else:
        _best(scores, seen if exclude_seen else None, min(k, n_items))
    return graph
