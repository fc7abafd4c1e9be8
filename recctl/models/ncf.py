"""NCF: a learnt function of a user's and an item's vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
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
from recctl.models.nn.torch_recommender import TorchRecommender

if TYPE_CHECKING:
    import torch


_OVERLAPS_AT_ONCE = 1 << 22
_NO_VALUES = np.empty(0, np.float32)


class NCFRecommender(TorchRecommender):
    """Neural collaborative filtering (He et al., 2017, "Neural Collaborative Filtering").

    With vectors `p`, `q` of GMF and `p'`, `q'` of the MLP, the logit of a user and an item is (eq. 12 of the paper)

        h . (p_u * q_i)  +  g . z_L,     z_1 = relu(W_u p'_u + W_i q'_i + b_1),   z_l = relu(W_l z_(l-1) + b_l)

    `gmf` and `mlp` have only the first or second part. Minimises the binary cross-entropy (eq. 7) of interactions, and
    of `n_negatives` items drawn anew each epoch for each, none of which the user had. Ratings are not looked at.

    An epoch costs O(interactions (1 + n_negatives) * weights of the tower), the model `8 embedding_dim (n_users +
    n_items)` bytes for NeuMF, five times that in training. Scoring the catalog for a user costs one pass of the
    tower's upper layers: of the first, both halves are known, and only their sum is taken for each pair.

    `pretrain_epochs` first trains GMF and MLP apart, then goes on with both, each weighing half (section 3.4.1).
    People the model was not fitted on get the mean of the vectors of users who share items with them, weighed by the
    square of the cosine of their histories. `similar_items` is by the cosine of items' vectors. Results follow from
    `seed`; on a GPU, or in bfloat16, other numbers of threads may change the last digits.

    On a CPU, losses and gradients are computed by kernels and BLAS and not by autograd: every distinct user and item of
    a batch goes through its half of the first layer once, as the layer is linear in both.

    Not as in the paper: GMF and MLP have vectors of one length; layers are of any width; dropout follows each of them
    (on a GPU to 1/256); an interaction comes with its negatives in one batch; after pre-training Adam goes on, not SGD.
    """

    name = "ncf"
    too_large_advice: ClassVar[str] = "lower embedding_dim, or raise data.min_item_interactions"

    variant: Literal["neumf", "gmf", "mlp"] = hyperparameter(
        "neumf",
        help="Which parts: the product of vectors, the tower, or both.",
        search=Choices(("neumf", "gmf", "mlp")),
    )
    hidden_layers: list[Annotated[int, Field(ge=1)]] = hyperparameter(
        [128, 64, 32],
        min_length=1,
        help="Widths of the tower's layers.",
        search=Choices(([64, 32], [128, 64, 32], [256, 128, 64])),
    )
    dropout: float = hyperparameter(
        0.2, ge=0, lt=1, help="Share of each layer's outputs that is dropped in training.", search=Between(0.0, 0.5)
    )
    n_negatives: int = hyperparameter(
        4, ge=1, help="Items drawn for each interaction that the user had not.", search=Between(1, 10)
    )
    negatives: Literal["uniform", "popularity"] = hyperparameter(
        "uniform", help="How they are drawn: each item alike, or by its number of users."
    )
    pretrain_epochs: int = hyperparameter(0, ge=0, help="Epochs at first in which neumf trains its two parts apart.")
    batch_size: int = hyperparameter(
        256, ge=1, help="Interactions a step, each with its negatives.", search=Choices((256, 512, 1024, 2048))
    )

    # ---- training

    def _network(self) -> torch.nn.Module:
        from recctl.models.nn.ncf import NCFNetwork

        sizes = len(self.user_vocabulary), len(self.item_vocabulary), self.embedding_dim
        parts = self.variant != "mlp", self.variant != "gmf"
        return NCFNetwork(*sizes, self.hidden_layers, parts, self.dropout, self._generator("init"))

    def _batches(
        self, interactions: InteractionDataset, epoch: int, batch_size: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Users `(b,)`, and for each the item of an interaction and its negatives `(b, 1 + n_negatives)`.

        Those of a step are sorted by user, for the cache.
        """
        import torch

        seen = interactions.matrix
        order = rng.stream(self.seed, "shuffle", epoch).permutation(seen.nnz)
        of_step = self.batch_size * self.accumulation_steps
        for begin in range(0, len(order), of_step):
            order[begin : begin + of_step].sort()
        users = seen.rows[order]
        drawn = sample_negatives(
            rng.key(self.seed, "negatives", epoch),
            *(seen.starts, seen.columns, users, seen.n_columns, self.n_negatives),
            seen.column_counts().astype(np.float64) if self.negatives == "popularity" else None,
        )
        items = np.empty((len(order), 1 + self.n_negatives), np.int32)
        items[:, 0], items[:, 1:] = seen.columns[order], drawn
        pairs = torch.from_numpy(users), torch.from_numpy(items)
        for begin in range(0, len(order), batch_size):
            yield pairs[0][begin : begin + batch_size], pairs[1][begin : begin + batch_size]

    def _loss(self, network: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, int]:
        from torch.nn import functional

        users, items = (part.to(self._device) for part in batch)
        parts = network(users, items)
        logits = [part + network.bias for part in parts] if self._apart else [sum(parts) + network.bias]
        losses = [functional.softplus(part).sum() - part[:, 0].sum() for part in logits]
        return sum(losses) / len(losses), items.numel()

    @property
    def _apart(self) -> bool:
        """Whether the parts are trained each for itself, in this epoch."""
        return self.variant == "neumf" and self.chosen_epoch < self.pretrain_epochs

    def _before_epoch(self, network: Any, epoch: int) -> None:
        if epoch and epoch == self.pretrain_epochs and self.variant == "neumf":
            network.average_parts()

    # ---- answering

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        weights = self._arrays
        shares = None if users is not None else self._shares(histories)

        def of_users(name: str) -> Float32Array:
            vectors: Float32Array = shares(weights[name]) if shares else weights[name][users]
            return vectors

        scores = np.empty((histories.n_rows, histories.n_columns), np.float32)
        weighed = halves = np.empty((len(scores), 0), np.float32)
        if "user_gmf" in weights:
            weighed = of_users("user_gmf") * weights["out_gmf"]
        if "user_mlp" in weights:
            halves = np.empty((len(scores), self.hidden_layers[0]), np.float32)
            # One user after another: a product of many rounds a user's numbers as how many they are wants it.
            for row, vector in enumerate(of_users("user_mlp")):
                halves[row] = weights["first_user"] @ vector + weights["first_bias"]
        ncf_mlp.scores(weighed, self._turned_items[0], halves, self._turned_items[1], *self._upper, scores)
        return scores

    @cached_property
    def _turned_items(self) -> tuple[Float32Array, Float32Array]:
        """Items' vectors for the product, `(embedding_dim, n_items)`, and what they give to the first layer."""
        weights, none = self._arrays, np.empty((0, len(self.item_vocabulary)), np.float32)
        half = weights["first_item"] @ weights["item_mlp"].T if "item_mlp" in weights else none
        return np.ascontiguousarray(weights["item_gmf"].T) if "item_gmf" in weights else none, half

    @property
    def _upper(self) -> tuple[Float32Array, Int64Array]:
        """What is above the first layer, and the widths of the layers, as kernels want them."""
        # It is the last of the weights.
        return self.weights[-ncf_mlp.upper_size(self._widths) :], self._widths

    @property
    def _widths(self) -> Int64Array:
        return np.array(self.hidden_layers if self.variant != "gmf" else [], np.int64)

    def _shares(self, histories: InteractionMatrix) -> Any:
        """A function that mixes the rows of users' vectors for strangers: the more alike in history, the more."""
        by_item, n_users = self._by_item, len(self.user_vocabulary)
        lengths = np.sqrt(np.maximum(np.diff(self.seen.starts), 1)).astype(np.float32)
        step = max(1, _OVERLAPS_AT_ONCE // n_users)

        def mixed(vectors: Float32Array) -> Float32Array:
            out = np.empty((histories.n_rows, vectors.shape[1]), np.float32)
            for begin in range(0, histories.n_rows, step):
                rows = histories.take(np.arange(begin, min(begin + step, histories.n_rows), dtype=np.int32))
                alike = np.empty((rows.n_rows, n_users), np.float32)
                neighbours.sparse_sparse(
                    *(rows.starts, rows.columns, _NO_VALUES, by_item.starts, by_item.columns, by_item.values, alike)
                )
                alike /= lengths
                alike *= alike
                alike /= np.maximum(alike.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
                np.matmul(alike, vectors, out=out[begin : begin + step])
            return out

        return mixed

    @cached_property
    def _by_item(self) -> InteractionMatrix:
        """The users of each item."""
        turned = self.seen.transpose()
        return replace(turned, values=np.ones(turned.nnz, np.float32))

    def embeddings(self) -> Embeddings:
        """The vectors of GMF, the users' weighed, and the bias against a 1; a tower is no product of vectors.

        Raises:
            UnsupportedError: The variant has a tower.
        """
        if self.variant != "gmf":
            raise UnsupportedError(
                f"ncf has no embeddings with variant={self.variant}: its tower is no product of vectors"
            )
        weights = self._arrays
        users = with_columns(weights["user_gmf"] * weights["out_gmf"], 1)
        return Embeddings(users, with_columns(weights["item_gmf"], weights["bias"]))

    def _graph_of_users(self, graph: ScoreGraph, users: Value) -> Value:
        return self._graph_of_people(graph, lambda name, vectors: graph.constant(vectors, name).gather(users))

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        # How many items of a history each user had, by differences of running sums over all pairs of users and items.
        had = histories.is_nonzero().cast(np.int32).gather(self.seen.columns, axis=1)
        sums = graph.apply("Pad", graph.apply("CumSum", had, 1), np.array([0, 1, 0, 0], np.int64))
        shared = sums.gather(self.seen.starts[1:], axis=1) - sums.gather(self.seen.starts[:-1], axis=1)
        alike = shared.cast(np.float32) / np.sqrt(np.maximum(np.diff(self.seen.starts), 1)).astype(np.float32)
        alike = alike * alike
        total = graph.apply("Max", alike.sum(1, keepdims=True), np.finfo(np.float32).tiny)
        shares = alike / total
        return self._graph_of_people(graph, lambda name, vectors: shares @ graph.constant(vectors, name))

    def _graph_of_people(self, graph: ScoreGraph, people: Callable[[str, Float32Array], Value]) -> Value:
        """Logits of people with every item, from a function that makes their rows of those of all users."""
        weights, of_items = self._arrays, self._turned_items
        scores = graph.constant(weights["bias"], "bias")
        if "user_gmf" in weights:
            weighed = people("users_gmf", weights["user_gmf"] * weights["out_gmf"])
            scores = scores + weighed @ graph.constant(of_items[0], "items_gmf")
        if "user_mlp" in weights:
            halves = people("users_mlp", weights["user_mlp"] @ weights["first_user"].T) + weights["first_bias"]
            hidden = graph.apply("Relu", halves.unsqueeze(1) + graph.constant(of_items[1].T, "items_mlp"))  # (n, m, h)
            for at in range(len(self.hidden_layers) - 1):
                layer = graph.constant(weights[f"layers.{at}"].T, f"layer_{at}")
                hidden = graph.apply("Relu", hidden @ layer + weights[f"biases.{at}"])
            scores = scores + hidden @ graph.constant(weights["out_mlp"], "out_mlp")
        return scores

    def _similarity(self, items: Int32Array) -> Float32Array:
        unit = self._unit_items
        similarity: Float32Array = unit[items] @ unit.T
        return similarity

    @cached_property
    def _unit_items(self) -> Float32Array:
        """Items' vectors, of GMF and MLP side by side, at length 1."""
        parts = [self._arrays[name] for name in ("item_gmf", "item_mlp") if name in self._arrays]
        return unit_rows(np.concatenate(parts, axis=1))

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        sizes = super()._sizes(n_users, n_items, n_interactions)
        return sizes | {"n_weights": sizes["n_weights"] * (2 if self.variant == "neumf" else 1)}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Weights, gradients, Adam's moments and the best so far; an epoch's examples; a batch on its way."""
        vectors = self.embedding_dim * (n_users + n_items) * (2 if self.variant == "neumf" else 1)
        pairs = min(self.batch_size, n_interactions) * (1 + self.n_negatives)
        batch = 8 * pairs * (sum(self.hidden_layers) + self.embedding_dim)
        return 20 * vectors + n_interactions * (20 + 8 * self.n_negatives) + batch
