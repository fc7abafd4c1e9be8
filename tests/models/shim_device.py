"""A device of torch that is not the CPU, on machines without a GPU.

Its tensors keep their numbers in host memory, but are of another device for torch, as those of a GPU are: code that
branches by the type of the device takes the branch of a GPU; an operation on tensors of both devices is an error; and
numbers come to the device and back only by a copy, all of which are recorded. It registers a backend for torch's
dispatch key `PrivateUse1`, which is how torch supports devices that it does not know.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.library import Library
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Backend(_DummyBackendModule):
    """What torch asks a backend beside its operations."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """The number formats of autocast."""
        return [torch.bfloat16]

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        """The state of the device's generator, which it does not have; `torch.random.fork_rng` asks for it."""
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        """Restore a result of `get_rng_state`."""


_setup_privateuseone_for_python_backend("shim", _Backend())

DEVICE = torch.device("shim", 0)
# How often each operation ran on the device; numbers of elements copied to the device, and to the host.
operations: Counter[str] = Counter()
copied_to_device: list[int] = []
copied_to_host: list[int] = []


class DeviceTensor(torch.Tensor):
    """A tensor of the device.

    Attributes:
        memory: Its numbers, a tensor of the CPU.
    """

    memory: torch.Tensor

    @staticmethod
    def __new__(cls, memory: torch.Tensor) -> DeviceTensor:
        # A sparse matrix is opaque here: only products use it.
        strides = memory.stride() if memory.layout == torch.strided else None
        tensor = torch.Tensor._make_wrapper_subclass(
            cls, memory.size(), strides=strides, dtype=memory.dtype, device=DEVICE
        )
        tensor.memory = memory
        return tensor

    @property
    def data(self) -> torch.Tensor:
        """The tensor without its history, as of any tensor; setting it sets the memory."""
        return self.detach()

    @data.setter
    def data(self, other: DeviceTensor) -> None:
        torch.Tensor.data.__set__(self, other)
        self.memory = other.memory

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(operation, *args, **(kwargs or {}))

    __torch_function__ = torch._C._disabled_torch_function_impl


def _run(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Compute an operation on the device by the CPU."""
    if operation is torch.ops.aten._to_copy.default:
        return _copied(args[0], **kwargs)
    if operation is torch.ops.aten.copy_.default:
        target, source = args[:2]
        _record_copy(source, to_device=isinstance(target, DeviceTensor))
        _memory(target).copy_(_memory(source))
        return target
    operations[operation.overloadpacket.__name__] += 1
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    for tensor in tensors:
        # As on a GPU, a number of the host may be used on the device.
        if not isinstance(tensor, DeviceTensor) and tensor.dim():
            raise RuntimeError(f"Expected all tensors to be on the same device: {operation} got one of the CPU")
    on_device = {id(tensor.memory): tensor for tensor in tensors if isinstance(tensor, DeviceTensor)}
    memory_kwargs = tree_map(_memory, kwargs)
    if "device" in memory_kwargs:
        memory_kwargs["device"] = torch.device("cpu")
    result = operation(*tree_map(_memory, args), **memory_kwargs)

    def to_device_tensor(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        # An operation in place returns the tensor that it was given.
        return on_device.get(id(value)) if id(value) in on_device else DeviceTensor(value)

    return tree_map(to_device_tensor, result)


def _copied(source: torch.Tensor, device: Any = None, **kwargs: Any) -> torch.Tensor:
    target = source.device if device is None else torch.device(device)
    is_to_device = target.type == DEVICE.type
    _record_copy(source, is_to_device)
    copy = torch.ops.aten._to_copy.default(_memory(source), **kwargs, device=torch.device("cpu"))
    return DeviceTensor(copy) if is_to_device else copy


def _record_copy(source: torch.Tensor, to_device: bool) -> None:
    is_on_device = isinstance(source, DeviceTensor)
    if to_device and not is_on_device:
        copied_to_device.append(source.numel())
    if is_on_device and not to_device:
        copied_to_host.append(source.numel())


def _memory(value: Any) -> Any:
    return value.memory if isinstance(value, DeviceTensor) else value


_operators = Library("_", "IMPL")
_operators.fallback(_run, "PrivateUse1")
