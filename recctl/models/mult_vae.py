"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from recctl import rng
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import matmul
from recctl.models.base import Embeddings
from recctl.models.base.hyperparameters import Between, Choices, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value
from recctl.models.factors.vectors import unit_rows, with_columns
from recctl.models.nn.flat_weights import WeightShapes
from recctl.models.nn.torch_recommender import TorchRecommender

if TYPE_CHECKING:
    import torch


class _Batch(NamedTuple):
    """The histories of some users, one after another, and the draws of the step."""

    items: torch.Tensor
    """Item codes, `(n,)`."""
    rows: torch.Tensor
    """Row of each item in the batch, `(n,)`."""
    starts: torch.Tensor
    """Where each history begins, `(b,)`."""
    weights: torch.Tensor
    """The normalized histories after dropout, `(n,)`."""
    noise: torch.Tensor
    """Standard normal draws, `(b, embedding_dim)`."""
    kl_weight: float


class MultVAERecommender(TorchRecommender):
    """Variational autoencoder (Liang et al., 2018, "Variational Autoencoders for Collaborative Filtering").

    A history `x`, scaled to length 1, is encoded into a normal distribution of latent vectors, `q(z | x)` with mean
    `m(x)` and a diagonal variance, and a latent vector is decoded into logits of all items, `f(z)`, whose softmax is
    the distribution of the user's items, a multinomial one. Training maximizes (eq. 7)

        E_q[sum_i x_i log softmax(f(z))_i] - beta KL(q(z | x) || N(0, 1))

    with one draw of `z` per user and epoch, and with dropout of the items of the encoded history. `beta` grows linearly
    from 0 to `kl_weight` in the first `anneal_epochs` epochs (section 2.2.2). The score of an item is its logit
    `f(m(x))`, so new users are scored from their history as known users are. Ratings are ignored. `similar_items` uses
    the cosine similarity of the rows of the last layer.

    An epoch costs O(n_users n_items width), with the width of the first hidden layer; a step holds three matrices of
    logits, `(batch_size, n_items)`. Results are determined by `seed` and the number of threads: another number of
    threads, or another device, can change the last digits.

    Differences from the paper: no weight decay; biases begin at 0; `beta` is annealed by epochs, not by steps, because
    a step is another share of the training in data of another size.

    Examples:
        ```python
        from recctl import MultVAERecommender

        model = MultVAERecommender(epochs=5).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "mult-vae"
    too_large_advice: ClassVar[str] = "lower hidden_layers or batch_size, or raise data.min_item_interactions"

    embedding_dim: int = hyperparameter(200, ge=1, help="Length of the latent vectors.", search=Choices((64, 128, 200)))
    hidden_layers: list[Annotated[int, Field(ge=1)]] = hyperparameter(
        [600],
        min_length=1,
        help="Widths of the encoder's hidden layers; the decoder has them in reverse.",
        search=Choices(([300], [600], [800])),
    )
    dropout: float = hyperparameter(
        0.5, ge=0, lt=1, help="Share of a history's items that the encoder does not see.", search=Between(0.2, 0.8)
    )
    kl_weight: float = hyperparameter(
        0.2, ge=0, help="Weight beta of the KL divergence after annealing.", search=Between(0.01, 1.0, log=True)
    )
    anneal_epochs: int = hyperparameter(
        20, ge=0, help="First epochs, in which the weight of the KL divergence grows from 0.", search=Between(5, 100)
    )
    learning_rate: float = hyperparameter(
        0.001, gt=0, help="Learning rate after warm-up.", search=Between(0.0002, 0.005, log=True)
    )
    batch_size: int = hyperparameter(500, ge=1, help="Users per step.", search=Choices((100, 250, 500)))
    epochs: int = hyperparameter(100, ge=1, help="Maximum number of epochs.")

    # ---- training

    def _network(self) -> torch.nn.Module:
        from recctl.models.nn.mult_vae import MultVAENetwork

        return MultVAENetwork(
            len(self.item_vocabulary), self.embedding_dim, self.hidden_layers, self._generator("init")
        )

    def _weight_shapes(self) -> WeightShapes:
        n_items = len(self.item_vocabulary)
        dim = self.embedding_dim
        widths = self.hidden_layers
        shapes: dict[str, tuple[int, ...]] = {
            "item_in": (n_items, widths[0]),
            "bias_in": (widths[0],),
            "mean": (dim, widths[-1]),
            "mean_bias": (dim,),
            "log_variance": (dim, widths[-1]),
            "log_variance_bias": (dim,),
            "item_out": (n_items, widths[0]),
            "bias_out": (n_items,),
        }
        for name, layer_widths in (("encoder", widths), ("decoder", [dim, *reversed(widths)])):
            for number, (n_in, n_out) in enumerate(pairwise(layer_widths)):
                shapes[f"{name}.{number}"] = (n_out, n_in)
            for number, n_out in enumerate(layer_widths[1:]):
                shapes[f"{name}_biases.{number}"] = (n_out,)
        return shapes

    def _batches(self, interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[_Batch]:
        import torch

        seen = interactions.matrix
        order = rng.stream(self.seed, "shuffle", epoch).permutation(seen.n_rows).astype(np.int32)
        dropout = rng.stream(self.seed, "dropout", epoch)
        noise = rng.stream(self.seed, "noise", epoch)
        step_size = self.batch_size * self.accumulation_steps
        n_steps = math.ceil(len(order) / step_size)
        for begin in range(0, len(order), batch_size):
            histories = seen.take(order[begin : begin + batch_size])
            weights = _normalized(histories)
            kept = dropout.random(histories.nnz, np.float32) >= np.float32(self.dropout)
            weights *= kept / np.float32(1 - self.dropout)
            drawn = noise.standard_normal((histories.n_rows, self.embedding_dim), np.float32)
            yield _Batch(
                torch.from_numpy(histories.columns.astype(np.int64)),
                torch.from_numpy(histories.rows.astype(np.int64)),
                torch.from_numpy(histories.starts[:-1].astype(np.int64)),
                torch.from_numpy(weights),
                torch.from_numpy(drawn),
                self._kl_weight_at(epoch + begin // step_size / n_steps),
            )

    def _n_batches(self, interactions: InteractionDataset, batch_size: int) -> int:
        return math.ceil(interactions.n_users / batch_size)

    def _kl_weight_at(self, epoch: float) -> float:
        """The weight of the KL divergence at a point of training, in epochs from 0."""
        if epoch >= self.anneal_epochs:
            return self.kl_weight
        return self.kl_weight * epoch / self.anneal_epochs

    def _loss(self, network: Any, batch: _Batch) -> tuple[torch.Tensor, int]:
        from recctl.models.nn.mult_vae import kl_divergence, log_likelihood

        mean, log_variance = network.encode(batch.items, batch.starts, batch.weights)
        mean = mean.float()
        log_variance = log_variance.float()
        latent = mean + batch.noise * (0.5 * log_variance).exp()
        logits = network.decode(latent).float()
        divergence = kl_divergence(mean, log_variance)
        loss = batch.kl_weight * divergence - log_likelihood(logits, batch.rows, batch.items)
        return loss, len(batch.starts)

    # ---- scoring

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        weights = self._arrays
        scores: Float32Array = self._decoded(histories) @ weights["item_out"].T
        scores += weights["bias_out"]
        return scores

    def _scoring_inputs(self, histories: InteractionMatrix, users: Int32Array | None) -> tuple[Any, ...]:
        import torch

        items = torch.from_numpy(histories.columns.astype(np.int64))
        return items, torch.from_numpy(histories.starts[:-1]), torch.from_numpy(_normalized(histories))

    def _decoded(self, histories: InteractionMatrix) -> Float32Array:
        """What the last layer multiplies, `(n_histories, width)`."""
        weights = self._arrays
        summed = np.empty((histories.n_rows, self.hidden_layers[0]), np.float32)
        matmul.sparse_dense(histories.starts, histories.columns, _normalized(histories), weights["item_in"], summed)
        hidden: Float32Array = np.tanh(summed + weights["bias_in"])
        n_inner = len(self.hidden_layers) - 1
        for number in range(n_inner):
            hidden = np.tanh(hidden @ weights[f"encoder.{number}"].T + weights[f"encoder_biases.{number}"])
        hidden = hidden @ weights["mean"].T + weights["mean_bias"]
        for number in range(n_inner + 1):
            hidden = np.tanh(hidden @ weights[f"decoder.{number}"].T + weights[f"decoder_biases.{number}"])
        return hidden

    def embeddings(self) -> Embeddings:
        """What the last layer multiplies for each user, and its rows; a last column for the biases."""
        weights = self._arrays
        users = with_columns(self._decoded(self.seen), 1)
        return Embeddings(users, with_columns(weights["item_out"], weights["bias_out"]))

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        weights = self._arrays
        seen = histories.is_nonzero().cast(np.float32)
        counts = graph.apply("Max", seen.sum(1, keepdims=True), np.float32(1))
        summed = seen @ graph.constant(weights["item_in"], "item_in") / graph.apply("Sqrt", counts)
        hidden = graph.apply("Tanh", summed + weights["bias_in"])

        def layer(inputs: Value, name: str, bias: str) -> Value:
            return inputs.matmul_transposed(graph.constant(weights[name], name)) + weights[bias]

        n_inner = len(self.hidden_layers) - 1
        for number in range(n_inner):
            hidden = graph.apply("Tanh", layer(hidden, f"encoder.{number}", f"encoder_biases.{number}"))
        hidden = layer(hidden, "mean", "mean_bias")
        for number in range(n_inner + 1):
            hidden = graph.apply("Tanh", layer(hidden, f"decoder.{number}", f"decoder_biases.{number}"))
        return layer(hidden, "item_out", "bias_out")

    def _similarity(self, items: Int32Array) -> Float32Array:
        similarity: Float32Array = self._unit_items[items] @ self._unit_items.T
        return similarity

    @cached_property
    def _unit_items(self) -> Float32Array:
        """The rows of the last layer, scaled to length 1."""
        return unit_rows(self._arrays["item_out"])

    # ---- estimates

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        sizes = super()._sizes(n_users, n_items, n_interactions)
        return sizes | {"n_weights": self._n_weights(n_items)}

    def _n_weights(self, n_items: int) -> int:
        widths = [*self.hidden_layers, self.embedding_dim]
        inner = sum(left * right for left, right in zip(widths[1:], widths[:-1], strict=True))
        return 2 * n_items * self.hidden_layers[0] + n_items + 2 * inner

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Estimate the bytes of a fit.

        They are those of the weights, their gradients, Adam's moments, the best weights so far, and the gradient of a
        step's item rows; and of the logits of a batch, their gradient, and the temporary copy of one of them.
        """
        item_rows = 4 * n_items * self.hidden_layers[0]
        logits = 12 * min(self.batch_size, n_users) * n_items
        return 20 * self._n_weights(n_items) + max(item_rows, logits)


def _normalized(histories: InteractionMatrix) -> Float32Array:
    """The entries of the histories, each history scaled to length 1, `(n_interactions,)`."""
    lengths = np.diff(histories.starts)
    return np.repeat(1 / np.sqrt(np.maximum(lengths, 1)), lengths).astype(np.float32)
