"""LightGCN: embeddings that are averaged over neighbors in the graph of interactions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, assert_never

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
from recctl.models.nn.flat_weights import WeightShapes
from recctl.models.nn.torch_recommender import TorchRecommender

if TYPE_CHECKING:
    import torch

_NO_VALUES = np.empty(0, np.float32)
# By loss: whether negatives are shared by the pairs of a batch, and whether scores are cosines. A loss without an entry
# is an error: it must not silently be trained, or ranked, like another one.
_SHARES_NEGATIVES = {"bpr": False, "mean_bpr": True, "sampled_softmax": True}
_RANKS_BY_COSINE = {"bpr": False, "mean_bpr": False, "sampled_softmax": True}


class _Batch(NamedTuple):
    """Positive pairs and negatives of one step. Nodes are numbered users first, then items."""

    nodes: torch.Tensor
    """Users `(b,)`, their items `(b,)`, and negatives: one per pair, or shared; none if `candidates` has them."""
    n_pairs: int
    candidates: torch.Tensor | None
    """Nodes of which the hardest becomes the negative, `(b, hardest_of)`."""
    seen: tuple[torch.Tensor, torch.Tensor] | None
    """Of shared negatives, those that each user has interacted with: row starts and positions."""
    values: torch.Tensor | None
    """Edge weights of the graph, if edges are dropped."""


class LightGCNRecommender(TorchRecommender):
    """LightGCN (He et al., 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation").

    Let `A` be the normalized adjacency of users and items, in which an edge between a user with `d_u` items and an item
    with `d_i` users has weight `1 / sqrt(d_u d_i)` (eq. 3), and `E0` the embeddings. The final embeddings are the mean
    over layers (eq. 4, 8)

        E = (E0 + A E0 + A^2 E0 + ... + A^n_layers E0) / (n_layers + 1)

    and scores are products of its rows. Only `E0` is learned. `loss` selects what is minimized, as a mean over
    interactions (u, i):

        bpr              -log sigmoid(e_u . e_i - e_u . e_j), with a sampled item j that u has not interacted with (eq.
                         15); with `hardest_of` m, the one of m sampled items whose e_u . e_j is largest (Zhang et al.,
                         2013, "Optimizing Top-N Collaborative Filtering via Dynamic Negative Item Sampling")
        mean_bpr         the mean of that over `n_negatives` items sampled per batch, without those that u has
                         interacted with: the expectation of bpr with less noise, which takes fewer steps
        sampled_softmax  -log softmax of cos(e_u, e_i) / temperature among the items that u has not interacted with;
                         their sum is estimated from `n_negatives` items sampled per batch (Wu et al., 2024, "On the
                         Effectiveness of Sampled Softmax Loss for Item Recommendation"); ranking is by cosine, too

    plus `reg / 2` times the squared norm of the rows of `E0` in the batch. Ratings are ignored.

    A step propagates once forward and once back, O(n_layers interactions embedding_dim) for any batch size: the larger
    `batch_size`, the cheaper an epoch. Shared negatives add O(n_negatives embedding_dim) per interaction, bpr adds
    O(hardest_of embedding_dim). With one negative per interaction, most pairs are soon ranked correctly, and steps are
    mostly noise: mean_bpr, with 1,024 negatives, is stable with a `learning_rate` of 0.06 on Gowalla and reaches a
    recall@20 of 0.184 in 40 epochs, which was published for up to 1,000. `hardest_of` 32 learns as fast, but reached
    0.167. The model takes `4 embedding_dim (n_users + n_items)` bytes, eight times that in training.

    A new user with `d` items has no row of `E0`, and does not change the graph. Eq. 3 and 4 then give

        e = sum over the user's items i of (E0 + A E0 + ... + A^(n_layers - 1) E0)_i / sqrt(d d_i) / (n_layers + 1)

    `similar_items` uses the cosine similarity of rows of `E`. Results are determined by `seed`; propagation does not
    depend on the number of threads, other products may in the last digits.

    An epoch uses every interaction once, or, with `sampling="users"` as in the authors' code, samples as many pairs: a
    uniformly drawn user, and one of the user's items. Users then have equal weight, as in the metrics, and not in
    proportion to their activity.

    Differences from the paper: sampled_softmax is the default, BPR the paper's loss; `reg` is relative to the mean over
    the batch, as in the authors' code; negatives of sampled_softmax are not regularized; the last batch of an epoch is
    smaller.

    Examples:
        ```python
        from recctl import LightGCNRecommender

        model = LightGCNRecommender(epochs=5).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "lightgcn"
    too_large_advice: ClassVar[str] = "lower embedding_dim, or raise data.min_item_interactions"
    warm_start_parameters = ("embedding_dim", "n_layers")
    _tables: ClassVar = {"vectors": ("user", "item")}

    n_layers: int = hyperparameter(3, ge=1, help="Number of propagation layers.", search=Between(1, 4))
    loss: Literal["sampled_softmax", "bpr", "mean_bpr"] = hyperparameter(
        "sampled_softmax", help="Training loss; bpr is the paper's.", search=Choices(("sampled_softmax", "bpr"))
    )
    reg: float = hyperparameter(
        0.0001,
        ge=0,
        help="Weight of the L2 regularization of the batch's embeddings.",
        search=Between(1e-6, 1e-2, log=True),
    )
    temperature: float = hyperparameter(
        0.15,
        gt=0,
        help="Temperature of sampled_softmax; a lower value concentrates on the hardest items.",
        search=Between(0.05, 0.5, log=True),
        when={"loss": ("sampled_softmax",)},
    )
    n_negatives: int = hyperparameter(
        1024,
        ge=1,
        help="Sampled items per batch, for sampled_softmax and mean_bpr; bpr samples per interaction.",
        when={"loss": ("sampled_softmax", "mean_bpr")},
    )
    hardest_of: int = hyperparameter(
        1,
        ge=1,
        help="Sampled items per interaction of bpr; the highest-scored one is used.",
        search=Choices((1, 4, 16)),
        when={"loss": ("bpr",)},
    )
    sampling: Literal["interactions", "users"] = hyperparameter(
        "interactions",
        help="What an epoch samples: every interaction once, or uniformly drawn users with one of their items each.",
    )
    edge_dropout: float = hyperparameter(
        0.0, ge=0, lt=1, help="Share of the graph's edges that are left out in each step.", search=Between(0.0, 0.5)
    )
    batch_size: int = hyperparameter(
        2048, ge=1, help="Interactions per step.", search=Choices((1024, 2048, 4096, 8192))
    )
    epochs: int = hyperparameter(100, ge=1, help="Maximum number of epochs.")

    # ---- training

    def _network(self) -> torch.nn.Module:
        from recctl.models.nn.lightgcn import LightGCNNetwork

        sizes = self.seen.n_rows, self.embedding_dim, self.n_layers
        return LightGCNNetwork(self._graph, *sizes, self._generator("init"), _RANKS_BY_COSINE[self.loss])

    def _weight_shapes(self) -> WeightShapes:
        return {"vectors": (self.seen.n_rows + self.seen.n_columns, self.embedding_dim)}

    @property
    def _graph(self) -> InteractionMatrix:
        """The normalized adjacency of users, then items; cached for good, as it does not depend on the weights."""
        if "_adjacency" not in vars(self):
            self._adjacency = _normalized(self.seen)
        return self._adjacency

    def _batches(self, interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[_Batch]:
        import torch

        seen = interactions.matrix
        order = self._order(rng.stream(self.seed, "shuffle", epoch))
        users = seen.rows[order]
        negatives = rng.stream(self.seed, "negatives", epoch)
        edges = rng.stream(self.seed, "edges", epoch)
        key = rng.key(self.seed, "negatives", epoch)
        positions = seen.transpose_with_positions()[1] if self.edge_dropout else None
        for begin in range(0, seen.nnz, batch_size):
            part = slice(begin, begin + batch_size)
            candidates = None
            seen_negatives = None
            others = np.empty(0, np.int32)
            if not _SHARES_NEGATIVES[self.loss]:
                drawn = sample_negatives(
                    key, seen.starts, seen.columns, users[part], seen.n_columns, self.hardest_of, first=begin
                )
                if self.hardest_of == 1:
                    others = drawn[:, 0]
                else:
                    candidates = torch.from_numpy(drawn + np.int64(seen.n_rows))
            else:
                n_shared = min(self.n_negatives, seen.n_columns)
                others = negatives.choice(seen.n_columns, n_shared, replace=False).astype(np.int32)
                starts, positions_seen = seen_among(seen.starts, seen.columns, users[part], others, seen.n_columns)
                seen_negatives = torch.from_numpy(starts), torch.from_numpy(positions_seen).long()
            items = np.concatenate((seen.columns[order[part]], others)) + np.int64(seen.n_rows)
            nodes = torch.from_numpy(np.concatenate((users[part], items)))
            values = None if positions is None else self._with_edges_dropped(edges, positions)
            yield _Batch(nodes, len(users[part]), candidates, seen_negatives, values)

    def _order(self, generator: np.random.Generator) -> Int64Array:
        """Positions in the interactions of the pairs of an epoch, `(n_interactions,)`."""
        seen = self.seen
        if self.sampling == "interactions":
            return generator.permutation(seen.nnz)
        lengths = np.diff(seen.starts)
        users = generator.choice(np.flatnonzero(lengths), seen.nnz)
        # The product is below the length even after rounding: a double has more digits than any length.
        order: Int64Array = seen.starts[users] + (generator.random(seen.nnz) * lengths[users]).astype(np.int64)
        return order

    def _with_edges_dropped(self, generator: np.random.Generator, positions: Int64Array) -> torch.Tensor:
        """Edge weights of the graph with some edges left out, and the others scaled up to keep the mean.

        Args:
            generator: Source of randomness.
            positions: Position in the interactions of each entry of the transposed interactions.
        """
        import torch

        kept = generator.random(self.seen.nnz, np.float32) >= np.float32(self.edge_dropout)
        factor = kept / np.float32(1 - self.edge_dropout)
        return torch.from_numpy(self._graph.values * np.concatenate((factor, factor[positions])))

    def _loss(self, network: torch.nn.Module, batch: _Batch) -> tuple[torch.Tensor, int]:
        import torch
        from torch.nn.functional import logsigmoid, normalize

        from recctl.models.nn.lightgcn import mean_bpr, sampled_softmax

        n_pairs = batch.n_pairs
        rows, base = network(batch.nodes, batch.values, batch.candidates)
        if _RANKS_BY_COSINE[self.loss]:
            rows = normalize(rows)
        users = rows[:n_pairs]
        items = rows[n_pairs : 2 * n_pairs]
        others = rows[2 * n_pairs :]
        squares = torch.linalg.vector_norm(base[: 2 * n_pairs]).square()
        match self.loss:
            case "bpr":
                loss = -logsigmoid((users * (items - others)).sum(dim=1)).sum()
                squares = torch.linalg.vector_norm(base).square()
            case "mean_bpr":
                assert batch.seen is not None  # `_batches` sets it for every loss with shared negatives
                loss = mean_bpr(users, items, others, batch.seen)
                # As with bpr, a negative counts once a pair: each shared one n_pairs / len(others) times.
                squares = squares + n_pairs / len(others) * torch.linalg.vector_norm(base[2 * n_pairs :]).square()
            case "sampled_softmax":
                # Uniform negatives: each stands for this many items.
                scale = len(self.item_vocabulary) / len(others)
                assert batch.seen is not None
                loss = sampled_softmax(users / self.temperature, items, others, batch.seen, scale)
            case _:
                assert_never(self.loss)
        return loss + self.reg / 2 * squares, n_pairs

    # ---- scoring

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        vectors, items = self._final
        if users is not None:
            user_vectors = vectors[users]
        else:
            user_vectors = np.empty((histories.n_rows, self.embedding_dim), np.float32)
            matmul.sparse_dense(histories.starts, histories.columns, _NO_VALUES, self._item_contributions, user_vectors)
            user_vectors /= np.sqrt(np.maximum(np.diff(histories.starts), 1)).astype(np.float32)[:, None]
        if _RANKS_BY_COSINE[self.loss]:
            user_vectors = unit_rows(user_vectors)
            items = self._unit_items
        scores: Float32Array = user_vectors @ items.T
        return scores

    def _scoring_inputs(self, histories: InteractionMatrix, users: Int32Array | None) -> tuple[Any, ...]:
        import torch

        if users is not None:
            return torch.from_numpy(users), None, None
        return None, torch.from_numpy(histories.starts), torch.from_numpy(histories.columns)

    def embeddings(self) -> Embeddings:
        """The rows of E; with sampled_softmax scaled to length 1."""
        users, items = self._final
        if _RANKS_BY_COSINE[self.loss]:
            return Embeddings(unit_rows(users), self._unit_items)
        return Embeddings(users, items)

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        seen = histories.is_nonzero().cast(np.float32)
        counts = graph.apply("Max", seen.sum(1, keepdims=True), np.float32(1))
        user_vectors = seen @ graph.constant(self._item_contributions, "contributions") / graph.apply("Sqrt", counts)
        if _RANKS_BY_COSINE[self.loss]:
            user_vectors = normalize_rows(user_vectors)
        return user_vectors.matmul_transposed(graph.constant(self.embeddings().items, "items"))

    def _similarity(self, items: Int32Array) -> Float32Array:
        similarity: Float32Array = self._unit_items[items] @ self._unit_items.T
        return similarity

    @cached_property
    def _final(self) -> tuple[Float32Array, Float32Array]:
        """E: the rows of users, and the rows of items."""
        vectors = self._propagated(self.n_layers)
        return vectors[: self.seen.n_rows], vectors[self.seen.n_rows :]

    @cached_property
    def _unit_items(self) -> Float32Array:
        """The rows of items, scaled to length 1."""
        return unit_rows(self._final[1])

    @cached_property
    def _item_contributions(self) -> Float32Array:
        """Contribution of each item to a new user who has it, before division by the root of the user's degree."""
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
        vectors: Float32Array = propagation.propagate(
            graph.starts, graph.columns, graph.values, self._vectors, n_layers
        )
        return vectors

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Estimate the bytes of a fit.

        They are those of the weights, their gradients, Adam's moments, copies of the best and last weights, and two
        buffers for propagation; the graph and the pairs of an epoch; and a dozen copies of the vectors of a batch, with
        its negatives.
        """
        batch = min(self.batch_size, n_interactions)
        vectors = 36 * (n_users + n_items) + 48 * batch
        return self.embedding_dim * vectors + 60 * n_interactions + 12 * self.hardest_of * batch


def _normalized(seen: InteractionMatrix) -> InteractionMatrix:
    """The symmetric graph of users and items, `(n_users + n_items, n_users + n_items)`."""
    transposed = seen.transpose()
    n_nodes = seen.n_rows + seen.n_columns
    starts = np.concatenate((seen.starts, seen.nnz + transposed.starts[1:]))
    columns = np.concatenate((seen.columns + np.int32(seen.n_rows), transposed.columns))
    degrees = np.diff(starts)
    values = 1 / np.sqrt(np.repeat(degrees, degrees) * degrees[columns].astype(np.float64))
    return InteractionMatrix(starts, columns, values.astype(np.float32), n_nodes)
