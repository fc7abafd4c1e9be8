"""The network of NCF; imported by `ncf` when it is trained, as this module imports torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class NCFNetwork(nn.Module):
    """Vectors of users and items, their product (GMF), and a tower of layers over both (MLP).

    The first layer is kept as two halves, one for users and one for items: `W [p; q] = W_u p + W_i q`.
    """

    def __init__(
        self,
        n_users: int,
        n_items: int,
        dim: int,
        hidden_layers: list[int],
        parts: tuple[bool, bool],
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.gmf, self.mlp = parts
        self._dropped_in_256 = round(256 * dropout)
        if self.gmf:
            self.user_gmf, self.item_gmf = _vectors(n_users, dim, generator), _vectors(n_items, dim, generator)
            self.out_gmf = nn.Parameter(_uniform(1, dim, generator)[0])
        if self.mlp:
            self.user_mlp, self.item_mlp = _vectors(n_users, dim, generator), _vectors(n_items, dim, generator)
            first = _uniform(hidden_layers[0], 2 * dim, generator)
            self.first_user, self.first_item = (
                nn.Parameter(first[:, :dim].clone()),
                nn.Parameter(first[:, dim:].clone()),
            )
            self.first_bias = nn.Parameter(torch.zeros(hidden_layers[0]))
            sizes = list(zip(hidden_layers[1:], hidden_layers[:-1], strict=True))
            self.layers = nn.ParameterList([_uniform(*size, generator) for size in sizes])
            self.biases = nn.ParameterList([torch.zeros(size[0]) for size in sizes])
            self.out_mlp = nn.Parameter(_uniform(1, hidden_layers[-1], generator)[0])
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> list[torch.Tensor]:
        """Logits of users `(b,)` with items `(b, m)` by each part; their sum and the bias are the model's."""
        logits = []
        if self.gmf:
            weighed = functional.embedding(users, self.user_gmf) * self.out_gmf  # (b, d)
            logits.append(torch.bmm(functional.embedding(items, self.item_gmf), weighed[:, :, None])[:, :, 0])
        if self.mlp:
            logits.append(self._tower(users, items))
        return logits

    def _tower(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        of_users = functional.linear(functional.embedding(users, self.user_mlp), self.first_user, self.first_bias)
        if len(self.item_mlp) < items.numel():  # every item once costs less than those of the batch, with repeats
            of_items = functional.embedding(items, functional.linear(self.item_mlp, self.first_item))
        else:
            of_items = functional.linear(functional.embedding(items, self.item_mlp), self.first_item)
        dropped = self._dropped_in_256 if self.training else 0
        # What is left is made larger by the next layer's weights: they are fewer than the outputs.
        gain = 256 / (256 - dropped)
        hidden = _relu_and_dropout(of_users[:, None] + of_items, dropped)  # (b, m, h)
        for layer, bias in zip(self.layers, self.biases, strict=True):
            hidden = _relu_and_dropout(functional.linear(hidden, layer * gain, bias), dropped)
        return hidden @ (self.out_mlp * gain)

    @torch.no_grad()
    def weigh_parts_alike(self) -> None:
        """After training the parts apart: each counts half, as with alpha = 0.5 in the paper."""
        self.out_gmf.mul_(0.5)
        self.out_mlp.mul_(0.5)


class _ReLUAndDropout(torch.autograd.Function):
    """`relu(x)` with some outputs set to 0; the gradient goes where the result is not 0, so only that is kept."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, dropped_in_256: int) -> torch.Tensor:
        # A byte decides each output: torch's own dropout draws a double for it, and takes as long as the layers.
        words = torch.empty(-(-inputs.numel() // 8), dtype=torch.int64, device=inputs.device).random_(-(2**63), None)
        drawn = words.view(torch.uint8)[: inputs.numel()].view(inputs.shape)
        out = inputs.relu().masked_fill_(drawn < dropped_in_256, 0)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(gradient, out, 0), None


def _relu_and_dropout(inputs: torch.Tensor, dropped_in_256: int) -> torch.Tensor:
    if not dropped_in_256:
        return functional.relu(inputs)
    result: torch.Tensor = _ReLUAndDropout.apply(inputs, dropped_in_256)  # type: ignore[no-untyped-call]
    return result


def _vectors(n: int, dim: int, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.empty(n, dim).normal_(0, 0.01, generator=generator))


def _uniform(n_out: int, n_in: int, generator: torch.Generator) -> torch.Tensor:
    """Glorot & Bengio, 2010: uniform, so that signals keep their size."""
    limit = (6 / (n_in + n_out)) ** 0.5
    return torch.empty(n_out, n_in).uniform_(-limit, limit, generator=generator)
