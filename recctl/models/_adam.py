"""Adam on a CPU, by a kernel; imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from recctl.data.matrix import Float32Array
from recctl.kernels import adam


class KernelAdam(torch.optim.Adam):
    """`torch.optim.Adam` of one flat parameter: torch's own threads would wake for a step and be in the way after it.

    Its state is that of torch's, and what it does the same, rounding aside. A step leaves the gradient 0.

    Args:
        parameter: The weights, on a CPU.
        lr: The learning rate.

    Attributes:
        spread: What takes a step in place of this thread alone, with all `arrays`; it gets the numbers of
            `recctl.kernels.adam.part` from `rate` to `epsilon`.
    """

    def __init__(self, parameter: torch.nn.Parameter, lr: float) -> None:
        super().__init__([parameter], lr=lr)
        self.spread: Callable[..., None] | None = None
        self._is_clear = False

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Make the gradient 0, which it is after a step."""
        if not self._is_clear:
            self.arrays()[0][:] = 0
        self._is_clear = False

    def arrays(self) -> tuple[Float32Array, Float32Array, Float32Array, Float32Array]:
        """The gradient, its two moments, and the weights: those that the state has, until another is loaded."""
        ((parameter,),) = (group["params"] for group in self.param_groups)
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        tensors = parameter.grad, state["exp_avg"], state["exp_avg_sq"], parameter.detach()
        gradient, mean, square, weights = (tensor.numpy() for tensor in tensors)
        return gradient, mean, square, weights

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the weights by their gradient."""
        (group,) = self.param_groups
        gradient, mean, square, weights = self.arrays()
        state = self.state[group["params"][0]]
        state["step"] += 1
        numbers = group["lr"], *group["betas"], float(state["step"]), group["eps"]
        if self.spread:
            self.spread(*numbers)
        else:
            adam.step(gradient, *numbers, mean, square, weights)
        self._is_clear = True
