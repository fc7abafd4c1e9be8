"""Devices of networks: which one a setting selects on this machine. Torch is imported when a function is called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from recctl.engines import torch_distributed
from recctl.errors import ConfigError

if TYPE_CHECKING:
    import torch

# Values of the hyperparameter `device`. The examples are shown in messages, docs and editors.
PATTERN = r"^(auto|cpu|mps|cuda(:(0|[1-9][0-9]*))?)$"
EXAMPLES = ["auto", "cpu", "cuda", "cuda:0", "mps"]


def select(model: str, device: str, precision: str) -> torch.device:
    """The device that a setting selects. With torchrun each process of a machine uses another GPU.

    Args:
        model: Name of the model, for the error message.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` prefers a GPU.
        precision: The setting of the precision.

    Raises:
        ConfigError: The machine has no such device, or not one for each process, or the device does not support the
            precision.
    """
    import torch

    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = _best_kind()
    if precision == "float16" and kind == "cpu":
        raise ConfigError(f"{model}: precision='float16' needs a GPU; on a CPU use 'bfloat16' or 'float32'")
    if kind == "cuda":
        return torch.device("cuda", _cuda_index(model, device, number))
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(
            f"{model}: device={device!r}: torch finds no such device; device='auto' uses a GPU if there is one"
        )
    return torch.device(kind)


def _best_kind() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def _cuda_index(model: str, device: str, number: str) -> int:
    """Index of the GPU of this process."""
    import torch

    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = {0: "no CUDA device", 1: "1 CUDA device, cuda:0"}.get(n_devices, f"{n_devices} CUDA devices, from cuda:0")
    if n_devices <= int(number or 0):
        raise ConfigError(f"{model}: device={device!r}: torch finds {found}; device='auto' uses a GPU if there is one")
    _, n_processes = torch_distributed.launched_rank()
    if n_processes == 1:
        return int(number or 0)
    if number:
        raise ConfigError(
            f"{model}: device={device!r}: torchrun started {n_processes} processes, and each needs a GPU of its own; "
            "use device='cuda', and set CUDA_VISIBLE_DEVICES to choose the GPUs"
        )
    n_local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if n_local > n_devices:
        raise ConfigError(
            f"{model}: device={device!r}: torchrun started {n_local} processes on this machine, and torch finds "
            f"{found}; start one process for each GPU: --nproc-per-node {n_devices}"
        )
    return int(os.environ.get("LOCAL_RANK", "0"))
