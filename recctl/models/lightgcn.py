"""LightGCN: vectors of users and items that are averaged over their neighbours in the graph of interactions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from recctl import rng
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.errors import ArtifactError
from recctl.kernels import matmul, propagation
from recctl.kernels.negative_sampling import sample_negatives, seen_among
from recctl.models.base import Embeddings
from recctl.models.base.hyperparameters import Between, Choices, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, normalize_rows
from recctl.models.factors.vectors import unit_rows
from recctl.models.nn.torch_recommender import TorchRecommender

if TYPE_CHECKING:
    import torch

_NO_VALUES = np.empty(0, np.float32)


class _Batch(NamedTuple):
    """Pairs of a step, and what they are told from; nodes count users first, then items."""

    nodes: torch.Tensor
    """Users `(b,)`, their items `(b,)`, and negatives: one for each pair, or shared, or none that is chosen yet."""
    n_pairs: int
    candidates: torch.Tensor | None
    """Nodes of which the hardest is to be the negative, `(b, hardest_of)`."""
    had: tuple[torch.Tensor, torch.Tensor] | None
    """Of shared negatives, those that each user had."""
    values: torch.Tensor | None
    """Of the graph, where edges are dropped."""


class LightGCNRecommender(TorchRecommender):
    """LightGCN (He et al., 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation").

    With `A` the graph of users and items, an edge of a user with `d_u` items and an item with `d_i` users weighing
    `1 / sqrt(d_u d_i)` (eq. 3), and `E0` a vector for each, the model is the mean over layers (eq. 4, 8)

        E = (E0 + A E0 + A^2 E0 + ... + A^n_layers E0) / (n_layers + 1)

    and scores are products of its rows. Only `E0` is learnt. Minimises, as a mean over interactions (u, i), `loss`:

        bpr              -log sigmoid(e_u . e_i - e_u . e_j), j an item drawn that u had not        (eq. 15);
                         with `hardest_of` m, that of m drawn whose e_u . e_j is largest (Zhang et al., 2013,
                         "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling")
        mean_bpr         the same, as the mean over `n_negatives` drawn for a batch, less those that u had: what bpr
                         is on average, with less noise, so that it takes fewer steps
        sampled_softmax  -log softmax of cos(e_u, e_i) / temperature among the items that u had not, their sum
                         estimated from `n_negatives` drawn for a batch (Wu et al., 2024, "On the Effectiveness of
                         Sampled Softmax Loss for Item Recommendation"); users then rank by cosine

    plus `reg / 2` times the squares of the rows of `E0` that the batch looks up. Ratings are not looked at.

    A step propagates once forward and once back, O(n_layers interactions embedding_dim), whatever the batch: the
    larger `batch_size`, the cheaper an epoch. Shared negatives add O(n_negatives embedding_dim) for each interaction,
    bpr O(hardest_of embedding_dim). With one negative drawn for each, most are told from soon, and steps are mostly
    noise: mean_bpr, with 1,024, bears a `learning_rate` of 0.06 on Gowalla, and comes in 40 epochs to a recall@20 of
    0.184, published for up to 1,000. `hardest_of` 32 learns as fast, but came to 0.167 there.
    Memory is `4 embedding_dim (n_users + n_items)` bytes, eight times that in training.

    A stranger with `d` items has no row of `E0`, and changes no item. What is left of eq. 3 and 4 is its row

        e = sum over its items i of (E0 + A E0 + ... + A^(n_layers - 1) E0)_i / sqrt(d d_i) / (n_layers + 1)

    `similar_items` is by the cosine of rows of `E`. Results follow from `seed`; propagation does not depend on the
    number of threads, other products may in the last digits.

    An epoch goes through all interactions, or, as the authors' code does, draws as many pairs, each of a user drawn
    from all alike and one of the user's items (`sampling`): people then count the same, as they do in metrics, and not
    by how much they did.

    Not as in the paper: sampled_softmax is the default, BPR the paper's; `reg` weighs a mean over the batch, as the
    authors' code has it; negatives of sampled_softmax are not regularised; the last batch of an epoch is smaller.
    """

    name = "lightgcn"
    too_large_advice: ClassVar[str] = "lower embedding_dim, or raise data.min_item_interactions"

    n_layers: int = hyperparameter(3, ge=1, help="How far vectors are propagated.", search=Between(1, 4))
    loss: Literal["sampled_softmax", "bpr", "mean_bpr"] = hyperparameter(
        "sampled_softmax", help="What is minimised; bpr is the paper's.", search=Choices(("sampled_softmax", "bpr"))
    )
    reg: float = hyperparameter(
        0.0001, ge=0, help="Weight of the squares of a batch's vectors.", search=Between(1e-6, 1e-2, log=True)
    )
    temperature: float = hyperparameter(
        0.15,
        gt=0,
        help="Of sampled_softmax: lower looks at the hardest items only.",
        search=Between(0.05, 0.5, log=True),
    )
    n_negatives: int = hyperparameter(
        1024, ge=1, help="Items drawn for a batch of sampled_softmax or mean_bpr; bpr draws for each interaction."
    )
    hardest_of: int = hyperparameter(
        1,
        ge=1,
        help="Items drawn for each interaction of bpr, of which the highest scored counts.",
        search=Choices((1, 4, 16)),
    )
    sampling: Literal["interactions", "users"] = hyperparameter(
        "interactions", help="What an epoch draws: every interaction once, or users alike, each time an item of theirs."
    )
    edge_dropout: float = hyperparameter(
        0.0, ge=0, lt=1, help="Share of the graph's edges left out of each step.", search=Between(0.0, 0.5)
    )
    batch_size: int = hyperparameter(2048, ge=1, help="Interactions a step.", search=Choices((1024, 2048, 4096, 8192)))
    epochs: int = hyperparameter(100, ge=1, help="How often the interactions are gone through, at most.")

    # ---- training

    def _network(self) -> torch.nn.Module:
        from recctl.models.nn.lightgcn import LightGCNNetwork

        generator = self._generator("init")
        return LightGCNNetwork(self._graph, self.seen.n_rows, self.embedding_dim, self.n_layers, generator)

    @property
    def _graph(self) -> InteractionMatrix:
        """The normalised adjacency of users, then items; kept, unlike what follows from the weights."""
        if "_adjacency" not in vars(self):
            self._adjacency = _normalised(self.seen)
        return self._adjacency

    def _batches(self, interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[_Batch]:
        import torch

        seen = interactions.matrix
        order = self._order(rng.stream(self.seed, "shuffle", epoch))
        users = seen.rows[order]
        negatives, edges = (rng.stream(self.seed, name, epoch) for name in ("negatives", "edges"))
        key = rng.key(self.seed, "negatives", epoch)
        positions = seen.transpose_with_positions()[1] if self.edge_dropout else None
        for begin in range(0, seen.nnz, batch_size):
            part = slice(begin, begin + batch_size)
            candidates, had, others = None, None, np.empty(0, np.int32)
            if self.loss == "bpr":
                had_not = seen.starts, seen.columns, users[part], seen.n_columns
                drawn = sample_negatives(key, *had_not, self.hardest_of, first=begin)
                if self.hardest_of == 1:
                    others = drawn[:, 0]
                else:
                    candidates = torch.from_numpy(drawn + np.int64(seen.n_rows))
            else:
                n = min(self.n_negatives, seen.n_columns)
                others = negatives.choice(seen.n_columns, n, replace=False).astype(np.int32)
                found = seen_among(seen.starts, seen.columns, users[part], others, seen.n_columns)
                had = torch.from_numpy(found[0]), torch.from_numpy(found[1]).long()
            items = np.concatenate((seen.columns[order[part]], others)) + np.int64(seen.n_rows)
            nodes = torch.from_numpy(np.concatenate((users[part], items)))
            values = None if positions is None else self._with_edges_dropped(edges, positions)
            yield _Batch(nodes, len(users[part]), candidates, had, values)

    def _order(self, generator: np.random.Generator) -> Int64Array:
        """Where in the interactions the pairs of an epoch stand, `(n_interactions,)`."""
        seen = self.seen
        if self.sampling == "interactions":
            return generator.permutation(seen.nnz)
        lengths = np.diff(seen.starts)
        users = generator.choice(np.flatnonzero(lengths), seen.nnz)
        # Below the length even where it is rounded: a double has more places than a history has items.
        order: Int64Array = seen.starts[users] + (generator.random(seen.nnz) * lengths[users]).astype(np.int64)
        return order

    def _with_edges_dropped(self, generator: np.random.Generator, positions: Int64Array) -> torch.Tensor:
        """Values of the graph with some edges left out, and the others so much heavier.

        Args:
            generator: Draws which.
            positions: Where each entry of the turned interactions stands in the interactions.
        """
        import torch

        kept = generator.random(self.seen.nnz, np.float32) >= np.float32(self.edge_dropout)
        factor = kept / np.float32(1 - self.edge_dropout)
        return torch.from_numpy(self._graph.values * np.concatenate((factor, factor[positions])))

    def _loss(self, network: torch.nn.Module, batch: _Batch) -> tuple[torch.Tensor, int]:
        import torch
        from torch.nn.functional import logsigmoid, normalize

        from recctl.models.nn.lightgcn import mean_bpr, sampled_softmax

        device, n = self._device, batch.n_pairs
        values = None if batch.values is None else batch.values.to(device)
        candidates = None if batch.candidates is None else batch.candidates.to(device)
        rows, own = network(batch.nodes.to(device), values, candidates)
        if batch.had is None:
            users, items, others = rows[:n], rows[n : 2 * n], rows[2 * n :]
            loss = -logsigmoid((users * (items - others)).sum(dim=1)).sum()
            return loss + self.reg / 2 * torch.linalg.vector_norm(own).square(), n
        had = batch.had[0].to(device), batch.had[1].to(device)
        squares = torch.linalg.vector_norm(own[: 2 * n]).square()
        if self.loss == "mean_bpr":
            others = rows[2 * n :]
            loss = mean_bpr(rows[:n], rows[n : 2 * n], others, had)
            squares = squares + n / len(others) * torch.linalg.vector_norm(own[2 * n :]).square()
        else:
            unit = normalize(rows)
            users, items, others = unit[:n] / self.temperature, unit[n : 2 * n], unit[2 * n :]
            loss = sampled_softmax(users, items, others, had, len(self.item_vocabulary) / len(others))
        return loss + self.reg / 2 * squares, n

    # ---- answering

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        vectors, items = self._final
        if users is not None:
            people = vectors[users]
        else:
            people = np.empty((histories.n_rows, self.embedding_dim), np.float32)
            matmul.sparse_dense(histories.starts, histories.columns, _NO_VALUES, self._given_by_items, people)
            people /= np.sqrt(np.maximum(np.diff(histories.starts), 1)).astype(np.float32)[:, None]
        if self.loss == "sampled_softmax":
            people, items = unit_rows(people), self._unit_items
        scores: Float32Array = people @ items.T
        return scores

    def embeddings(self) -> Embeddings:
        """The rows of E; with sampled_softmax at length 1."""
        users, items = self._final
        if self.loss == "sampled_softmax":
            return Embeddings(unit_rows(users), self._unit_items)
        return Embeddings(users, items)

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        had = histories.is_nonzero().cast(np.float32)
        counts = graph.apply("Max", had.sum(1, keepdims=True), np.float32(1))
        people = had @ graph.constant(self._given_by_items, "given") / graph.apply("Sqrt", counts)
        if self.loss == "sampled_softmax":
            people = normalize_rows(people)
        return people.matmul_transposed(graph.constant(self.embeddings().items, "items"))

    def _similarity(self, items: Int32Array) -> Float32Array:
        similarity: Float32Array = self._unit_items[items] @ self._unit_items.T
        return similarity

    @cached_property
    def _final(self) -> tuple[Float32Array, Float32Array]:
        """E: the rows of users, and those of items."""
        vectors = self._propagated(self.n_layers)
        return vectors[: self.seen.n_rows], vectors[self.seen.n_rows :]

    @cached_property
    def _unit_items(self) -> Float32Array:
        """The rows of items at length 1."""
        return unit_rows(self._final[1])

    @cached_property
    def _given_by_items(self) -> Float32Array:
        """What an item adds to a stranger that had it, but for the stranger's own degree: all layers but the last."""
        vectors = self._vectors if self.n_layers == 1 else self._propagated(self.n_layers - 1)
        degrees = np.maximum(self.seen.column_counts(), 1)
        share = self.n_layers / (self.n_layers + 1) / np.sqrt(degrees)
        return vectors[self.seen.n_rows :] * share[:, None].astype(np.float32)

    @property
    def _vectors(self) -> Float32Array:
        """E0, `(n_users + n_items, embedding_dim)`."""
        shape = self.seen.n_rows + self.seen.n_columns, self.embedding_dim
        if self.weights.size != shape[0] * shape[1]:
            raise ArtifactError(f"lightgcn: {self.weights.size:,} weights, not {shape[0]:,} x {shape[1]}")
        return self.weights.reshape(shape)

    def _propagated(self, n_layers: int) -> Float32Array:
        graph = self._graph
        found: Float32Array = propagation.propagate(graph.starts, graph.columns, graph.values, self._vectors, n_layers)
        return found

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Weights, gradients, Adam's moments, the best so far, rooms to propagate in; the graph, an epoch's pairs.

        And the vectors of a batch, a dozen times on their way to the loss and back, with what is drawn for it.
        """
        batch = min(self.batch_size, n_interactions)
        vectors = 32 * (n_users + n_items) + 48 * batch
        return self.embedding_dim * vectors + 60 * n_interactions + 12 * self.hardest_of * batch


def _normalised(seen: InteractionMatrix) -> InteractionMatrix:
    """The symmetric graph of users and items, `(n_users + n_items, n_users + n_items)`."""
    turned = seen.transpose()
    n = seen.n_rows + seen.n_columns
    starts = np.concatenate((seen.starts, seen.nnz + turned.starts[1:]))
    columns = np.concatenate((seen.columns + np.int32(seen.n_rows), turned.columns))
    degrees = np.diff(starts)
    values = 1 / np.sqrt(np.repeat(degrees, degrees) * degrees[columns].astype(np.float64))
    return InteractionMatrix(starts, columns, values.astype(np.float32), n)
