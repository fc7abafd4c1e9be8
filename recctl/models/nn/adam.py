"""Adam for the weights of a network on a CPU. Imports torch."""

from __future__ import annotations

from typing import Any

import torch

BETA1 = 0.9
BETA2 = 0.999
EPSILON = 1e-8


class Adam:
    """Adam (Kingma & Ba, 2015, "Adam: A Method for Stochastic Optimization", Algorithm 1) of one parameter.

    It calls torch's fused kernel, and gives the same bits as `torch.optim.Adam(fused=True)`. The optimizers of
    `torch.optim` import torch's compiler at their first step, which takes seconds in each process that trains, although
    nothing is compiled. The attributes and methods are those of torch's optimizers that training uses.

    Args:
        parameter: All weights, with a gradient, on the CPU.
        lr: Learning rate.

    Attributes:
        param_groups: One group, with the keys `params` and `lr`.
        state: By parameter: `step`, a number, and the moments `exp_avg` and `exp_avg_sq`; empty before the first step.
    """

    def __init__(self, parameter: torch.nn.Parameter, lr: float) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": [parameter], "lr": lr}]
        self.state: dict[torch.nn.Parameter, dict[str, torch.Tensor]] = {}

    @torch.no_grad()
    def step(self) -> None:
        """Change the weights by one step along the gradient."""
        (group,) = self.param_groups
        (parameter,) = group["params"]
        if parameter not in self.state:
            self.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        state = self.state[parameter]
        state["step"] += 1
        torch._fused_adam_(
            [parameter],
            [parameter.grad],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            lr=group["lr"],
            beta1=BETA1,
            beta2=BETA2,
            eps=EPSILON,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """The state, by the position of the parameter, as `torch.optim.Optimizer.state_dict` gives it; not copied."""
        return {"state": dict(enumerate(self.state.values())), "param_groups": []}

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Take over a copy of a result of `state_dict`; the group stays as it is."""
        self.state = {}
        if moments := content["state"].get(0):
            (parameter,) = self.param_groups[0]["params"]
            self.state[parameter] = {
                name: torch.as_tensor(value, dtype=torch.float32).clone() for name, value in moments.items()
            }
