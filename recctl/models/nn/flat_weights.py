"""All weights of a network as one flat array, aligned to cache lines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from recctl.data.matrix import Float32Array
from recctl.errors import ArtifactError

if TYPE_CHECKING:
    import torch

# Names and shapes of weights, in the order of the flat array.
WeightShapes = Mapping[str, tuple[int, ...]]

_CACHE_LINE_BYTES = 64


def named_weights(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, then persistent buffers, with their names; the order of the flat array."""
    yield from network.named_parameters()
    persistent = network.state_dict().keys()
    for name, buffer in network.named_buffers():
        if name in persistent:
            yield name, buffer


def use(flat: torch.Tensor, network: torch.nn.Module) -> None:
    """Make every weight of a network a view of a flat tensor."""
    begin = 0
    for _, weight in named_weights(network):
        weight.data = flat[begin : begin + weight.numel()].view(weight.shape)
        begin += weight.numel()


def flatten(network: torch.nn.Module) -> Float32Array:
    """A copy of all weights of a network, one after another."""
    weights = [weight.detach().reshape(-1).float().numpy() for _, weight in named_weights(network)]
    return align(np.concatenate(weights))


def align(array: Float32Array) -> Float32Array:
    """A copy that begins at a cache line.

    Matrix products can round differently at other addresses, and two runs must give the same bits.
    """
    buffer = np.empty(array.nbytes + _CACHE_LINE_BYTES, np.uint8)
    begin = -buffer.ctypes.data % _CACHE_LINE_BYTES
    copy = buffer[begin : begin + array.nbytes].view(np.float32)
    np.copyto(copy, array)
    return copy


def is_at_cache_line(array: Float32Array) -> bool:
    """Whether an array begins at a cache line."""
    return bool(array.ctypes.data % _CACHE_LINE_BYTES == 0)


def is_aligned(array: Float32Array) -> bool:
    """Whether an array begins at a cache line and is writeable."""
    return array.flags.writeable and is_at_cache_line(array)


def check_optimizer_state(state: Any, n_weights: int) -> None:
    """Check the state of a trainer that was read from a file.

    Args:
        state: The state.
        n_weights: Number of weights of the model.

    Raises:
        ValueError: It is not the state of an optimizer of so many weights.
    """
    if not isinstance(state, dict) or state.keys() != {"optimizer", "batch_size", "accumulation", "loss_scale"}:
        raise ValueError("the training state is incomplete")
    sizes = state["batch_size"], state["accumulation"]
    if any(type(size) is not int or size < 1 for size in sizes) or type(state["loss_scale"]) is not float:
        raise ValueError("the training state has an invalid batch size or loss scale")
    optimizer_state = state["optimizer"]
    if not isinstance(optimizer_state, dict):
        raise ValueError("the training state has no state of the optimizer")
    for name, value in optimizer_state.items():
        if isinstance(value, np.ndarray) and (value.dtype.kind != "f" or value.size > n_weights):
            raise ValueError(f"the optimizer's {name} does not belong to {n_weights:,} weights")


def shapes(network: torch.nn.Module) -> WeightShapes:
    """The shape of every weight of a network, by names, in the order of the flat array."""
    return {name: tuple(weight.shape) for name, weight in named_weights(network)}


def named_views(name: str, weight_shapes: WeightShapes, weights: Float32Array) -> dict[str, Float32Array]:
    """Views of a flat array by the names that the weights have in the network.

    Args:
        name: Name of the model, for the error message.
        weight_shapes: The shape of each weight, in the order of the flat array.
        weights: The flat array.

    Raises:
        ArtifactError: The network has another number of weights.
    """
    require_weight_count(name, weight_shapes, weights)
    views: dict[str, Float32Array] = {}
    begin = 0
    for weight_name, shape in weight_shapes.items():
        end = begin + math.prod(shape)
        views[weight_name] = weights[begin:end].reshape(shape)
        begin = end
    return views


def require_weight_count(name: str, weight_shapes: WeightShapes, weights: Float32Array) -> None:
    """Check that a flat array has as many weights as a network.

    Raises:
        ArtifactError: The numbers differ.
    """
    n_weights = sum(math.prod(shape) for shape in weight_shapes.values())
    if n_weights != len(weights):
        raise ArtifactError(
            f"{name}: {len(weights):,} weights, but the network of these hyperparameters has {n_weights:,}"
        )
