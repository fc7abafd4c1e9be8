"""The network of LightGCN and its losses. Imports torch, so `recctl.models.lightgcn` imports it only to train."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.functional import softplus

from recctl.data.matrix import InteractionMatrix
from recctl.kernels import negative_sampling, propagation

# Rows of the softmax per block: their logits stay in the cache.
_ROWS = 512


class LightGCNNetwork(nn.Module):
    """Embeddings of all users, then of all items, and the graph over which they are propagated.

    Args:
        graph: The normalized symmetric adjacency, `(n_nodes, n_nodes)`.
        n_users: Number of users, which are the first nodes.
        dim: Length of the embeddings.
        n_layers: Number of propagation layers.
        generator: Source of the initial embeddings (Glorot & Bengio, 2010).
        by_cosine: Whether scores are cosines of the propagated embeddings, not products.
    """

    starts: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor

    def __init__(
        self,
        graph: InteractionMatrix,
        n_users: int,
        dim: int,
        n_layers: int,
        generator: torch.Generator,
        by_cosine: bool = False,
    ) -> None:
        super().__init__()
        self.n_users = n_users
        self.n_layers = n_layers
        self.by_cosine = by_cosine
        parts = [torch.empty(n, dim, dtype=torch.float32) for n in (n_users, graph.n_rows - n_users)]
        for part in parts:
            nn.init.xavier_uniform_(part, generator=generator)
        self.vectors = nn.Parameter(torch.cat(parts))
        for name in ("starts", "columns", "values"):
            self.register_buffer(name, torch.from_numpy(getattr(graph, name)), persistent=False)
        self._propagation_buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(
        self, nodes: torch.Tensor, values: torch.Tensor | None = None, candidates: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Propagated embeddings of some nodes, and their embeddings before propagation, both `(b, dim)`.

        Args:
            nodes: The nodes, `(b,)` int64.
            values: Edge weights that replace those of the graph, if edges are dropped.
            candidates: Candidate negatives of each of the first nodes, `(n, m)`; the one with the highest score of each
                row is appended to `nodes`.
        """
        found: tuple[torch.Tensor, torch.Tensor] = _Lookup.apply(  # type: ignore[no-untyped-call]
            self.vectors, nodes, self.values if values is None else values, candidates, self
        )
        return found

    def propagated(self, vectors: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """The mean over layers, `(n_nodes, dim)`, in a buffer that the next call may overwrite."""
        if vectors.device.type == "cpu":
            if self._propagation_buffers is None:
                self._propagation_buffers = torch.empty_like(vectors), torch.empty_like(vectors)
            first, second = self._propagation_buffers
            buffers = (second, first) if vectors is first else self._propagation_buffers
            return torch.from_numpy(
                propagation.propagate(
                    *(self.starts.numpy(), self.columns.numpy(), values.numpy()),
                    *(vectors.detach().numpy(), self.n_layers, (buffers[0].numpy(), buffers[1].numpy())),
                )
            )
        return _mean_by_torch(self.starts, self.columns, values, vectors, self.n_layers)

    def scoring_tables(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What scores of all users need: vectors of users and of items, and what each item adds to a new user's."""
        graph = self.starts, self.columns, self.values
        vectors = self.vectors.detach()
        final = _mean_by_torch(*graph, vectors, self.n_layers)
        before_last = _mean_by_torch(*graph, vectors, self.n_layers - 1)
        degrees = self.starts.diff()[self.n_users :].clamp(min=1)
        shares = self.n_layers / (self.n_layers + 1) / degrees.float().sqrt()
        items = final[self.n_users :]
        if self.by_cosine:
            items = functional.normalize(items)
        return final[: self.n_users], items, before_last[self.n_users :] * shares[:, None]

    def scores(
        self,
        tables: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        users: torch.Tensor | None,
        starts: torch.Tensor | None,
        columns: torch.Tensor | None,
    ) -> torch.Tensor:
        """Scores of every item for each user, `(n, n_items)`.

        Args:
            tables: The result of `scoring_tables`.
            users: User codes, `(n,)`; None for users that the model was not fitted on.
            starts: For those, the position in `columns` at which each history begins, and its end, `(n + 1,)`.
            columns: The items of all histories.
        """
        user_vectors, items, contributions = tables
        if users is not None:
            vectors = user_vectors.index_select(0, users)
        else:
            assert starts is not None  # users or histories are given
            assert columns is not None
            vectors = functional.embedding_bag(
                columns.long(), contributions, starts, mode="sum", include_last_offset=True
            )
            vectors = vectors / starts.diff().clamp(min=1).float().sqrt()[:, None]
        if self.by_cosine:
            vectors = functional.normalize(vectors)
        return vectors @ items.T


def _mean_by_torch(
    starts: torch.Tensor, columns: torch.Tensor, values: torch.Tensor, vectors: torch.Tensor, n_layers: int
) -> torch.Tensor:
    """The equivalent of `propagation.propagate` on other devices."""
    with torch.autocast(vectors.device.type, enabled=False):
        graph_product = _graph_product(starts, columns.long(), values)
        mean = vectors
        for _ in range(n_layers):
            mean = vectors + graph_product(mean)
        return mean / (n_layers + 1)


def _graph_product(
    starts: torch.Tensor, columns: torch.Tensor, values: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function that multiplies the adjacency by dense rows."""
    n_nodes = len(starts) - 1
    if not _has_sparse_matrices(starts.device):
        nodes = torch.arange(n_nodes, device=starts.device)
        rows = torch.repeat_interleave(nodes, starts.diff(), output_size=len(columns))
        return lambda dense: torch.zeros_like(dense).index_add(0, rows, values[:, None] * dense[columns])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        graph = torch.sparse_csr_tensor(starts, columns, values, (n_nodes, n_nodes), check_invariants=False)
    return lambda dense: graph @ dense


def _has_sparse_matrices(device: torch.device) -> bool:
    """Whether torch has products of sparse matrices on a device."""
    return device.type != "mps"


class _Lookup(torch.autograd.Function):
    """Look up propagated and base embeddings in one step, so that both gradients are added into one array."""

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
        mean_gradient, base_gradient = gradients
        gradient = torch.zeros_like(ctx.network.vectors)
        _add_rows(nodes, mean_gradient, gradient)
        gradient = ctx.network.propagated(gradient, values)
        _add_rows(nodes, base_gradient, gradient)
        return gradient, None, None, None, None


def _hardest(vectors: torch.Tensor, users: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    if vectors.device.type == "cpu":
        return torch.from_numpy(negative_sampling.hardest(vectors.numpy(), users.numpy(), candidates.numpy()))
    return _hardest_by_torch(vectors, users, candidates)


def _hardest_by_torch(vectors: torch.Tensor, users: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """The equivalent of `negative_sampling.hardest` on other devices."""
    scores = torch.bmm(vectors[candidates], vectors[users][:, :, None])[:, :, 0]
    return candidates.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0]


def _add_rows(nodes: torch.Tensor, rows: torch.Tensor, out: torch.Tensor) -> None:
    if out.device.type == "cpu":  # torch's index_add_ is slower: it adds one row at a time
        propagation.add_rows(nodes.numpy(), rows.contiguous().numpy(), out.numpy())
    else:
        out.index_add_(0, nodes, rows)


def sampled_softmax(
    users: torch.Tensor,
    items: torch.Tensor,
    negatives: torch.Tensor,
    seen: tuple[torch.Tensor, torch.Tensor],
    weight: float,
) -> torch.Tensor:
    """The sum over pairs of `-log(exp(s+) / (exp(s+) + weight * sum of exp(s-)))`, scores being products.

    Args:
        users: `(b, d)`.
        items: Of the positives, `(b, d)`.
        negatives: Shared by all users, `(m, d)`.
        seen: The negatives that each user has interacted with, which are ignored: row starts `(b + 1,)`, and positions.
        weight: Number of items that a negative represents.
    """
    shift = math.log(weight)  # subtracted from the positives: they are fewer than the negatives

    def pair_losses(
        logits: torch.Tensor, positive: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        positive = positive - shift
        most = torch.maximum(logits.amax(dim=1), positive)
        sums = logits.sub_(most[:, None]).exp_().sum(dim=1) + (positive - most).exp()
        return sums.log() + most - positive, 1 / sums

    loss: torch.Tensor = _Shared.apply(users, items, negatives, *seen, pair_losses)  # type: ignore[no-untyped-call]
    return loss


def mean_bpr(
    users: torch.Tensor, items: torch.Tensor, negatives: torch.Tensor, seen: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """The sum over pairs of the mean over negatives of `-log sigmoid(s+ - s-)`; arguments are as above."""

    def pair_losses(
        logits: torch.Tensor, positive: torch.Tensor, counts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        shares = 1 / counts
        losses = softplus(logits.sub_(positive[:, None])).sum(dim=1) * shares
        logits.sigmoid_()
        return losses, shares

    loss: torch.Tensor = _Shared.apply(users, items, negatives, *seen, pair_losses)  # type: ignore[no-untyped-call]
    return loss


class _Shared(torch.autograd.Function):
    """Loss and gradients with shared negatives, in one pass over blocks of rows, so that few logits exist at a time.

    `pair_losses` gets the logits of the negatives of some pairs `(r, m)`, -inf for seen ones, the logits of the
    positives `(r,)`, the number of unseen negatives `(r,)`. It returns the losses `(r,)` and a factor per row; in
    place, it replaces the logits by their derivatives divided by that factor. The derivative of the positive is
    minus their sum.
    """

    @staticmethod
    def forward(
        ctx: Any,
        users: torch.Tensor,
        items: torch.Tensor,
        negatives: torch.Tensor,
        seen_starts: torch.Tensor,
        seen: torch.Tensor,
        pair_losses: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        positive = (users * items).sum(dim=1)  # (b,)
        counts = (len(negatives) - seen_starts.diff()).clamp(min=1).to(positive)
        of_users, of_negatives = torch.empty_like(users), torch.zeros_like(negatives)
        of_positive = torch.empty_like(positive)
        total = torch.zeros((), device=users.device, dtype=torch.float32)
        cuts = torch.cat((seen_starts[::_ROWS], seen_starts[-1:])).cpu().tolist()
        row_starts = torch.arange(len(users), device=users.device) % _ROWS * len(negatives)
        # With the size of the result, torch need not wait for a GPU to compute it.
        out = torch.repeat_interleave(row_starts, seen_starts.diff(), output_size=len(seen)) + seen
        logits_buffer = users.new_empty((min(_ROWS, len(users)), len(negatives)), dtype=torch.float32)
        for number, begin in enumerate(range(0, len(users), _ROWS)):
            rows = slice(begin, min(begin + _ROWS, len(users)))
            logits = torch.mm(users[rows], negatives.T, out=logits_buffer[: rows.stop - begin])  # (r, m)
            logits.view(-1).index_fill_(0, out[cuts[number] : cuts[number + 1]], -torch.inf)
            losses, factors = pair_losses(logits, positive[rows], counts[rows])
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
