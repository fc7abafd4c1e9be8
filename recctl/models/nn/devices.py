"""Devices of networks: which one a setting selects on this machine. Torch is imported when a function is called."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

from recctl.engines import torch_distributed
from recctl.errors import ConfigError

if TYPE_CHECKING:
    import torch

# Values of the hyperparameter `device`. The examples are shown in messages, docs and editors.
PATTERN = r"^(auto|cpu|mps|cuda(:(0|[1-9][0-9]*))?)$"
EXAMPLES = ["auto", "cpu", "cuda", "cuda:0", "mps"]
# Drivers of NVIDIA and AMD, in the Windows subsystem for Linux, on NVIDIA's embedded boards, and on Windows.
_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/nvmap", r"C:\Windows\System32\nvcuda.dll")
_UNKNOWN_MEMORY = 1 << 30


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


def select_for_scores(device: str) -> torch.device | None:
    """The device that scores a fitted model whose network is not in training; None for the CPU, without torch.

    A model file from another machine may name a device that this one does not have: the CPU takes its place.
    """
    if device == "cpu" or not _may_have_gpu():
        return None
    try:
        selected = select("", device, "auto")
    except ConfigError:
        return None
    return None if selected.type == "cpu" else selected


def free_memory(device: torch.device) -> int:
    """Bytes that a device can still allocate; a guess where torch does not know."""
    import torch

    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # Torch keeps freed memory for its next tensors.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    return _UNKNOWN_MEMORY


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch failed to allocate memory.

    Torch's CPU allocator raises a plain RuntimeError, which only its text distinguishes. A test checks the text against
    the installed version of torch.
    """
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def _may_have_gpu() -> bool:
    """Whether torch might find a GPU. If no driver is there, torch need not be imported, which takes seconds."""
    if "torch" in sys.modules:
        return True
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    return any(os.path.exists(path) for path in _DRIVERS)


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
