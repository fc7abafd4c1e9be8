"""A command line that torchrun started several times: the first process does what it says, the others assist it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# What fits models of a run; the rest has nothing to share.
_VERBS = ("train", "fit", "compare")


def called(arguments: list[str], call: Callable[[], Any]) -> Any:
    """Make the call in the first process; in the others, take part in the trainings it leads, silently.

    Raises:
        ConfigError: The verb fits nothing that could be shared.
    """
    from recctl import engines
    from recctl.engines import torch_distributed
    from recctl.errors import ConfigError

    rank, world = torch_distributed.launched_rank()
    if world == 1:
        return call()
    if arguments[:1] and arguments[0] not in _VERBS:
        if rank:  # torchrun ends all of them as soon as one fails: that is to be the one which tells why
            return 0
        raise ConfigError(f"torchrun is for recctl {', '.join(_VERBS)}; run recctl {arguments[0]} without it")
    if "RECCTL_THREADS" not in os.environ:  # those of a machine divide its processors
        engines.set_threads(max(1, engines.threads() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    if rank == 0:
        with torch_distributed.leading():
            return call()
    from recctl import experiment

    experiment.assist()
    torch_distributed.leave_group()
    return 0
