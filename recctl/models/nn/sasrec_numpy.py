"""The forward pass of SASRec in numpy: scores on a CPU, without the seconds and hundreds of MB of importing torch.

The same computation is in `recctl.models.nn.sasrec` (torch, for training and for scores on a GPU) and in
`recctl.models.nn.sasrec_onnx` (for export). A test compares all three.

Histories are computed in blocks, by matrix products over all their positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import layer_norm, packing

# Positions per block: the arrays of a layer stay in the cache of a core.
_POSITIONS = 2048

Weights = Mapping[str, Float32Array]


def states(
    histories: InteractionMatrix, weights: Weights, max_length: int, n_blocks: int, n_heads: int
) -> Float32Array:
    """The state after the last item of each history, `(n, embedding_dim)`; 0 for an empty history.

    Args:
        histories: Items of each user, oldest first, `(n, n_items)`.
        weights: Weights of the network by name.
        max_length: Number of items of a history that count, the latest.
        n_blocks: Number of attention blocks.
        n_heads: Attention heads of each block.
    """
    result = np.zeros((histories.n_rows, weights["item"].shape[1]), np.float32)
    for rows in _blocks(histories, max_length):
        block = histories.take(rows)
        packed = packing.pack_inputs(block.starts, block.columns, max_length)
        result[rows] = _last_states(packed, weights, n_blocks, n_heads)
    return result


def _blocks(histories: InteractionMatrix, max_length: int) -> list[Int32Array]:
    """Rows of the histories that are not empty, by ascending length, in blocks of about `_POSITIONS` positions.

    Histories of similar length share a block, so that its tables of attention need little padding.
    """
    lengths = np.minimum(np.diff(histories.starts), max_length)
    rows = np.argsort(lengths, kind="stable").astype(np.int32)
    rows = rows[lengths[rows] > 0]
    ends = np.cumsum(lengths[rows])
    cuts = np.searchsorted(ends, np.arange(_POSITIONS, ends[-1] if len(ends) else 0, _POSITIONS))
    return [block for block in np.split(rows, cuts) if len(block)]


def _last_states(packed: packing.PackedInputs, weights: Weights, n_blocks: int, n_heads: int) -> Float32Array:
    """The state after the last input of each history, `(len(packed.lengths), embedding_dim)`."""
    hidden: Float32Array = weights["item"][packed.inputs] + weights["position"][packed.positions]
    last = np.cumsum(packed.lengths) - 1
    for number in range(n_blocks):
        prefix = f"blocks.{number}."
        block = {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
        normal = _normal(hidden, block["attend_gain"], block["attend_shift"])
        if number < n_blocks - 1:
            queries, keys, values = (_part_of_qkv(normal, block, part) for part in range(3))
            mixed = _attention(queries, keys, values, packed, n_heads)
        else:
            # Only the last position of each history is needed from here on.
            hidden = hidden[last]
            mixed = _last_attention(normal, normal[last], block, packed, n_heads)
        hidden += _linear(mixed, block["out"], block["out_bias"])
        normal = _normal(hidden, block["feed_gain"], block["feed_shift"])
        wide = _linear(normal, block["up"], block["up_bias"])
        np.maximum(wide, 0, out=wide)
        hidden += _linear(wide, block["down"], block["down_bias"])
    return _normal(hidden, weights["gain"], weights["shift"])


def _part_of_qkv(normal: Float32Array, block: Weights, part: int) -> Float32Array:
    """Queries (part 0), keys (1) or values (2) of each position, `(n, d)`.

    OpenBLAS takes 2.5 times as long for one product of the three parts as for three products, with `d` 64.
    """
    dim = normal.shape[1]
    rows = slice(part * dim, (part + 1) * dim)
    return _linear(normal, block["qkv"][rows], block["qkv_bias"][rows])


def _attention(
    queries: Float32Array, keys: Float32Array, values: Float32Array, packed: packing.PackedInputs, n_heads: int
) -> Float32Array:
    """Causal attention of each position to those before it, `(n, d)`."""
    dim = queries.shape[1]
    scale = np.float32((dim // n_heads) ** -0.5)
    # Padding follows the real positions, which do not attend to it.
    tables = zip(
        packed.shapes,
        _tables(queries, packed, n_heads),
        _tables(keys, packed, n_heads),
        _tables(values, packed, n_heads),
        strict=True,
    )
    mixed = np.empty((packed.table_size, dim), np.float32)
    begin = 0
    for (n_rows, width), query_table, key_table, value_table in tables:
        end = begin + n_rows * width
        logits = query_table @ key_table.swapaxes(2, 3)  # (n_rows, n_heads, width, width)
        logits *= scale
        logits += np.triu(np.full((width, width), -np.inf, np.float32), 1)
        attended = _softmax_product(logits, value_table)
        mixed[begin:end] = attended.transpose(0, 2, 1, 3).reshape(-1, dim)
        begin = end
    return mixed if packed.table_size == len(queries) else mixed[packed.places]


def _last_attention(
    normal: Float32Array, last: Float32Array, block: Weights, packed: packing.PackedInputs, n_heads: int
) -> Float32Array:
    """Attention of the last position of each history to all of its positions, `(n_histories, d)`.

    Keys and values are linear in the inputs, so they need not be computed for every position: `q . (W_k x + b_k)` is
    `(q W_k) . x` but for a term that softmax cancels, and the mean of `W_v x + b_v` is `W_v` times the mean of `x`,
    plus `b_v`.

    Args:
        normal: Inputs of attention at each position, `(n, d)`.
        last: Those at the last positions, `(n_histories, d)`.
        block: Weights of the block.
        packed: The layout of the positions.
        n_heads: Number of heads.
    """
    dim = normal.shape[1]
    _, key_weights, value_weights = block["qkv"].reshape(3, n_heads, -1, dim)  # (n_heads, d / h, d)
    queries = _part_of_qkv(last, block, 0).reshape(len(last), n_heads, -1).swapaxes(0, 1)
    queries = (queries @ key_weights).swapaxes(0, 1)  # (n_histories, n_heads, d)
    queries *= np.float32((dim // n_heads) ** -0.5)
    means = np.empty_like(queries)
    begin = 0
    for (n_rows, width), table in zip(packed.shapes, _tables(normal, packed, 1), strict=True):
        rows = slice(begin, begin + n_rows)
        inputs = table[:, 0]  # (n_rows, width, d)
        logits = queries[rows] @ inputs.swapaxes(1, 2)  # (n_rows, n_heads, width)
        is_padding = np.arange(width) >= packed.lengths[rows][:, None]
        if is_padding.any():
            logits[np.broadcast_to(is_padding[:, None], logits.shape)] = -np.inf
        means[rows] = _softmax_product(logits, inputs)
        begin += n_rows
    mixed = means.swapaxes(0, 1) @ value_weights.swapaxes(1, 2)  # (n_heads, n_histories, d / h)
    result: Float32Array = mixed.swapaxes(0, 1).reshape(len(last), dim) + block["qkv_bias"][2 * dim :]
    return result


def _tables(vectors: Float32Array, packed: packing.PackedInputs, n_heads: int) -> Iterator[Float32Array]:
    """The vectors of each padded table, `(n_rows, n_heads, width, d / n_heads)`; padding is 0."""
    padded = vectors
    if packed.table_size > len(vectors):
        padded = np.zeros((packed.table_size, vectors.shape[1]), np.float32)
        padded[packed.places] = vectors
    begin = 0
    for n_rows, width in packed.shapes:
        end = begin + n_rows * width
        yield padded[begin:end].reshape(n_rows, width, n_heads, -1).swapaxes(1, 2)
        begin = end


def _softmax_product(logits: Float32Array, values: Float32Array) -> Float32Array:
    """`softmax(logits) @ values` over the last axis of the logits, which are overwritten."""
    logits -= logits.max(axis=-1, keepdims=True)  # so that exp cannot overflow
    np.exp(logits, out=logits)
    product: Float32Array = logits @ values
    # The product has fewer numbers to divide than the logits.
    product /= logits.sum(axis=-1, keepdims=True)
    return product


def _linear(inputs: Float32Array, weights: Float32Array, bias: Float32Array) -> Float32Array:
    outputs: Float32Array = inputs @ weights.T
    outputs += bias
    return outputs


def _normal(hidden: Float32Array, gain: Float32Array, shift: Float32Array) -> Float32Array:
    normal = np.empty_like(hidden)
    layer_norm.layer_norm(hidden, gain, shift, normal)
    return normal
