"""The network of LightGCN; imported by `lightgcn` when it is trained, as this module imports torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import softplus

from recctl.data.matrix import InteractionMatrix
from recctl.kernels import negative_sampling, propagation

# Rows of the softmax that are computed at once: their logits stay in the cache.
_ROWS = 512


class LightGCNNetwork(nn.Module):
    """Vectors of all users, then of all items, and the graph they are propagated over.

    Args:
        graph: The normalised adjacency, symmetric, `(n_nodes, n_nodes)`.
        n_users: The first nodes are users.
        dim: Length of the vectors.
        n_layers: How far they are propagated.
        generator: Draws the first vectors (Glorot & Bengio, 2010).
    """

    starts: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor

    def __init__(
        self, graph: InteractionMatrix, n_users: int, dim: int, n_layers: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_layers = n_layers
        parts = [torch.empty(n, dim) for n in (n_users, graph.n_rows - n_users)]
        for part in parts:
            nn.init.xavier_uniform_(part, generator=generator)
        self.vectors = nn.Parameter(torch.cat(parts))
        for name in ("starts", "columns", "values"):
            self.register_buffer(name, torch.from_numpy(getattr(graph, name)), persistent=False)
        self._rooms: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(
        self, nodes: torch.Tensor, values: torch.Tensor | None = None, candidates: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What propagation makes of some nodes' vectors, and these vectors themselves, both `(b, dim)`.

        Args:
            nodes: Which, `(b,)` int64.
            values: Values of the graph instead of its own, where some edges are dropped.
            candidates: For each of the first nodes, `(n, m)`; the one of a row that scores highest is looked up too,
                after `nodes`.
        """
        found: tuple[torch.Tensor, torch.Tensor] = _Lookup.apply(  # type: ignore[no-untyped-call]
            self.vectors, nodes, self.values if values is None else values, candidates, self
        )
        return found

    def propagated(self, vectors: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The mean over layers, `(n_nodes, dim)`, in a room that the next call may write to."""
        if vectors.device.type == "cpu":
            if self._rooms is None:
                self._rooms = torch.empty_like(vectors), torch.empty_like(vectors)
            first, second = self._rooms
            rooms = (second, first) if vectors is first else self._rooms
            return torch.from_numpy(
                propagation.propagate(
                    *(self.starts.numpy(), self.columns.numpy(), values.numpy()),
                    *(vectors.detach().numpy(), self.n_layers, (rooms[0].numpy(), rooms[1].numpy())),
                )
            )
        return _mean_by_torch(self.starts, self.columns, values, vectors, self.n_layers)


def _mean_by_torch(
    starts: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, vectors: torch.Tensor, n_layers: int
) -> torch.Tensor:
    """`propagation.propagate` for other devices."""
    with torch.autocast(vectors.device.type, enabled=False):
        graph = torch.sparse_csr_tensor(starts, columns.long(), values, (len(vectors), len(vectors)))
        mean = vectors
        for _ in range(n_layers):
            mean = vectors + graph @ mean
        return mean / (n_layers + 1)


class _Lookup(torch.autograd.Function):
    """Nodes' vectors, propagated and as they are, in one step: gradients of both meet in one array over all nodes."""

    @staticmethod
    def forward(
        ctx: Any,
        vectors: torch.Tensor,
        nodes: torch.Tensor,
        values: torch.Tensor,
        candidates: torch.Tensor | None,
        network: LightGCNNetwork,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mean = network.propagated(vectors, values)
        if candidates is not None:
            nodes = torch.cat((nodes, _hardest(mean, nodes[: len(candidates)], candidates)))
        ctx.save_for_backward(nodes, values)
        ctx.network = network
        return mean[nodes], vectors[nodes]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        nodes, values = ctx.saved_tensors
        of_mean, of_own = gradients
        gradient = torch.zeros_like(ctx.network.vectors)
        _add_rows(nodes, of_mean, gradient)
        gradient = ctx.network.propagated(gradient, values)
        _add_rows(nodes, of_own, gradient)
        return gradient, None, None, None, None


def _hardest(vectors: torch.Tensor, users: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    if vectors.device.type == "cpu":
        return torch.from_numpy(negative_sampling.hardest(vectors.numpy(), users.numpy(), candidates.numpy()))
    return _hardest_by_torch(vectors, users, candidates)


def _hardest_by_torch(vectors: torch.Tensor, users: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """`sampling.hardest` for other devices."""
    scores = torch.bmm(vectors[candidates], vectors[users][:, :, None])[:, :, 0]
    return candidates.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]


def _add_rows(nodes: torch.Tensor, rows: torch.Tensor, out: torch.Tensor) -> None:
    if out.device.type == "cpu":  # torch's own adds rows one call after another
        propagation.add_rows(nodes.numpy(), rows.contiguous().numpy(), out.numpy())
    else:
        out.index_add_(0, nodes, rows)


def sampled_softmax(
    users: torch.Tensor,
    items: torch.Tensor,
    negatives: torch.Tensor,
    had: tuple[torch.Tensor, torch.Tensor],
    weight: float,
) -> torch.Tensor:
    """The sum over pairs of `-log(exp(s+) / (exp(s+) + weight * sum of exp(s-)))`, scores being products.

    Args:
        users: `(b, d)`.
        items: Of the positives, `(b, d)`.
        negatives: Shared by all, `(m, d)`.
        had: The negatives that each user had, which don't count: row starts `(b + 1,)`, and positions.
        weight: How many items a negative stands for.
    """
    shift = math.log(weight)  # of the positives: there are fewer of them

    def told(logits: torch.Tensor, positive: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        positive = positive - shift
        most = torch.maximum(logits.amax(dim=1), positive)
        sums = logits.sub_(most[:, None]).exp_().sum(dim=1) + (positive - most).exp()
        return sums.log() + most - positive, 1 / sums

    loss: torch.Tensor = _Shared.apply(users, items, negatives, *had, told)  # type: ignore[no-untyped-call]
    return loss


def mean_bpr(
    users: torch.Tensor, items: torch.Tensor, negatives: torch.Tensor, had: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """The sum over pairs of the mean over negatives of `-log sigmoid(s+ - s-)`; arguments are as above."""

    def told(logits: torch.Tensor, positive: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shares = 1 / counts
        losses = softplus(logits.sub_(positive[:, None])).sum(dim=1) * shares
        logits.sigmoid_()
        return losses, shares

    loss: torch.Tensor = _Shared.apply(users, items, negatives, *had, told)  # type: ignore[no-untyped-call]
    return loss


class _Shared(torch.autograd.Function):
    """Loss and gradients of negatives that are shared, in one pass over blocks: a batch's logits are never all there.

    A function is given the logits of some pairs' negatives `(r, m)`, -inf for those that the user had, of their
    positives `(r,)`, and how many negatives the user had not `(r,)`. It gives the losses `(r,)`, and turns the logits
    into their derivatives, but for a factor of each row that it gives too; that of the positive makes their sum 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: torch.Tensor,
        items: torch.Tensor,
        negatives: torch.Tensor,
        had_starts: torch.Tensor,
        had: torch.Tensor,
        told: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        positive = (users * items).sum(dim=1)  # (b,)
        counts = (len(negatives) - had_starts.diff()).clamp(min=1).to(positive)
        of_users, of_negatives = torch.empty_like(users), torch.zeros_like(negatives)
        of_positive = torch.empty_like(positive)
        total = torch.zeros((), device=users.device)
        cuts = had_starts[::_ROWS].tolist() + had_starts[-1:].tolist()
        row_starts = torch.arange(len(users), device=users.device) % _ROWS * len(negatives)
        out = torch.repeat_interleave(row_starts, had_starts.diff()) + had
        room = torch.empty((min(_ROWS, len(users)), len(negatives)), device=users.device)
        for number, begin in enumerate(range(0, len(users), _ROWS)):
            rows = slice(begin, min(begin + _ROWS, len(users)))
            logits = torch.mm(users[rows], negatives.T, out=room[: rows.stop - begin])  # (r, m)
            logits.view(-1).index_fill_(0, out[cuts[number] : cuts[number + 1]], -torch.inf)
            losses, factors = told(logits, positive[rows], counts[rows])
            total += losses.sum()
            of_positive[rows] = -logits.sum(dim=1) * factors
            torch.mm(logits, negatives, out=of_users[rows]).mul_(factors[:, None])
            of_negatives.addmm_(logits.T, users[rows] * factors[:, None])
        of_users.addcmul_(of_positive[:, None], items)
        ctx.save_for_backward(of_users, of_positive[:, None] * users, of_negatives)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_users, of_items, of_negatives = ctx.saved_tensors
        return of_users * gradients[0], of_items * gradients[0], of_negatives * gradients[0], None, None, None
