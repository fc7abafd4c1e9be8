"""The network of NCF. Imports torch, so `recctl.models.ncf` imports it only to train."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from recctl.models.nn.dropout import ReLUAndDropout

# Pairs of a user and an item whose layers are computed together when the catalog is scored.
_PAIRS = 1 << 18


class NCFNetwork(nn.Module):
    """User and item embeddings, their elementwise product (GMF), and a multilayer perceptron over both (MLP).

    The first layer of the MLP is linear in the user and in the item, `W [p; q] = W_u p + W_i q`, so its weights are
    stored as two halves. Each distinct user and item of a batch passes through its half once; the halves are then
    added for each pair. With 2,048 pairs of MovieLens-100K this saves two thirds of the products of the first layer.

    Args:
        n_users: Number of users.
        n_items: Number of items.
        dim: Length of every embedding.
        hidden_layers: Widths of the layers of the MLP.
        parts: Whether the network has GMF, and whether it has the MLP.
        dropout: Share of every layer's outputs that is set to 0 in training.
        generator: Source of the initial weights.
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
        self.relu_and_dropout = ReLUAndDropout(dropout)
        # The order of the parameters is the order of the weights in model files, and of the draws from the generator.
        if self.gmf:
            self.user_gmf = _embeddings(n_users, dim, generator)
            self.item_gmf = _embeddings(n_items, dim, generator)
            self.out_gmf = nn.Parameter(_glorot_uniform(1, dim, generator)[0])
        if self.mlp:
            self.user_mlp = _embeddings(n_users, dim, generator)
            self.item_mlp = _embeddings(n_items, dim, generator)
            first = _glorot_uniform(hidden_layers[0], 2 * dim, generator)
            self.first_user = nn.Parameter(first[:, :dim].clone())
            self.first_item = nn.Parameter(first[:, dim:].clone())
            self.first_bias = nn.Parameter(torch.zeros(hidden_layers[0], dtype=torch.float32))
            shapes = list(zip(hidden_layers[1:], hidden_layers[:-1], strict=True))
            self.layers = nn.ParameterList([_glorot_uniform(n_out, n_in, generator) for n_out, n_in in shapes])
            self.biases = nn.ParameterList([torch.zeros(n_out, dtype=torch.float32) for n_out, _ in shapes])
            self.out_mlp = nn.Parameter(_glorot_uniform(1, hidden_layers[-1], generator)[0])
        self.bias = nn.Parameter(torch.zeros((), dtype=torch.float32))

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> list[torch.Tensor]:
        """Logits of each part, `(b, m)`. The logit of the model is their sum plus `bias`.

        Args:
            users: User codes, `(b,)`.
            items: Item codes of the pairs of each user, `(b, m)`.
        """
        distinct_users, user_rows = torch.unique(users, return_inverse=True)
        distinct_items, item_rows = torch.unique(items.reshape(-1), return_inverse=True)
        logits = []
        if self.gmf:
            user_vectors = _table_rows(self.user_gmf, distinct_users) * self.out_gmf
            item_vectors = _table_rows(self.item_gmf, distinct_items).index_select(0, item_rows)
            pairs = item_vectors.view(*items.shape, -1) * user_vectors.index_select(0, user_rows)[:, None]
            logits.append(pairs.sum(dim=2))
        if self.mlp:
            user_halves = functional.linear(
                _table_rows(self.user_mlp, distinct_users), self.first_user, self.first_bias
            )
            item_halves = functional.linear(_table_rows(self.item_mlp, distinct_items), self.first_item)
            item_halves = item_halves.index_select(0, item_rows).view(*items.shape, -1)
            first = item_halves + user_halves.index_select(0, user_rows)[:, None]
            logits.append(self._upper_layers(first.flatten(0, 1)).view(items.shape))
        return logits

    def scoring_tables(self) -> torch.Tensor | None:
        """What scores of all users need: the half of the first layer of each item, `(n_items, width)`."""
        return functional.linear(self.item_mlp, self.first_item) if self.mlp else None

    def scores(
        self, item_halves: torch.Tensor | None, users: torch.Tensor | None, shares: torch.Tensor | None
    ) -> torch.Tensor:
        """Logits of every item for each user, `(n, n_items)`.

        Args:
            item_halves: The result of `scoring_tables`.
            users: User codes, `(n,)`; None for users that the model was not fitted on.
            shares: For those, the weight of each known user in the average that takes the place of an embedding,
                `(n, n_users)`.
        """

        def user_vectors(table: torch.Tensor) -> torch.Tensor:
            if users is not None:
                return table.index_select(0, users)
            assert shares is not None  # one of the two is given
            return shares @ table

        logits = torch.zeros((), device=self.bias.device, dtype=torch.float32)
        if self.gmf:
            logits = (user_vectors(self.user_gmf) * self.out_gmf) @ self.item_gmf.T
        if item_halves is not None:
            user_halves = functional.linear(user_vectors(self.user_mlp), self.first_user, self.first_bias)
            n_items = max(1, _PAIRS // max(1, len(user_halves)))
            parts = []
            for block in torch.split(item_halves, n_items):
                first = user_halves[:, None] + block[None]  # (n, m, width)
                parts.append(self._upper_layers(first.flatten(0, 1)).view(len(user_halves), len(block)))
            logits = logits + torch.cat(parts, dim=1)
        return logits + self.bias

    def _upper_layers(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits `(n,)` of the MLP, from the sums that the first layer's ReLU takes, `(n, width)`."""
        # Dropout scales what it keeps. Scaling the next weights is cheaper: they are fewer.
        gain = self.relu_and_dropout.gain
        hidden = self.relu_and_dropout(hidden)
        for layer, bias in zip(self.layers, self.biases, strict=True):
            hidden = self.relu_and_dropout(functional.linear(hidden, layer * gain, bias))
        return hidden @ (self.out_mlp * gain)

    @torch.no_grad()
    def average_parts(self) -> None:
        """Give each part half the weight after separate training: alpha = 0.5 in section 3.4.1 of the paper."""
        self.out_gmf.mul_(0.5)
        self.out_mlp.mul_(0.5)


class _TableRows(torch.autograd.Function):
    """Distinct rows of an embedding table, whose gradients are added to the rows of `table.grad` in place.

    Autograd would make a gradient of the whole table for every batch, and add that: of 10^6 rows, all but some
    hundred are 0. Rows that have no gradient are not touched here.
    """

    @staticmethod
    def forward(ctx: Any, table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        ctx.table = table
        ctx.save_for_backward(rows)
        return table.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None]:
        (rows,) = ctx.saved_tensors
        if ctx.table.grad is None:
            ctx.table.grad = torch.zeros_like(ctx.table)
        ctx.table.grad.index_add_(0, rows, gradient)
        return None, None


def _table_rows(table: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _TableRows.apply(table, rows)  # type: ignore[no-untyped-call]
    return result


def _embeddings(n: int, dim: int, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.empty(n, dim, dtype=torch.float32).normal_(0, 0.01, generator=generator))


def _glorot_uniform(n_out: int, n_in: int, generator: torch.Generator) -> torch.Tensor:
    """Weights `(n_out, n_in)` that keep the variance of signals (Glorot & Bengio, 2010)."""
    limit = (6 / (n_in + n_out)) ** 0.5
    return torch.empty(n_out, n_in, dtype=torch.float32).uniform_(-limit, limit, generator=generator)
