"""Adam on a CPU, by a kernel and over the threads of whoever asks; imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from recctl.kernels import adam

# Weights of a task: with their gradients and moments they are what a second-level cache holds.
_WEIGHTS = 1 << 16


class SpreadAdam(torch.optim.Adam):
    """`torch.optim.Adam` of one flat parameter: torch's own threads would wake for a step and be in the way after it.

    Its state is that of torch's, and what it does the same, rounding aside.

    Args:
        parameter: The weights, on a CPU.
        lr: The learning rate.
        each: Computes a function for each of some tasks.
    """

    def __init__(
        self, parameter: torch.nn.Parameter, lr: float, each: Callable[[Callable[[int], None], Any], Any]
    ) -> None:
        super().__init__([parameter], lr=lr)
        self._each = each

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the weights by their gradient."""
        (group,) = self.param_groups
        (parameter,) = group["params"]
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        numbers = group["lr"], *group["betas"], float(state["step"]), group["eps"]
        gradient, weights = parameter.grad.numpy(), parameter.numpy()
        mean, square = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()

        def task(begin: int) -> None:
            some = slice(begin, begin + _WEIGHTS)
            adam.step(gradient[some], *numbers, mean[some], square[some], weights[some])

        self._each(task, range(0, len(weights), _WEIGHTS))
