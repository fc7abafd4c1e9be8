"""The forward pass of SASRec as a graph of ONNX operators, for export.

The same computation is in `recctl.models.nn.sasrec` (torch, for training) and in `recctl.models.nn.sasrec_numpy` (for
scoring without importing torch). A test compares all three.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recctl.data.matrix import Float32Array
from recctl.models.base.onnx_graph import ScoreGraph, Value

_EPSILON = 1e-5


def state(graph: ScoreGraph, items: Value, arrays: Mapping[str, Float32Array], n_blocks: int, n_heads: int) -> Value:
    """The state after the last item of each history, `(n, embedding_dim)`.

    Args:
        graph: The graph under construction.
        items: Item codes int64, `(n, length)`, oldest first, padded in front with -1; at most `max_length` columns.
        arrays: Weights of the network by name.
        n_blocks: Number of attention blocks.
        n_heads: Attention heads of each block.
    """
    weights = {name: graph.constant(array, name) for name, array in arrays.items() if name != "item"}
    real = items >= 0
    position = graph.apply("Max", graph.apply("CumSum", real.cast(np.int64), 1) - 1, 0)
    vectors = graph.constant(arrays["item"], "item")
    hidden = vectors.gather(graph.apply("Max", items, 0)) + weights["position"].gather(position)  # (n, l, d)
    mask = _hiding(graph, real)
    for at in range(n_blocks):
        own = {name.removeprefix(f"blocks.{at}."): value for name, value in weights.items()}
        normal = _normal(hidden, own["attend_gain"], own["attend_shift"])
        begin = -1 if at == n_blocks - 1 else 0  # the last block computes only the last position
        mixed = _attended(normal, arrays[f"blocks.{at}.qkv"], arrays[f"blocks.{at}.qkv_bias"], n_heads, mask, begin)
        hidden = hidden.slice(1, begin) + _linear(mixed, own["out"], own["out_bias"])
        normal = _normal(hidden, own["feed_gain"], own["feed_shift"])
        wide = graph.apply("Relu", _linear(normal, own["up"], own["up_bias"]))
        hidden = hidden + _linear(wide, own["down"], own["down_bias"])
    known = real.slice(1, -1).cast(np.float32)  # the state of an empty history is 0
    return _normal(hidden.slice(1, -1).reshape(0, -1), weights["gain"], weights["shift"]) * known


def _hiding(graph: ScoreGraph, real: Value) -> Value:
    """The attention mask to add to logits, `(n, 1, l, l)`: minus infinity where a position must not attend to another.

    Padding attends to itself, because the softmax of an empty set is undefined.
    """
    length = real.dim_size(1)
    places = graph.apply("Range", 0, length, 1)
    own, other = places.unsqueeze(1), places.unsqueeze(0)
    earlier = (own >= other) & real.unsqueeze(1)  # (n, l, l)
    allowed = earlier | graph.apply("Equal", own, other)
    return graph.apply("Where", allowed, np.float32(0), np.float32(-np.inf)).unsqueeze(1)


def _attended(normal: Value, qkv: Float32Array, bias: Float32Array, n_heads: int, mask: Value, begin: int) -> Value:
    """Causal attention of the positions from `begin`."""
    dim = qkv.shape[1]
    width = dim // n_heads

    def of_heads(value: Value, at: int) -> Value:  # (n, h, l, d / h)
        part = slice(at * dim, (at + 1) * dim)
        transposed = value.graph.constant(qkv[part].T, "qkv")
        return (value @ transposed + bias[part]).reshape(0, 0, n_heads, width).transpose(0, 2, 1, 3)

    q, k, v = of_heads(normal.slice(1, begin), 0), of_heads(normal, 1), of_heads(normal, 2)
    logits = q @ k.transpose(0, 1, 3, 2) * np.float32(width**-0.5) + mask.slice(2, begin)
    mixed = normal.graph.apply("Softmax", logits, axis=-1) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(0, 0, dim)


def _linear(value: Value, weights: Value, bias: Value) -> Value:
    return value @ weights.transpose(1, 0) + bias


def _normal(hidden: Value, gain: Value, shift: Value) -> Value:
    return hidden.graph.apply("LayerNormalization", hidden, gain, shift, axis=-1, epsilon=_EPSILON)
