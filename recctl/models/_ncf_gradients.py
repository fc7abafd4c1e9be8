"""Losses, gradients and steps of NCF on a CPU, by threads that stay in compiled code; imported by `ncf`, with torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from recctl.data.matrix import Float32Array, Int32Array, Int64Array
from recctl.engines import team
from recctl.kernels import ncf_embeddings, ncf_mlp, pair_training
from recctl.kernels.meeting import new_board
from recctl.models.nn.trainer import aligned

if TYPE_CHECKING:
    from recctl.models._adam import KernelAdam

# Pairs of a batch go through the network in parts, each with gradients of its upper layers to add up to.
_PAIRS, _MOST_PARTS = 512, 16
# Numbers of a cache line.
_LINE = 16


class Gradients:
    """Adds to the gradients of a network what plain autograd would, rounding aside, for the loss of a batch.

    Every distinct user and item of a batch goes through its half of the first layer once, forward and back: in between,
    pairs are only added up. What is above is done for a few pairs at a time, forward and back while they are in the
    cache. Work is cut by the batch alone, so that results do not depend on the threads.

    Args:
        network: The network, its weights in one array in the order of its parameters, with gradients.
        optimizer: Takes the steps.
        widths: Of the tower's layers.
        most: Pairs that a batch has at most.
    """

    def __init__(self, network: torch.nn.Module, optimizer: KernelAdam, widths: Int64Array, most: int) -> None:
        named = dict(network.named_parameters())
        weights = {name: weight.detach().numpy() for name, weight in named.items()}
        gradients = {name: weight.grad.numpy() for name, weight in named.items() if weight.grad is not None}
        self._optimizer, self._widths = optimizer, widths
        self._n_parts = _n_parts(most)
        self._moments = pair_training.Moments(*optimizer.arrays())
        self._users, self._items = (_side(side, weights, gradients, most) for side in ("user", "item"))
        n_upper, none = ncf_mlp.upper_size(widths), np.empty(0, np.float32)
        self._pairs = pair_training.Pairs(
            out_gmf=weights.get("out_gmf", none),
            d_out_gmf=gradients.get("out_gmf", none),
            upper=self._moments.weights[-n_upper:],
            d_upper=self._moments.gradient[-n_upper:],
            widths=widths,
            losses=np.zeros(self._n_parts),
            d_products=_room(most),
            d_first=_room(most, int(widths[0]) if len(widths) else 0),
            of_upper=_room(self._n_parts, n_upper),
            rooms=none.reshape(0, 0),
        )
        self._board, self._settings = new_board(pair_training.N_ON_BOARD), np.zeros(pair_training.N_SETTINGS)
        self._size = 1

    @contextmanager
    def working(self) -> Iterator[None]:
        """A block with the threads there are; outside of such a one nothing can be computed."""
        self._board[:] = 0
        room = max(ncf_mlp.room_for(self._widths), len(self._pairs.out_gmf))

        def ready(size: int) -> None:
            self._size, self._pairs = size, self._pairs._replace(rooms=_room(size, -(-room // _LINE) * _LINE))

        with team(self._n_parts, ready, self._take_part, lambda: self._do(pair_training.LEAVE)):
            self._optimizer.spread = self._step
            try:
                yield
            finally:
                self._optimizer.spread = None

    def __call__(self, users: Int32Array, items: Int32Array, key: int, dropout: float, apart: bool) -> Loss:
        """The sum of the losses; its `backward` adds to the gradients of the network.

        Args:
            users: A user a row.
            items: The item that was, then those that were not, `(n, m)`.
            key: What is dropped follows from it.
            dropout: Share of outputs that is dropped.
            apart: Whether product and tower are to be right each for itself: the loss is the mean of theirs.
        """
        n, m = items.size, items.shape[1]
        self._users.codes[:n].reshape(items.shape)[:] = users[:, None]
        self._items.codes[:n] = items.ravel()
        n_parts = _n_parts(n)
        board = self._board
        board[pair_training.N], board[pair_training.M], board[pair_training.N_PARTS] = n, m, n_parts
        board[pair_training.KEY], board[pair_training.APART] = key, apart
        self._settings[pair_training.DROPOUT] = dropout
        self._do(pair_training.COMPUTE)
        return Loss(float(self._pairs.losses[:n_parts].sum()), self._add)

    def _add(self, factor: float) -> None:
        self._settings[pair_training.FACTOR] = factor
        self._do(pair_training.ADD)

    def _step(self, *numbers: float) -> None:
        self._settings[pair_training.ADAM :] = numbers
        self._do(pair_training.STEP)

    def _do(self, what: int) -> None:
        self._board[pair_training.WHAT] = what
        self._take_part(0)

    def _take_part(self, rank: int) -> None:
        pair_training.take_part(
            rank, self._size, self._board, self._settings, self._users, self._items, self._pairs, self._moments
        )


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


def _n_parts(n_pairs: int) -> int:
    """Into how many parts so many pairs are cut: an even number, so that two threads have alike to do."""
    return min(2 * -(-n_pairs // (2 * _PAIRS)), _MOST_PARTS)


def _room(*shape: int) -> Float32Array:
    return aligned(np.zeros(prod(shape), np.float32)).reshape(shape)


def _side(
    side: str, weights: dict[str, Float32Array], gradients: dict[str, Float32Array], most: int
) -> ncf_embeddings.Side:
    """The users, or items, with room for batches of so many pairs."""
    none = np.empty((0, 0), np.float32)
    names = f"{side}_gmf", f"{side}_mlp", f"first_{side}"
    factors, vectors, layer = (weights.get(name, none) for name in names)
    d_factors, d_vectors, d_layer = (gradients.get(name, none) for name in names)
    n = max(len(factors), len(vectors))
    n_rows, (width, dim) = min(n, most), layer.shape
    n_tasks = pair_training.n_tasks(n_rows)
    return ncf_embeddings.Side(
        factors=factors,
        vectors=vectors,
        layer=layer,
        d_factors=d_factors,
        d_vectors=d_vectors,
        d_layer=d_layer,
        numbers=np.full(n, -1, np.int32),
        codes=np.zeros(most, np.int32),
        places=np.zeros(most, np.int32),
        order=np.zeros(most, np.int32),
        distinct=np.zeros(n_rows, np.int32),
        starts=np.zeros(n_rows + 1, np.int32),
        taken=_room(n_rows, dim),
        half=_room(n_rows, width),
        of_weights=_room(n_tasks, factors.shape[1]),
        of_layer=_room(n_tasks, width, dim),
    )
