"""Losses and gradients of NCF on a CPU, by kernels and BLAS; imported by `ncf`, as this module imports torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch

from recctl.data.matrix import Float32Array, Int32Array, Int64Array
from recctl.kernels import pair_tower

# Interactions and negatives of a batch go through the network in parts, each with gradients of its own to add up to.
_FEW, _MANY, _MOST_PARTS = 512, 1 << 14, 8
# Rows of users' or items' vectors that a task takes through the first layer.
_ROWS = 384


class Gradients:
    """Adds to the gradients of a network what plain autograd would, rounding aside, for the loss of a batch.

    Every distinct user and item of a batch goes through its half of the first layer once, forward and back: in between,
    pairs are only added up. What is above is done for a few pairs at a time, forward and back while they are in the
    cache. Work is cut by the batch alone, so that results do not depend on the threads.
    """

    def __init__(
        self, network: Any, upper_names: list[str], widths: Int64Array, each: Callable[[Any, Any], list[Any]]
    ) -> None:
        named = dict(network.named_parameters())
        self._weights = {name: weight.detach().numpy() for name, weight in named.items()}
        self._gradients = {name: weight.grad.numpy() for name, weight in named.items()}
        self._upper_names, self._widths, self._each = upper_names, widths, each
        self._sides = [_Side(side, self._weights, self._gradients) for side in ("user", "item")]

    def __call__(self, users: Int32Array, items: Int32Array, key: int, dropout: float, apart: bool) -> torch.Tensor:
        """The sum of the losses; its `backward` adds to the gradients of the network.

        Args:
            users: A user a row.
            items: The item that was, then those that were not, `(n, m)`.
            key: What is dropped follows from it.
            dropout: Share of outputs that is dropped.
            apart: As `recctl.kernels.pair_tower.losses` has it.
        """
        n_parts = 1 if items.size < _FEW else 2 if items.size < _MANY else _MOST_PARTS
        cuts = [at * len(users) // n_parts for at in range(n_parts + 1)]
        places = [side.take(codes, n_parts) for side, codes in zip(self._sides, (users, items), strict=True)]
        self._each(lambda task: task(), [task for side in self._sides for task in side.forward()])
        upper = np.concatenate([self._weights[name].ravel() for name in self._upper_names])
        none = np.empty(0, np.float32)
        out, first_bias = self._weights.get("out_gmf", none), self._weights.get("first_bias", none)
        d_out, d_upper = np.empty((n_parts, len(out)), np.float32), np.empty((n_parts, len(upper)), np.float32)

        def part(at: int) -> float:
            rows, (of_users, of_items) = slice(cuts[at], cuts[at + 1]), self._sides
            loss: float = pair_tower.losses(
                *(places[0][rows], places[1].reshape(items.shape)[rows], cuts[at]),
                *(of_users.product, of_items.product, of_users.half, of_items.half, out, first_bias, upper),
                *(self._widths, key, dropout, apart),
                *(of_users.d_product[at], of_items.d_product[at], of_users.d_half[at], of_items.d_half[at]),
                *(d_out[at], d_upper[at]),
            )
            return loss

        total = sum(self._each(part, range(n_parts)))
        loss: torch.Tensor = _Loss.apply(  # type: ignore[no-untyped-call]
            torch.zeros((), requires_grad=True),
            total,
            lambda factor: self._add(factor, d_out.sum(axis=0), d_upper.sum(axis=0)),
        )
        return loss

    def _add(self, factor: float, d_out: Float32Array, d_upper: Float32Array) -> None:
        self._each(lambda task: task(), [task for side in self._sides for task in side.backward(factor)])
        for side in self._sides:
            side.add_layer()
        if "out_gmf" in self._gradients:
            self._gradients["out_gmf"] += np.float32(factor) * d_out
        at = 0
        for name in self._upper_names:
            gradient = self._gradients[name]
            gradient += np.float32(factor) * d_upper[at : at + gradient.size].reshape(gradient.shape)
            at += gradient.size


class _Side:
    """The distinct users, or items, of a batch: what the network takes of them, and gradients of that in each part.

    Attributes:
        product: Their vectors for the product, `(n, embedding_dim)`.
        half: What they give to the first layer, `(n, width)`.
        d_product: Gradients of `product` in each part, `(n_parts, n, embedding_dim)`.
        d_half: Gradients of `half` in each part, `(n_parts, n, width)`.
    """

    product: Float32Array
    half: Float32Array
    d_product: Float32Array
    d_half: Float32Array

    def __init__(self, side: str, weights: dict[str, Float32Array], gradients: dict[str, Float32Array]) -> None:
        none = np.empty((0, 0), np.float32)
        names = f"{side}_gmf", f"{side}_mlp", f"first_{side}"
        self._product, self._vectors, self._layer = (weights.get(name, none) for name in names)
        self._d_product, self._d_vectors, self._d_layer = (gradients.get(name, none) for name in names)
        # The bias of the first layer is added once for each pair: either side's gradients sum up to its own.
        self._d_bias = gradients.get("first_bias", none[0:0].ravel()) if side == "user" else None
        n = max(len(self._product), len(self._vectors))
        self._numbers, self._distinct = np.full(n, -1, np.int32), np.empty(n, np.int32)
        self._rooms: dict[str, Float32Array] = {}
        self._of_layer: list[tuple[Float32Array, Float32Array]] = []

    def take(self, codes: Int32Array, n_parts: int) -> Int32Array:
        """Make room for those of a batch; returns the row of each of `codes`, flat."""
        places = np.empty(codes.size, np.int32)
        n = pair_tower.number(codes.ravel(), self._numbers, places, self._distinct)
        self._codes = self._distinct[:n]
        d, (width, dim) = self._product.shape[1], self._layer.shape
        self.product, self.half = self._room("product", n, d), self._room("half", n, width)
        self._taken = self._room("taken", n, dim)
        self.d_product, self.d_half = self._room("d_product", n_parts, n, d), self._room("d_half", n_parts, n, width)
        self._tasks = list(pairwise([*range(0, n, _ROWS), n]))
        return places

    def _room(self, name: str, *shape: int) -> Float32Array:
        # Kept from batch to batch: fresh memory comes in pages that must be cleared first.
        size = prod(shape)
        if name not in self._rooms or self._rooms[name].size < size:
            self._rooms[name] = np.empty(size, np.float32)
        return self._rooms[name][:size].reshape(shape)

    def forward(self) -> list[Callable[[], None]]:
        """The calls that fill in `product` and `half`."""
        return [partial(self._forward, slice(*rows)) for rows in self._tasks]

    def _forward(self, rows: slice) -> None:
        if self._product.size:
            pair_tower.take(self._codes[rows], self._product, self.product[rows])
        if self._layer.size:
            pair_tower.take(self._codes[rows], self._vectors, self._taken[rows])
            pair_tower.halves(self._taken[rows], self._layer, self.half[rows])

    def backward(self, factor: float) -> list[Callable[[], None]]:
        """The calls that add gradients times a factor to those of vectors, and keep those of the layer."""
        shape = self._layer.shape
        self._of_layer = [(np.empty(shape, np.float32), np.empty(shape[0], np.float32)) for _ in self._tasks]
        return [partial(self._backward, at, factor) for at in range(len(self._tasks))]

    def _backward(self, at: int, factor: float) -> None:
        problem = self._codes, *self._tasks[at], factor
        if self._product.size:
            pair_tower.add_rows(*problem, self.d_product.reshape(-1, self.product.shape[1]), self._d_product)
        if self._layer.size:
            given = self.d_half.reshape(-1, self.half.shape[1])
            pair_tower.add_halves(*problem, self._layer, self._taken, given, self._d_vectors, *self._of_layer[at])

    def add_layer(self) -> None:
        """Add the gradients of the layer that `backward` kept."""
        for of_layer, of_bias in self._of_layer:
            self._d_layer += of_layer
            if self._d_bias is not None:
                self._d_bias += of_bias


class _Loss(torch.autograd.Function):
    """A loss whose gradients are added where they belong, when autograd comes to it."""

    @staticmethod
    def forward(ctx: Any, _: torch.Tensor, loss: float, add: Callable[[float], None]) -> torch.Tensor:
        ctx.add = add
        return torch.tensor(loss)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None, None]:
        ctx.add(float(gradient))
        return None, None, None
