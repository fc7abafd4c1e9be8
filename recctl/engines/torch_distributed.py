"""Processes that train one network together, as torchrun starts them: the first leads, the others do as they are told.

Only the leader reads a command line's wishes, keeps a run and measures; the others hear from it what to fit and when to
compute an epoch, so that no decision is taken twice.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from recctl.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

# How long a process waits for another: while the leader reads and measures, the others have nothing to do. One that is
# gone is noticed at once, by its connections.
_PATIENCE = timedelta(days=7)

_leading = False


def started() -> tuple[int, int]:
    """This process's number, and how many torchrun started; 0 and 1 without it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world < 2 or "MASTER_ADDR" not in os.environ:
        return 0, 1
    return int(os.environ.get("RANK", "0")), world


def joined() -> tuple[int, int]:
    """This process's number, and how many train together; they find each other at the first call. It imports torch."""
    from torch import distributed

    if not distributed.is_available():
        return 0, 1
    if not distributed.is_initialized():
        if started()[1] < 2:
            return 0, 1
        import torch

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(backend, timeout=_PATIENCE)
    return distributed.get_rank(), distributed.get_world_size()


def is_leading() -> bool:
    """Whether others do as this process tells them."""
    return _leading


@contextmanager
def leading() -> Iterator[None]:
    """A block in which this process leads those that torchrun started, if it did; at its end they are dismissed."""
    global _leading
    _leading = started()[1] > 1
    try:
        yield
        if _leading:
            tell(None)
            leave()
    finally:
        _leading = False


def tell(what: Any) -> None:
    """Send something to all that are led. They have to listen before this returns."""
    _broadcast(what)


def hear() -> Any:
    """What the leader tells next; None when there is nothing left to do."""
    return _broadcast(None)


def leave() -> None:
    """Part from the others, when all is done: threads that still listen to them would abort a process that ends."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def _broadcast(what: Any) -> Any:
    import torch
    from torch import distributed

    rank, world = joined()
    said = [what]
    try:
        distributed.broadcast_object_list(said, src=0, device=torch.device("cpu"))
    except RuntimeError as error:
        raise TrainingError(f"process {rank} of {world}: another is lost: {str(error).splitlines()[0]}") from error
    return said[0]
