"""Batches on their way to the device of a network: made one ahead, in pinned memory. Imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_END = object()


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch on a device: tensors in tuples, lists and dictionaries, other values as they are.

    The copy of a batch in pinned memory does not wait for the device.
    """
    return _map_tensors(lambda tensor: tensor.to(device, non_blocking=True), batch)


def prefetched(batches: Iterator[Any], device: torch.device) -> Iterator[Any]:
    """The same batches, each made in a thread while the previous one is used.

    A GPU computes on its own, and the main thread hands it one operation after another: making batches there would let
    the GPU wait. Without a GPU there is nothing to gain, because the network uses all processors itself.

    Args:
        batches: The batches, on the CPU.
        device: Where they will be used. Copies to a CUDA device are faster from pinned memory.
    """

    def make_next() -> Any:
        batch = next(batches, _END)
        if device.type == "cuda" and batch is not _END:
            return _map_tensors(torch.Tensor.pin_memory, batch)
        return batch

    with ThreadPoolExecutor(1, thread_name_prefix="recctl-batches") as thread:
        pending = thread.submit(make_next)
        while (batch := pending.result()) is not _END:
            pending = thread.submit(make_next)
            yield batch


def _map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    """A nested value with each of its tensors replaced by the result of a function."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _map_tensors(function, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [_map_tensors(function, part) for part in value]
        if isinstance(value, list):
            return parts
        # Named tuples take their parts as separate arguments.
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value
