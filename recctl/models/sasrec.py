"""SASRec: the next item from the order of a history, by self-attention."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from recctl import rng
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, Int64Array, InteractionMatrix
from recctl.kernels import group_by, packing
from recctl.kernels.negative_sampling import seen_among
from recctl.models.base import Embeddings
from recctl.models.base.hyperparameters import Between, Choices, fitted, hyperparameter
from recctl.models.base.onnx_graph import ScoreGraph, Value, normalize_rows
from recctl.models.factors.vectors import unit_rows
from recctl.models.nn import sasrec_onnx
from recctl.models.nn.torch_recommender import TorchRecommender

if TYPE_CHECKING:
    import torch

_EPSILON, _TINY = np.float32(1e-5), np.float32(1e-12)


class SASRecRecommender(TorchRecommender):
    """Self-attentive sequential recommendation (Kang & McAuley, 2018, "Self-Attentive Sequential Recommendation").

    A history's items, oldest first, at most the last `max_length`, become vectors `e_i + p_t`; blocks of causal
    self-attention (eq. 2-4) and a layer for each position (eq. 5) make of them states `h_t`, and an item scores
    `h_t . e_i` (eq. 6), or with `similarity="cosine"` the cosine of the two over `temperature`. Each position of a
    history is trained to tell the item after it, all in one pass, by `loss`:

        softmax          -log softmax over all items
        sampled_softmax  the same, with the other items' sum estimated from `n_negatives`
        bce              -log sigmoid(s+) - sum over negatives of log(1 - sigmoid(s-))       (the paper's)
        gbce             the same with a power on the first sigmoid (Petrov & Macdonald, 2023), by `calibration`

    A history longer than `max_length` is cut into windows, elsewhere in each epoch, so that all of it is learnt from;
    with `windows="last"`, as in the paper, the last one alone is. Rows of one user are ordered by timestamp, equal ones
    as they stand in the data; without timestamps, all as they stand. An epoch costs
    O(positions * (n_items or n_negatives) * embedding_dim); layers see real positions only, and the logits of softmax
    are made once, in parts. Strangers are served by their history, like everyone else. `similar_items` is by the cosine
    of items' vectors.

    Not as in the paper: blocks normalise what they are given (pre-norm); attention weights are not dropped; negatives
    are drawn for a batch, not for each position, and count for those who did not have them; positions count from the
    oldest item.
    """

    name = "sasrec"
    reads_order = True
    too_large_advice: ClassVar[str] = "lower embedding_dim, or raise data.min_item_interactions"

    max_length: int = hyperparameter(
        50, ge=1, help="Items of a history that are looked at: the last.", search=Choices((20, 50, 100, 200))
    )
    windows: Literal["all", "last"] = hyperparameter(
        "all", help="What is learnt of histories longer than max_length: all, in windows, or the last window."
    )
    n_blocks: int = hyperparameter(2, ge=1, help="Layers of attention.", search=Choices((1, 2, 3)))
    n_heads: int = hyperparameter(1, ge=1, help="Heads of attention; embedding_dim is a multiple.")
    dropout: float = hyperparameter(
        0.2, ge=0, lt=1, help="Share of outputs that is dropped in training.", search=Between(0.1, 0.6)
    )
    similarity: Literal["dot", "cosine"] = hyperparameter(
        "dot", help="How an item's vector scores: cosine keeps often seen items from growing long, and learns longer."
    )
    temperature: float = hyperparameter(
        0.05, gt=0, help="Cosines are divided by it; lower is sharper.", search=Between(0.03, 0.2, log=True)
    )
    loss: Literal["softmax", "sampled_softmax", "bce", "gbce"] = hyperparameter(
        "softmax", help="What is minimised; the others spare time where items are many."
    )
    n_negatives: int = hyperparameter(256, ge=1, help="Items drawn for a batch; softmax needs none.")
    calibration: float = hyperparameter(0.75, ge=0, le=1, help="t of gbce: 0 is bce, 1 calibrated as softmax is.")
    batch_size: int = hyperparameter(128, ge=1, help="Windows a step.", search=Choices((32, 64, 128, 256)))

    histories: InteractionMatrix = fitted("(n_users, n_items)")

    # ---- training

    @classmethod
    def _conflicts(cls, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        dim, n_heads = values["embedding_dim"], values["n_heads"]
        if dim % n_heads:
            yield "n_heads", f"embedding_dim={dim} is no multiple of n_heads={n_heads}: change one"

    def _fit(self, interactions: InteractionDataset) -> None:
        self.histories = _in_order(interactions)
        super()._fit(interactions)

    def _network(self) -> torch.nn.Module:
        from recctl.models.nn.sasrec import SASRecNetwork

        sizes = len(self.item_vocabulary), self.embedding_dim, self.max_length
        temperature = self.temperature if self.similarity == "cosine" else 0.0
        blocks = self.n_blocks, self.n_heads
        return SASRecNetwork(*sizes, blocks, self.dropout, temperature, self._generator("init"))

    def _batches(self, interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[Any]:
        """Inputs, targets, positions, places `(n,)`; shapes of tables; negatives `(m,)`, who had them `(n, m)`."""
        import torch

        users, begins, lengths = self._windows(epoch)
        order = rng.stream(self.seed, "shuffle", epoch).permutation(len(users))
        draws = rng.stream(self.seed, "negatives", epoch)
        histories, n_negatives = self.histories, 0 if self.loss == "softmax" else self.n_negatives
        for begin in range(0, len(order), batch_size):
            some = order[begin : begin + batch_size]
            some = some[np.argsort(lengths[some], kind="stable")]
            *packed, shapes = packing.pack(histories.columns, begins[some], lengths[some])
            # Distinct, as the positions of `had_among` need it.
            negatives = draws.choice(histories.n_columns, min(n_negatives, histories.n_columns), replace=False)
            had = np.repeat(self._had(users[some], negatives), lengths[some], axis=0)
            parts = (torch.from_numpy(part) for part in (*packed, negatives, had))
            yield (*islice(parts, 4), shapes, *parts)

    def _windows(self, epoch: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Of each window: whose history it is of, where in `histories.columns` it begins, how many inputs it has."""
        users, longest = self._trainable, self.max_length
        starts = self.histories.starts[users]
        n = self.histories.starts[users + 1] - 1 - starts
        if self.windows == "last":
            lengths = np.minimum(n, longest)
            return users, starts + n - lengths, lengths
        drawn = rng.stream(self.seed, "windows", epoch).integers(1, longest, len(users), endpoint=True)
        first = np.where(n > longest, drawn, n)  # where the first window ends; the others are whole, but for the last
        counts = 1 - (first - n) // longest
        of = np.repeat(np.arange(len(users)), counts)
        ends = first[of] + (np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)) * longest
        begins = np.maximum(ends - longest, 0)
        return users[of], starts[of] + begins, np.minimum(ends, n[of]) - begins

    def _had(self, rows: Int64Array, negatives: Int64Array) -> NDArray[np.bool_]:
        """Which of some distinct items each user had, `(len(rows), len(negatives))`."""
        histories, had = self.histories, np.zeros((len(rows), len(negatives)), bool)
        items = rows.astype(np.int32), negatives.astype(np.int32)
        starts, found = seen_among(histories.starts, histories.columns, *items, histories.n_columns)
        had[np.repeat(np.arange(len(rows)), np.diff(starts)), found] = True
        return had

    @cached_property
    def _trainable(self) -> Int64Array:
        """Users with something to tell after something."""
        return np.flatnonzero(np.diff(self.histories.starts) > 1)

    def _n_batches(self, interactions: InteractionDataset, batch_size: int) -> int:
        n_windows: float = len(self._trainable)
        if self.windows == "all":  # on average
            inputs = np.diff(self.histories.starts)[self._trainable] - 1
            n_windows += (inputs[inputs > self.max_length] - 1).sum() / self.max_length
        return math.ceil(n_windows / batch_size)

    def _loss(self, network: Any, batch: Any) -> tuple[torch.Tensor, int]:
        from recctl.models.nn import sasrec as losses

        inputs, targets, positions, places = (part.to(self._device) for part in batch[:4])
        hidden = network(inputs, positions, places, batch[4])
        items = network.targets()
        if self.loss == "softmax":
            return losses.softmax(hidden, items, targets), len(targets)
        negatives, had = (part.to(self._device) for part in batch[5:])
        given = hidden, items, targets, negatives, had
        if self.loss == "sampled_softmax":
            return losses.sampled_softmax(*given), len(targets)
        return losses.binary(*given, self._power() if self.loss == "gbce" else 1.0), len(targets)

    def _power(self) -> float:
        """Beta of gBCE (Petrov & Macdonald, 2023, eq. 9), from the share of items that are drawn."""
        share = min(1.0, self.n_negatives / max(1, len(self.item_vocabulary) - 1))
        return share * (self.calibration * (1 - 1 / share) + 1 / share)

    # ---- answering

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        if users is not None:
            histories = self.histories.take(users)
        targets, scores = self._targets, np.zeros((histories.n_rows, histories.n_columns), np.float32)
        # One after another: a product of many rounds a person's scores as their number wants it.
        for row, out in enumerate(scores):
            items = self._latest(histories, row)
            if len(items):
                np.matmul(targets, self._state(items), out=out)
        return scores

    def _latest(self, histories: InteractionMatrix, row: int) -> Int32Array:
        """The items of a history that are looked at."""
        return histories.columns[histories.starts[row] : histories.starts[row + 1]][-self.max_length :]

    def embeddings(self) -> Embeddings:
        """The state after each user's history, and what states are multiplied with."""
        histories, users = self.histories, np.zeros((self.histories.n_rows, self.embedding_dim), np.float32)
        for row, out in enumerate(users):
            items = self._latest(histories, row)
            if len(items):
                out[:] = self._state(items)
        return Embeddings(users, self._targets)

    @cached_property
    def _targets(self) -> Float32Array:
        """What states are multiplied with, `(n_items, embedding_dim)`."""
        vectors = self._arrays["item"]
        return unit_rows(vectors) if self.similarity == "cosine" else vectors

    def _state(self, items: Int32Array) -> Float32Array:
        """The state after the last of some items, `(embedding_dim,)`; the last block computes no other."""
        weights = self._arrays
        hidden: Float32Array = weights["item"][items] + weights["position"][: len(items)]
        for at in range(self.n_blocks):
            own = {name: weights[f"blocks.{at}.{name}"] for name in _BLOCK}
            normal = _normal(hidden, own["attend_gain"], own["attend_shift"])
            packed = normal @ own["qkv"].T + own["qkv_bias"]
            asked = slice(-1, None) if at == self.n_blocks - 1 else slice(None)
            hidden = hidden[asked] + self._attended(packed, asked) @ own["out"].T + own["out_bias"]
            normal = _normal(hidden, own["feed_gain"], own["feed_shift"])
            wide: Float32Array = np.maximum(normal @ own["up"].T + own["up_bias"], np.float32(0))
            hidden = hidden + wide @ own["down"].T + own["down_bias"]
        state = _normal(hidden[-1], weights["gain"], weights["shift"])
        if self.similarity == "cosine":
            state /= max(np.linalg.norm(state), _TINY) * np.float32(self.temperature)
        return state

    def _attended(self, packed: Float32Array, asked: slice) -> Float32Array:
        """Causal attention of the positions asked for, `(n, d)`, from queries, keys and values side by side."""
        n, width = len(packed), self.embedding_dim // self.n_heads
        q, k, v = packed.reshape(n, 3, self.n_heads, width).transpose(1, 2, 0, 3)  # (h, n, d / h)
        logits = q[:, asked] @ k.transpose(0, 2, 1) * np.float32(width**-0.5)
        if logits.shape[1] > 1:
            logits[:, np.triu(np.ones((n, n), bool), 1)] = -np.inf
        logits -= logits.max(axis=2, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=2, keepdims=True)
        mixed: Float32Array = (logits @ v).astype(np.float32, copy=False)
        return mixed.transpose(1, 0, 2).reshape(-1, self.embedding_dim)

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        items = histories.slice(1, -self.max_length)
        state = sasrec_onnx.state(graph, items, self._arrays, self.n_blocks, self.n_heads)
        if self.similarity == "cosine":
            state = normalize_rows(state) / self.temperature
        return state.matmul_transposed(graph.constant(self._targets, "targets"))

    def _similarity(self, items: Int32Array) -> Float32Array:
        unit = unit_rows(self._arrays["item"])
        similarity: Float32Array = unit[items] @ unit.T
        return similarity

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        d = self.embedding_dim
        n_weights = d * (n_items + self.max_length) + 6 * self.n_blocks * d**2
        sizes = super()._sizes(n_users, n_items, n_interactions)
        return sizes | {"n_weights": n_weights, "histories": n_interactions // 2}  # they have no values

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Weights, gradients, moments, the best so far, unit vectors and theirs; logits of 256 positions; rows.

        And of a batch what each block keeps of a position for the way back, and of the loss its negatives.
        """
        length = min(self.max_length, 1 + 2 * n_interactions // max(1, n_users))
        positions = min(self.batch_size * length, n_interactions)
        negatives = 0 if self.loss == "softmax" else 9 * self.n_negatives
        batch = positions * (56 * self.embedding_dim * self.n_blocks + negatives)
        return 36 * self.embedding_dim * n_items + 1024 * n_items + 12 * n_interactions + batch


_BLOCK = (
    *("attend_gain", "attend_shift", "feed_gain", "feed_shift"),
    *("qkv", "qkv_bias", "out", "out_bias", "up", "up_bias", "down", "down_bias"),
)


def _normal(hidden: Float32Array, gain: Float32Array, shift: Float32Array) -> Float32Array:
    """Layer normalisation."""
    centred = hidden - hidden.mean(axis=-1, keepdims=True)
    spread = np.sqrt(np.mean(centred * centred, axis=-1, keepdims=True) + _EPSILON)
    normal: Float32Array = centred / spread * gain + shift
    return normal


def _in_order(interactions: InteractionDataset) -> InteractionMatrix:
    """Users by items, each row oldest first, repeats included."""
    order = np.arange(len(interactions))
    if interactions.timestamps is not None:
        order = group_by.stable_argsort(interactions.timestamps)
    order = order[np.argsort(interactions.users[order], kind="stable")]
    starts = np.zeros(interactions.n_users + 1, np.int64)
    np.cumsum(np.bincount(interactions.users, minlength=interactions.n_users), out=starts[1:])
    return InteractionMatrix(starts, interactions.items[order], np.empty(0, np.float32), interactions.n_items)
