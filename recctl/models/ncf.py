"""NCF: scores from a learned function of user and item embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from recctl import rng
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.errors import UnsupportedError
from recctl.kernels import ncf_mlp, neighbours
from recctl.kernels.negative_sampling import sample_negatives
from recctl.models.base import Embeddings
from recctl.models.base.hyperparameters import Between, Choices, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value
from recctl.models.factors.vectors import unit_rows, with_columns
from recctl.models.nn.flat_weights import WeightShapes
from recctl.models.nn.torch_recommender import TorchRecommender

if TYPE_CHECKING:
    import torch


# Similarities of new users to known users that are computed at once: 16 MB.
_SIMILARITIES_PER_BLOCK = 1 << 22
_NO_VALUES = np.empty(0, np.float32)


class NCFRecommender(TorchRecommender):
    """Neural collaborative filtering (He et al., 2017, "Neural Collaborative Filtering").

    With embeddings `p`, `q` of GMF (generalized matrix factorization) and `p'`, `q'` of the MLP (multilayer
    perceptron), the logit of a user and an item is (eq. 12 of the paper)

        h . (p_u * q_i)  +  g . z_L,     z_1 = relu(W_u p'_u + W_i q'_i + b_1),   z_l = relu(W_l z_(l-1) + b_l)

    The variants `gmf` and `mlp` have only the first or only the second part. Training minimizes the binary
    cross-entropy (eq. 7) of interactions and of `n_negatives` sampled items for each, which the user has not
    interacted with; they are sampled again every epoch. Ratings are ignored.

    An epoch costs O(interactions (1 + n_negatives) * weights of the MLP). The first layer is linear in the user and in
    the item, so each distinct user and item of a batch passes through its half of the layer once. The model takes
    `8 embedding_dim (n_users + n_items)` bytes for `neumf`, five times that in training. Scoring the catalog for a
    user costs one pass through the upper layers of the MLP; both halves of the first layer are cached.

    `pretrain_epochs` first trains GMF and MLP separately, then continues with both, each with half the weight (section
    3.4.1). Users the model was not fitted on get the average embedding of the users who share items with them,
    weighted by the squared cosine similarity of the histories. `similar_items` uses the cosine similarity of item
    embeddings. Results are determined by `seed` and the number of threads: another number of threads, or another
    device, can change the last digits.

    Differences from the paper: GMF and MLP have embeddings of the same length; layers can have any width; dropout
    follows every layer; an interaction is in the same batch as its negatives; Adam, not SGD, continues after
    pre-training.

    Examples:
        ```python
        from recctl import NCFRecommender

        model = NCFRecommender(epochs=2).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "ncf"
    too_large_advice: ClassVar[str] = "lower embedding_dim, or raise data.min_item_interactions"
    warm_start_parameters = ("variant", "embedding_dim", "hidden_layers")
    _tables: ClassVar = {"user_gmf": ("user",), "item_gmf": ("item",), "user_mlp": ("user",), "item_mlp": ("item",)}

    variant: Literal["neumf", "gmf", "mlp"] = hyperparameter(
        "neumf",
        help="Parts of the network: the product of embeddings (gmf), the multilayer perceptron (mlp), or both (neumf).",
        search=Choices(("neumf", "gmf", "mlp")),
    )
    hidden_layers: list[Annotated[int, Field(ge=1)]] = hyperparameter(
        [128, 64, 32],
        min_length=1,
        help="Widths of the layers of the MLP.",
        search=Choices(([64, 32], [128, 64, 32], [256, 128, 64])),
        when={"variant": ("neumf", "mlp")},
    )
    dropout: float = hyperparameter(
        0.2,
        ge=0,
        lt=1,
        help="Share of each layer's outputs that is set to 0 in training.",
        search=Between(0.0, 0.5),
        when={"variant": ("neumf", "mlp")},
    )
    n_negatives: int = hyperparameter(
        4, ge=1, help="Sampled items per interaction that the user has not interacted with.", search=Between(1, 10)
    )
    negatives: Literal["uniform", "popularity"] = hyperparameter(
        "uniform", help="Distribution of the sampled items: uniform, or proportional to their number of users."
    )
    pretrain_epochs: int = hyperparameter(
        0, ge=0, help="First epochs in which neumf trains its two parts separately.", when={"variant": ("neumf",)}
    )
    batch_size: int = hyperparameter(
        256, ge=1, help="Interactions per step, each with its negatives.", search=Choices((256, 512, 1024, 2048))
    )

    # ---- training

    def _warm_start_problems(self) -> Iterator[str]:
        if self.variant == "neumf" and self.pretrain_epochs:
            yield (
                f"pretrain_epochs={self.pretrain_epochs} trains GMF and MLP separately, but a warm start begins with "
                "both trained together; set pretrain_epochs to 0"
            )

    def _network(self) -> torch.nn.Module:
        from recctl.models.nn.ncf import NCFNetwork

        return NCFNetwork(
            len(self.user_vocabulary),
            len(self.item_vocabulary),
            self.embedding_dim,
            self.hidden_layers,
            (self.variant != "mlp", self.variant != "gmf"),
            self.dropout,
            self._generator("init"),
        )

    def _weight_shapes(self) -> WeightShapes:
        n_users = len(self.user_vocabulary)
        n_items = len(self.item_vocabulary)
        dim = self.embedding_dim
        widths = self.hidden_layers
        shapes: dict[str, tuple[int, ...]] = {}
        if self.variant != "mlp":
            shapes["user_gmf"] = (n_users, dim)
            shapes["item_gmf"] = (n_items, dim)
            shapes["out_gmf"] = (dim,)
        if self.variant != "gmf":
            shapes["user_mlp"] = (n_users, dim)
            shapes["item_mlp"] = (n_items, dim)
            shapes["first_user"] = (widths[0], dim)
            shapes["first_item"] = (widths[0], dim)
            shapes["first_bias"] = (widths[0],)
            shapes["out_mlp"] = (widths[-1],)
        shapes["bias"] = ()
        if self.variant != "gmf":
            for number, (n_in, n_out) in enumerate(pairwise(widths)):
                shapes[f"layers.{number}"] = (n_out, n_in)
            for number, n_out in enumerate(widths[1:]):
                shapes[f"biases.{number}"] = (n_out,)
        return shapes

    def _batches(
        self, interactions: InteractionDataset, epoch: int, batch_size: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Users `(b,)`, and for each the item of an interaction and its negatives, `(b, 1 + n_negatives)`."""
        import torch

        seen = interactions.matrix
        order = rng.stream(self.seed, "shuffle", epoch).permutation(seen.nnz)
        # The interactions of one step are sorted by user: gathering rows is faster when neighbors are equal.
        step_size = self.batch_size * self.accumulation_steps
        for begin in range(0, len(order), step_size):
            order[begin : begin + step_size].sort()
        users = seen.rows[order]
        popularity = seen.column_counts().astype(np.float64) if self.negatives == "popularity" else None
        items = np.empty((len(order), 1 + self.n_negatives), np.int32)
        items[:, 0] = seen.columns[order]
        items[:, 1:] = sample_negatives(
            rng.key(self.seed, "negatives", epoch),
            seen.starts,
            seen.columns,
            users,
            seen.n_columns,
            self.n_negatives,
            popularity,
        )
        all_users = torch.from_numpy(users)
        all_items = torch.from_numpy(items)
        for begin in range(0, len(order), batch_size):
            yield all_users[begin : begin + batch_size], all_items[begin : begin + batch_size]

    def _loss(self, network: Any, batch: Any) -> tuple[torch.Tensor, int]:
        import torch
        from torch.nn.functional import softplus

        users, items = batch
        logits = torch.stack([part.float() for part in network(users, items)])  # (n_parts, b, 1 + n_negatives)
        if not self._separate_losses:
            logits = logits.sum(dim=0, keepdim=True)
        logits = logits + network.bias
        # The cross-entropy is softplus(x) - x of an interaction, in the first column, and softplus(x) of a negative.
        loss = softplus(logits).sum() - logits[:, :, 0].sum()
        return loss / len(logits), items.numel()

    @property
    def _separate_losses(self) -> bool:
        """Whether GMF and MLP are trained separately in this epoch: the loss is the mean of their losses."""
        return self.variant == "neumf" and self.best_epoch < self.pretrain_epochs

    def _before_epoch(self, network: Any, epoch: int) -> None:
        if epoch and epoch == self.pretrain_epochs and self.variant == "neumf":
            network.average_parts()

    # ---- scoring

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        weights = self._arrays
        average = self._weighted_average(histories) if users is None else None

        def user_vectors(name: str) -> Float32Array:
            table = weights[name]
            vectors: Float32Array = table[users] if average is None else average(table)
            return vectors

        if "user_gmf" in weights:
            weighted_users: Float32Array = user_vectors("user_gmf") * weights["out_gmf"]
            scores: Float32Array = weighted_users @ weights["item_gmf"].T
        else:
            scores = np.zeros((histories.n_rows, histories.n_columns), np.float32)
        scores += weights["bias"]
        if "user_mlp" in weights:
            user_halves = user_vectors("user_mlp") @ weights["first_user"].T + weights["first_bias"]
            ncf_mlp.add_logits(user_halves, self._item_halves, self._upper, self._widths, scores)
        return scores

    def _scoring_inputs(self, histories: InteractionMatrix, users: Int32Array | None) -> tuple[Any, ...]:
        import torch

        if users is not None:
            return torch.from_numpy(users), None
        return None, torch.from_numpy(self._neighbour_weights(histories, self._root_lengths))

    def _bytes_per_scored_row(self) -> int:
        # New users have a weight for each known user.
        return super()._bytes_per_scored_row() + 4 * len(self.user_vocabulary)

    @cached_property
    def _item_halves(self) -> Float32Array:
        """Contributions of items to the first layer of the MLP, transposed, `(width, n_items)`."""
        weights = self._arrays
        halves: Float32Array = weights["first_item"] @ weights["item_mlp"].T
        return halves

    @property
    def _upper(self) -> Float32Array:
        """Weights above the first layer, as `recctl.kernels.ncf_mlp` expects them: the end of the flat array."""
        return self.weights[-ncf_mlp.upper_size(self._widths) :]

    @property
    def _widths(self) -> Int64Array:
        """Widths of the layers of the MLP."""
        return np.array(self.hidden_layers, np.int64)

    def _weighted_average(self, histories: InteractionMatrix) -> Callable[[Float32Array], Float32Array]:
        """A function that averages rows of known users for each history, weighted by squared cosine similarity."""
        n_users = len(self.user_vocabulary)
        lengths = self._root_lengths
        block_size = max(1, _SIMILARITIES_PER_BLOCK // n_users)

        def average(table: Float32Array) -> Float32Array:
            averages = np.empty((histories.n_rows, table.shape[1]), np.float32)
            for begin in range(0, histories.n_rows, block_size):
                rows = np.arange(begin, min(begin + block_size, histories.n_rows), dtype=np.int32)
                neighbour_weights = self._neighbour_weights(histories.take(rows), lengths)
                np.matmul(neighbour_weights, table, out=averages[begin : begin + block_size])
            return averages

        return average

    def _neighbour_weights(self, histories: InteractionMatrix, lengths: Float32Array) -> Float32Array:
        """Weights `(n_histories, n_users)` of known users, each row with sum 1; 0 for users who share no item."""
        users_of_items = self._users_of_items
        weights = np.empty((histories.n_rows, len(lengths)), np.float32)
        neighbours.sparse_sparse(
            histories.starts,
            histories.columns,
            _NO_VALUES,
            users_of_items.starts,
            users_of_items.columns,
            users_of_items.values,
            weights,
        )
        weights /= lengths
        weights *= weights
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return weights

    @cached_property
    def _root_lengths(self) -> Float32Array:
        """The square root of the number of items of each known user, `(n_users,)`."""
        lengths: Float32Array = np.sqrt(np.maximum(np.diff(self.seen.starts), 1)).astype(np.float32)
        return lengths

    @cached_property
    def _users_of_items(self) -> InteractionMatrix:
        """Items by users, with 1 for every interaction."""
        transposed = self.seen.transpose()
        return replace(transposed, values=np.ones(transposed.nnz, np.float32))

    def embeddings(self) -> Embeddings:
        """The vectors of GMF: users times the output weights, and a last column for the bias.

        Raises:
            UnsupportedError: The variant has an MLP, whose scores are not products of vectors.
        """
        if self.variant != "gmf":
            raise UnsupportedError(
                f"ncf has no embeddings with variant={self.variant}: the scores of its MLP are not products of "
                "vectors; variant=gmf has embeddings"
            )
        weights = self._arrays
        users = with_columns(weights["user_gmf"] * weights["out_gmf"], 1)
        return Embeddings(users, with_columns(weights["item_gmf"], weights["bias"]))

    def _graph_of_users(self, graph: ScoreGraph, users: Value) -> Value:
        return self._logit_graph(graph, lambda name, table: graph.constant(table, name).gather(users))

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        # The number of items that a history shares with each known user, by differences of cumulative sums over all
        # interactions, which are sorted by user.
        seen = histories.is_nonzero().cast(np.int32).gather(self.seen.columns, axis=1)
        sums = graph.apply("Pad", graph.apply("CumSum", seen, 1), np.array([0, 1, 0, 0], np.int64))
        n_shared = sums.gather(self.seen.starts[1:], axis=1) - sums.gather(self.seen.starts[:-1], axis=1)
        cosines = n_shared.cast(np.float32) / self._root_lengths
        squares = cosines * cosines
        total = graph.apply("Max", squares.sum(1, keepdims=True), np.finfo(np.float32).tiny)
        neighbour_weights = squares / total
        return self._logit_graph(graph, lambda name, table: neighbour_weights @ graph.constant(table, name))

    def _logit_graph(self, graph: ScoreGraph, user_rows: Callable[[str, Float32Array], Value]) -> Value:
        """Logits of every item.

        Args:
            graph: The graph under construction.
            user_rows: Gives the rows of the scored users, from a name and the rows of all known users.
        """
        weights = self._arrays
        scores = graph.constant(weights["bias"], "bias")
        if "user_gmf" in weights:
            weighted_users = user_rows("users_gmf", weights["user_gmf"] * weights["out_gmf"])
            scores = scores + weighted_users @ graph.constant(weights["item_gmf"].T, "items_gmf")
        if "user_mlp" in weights:
            user_halves = user_rows("users_mlp", weights["user_mlp"] @ weights["first_user"].T) + weights["first_bias"]
            first = user_halves.unsqueeze(1) + graph.constant(self._item_halves.T, "items_mlp")  # (n, n_items, width)
            hidden = graph.apply("Relu", first)
            for number in range(len(self.hidden_layers) - 1):
                layer = graph.constant(weights[f"layers.{number}"].T, f"layer_{number}")
                hidden = graph.apply("Relu", hidden @ layer + weights[f"biases.{number}"])
            scores = scores + hidden @ graph.constant(weights["out_mlp"], "out_mlp")
        return scores

    def _similarity(self, items: Int32Array) -> Float32Array:
        unit = self._unit_items
        similarity: Float32Array = unit[items] @ unit.T
        return similarity

    @cached_property
    def _unit_items(self) -> Float32Array:
        """Item embeddings of GMF and MLP, concatenated and scaled to length 1."""
        parts = [self._arrays[name] for name in ("item_gmf", "item_mlp") if name in self._arrays]
        return unit_rows(np.concatenate(parts, axis=1))

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        sizes = super()._sizes(n_users, n_items, n_interactions)
        return sizes | {"n_weights": sizes["n_weights"] * self._n_tables}

    @property
    def _n_tables(self) -> int:
        """Number of embeddings per user and item."""
        return 2 if self.variant == "neumf" else 1

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Estimate the bytes of a fit.

        They are those of the weights, their gradients, Adam's moments, and copies of the best and last weights; the
        examples of an epoch; and the activations and gradients of a batch.
        """
        vectors = self.embedding_dim * (n_users + n_items) * self._n_tables
        pairs = min(self.batch_size, n_interactions) * (1 + self.n_negatives)
        batch = 8 * pairs * (2 * sum(self.hidden_layers) + 4 * self.embedding_dim)
        return 24 * vectors + n_interactions * (20 + 8 * self.n_negatives) + batch
