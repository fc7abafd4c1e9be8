"""Losses and gradients of NCF on a CPU, by kernels and BLAS; imported by `ncf`, as this module imports torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch

from recctl.data.matrix import Float32Array, Int32Array, Int64Array
from recctl.kernels import pair_sides, pair_tower

# Pairs of a batch go through the network in parts, each with gradients of its upper layers to add up to.
_PAIRS, _MOST_PARTS = 512, 16
# About how many rows of users' or items' vectors a task takes through the first layer.
_ROWS = 768


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
        self._rooms = _Rooms()
        self._out = self._weights.get("out_gmf", np.empty(0, np.float32))
        self._user, self._item = (_Side(side, self._weights, self._gradients) for side in ("user", "item"))

    def __call__(self, users: Int32Array, items: Int32Array, key: int, dropout: float, apart: bool) -> Loss:
        """The sum of the losses; its `backward` adds to the gradients of the network.

        Args:
            users: A user a row.
            items: The item that was, then those that were not, `(n, m)`.
            key: What is dropped follows from it.
            dropout: Share of outputs that is dropped.
            apart: As `recctl.kernels.pair_tower.losses` has it.
        """
        n, m = items.size, items.shape[1]
        user, item = self._user, self._item
        user.take(users.repeat(m))
        item.take(items.ravel())
        self._each(_call, user.forward() + item.forward())
        upper = np.concatenate([self._weights[name].ravel() for name in self._upper_names])
        n_parts = min(-(-n // _PAIRS), _MOST_PARTS)
        d_products, d_first = self._rooms("d_products", n), self._rooms("d_first", n, user.half.shape[1])
        d_upper = self._rooms("d_upper", n_parts, len(upper))

        def part(at: int) -> float:
            begin, end = at * n // n_parts, (at + 1) * n // n_parts
            loss: float = pair_tower.losses(
                *(user.codes[begin:end], item.codes[begin:end], user.rows[begin:end], item.rows[begin:end], begin, m),
                *(user.vectors, item.vectors, user.half, item.half, self._out, upper),
                *(self._widths, key, dropout, apart, d_products[begin:end], d_first[begin:end], d_upper[at]),
            )
            return loss

        total = sum(self._each(part, range(n_parts)))

        def add(factor: float) -> None:
            tasks = user.backward(factor, self._out, item, d_products, d_first)
            tasks += item.backward(factor, self._out, user, d_products, d_first)
            self._each(_call, tasks)
            self._add_shared(factor, d_upper.sum(axis=0))

        return Loss(total, add)

    def _add_shared(self, factor: float, d_upper: Float32Array) -> None:
        """Add the gradients of what all users and items go through."""
        for side in (self._user, self._item):
            side.add_layer()
        if "out_gmf" in self._gradients:
            # Each pair has one user and one item: gradients that are summed up over either's are those of all pairs.
            for of_weights, _ in self._user.kept:
                self._gradients["out_gmf"] += of_weights
        d_upper *= np.float32(factor)
        at = 0
        for name in self._upper_names:
            gradient = self._gradients[name]
            gradient += d_upper[at : at + gradient.size].reshape(gradient.shape)
            at += gradient.size


class Loss:
    """As much of a tensor as a step needs: autograd takes a third of a millisecond to come to one function and back.

    Args:
        total: Its value.
        add: Adds gradients times a factor where they belong.
        factor: That factor.
    """

    def __init__(self, total: float, add: Callable[[float], None], factor: float = 1.0) -> None:
        self._total, self._add, self._factor = total, add, factor

    def __truediv__(self, divisor: float) -> Loss:
        return Loss(self._total / divisor, self._add, self._factor / divisor)

    def backward(self) -> None:
        """Add the gradients."""
        self._add(self._factor)

    def item(self) -> float:
        """The value."""
        return self._total

    def detach(self) -> torch.Tensor:
        """The value, as a tensor."""
        return torch.tensor(self._total)


def _call(task: Callable[[], None]) -> None:
    task()


class _Rooms:
    """Arrays by name that are kept from batch to batch: fresh memory comes in pages that must be cleared first."""

    def __init__(self) -> None:
        self._kept: dict[str, Float32Array] = {}

    def __call__(self, name: str, *shape: int) -> Float32Array:
        size = prod(shape)
        if name not in self._kept or self._kept[name].size < size:
            self._kept[name] = np.empty(size, np.float32)
        return self._kept[name][:size].reshape(shape)


class _Side:
    """The users, or items, of a batch: what pairs take of them, and what gradients of pairs give to them.

    Attributes:
        vectors: All vectors for the product.
        codes: The user, or item, of each pair.
        rows: Of each pair, the row of `half`.
        half: What the distinct ones give to the first layer, `(n, width)`.
        kept: Of each task of `backward`: gradients of the product's weights and of the layer.
    """

    codes: Int32Array
    rows: Int32Array
    half: Float32Array
    kept: list[tuple[Float32Array, Float32Array]]

    def __init__(self, side: str, weights: dict[str, Float32Array], gradients: dict[str, Float32Array]) -> None:
        none = np.empty((0, 0), np.float32)
        names = f"{side}_gmf", f"{side}_mlp", f"first_{side}"
        self.vectors, self._vectors, self._layer = (weights.get(name, none) for name in names)
        self._d_products, self._d_vectors, self._d_layer = (gradients.get(name, none) for name in names)
        n = max(len(self.vectors), len(self._vectors))
        self._numbers, self._distinct = np.full(n, -1, np.int32), np.empty(n, np.int32)
        self._starts, self._rooms = np.empty(n + 1, np.int32), _Rooms()

    def take(self, codes: Int32Array) -> None:
        """Make room for those of a batch, given that of each pair."""
        self.codes, self.rows, self._order = codes, np.empty_like(codes), np.empty_like(codes)
        n = pair_sides.group(codes, self._numbers, self.rows, self._distinct, self._starts, self._order)
        width, dim = self._layer.shape
        self.half, self._taken = self._rooms("half", n, width), self._rooms("taken", n, dim)
        # As many for users as for items, and even: two threads then have alike to do.
        n_tasks = 2 * -(-n // (2 * _ROWS))
        self._tasks = [(at * n // n_tasks, (at + 1) * n // n_tasks) for at in range(n_tasks)]

    def forward(self) -> list[Callable[[], None]]:
        """The calls that fill in `half`."""
        if not self._layer.size:
            return []
        return [partial(self._forward, slice(*task)) for task in self._tasks]

    def _forward(self, rows: slice) -> None:
        pair_sides.halves(self._distinct[rows], self._vectors, self._layer, self._taken[rows], self.half[rows])

    def backward(
        self, factor: float, weights: Float32Array, other: _Side, d_products: Float32Array, d_first: Float32Array
    ) -> list[Callable[[], None]]:
        """The calls that add gradients times a factor to those of vectors, and fill in `kept`."""
        d, shape = len(weights), self._layer.shape
        self.kept = [(np.empty(d, np.float32), np.empty(shape, np.float32)) for _ in self._tasks]

        def task(at: int) -> None:
            problem = self._distinct, *self._tasks[at], factor, self._starts, self._order
            of_weights, of_layer = self.kept[at]
            if self.vectors.size:
                pair_sides.add_products(
                    *(*problem, d_products, other.codes, other.vectors, self.vectors, weights),
                    *(self._d_products, of_weights),
                )
            if self._layer.size:
                pair_sides.add_halves(*problem, d_first, self._layer, self._taken, self._d_vectors, of_layer)

        return [partial(task, at) for at in range(len(self._tasks))]

    def add_layer(self) -> None:
        """Add the gradients of the layer that `backward` kept."""
        for _, of_layer in self.kept:
            self._d_layer += of_layer
