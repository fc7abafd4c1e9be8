"""The network of SASRec and its losses. Imports torch, so `recctl.models.sasrec` imports it only to train.

The forward pass is also in `sasrec_numpy` (for scoring without importing torch) and in `sasrec_onnx` (for export). A
test compares all three.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from recctl.models.nn.dropout import Dropout

Shapes = list[tuple[int, int]]

# Positions per block of logits, and items per block: a block of this size stays in the cache of a core.
_POSITIONS, _ITEMS = 256, 2048
# Logits within these bounds cannot overflow exp, so the maximum need not be subtracted.
_SAFE = 40.0


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each with normalized input (pre-norm) and a residual connection."""

    attend_gain: nn.Parameter
    attend_shift: nn.Parameter
    feed_gain: nn.Parameter
    feed_shift: nn.Parameter
    qkv: nn.Parameter
    qkv_bias: nn.Parameter
    out: nn.Parameter
    out_bias: nn.Parameter
    up: nn.Parameter
    up_bias: nn.Parameter
    down: nn.Parameter
    down_bias: nn.Parameter

    def __init__(self, dim: int, n_heads: int, dropout: float, generator: torch.Generator) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = Dropout(dropout)
        for name in ("attend", "feed"):
            setattr(self, f"{name}_gain", nn.Parameter(torch.ones(dim, dtype=torch.float32)))
            setattr(self, f"{name}_shift", nn.Parameter(torch.zeros(dim, dtype=torch.float32)))
        for name, width in (("qkv", 3 * dim), ("out", dim), ("up", dim), ("down", dim)):
            setattr(self, name, nn.Parameter(_uniform(width, dim, generator)))
            setattr(self, f"{name}_bias", nn.Parameter(torch.zeros(width, dtype=torch.float32)))

    def forward(self, hidden: torch.Tensor, places: torch.Tensor, shapes: Shapes) -> torch.Tensor:
        """States `(n, d)` of packed positions, at `places` in tables of `shapes`; see `recctl.kernels.packing.pack`."""
        dim = hidden.shape[1]
        normal = functional.layer_norm(hidden, (dim,), self.attend_gain, self.attend_shift)
        mixed = self._attended(functional.linear(normal, self.qkv, self.qkv_bias), places, shapes)
        hidden = hidden + self.dropout(functional.linear(mixed, self.out, self.out_bias))
        normal = functional.layer_norm(hidden, (dim,), self.feed_gain, self.feed_shift)
        wide = self.dropout(functional.relu(functional.linear(normal, self.up, self.up_bias)))
        narrow: torch.Tensor = self.dropout(functional.linear(wide, self.down, self.down_bias))
        return hidden + narrow

    def _attended(self, packed: torch.Tensor, places: torch.Tensor, shapes: Shapes) -> torch.Tensor:
        """Causal attention `(n, d)` from concatenated queries, keys and values, `(n, 3 d)`."""
        dim = packed.shape[1] // 3
        sizes = [rows * width for rows, width in shapes]
        # Only attention uses padded tables. Padding follows the real positions, which do not attend to it.
        tables = packed.new_zeros(sum(sizes), 3 * dim).index_copy(0, places, packed)
        mixed = []
        for shape, table in zip(shapes, torch.split(tables, sizes), strict=True):
            heads = table.view(*shape, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)  # (3, B, h, T, d / h)
            attended = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
            mixed.append(attended.transpose(1, 2).reshape(-1, dim))
        return torch.cat(mixed).index_select(0, places)


