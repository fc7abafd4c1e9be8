"""Run a command in the processes of a torchrun launch: the first runs it, the others help with its trainings."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

# The commands that fit models of a run; the others have no work to share.
_DISTRIBUTED_COMMANDS = ("train", "fit", "compare")


def run_distributed(arguments: list[str], call: Callable[[], Any]) -> Any:
    """Run the command in the process of rank 0; the other processes join its trainings and print nothing.

    Args:
        arguments: Arguments of the command line.
        call: Runs the command.

    Raises:
        ConfigError: The command does not fit models.
    """
    from recctl import engines
    from recctl.engines import torch_distributed
    from recctl.errors import ConfigError

    process_rank, world_size = torch_distributed.launched_rank()
    # torchrun with a single process is an ordinary run.
    if world_size == 1:
        return call()
    if arguments and arguments[0] not in _DISTRIBUTED_COMMANDS:
        # torchrun ends all processes as soon as one fails: only the one that prints the reason may fail.
        if process_rank != 0:
            return 0
        commands = ", ".join(_DISTRIBUTED_COMMANDS)
        raise ConfigError(f"torchrun supports recctl {commands}; run recctl {arguments[0]} without it")
    # Processes on one machine share its cores; each would otherwise use all of them.
    if "RECCTL_THREADS" not in os.environ:
        processes_per_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        engines.set_threads(max(1, engines.threads() // processes_per_machine))
    if process_rank == 0:
        with torch_distributed.leading():
            return call()
    from recctl import experiment, progress

    with progress.silence():
        experiment.assist()
    torch_distributed.leave_group()
    return 0
