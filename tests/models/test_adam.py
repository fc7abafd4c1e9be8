import copy

import numpy as np
import torch

from recctl.models._adam import KernelAdam

LR = 0.01


def gradients(n_steps: int, n: int) -> torch.Tensor:
    drawn = torch.randn((n_steps, n), generator=torch.Generator().manual_seed(1))
    drawn[:, ::3] = 0  # as of rows that no batch has
    return drawn


def steps(optimizer: torch.optim.Optimizer, drawn: torch.Tensor) -> None:
    (parameter,) = optimizer.param_groups[0]["params"]
    for gradient in drawn:
        parameter.grad = gradient.to(parameter.dtype, copy=True)
        optimizer.step()


def test_steps_are_those_of_adam_in_float64() -> None:
    exact = torch.nn.Parameter(torch.linspace(-1, 1, 100, dtype=torch.float64))
    parameter = torch.nn.Parameter(exact.detach().float())
    drawn = gradients(50, 100)
    steps(torch.optim.Adam([exact], lr=LR), drawn)
    steps(KernelAdam(parameter, LR), drawn)
    np.testing.assert_allclose(parameter.detach(), exact.detach(), atol=2e-6)


def test_a_state_goes_on_in_torchs_adam_and_back() -> None:
    ours = torch.nn.Parameter(torch.linspace(-1, 1, 100))
    theirs = torch.nn.Parameter(ours.detach().clone())
    drawn = gradients(20, 100)
    first, second = KernelAdam(ours, LR), torch.optim.Adam([theirs], lr=LR, fused=True)
    steps(first, drawn[:10])
    steps(second, drawn[:10])
    kept = [copy.deepcopy(optimizer.state_dict()["state"]) for optimizer in (first, second)]
    assert [list(state[0]) for state in kept] == [["step", "exp_avg", "exp_avg_sq"]] * 2
    for optimizer, state in zip((first, second), reversed(kept), strict=True):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        steps(optimizer, drawn[10:])
    np.testing.assert_allclose(ours.detach(), theirs.detach(), atol=2e-6)


def test_a_gradient_is_clear_after_a_step_and_after_it_was_asked_for() -> None:
    parameter = torch.nn.Parameter(torch.ones(5))
    optimizer = KernelAdam(parameter, LR)
    parameter.grad = torch.ones(5)
    for _ in range(2):
        optimizer.step()
        assert not parameter.grad.any()
        optimizer.zero_grad()
        parameter.grad += 1
    optimizer.zero_grad()
    assert not parameter.grad.any()
