"""SASRec: predicts the next item of a history by self-attention."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, assert_never

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
from recctl.models.nn import sasrec_numpy, sasrec_onnx
from recctl.models.nn.flat_weights import WeightShapes
from recctl.models.nn.torch_recommender import TorchRecommender

if TYPE_CHECKING:
    import torch

# Whether a loss needs sampled negatives. A loss without an entry is an error: it must not silently be trained like
# another one.
_USES_NEGATIVES = {"softmax": False, "sampled_softmax": True, "bce": True, "gbce": True}


class SASRecRecommender(TorchRecommender):
    """Self-attentive sequential recommendation (Kang & McAuley, 2018, "Self-Attentive Sequential Recommendation").

    The last `max_length` items of a history, oldest first, become vectors `e_i + p_t`. Blocks of causal self-attention
    (eq. 2-4) and a feed-forward layer for each position (eq. 5) turn them into states `h_t`. An item scores `h_t . e_i`
    (eq. 6), or with `similarity="cosine"` the cosine of the two divided by `temperature`. Each position of a history is
    trained to predict the next item, all positions in one pass, by `loss`:

        softmax          -log softmax over all items
        sampled_softmax  the same, with the sum over the other items estimated from `n_negatives`
        bce              -log sigmoid(s+) - sum over negatives of log(1 - sigmoid(s-)), as in the paper
        gbce             the same with a power of the first sigmoid (Petrov & Macdonald, 2023), set by `calibration`

    A history longer than `max_length` is cut into windows, at other points in each epoch, so that all of it is used;
    with `windows="last"`, as in the paper, only the last one is. The interactions of a user are ordered by timestamp;
    row order breaks ties, and replaces missing timestamps. An epoch costs O(positions * (n_items or n_negatives) *
    embedding_dim); layers compute real positions only, without padding, and the logits of softmax are computed once, in
    blocks. New users are scored from their history, as known users are. `similar_items` uses the cosine similarity of
    item embeddings.

    Differences from the paper: blocks normalize their input (pre-norm); there is no dropout of attention weights;
    negatives are sampled per batch, not per position, and are ignored for users who have interacted with them;
    positions count from the oldest item.

    Examples:
        ```python
        from recctl import SASRecRecommender

        model = SASRecRecommender(epochs=2).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "sasrec"
    reads_order = True
    too_large_advice: ClassVar[str] = "lower embedding_dim, or raise data.min_item_interactions"
    warm_start_parameters = ("embedding_dim", "max_length", "n_blocks", "n_heads", "similarity")
    _tables: ClassVar = {"item": ("item",)}

    max_length: int = hyperparameter(
        50, ge=1, help="Maximum number of items of a history, the latest.", search=Choices((20, 50, 100, 200))
    )
    windows: Literal["all", "last"] = hyperparameter(
        "all", help="Part of longer histories used in training: all of it, in windows, or the last window."
    )
    n_blocks: int = hyperparameter(2, ge=1, help="Number of attention blocks.", search=Choices((1, 2, 3)))
    n_heads: int = hyperparameter(1, ge=1, help="Attention heads; embedding_dim must be a multiple.")
    dropout: float = hyperparameter(
        0.2, ge=0, lt=1, help="Share of outputs that is set to 0 in training.", search=Between(0.1, 0.6)
    )
    similarity: Literal["dot", "cosine"] = hyperparameter(
        "dot",
        help="Score of an item: dot product or cosine. Cosine limits popularity bias, and needs more epochs.",
    )
    temperature: float = hyperparameter(
        0.05,
        gt=0,
        help="Divisor of cosines; lower is sharper.",
        search=Between(0.03, 0.2, log=True),
        when={"similarity": ("cosine",)},
    )
    loss: Literal["softmax", "sampled_softmax", "bce", "gbce"] = hyperparameter(
        "softmax", help="Training loss; the sampled ones are faster for large catalogs."
    )
    n_negatives: int = hyperparameter(
        256,
        ge=1,
        help="Sampled items per batch; softmax needs none.",
        when={"loss": ("sampled_softmax", "bce", "gbce")},
    )
    calibration: float = hyperparameter(
        0.75,
        ge=0,
        le=1,
        help="Parameter t of gbce: 0 is bce, 1 is calibrated like softmax.",
        when={"loss": ("gbce",)},
    )
    batch_size: int = hyperparameter(128, ge=1, help="Windows per step.", search=Choices((32, 64, 128, 256)))

    histories: InteractionMatrix = fitted("(n_users, n_items)")

    # ---- training

    @classmethod
    def _conflicts(cls, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        dim = values["embedding_dim"]
        n_heads = values["n_heads"]
        if dim % n_heads:
            yield "n_heads", f"embedding_dim={dim} is not a multiple of n_heads={n_heads}: change one"

    def _fit(self, interactions: InteractionDataset) -> None:
        self.histories = _ordered_histories(interactions)
        super()._fit(interactions)

    def _network(self) -> torch.nn.Module:
        from recctl.models.nn.sasrec import SASRecNetwork

        sizes = len(self.item_vocabulary), self.embedding_dim, self.max_length
        temperature = self.temperature if self.similarity == "cosine" else 0.0
        blocks = self.n_blocks, self.n_heads
        return SASRecNetwork(*sizes, blocks, self.dropout, temperature, self._generator("init"))

    def _weight_shapes(self) -> WeightShapes:
        dim = self.embedding_dim
        shapes: dict[str, tuple[int, ...]] = {
            "item": (len(self.item_vocabulary), dim),
            "position": (self.max_length, dim),
            "gain": (dim,),
            "shift": (dim,),
        }
        for number in range(self.n_blocks):
            prefix = f"blocks.{number}."
            for name in ("attend_gain", "attend_shift", "feed_gain", "feed_shift"):
                shapes[prefix + name] = (dim,)
            for name, width in (("qkv", 3 * dim), ("out", dim), ("up", dim), ("down", dim)):
                shapes[prefix + name] = (width, dim)
                shapes[f"{prefix}{name}_bias"] = (width,)
        return shapes

    def _batches(self, interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[Any]:
        """Inputs, targets, positions, places, each `(n,)`; table shapes; negatives `(m,)`; which are seen `(n, m)`."""
        import torch

        users, begins, lengths = self._windows(epoch)
        order = rng.stream(self.seed, "shuffle", epoch).permutation(len(users))
        draws = rng.stream(self.seed, "negatives", epoch)
        histories = self.histories
        n_negatives = min(self._n_sampled, histories.n_columns)
        for begin in range(0, len(order), batch_size):
            windows = order[begin : begin + batch_size]
            # Windows of equal length are neighbors, so that tables of attention need little padding.
            windows = windows[np.argsort(lengths[windows], kind="stable")]
            *packed, shapes = packing.pack(histories.columns, begins[windows], lengths[windows])
            # Distinct, as `seen_among` requires.
            negatives = draws.choice(histories.n_columns, n_negatives, replace=False)
            seen = np.repeat(self._seen_negatives(users[windows], negatives), lengths[windows], axis=0)
            parts = (torch.from_numpy(part) for part in (*packed, negatives, seen))
            yield (*islice(parts, 4), shapes, *parts)

    @property
    def _n_sampled(self) -> int:
        """Number of negatives that the loss samples for each batch."""
        return self.n_negatives if _USES_NEGATIVES[self.loss] else 0

    def _windows(self, epoch: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """User, first position in `histories.columns`, and number of inputs of each window."""
        users = self._trainable
        longest = self.max_length
        starts = self.histories.starts[users]
        # The last item of a history is a target only.
        n_inputs = self.histories.starts[users + 1] - 1 - starts
        if self.windows == "last":
            lengths = np.minimum(n_inputs, longest)
            return users, starts + n_inputs - lengths, lengths
        drawn = rng.stream(self.seed, "windows", epoch).integers(1, longest, len(users), endpoint=True)
        # The first window ends at a random input; all others but the last have max_length inputs. Every position is
        # thus trained once an epoch, and over epochs with contexts of every length.
        first_ends = np.where(n_inputs > longest, drawn, n_inputs)
        counts = 1 - (first_ends - n_inputs) // longest  # with the division rounded up
        owners = np.repeat(np.arange(len(users)), counts)
        window_numbers = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        ends = first_ends[owners] + window_numbers * longest
        begins = np.maximum(ends - longest, 0)
        return users[owners], starts[owners] + begins, np.minimum(ends, n_inputs[owners]) - begins

    def _seen_negatives(self, users: Int64Array, negatives: Int64Array) -> NDArray[np.bool_]:
        """Which of some distinct items each user has interacted with, `(len(users), len(negatives))`."""
        histories = self.histories
        seen = np.zeros((len(users), len(negatives)), bool)
        starts, positions = seen_among(
            histories.starts,
            histories.columns,
            users.astype(np.int32),
            negatives.astype(np.int32),
            histories.n_columns,
        )
        seen[np.repeat(np.arange(len(users)), np.diff(starts)), positions] = True
        return seen

    @cached_property
    def _trainable(self) -> Int64Array:
        """Users with at least two interactions: an input and a target."""
        return np.flatnonzero(np.diff(self.histories.starts) > 1)

    def _n_batches(self, interactions: InteractionDataset, batch_size: int) -> int:
        n_windows: float = len(self._trainable)
        if self.windows == "all":
            # A random first end adds, on average, (n - 1) / max_length windows to a history of n inputs.
            inputs = np.diff(self.histories.starts)[self._trainable] - 1
            n_windows += (inputs[inputs > self.max_length] - 1).sum() / self.max_length
        return math.ceil(n_windows / batch_size)

    def _loss(self, network: Any, batch: Any) -> tuple[torch.Tensor, int]:
        from recctl.models.nn import sasrec as losses

        inputs, targets, positions, places, shapes, negatives, seen = batch
        hidden = network(inputs, positions, places, shapes)
        items = network.targets()
        loss: torch.Tensor
        match self.loss:
            case "softmax":
                loss = losses.softmax(hidden, items, targets)
            case "sampled_softmax":
                loss = losses.sampled_softmax(hidden, items, targets, negatives, seen)
            case "bce":
                loss = losses.binary(hidden, items, targets, negatives, seen, power=1.0)
            case "gbce":
                loss = losses.binary(hidden, items, targets, negatives, seen, power=self._power())
            case _:
                assert_never(self.loss)
        return loss, len(targets)

    def _power(self) -> float:
        """Beta of gBCE (Petrov & Macdonald, 2023, eq. 9), from the share of sampled items."""
        share = min(1.0, self.n_negatives / max(1, len(self.item_vocabulary) - 1))
        return share * (self.calibration * (1 - 1 / share) + 1 / share)

    # ---- scoring
    #
    # The forward pass exists three times: in torch for training and for scores on a GPU (`nn/sasrec.py`), in numpy
    # for scores on a CPU (`nn/sasrec_numpy.py`), and in ONNX for export (`nn/sasrec_onnx.py`). Importing torch takes
    # seconds and hundreds of MB, which scoring a user must not wait for. A test compares all three.

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        if users is not None:
            histories = self.histories.take(users)
        scores: Float32Array = self._states(histories) @ self._targets.T
        return scores

    def _scoring_inputs(self, histories: InteractionMatrix, users: Int32Array | None) -> tuple[Any, ...]:
        import torch

        if users is not None:
            histories = self.histories.take(users)
        lengths = np.minimum(np.diff(histories.starts), self.max_length)
        rows = np.argsort(lengths, kind="stable")
        rows = rows[lengths[rows] > 0]
        ordered = histories.take(rows.astype(np.int32))
        packed = packing.pack_inputs(ordered.starts, ordered.columns, self.max_length)
        arrays = packed.inputs, packed.positions, packed.places, np.cumsum(packed.lengths) - 1, rows
        return *(torch.from_numpy(array) for array in arrays), packed.shapes, histories.n_rows

    def _bytes_per_scored_row(self) -> int:
        # Of each position: its state, queries, keys and values, packed and in tables, and what attention returns.
        return super()._bytes_per_scored_row() + 4 * 12 * self.max_length * self.embedding_dim

    def _states(self, histories: InteractionMatrix) -> Float32Array:
        """The vector of each history that item vectors are multiplied by, `(n, embedding_dim)`; 0 if it is empty."""
        states = sasrec_numpy.states(histories, self._arrays, self.max_length, self.n_blocks, self.n_heads)
        if self.similarity == "cosine":
            states = unit_rows(states) / np.float32(self.temperature)
        return states

    def embeddings(self) -> Embeddings:
        """The state after each user's history, and the item vectors that it is multiplied by."""
        return Embeddings(self._states(self.histories), self._targets)

    @cached_property
    def _targets(self) -> Float32Array:
        """The item vectors that states are multiplied by, `(n_items, embedding_dim)`."""
        vectors = self._arrays["item"]
        return unit_rows(vectors) if self.similarity == "cosine" else vectors

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
        dim = self.embedding_dim
        # A block has six matrices of this size: queries, keys, values, output, and two of the feed-forward layer.
        n_weights = dim * (n_items + self.max_length) + 6 * self.n_blocks * dim**2
        sizes = super()._sizes(n_users, n_items, n_interactions)
        return sizes | {"n_weights": n_weights, "histories": n_interactions // 2}  # the matrix has no values

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Estimate the bytes of a fit.

        They are those of the weights, gradients, moments, best and last weights, and unit vectors; the logits of 256
        positions; the interactions; and of a batch the activations of each block and the negatives of the loss.
        """
        length = min(self.max_length, 1 + 2 * n_interactions // max(1, n_users))
        positions = min(self.batch_size * length, n_interactions)
        # For each position and negative: a logit, its gradient, and whether the negative is seen.
        negatives = 9 * self._n_sampled
        batch = positions * (56 * self.embedding_dim * self.n_blocks + negatives)
        return 40 * self.embedding_dim * n_items + 1024 * n_items + 12 * n_interactions + batch


def _ordered_histories(interactions: InteractionDataset) -> InteractionMatrix:
    """Users by items, each row oldest first, with repeated items."""
    order = np.arange(len(interactions))
    if interactions.timestamps is not None:
        order = group_by.stable_argsort(interactions.timestamps)
    order = order[np.argsort(interactions.users[order], kind="stable")]
    starts = np.zeros(interactions.n_users + 1, np.int64)
    np.cumsum(np.bincount(interactions.users, minlength=interactions.n_users), out=starts[1:])
    return InteractionMatrix(starts, interactions.items[order], np.empty(0, np.float32), interactions.n_items)