class SASRecNetwork(nn.Module):
    """Item and position embeddings, and attention blocks.

    With a temperature, logits are cosines divided by it; with temperature 0 they are dot products.
    """

    def __init__(
        self,
        n_items: int,
        dim: int,
        longest: int,
        blocks: tuple[int, int],
        dropout: float,
        temperature: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.temperature = temperature
        self.item = nn.Parameter(_normal(n_items, dim, generator))
        self.position = nn.Parameter(_normal(longest, dim, generator))
        self.blocks = nn.ModuleList([Block(dim, blocks[1], dropout, generator) for _ in range(blocks[0])])
        self.gain = nn.Parameter(torch.ones(dim, dtype=torch.float32))
        self.shift = nn.Parameter(torch.zeros(dim, dtype=torch.float32))

    def forward(
        self, inputs: torch.Tensor, positions: torch.Tensor, places: torch.Tensor, shapes: Shapes
    ) -> torch.Tensor:
        """States `(n, d)` after each of n packed inputs; see `recctl.kernels.packing.pack`."""
        hidden = functional.embedding(inputs, self.item) + functional.embedding(positions, self.position)
        hidden = self.dropout(hidden)
        for block in self.blocks:
            hidden = block(hidden, places, shapes)
        hidden = functional.layer_norm(hidden, (hidden.shape[1],), self.gain, self.shift)
        return functional.normalize(hidden, dim=1) / self.temperature if self.temperature else hidden

    def scoring_tables(self) -> torch.Tensor:
        """What scores of all users need: the item vectors, `(n_items, d)`."""
        return self.targets().detach()

    def scores(
        self,
        targets: torch.Tensor,
        inputs: torch.Tensor,
        positions: torch.Tensor,
        places: torch.Tensor,
        last: torch.Tensor,
        rows: torch.Tensor,
        shapes: Shapes,
        n_rows: int,
    ) -> torch.Tensor:
        """Scores of every item after each history, `(n_rows, n_items)`.

        Args:
            targets: The result of `scoring_tables`.
            inputs: Items of all histories, packed; see `recctl.kernels.packing.pack`.
            positions: Position of each input in its history.
            places: Place of each input in the tables.
            last: Index of the last input of each history.
            rows: Row of the result for each history; a row without a history is 0.
            shapes: Rows and columns of each table.
            n_rows: Number of rows of the result.
        """
        states = targets.new_zeros(n_rows, targets.shape[1])
        if len(inputs):
            states[rows] = self(inputs, positions, places, shapes).index_select(0, last)
        return states @ targets.T

    def targets(self) -> torch.Tensor:
        """The item vectors that states are multiplied by, `(n_items, d)`."""
        return functional.normalize(self.item, dim=1) if self.temperature else self.item


class _Softmax(torch.autograd.Function):
    """The sum of cross-entropies over all items, with its gradient in the same pass: logits are computed once."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            hidden, items = hidden.float(), items.float()
            hidden_grad, items_grad = torch.zeros_like(hidden), torch.zeros_like(items)
            total = -(hidden * functional.embedding(targets, items)).sum()
            safe = bool(hidden.norm(dim=1).max() * items.norm(dim=1).max() < _SAFE) if len(hidden) else True
            logits_buffer = hidden.new_empty(min(_POSITIONS, len(hidden)) * len(items))
            for part, part_grad in zip(
                torch.split(hidden, _POSITIONS), torch.split(hidden_grad, _POSITIONS), strict=True
            ):
                total += _sum_logsumexp_and_add_gradients(
                    part, items, logits_buffer[: len(part) * len(items)], (part_grad, items_grad), safe
                )
            hidden_grad -= functional.embedding(targets, items)
            items_grad.index_add_(0, targets, hidden, alpha=-1)
        ctx.save_for_backward(hidden_grad, items_grad)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        hidden_grad, items_grad = ctx.saved_tensors
        return hidden_grad * gradient, items_grad * gradient, None


def _sum_logsumexp_and_add_gradients(
    part: torch.Tensor,
    items: torch.Tensor,
    logits_buffer: torch.Tensor,
    gradients: tuple[torch.Tensor, torch.Tensor],
    safe: bool,
) -> torch.Tensor:
    """The sum of the log-sum-exps of some positions over all items; also adds its gradients.

    Args:
        part: Positions `(m, d)`.
        items: `(n_items, d)`.
        logits_buffer: Buffer for logits, `(m * n_items,)`.
        gradients: Gradients of `part`, initially 0, and of `items`; both are added to.
        safe: Whether no logit can overflow exp.
    """
    part_grad, items_grad = gradients
    blocks = torch.split(items, _ITEMS)
    tables = [
        table.view(len(part), -1) for table in torch.split(logits_buffer, [len(part) * len(block) for block in blocks])
    ]
    masses, shift = part.new_zeros(len(part), 1), part.new_zeros(len(part), 1)
    if not safe:
        for block, logits in zip(blocks, tables, strict=True):
            torch.mm(part, block.T, out=logits)
        shift = torch.stack([logits.amax(dim=1) for logits in tables]).amax(dim=0)[:, None]
    for block, logits in zip(blocks, tables, strict=True):
        if safe:
            torch.mm(part, block.T, out=logits)
        else:
            logits -= shift
        masses += logits.exp_().sum(dim=1, keepdim=True)
        part_grad.addmm_(logits, block)
    part_grad /= masses
    part = part / masses
    for block_grad, logits in zip(torch.split(items_grad, _ITEMS), tables, strict=True):
        block_grad.addmm_(logits.T, part)
    return (masses.log() + shift).sum()


def softmax(hidden: torch.Tensor, items: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropies over all items, summed; hidden `(n, d)`, items `(n_items, d)`, targets `(n,)`."""
    result: torch.Tensor = _Softmax.apply(hidden, items, targets)  # type: ignore[no-untyped-call]
    return result


def _positive_and_negative_logits(
    hidden: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor, seen: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the targets `(n,)`, and of negatives `(n, m)`, minus infinity for seen ones."""
    positive = (hidden * functional.embedding(targets, items)).sum(dim=1)
    others = hidden @ functional.embedding(negatives, items).T
    return positive, others.masked_fill(seen, -math.inf)


def sampled_softmax(
    hidden: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, negatives: torch.Tensor, seen: torch.Tensor
) -> torch.Tensor:
    """Like `softmax`, with the sum over the other items estimated from uniformly sampled negatives, `(m,)`.

    Seen negatives, `(n, m)` bool, are ignored; the target is one of the seen items.
    """
    positive, others = _positive_and_negative_logits(hidden, items, targets, negatives, seen)
    weight = math.log(max(1, len(items) - 1) / len(negatives))
    rest = torch.logsumexp(others.float() + weight, dim=1)
    return functional.softplus(rest - positive.float()).sum()


def binary(
    hidden: torch.Tensor,
    items: torch.Tensor,
    targets: torch.Tensor,
    negatives: torch.Tensor,
    seen: torch.Tensor,
    power: float,
) -> torch.Tensor:
    """The sum of `-power log sigmoid(s+) - sum log(1 - sigmoid(s-))`: BCE with power 1, else gBCE."""
    positive, others = _positive_and_negative_logits(hidden, items, targets, negatives, seen)
    return power * functional.softplus(-positive.float()).sum() + functional.softplus(others.float()).sum()


def _normal(n_rows: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    return torch.empty(n_rows, dim, dtype=torch.float32).normal_(0, 0.02, generator=generator)


def _uniform(n_out: int, n_in: int, generator: torch.Generator) -> torch.Tensor:
    """Weights `(n_out, n_in)` that keep the variance of signals (Glorot & Bengio, 2010)."""
    limit = (6 / (n_in + n_out)) ** 0.5
    return torch.empty(n_out, n_in, dtype=torch.float32).uniform_(-limit, limit, generator=generator)
