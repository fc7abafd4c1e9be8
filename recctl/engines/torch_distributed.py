"""Processes that train one network together, started by torchrun: the first one is the leader, the others workers.

Only the leader parses the command line, writes a run and evaluates. It sends the workers what to fit and when to
compute an epoch, so that each decision is made once.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recctl.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long a process waits for another one: workers are idle while the leader reads data and evaluates. A process that
# has ended is noticed at once, because its connections close.
_TIMEOUT = timedelta(days=7)

_is_leader = False


def launched_rank() -> tuple[int, int]:
    """Rank of this process, and how many processes torchrun started; 0 and 1 without torchrun."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size < 2 or "MASTER_ADDR" not in os.environ:
        return 0, 1
    return int(os.environ.get("RANK", "0")), world_size


def group_rank() -> tuple[int, int]:
    """Rank of this process in the process group, and its size; the first call joins the group. It imports torch."""
    from torch import distributed

    if not distributed.is_available():
        return 0, 1
    if not distributed.is_initialized():
        _, world_size = launched_rank()
        if world_size < 2:
            return 0, 1
        import torch

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=_TIMEOUT)
    return distributed.get_rank(), distributed.get_world_size()


def is_leader() -> bool:
    """Whether this process leads workers."""
    return _is_leader


@contextmanager
def leading() -> Iterator[None]:
    """A context in which this process leads the others that torchrun started, if any; they are dismissed at its end."""
    global _is_leader
    _, world_size = launched_rank()
    _is_leader = world_size > 1
    try:
        yield
        if _is_leader:
            send(None)
            leave_group()
    finally:
        _is_leader = False


def send(message: Any) -> None:
    """Send an object to all workers; blocks until they receive it."""
    _broadcast(message)


def receive() -> Any:
    """The leader's next message; None when the work is finished."""
    return _broadcast(None)


def leave_group() -> None:
    """Leave the process group at the end; otherwise torch's threads abort the process when another one exits."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _broadcast(message: Any) -> Any:
    import torch
    from torch import distributed

    rank, world_size = group_rank()
    messages = [message]
    try:
        distributed.broadcast_object_list(messages, src=0, device=torch.device("cpu"))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise TrainingError(f"process {rank} of {world_size}: lost contact to another process: {reason}") from error
    return messages[0]
