"""Adam on a CPU, against torch's."""

from __future__ import annotations

import copy

import pytest
import torch

from recctl.models.nn.adam import Adam


@pytest.fixture
def gradients() -> list[torch.Tensor]:
    drawn = torch.randn(9, 1003, generator=torch.Generator().manual_seed(5))
    return list(drawn * torch.logspace(-6, 2, 9)[:, None])


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.linspace(-2, 2, 1003))


def test_steps_give_the_bits_of_torch(gradients: list[torch.Tensor]) -> None:
    ours = parameter()
    reference = parameter()
    optimizers = Adam(ours, 0.01), torch.optim.Adam([reference], lr=0.01, fused=True)
    for number, gradient in enumerate(gradients):
        for weights, optimizer in zip((ours, reference), optimizers, strict=True):
            optimizer.param_groups[0]["lr"] = 0.01 / (1 + number)
            weights.grad = gradient.clone()
            optimizer.step()
        assert torch.equal(ours, reference)
        state, expected = (optimizer.state_dict()["state"][0] for optimizer in optimizers)
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in state)


def test_restored_state_continues_as_the_original(gradients: list[torch.Tensor]) -> None:
    original = parameter()
    optimizer = Adam(original, 0.01)
    for gradient in gradients[:4]:
        original.grad = gradient
        optimizer.step()
    restored = torch.nn.Parameter(original.detach().clone())
    other = Adam(restored, 0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for gradient in gradients[4:]:
        for weights, each in ((original, optimizer), (restored, other)):
            weights.grad = gradient
            each.step()
    assert torch.equal(original, restored)


def test_restart_forgets_the_moments(gradients: list[torch.Tensor]) -> None:
    weights = parameter()
    optimizer = Adam(weights, 0.01)
    weights.grad = gradients[0]
    optimizer.step()
    optimizer.load_state_dict({"state": {}, "param_groups": []})
    assert optimizer.state_dict()["state"] == {}
