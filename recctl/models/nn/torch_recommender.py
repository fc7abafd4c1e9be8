"""Base class of models with a torch network: hyperparameters, weights as one array, epochs, training state.

Torch is imported when a model is fitted or its network is used, not with this module: listing models must not wait for
it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from recctl import progress, rng
from recctl.data.dataset import InteractionDataset
from recctl.data.frames import Frame
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.engines import torch_distributed
from recctl.errors import ConfigError, UnsupportedError
from recctl.models.base.default_validator import NDCG
from recctl.models.base.epoch_recommender import EPOCH_KEY, EpochRecommender
from recctl.models.base.hyperparameters import Between, Choices, Fitted, hyperparameter
from recctl.models.base.warm_start import shared_rows
from recctl.models.nn import devices, flat_weights
from recctl.models.nn.torch_settings import usual_settings

if TYPE_CHECKING:
    import torch

    from recctl.models.nn.adam import Adam
    from recctl.models.nn.device_scorer import DeviceScorer
    from recctl.models.nn.trainer import Trainer
    from recctl.training import Validate

# Of a fit probe: its duration in seconds, and the number of first steps that are not timed.
_PROBE_SECONDS = 1.0
_WARMUP_STEPS = 2


_MAKING_SCORER = threading.Lock()


class _ProbeFinished(Exception):  # noqa: N818
    """A fit probe has run long enough."""


class _NetworkWeights(Fitted):
    """The weights of a network. After an epoch on a GPU they are copied to the model when they are read."""

    def __get__(self, model: Any, owner: type) -> Any:
        if model is None or "weights" not in vars(model):
            return super().__get__(model, owner)
        if "_current_trainer" in vars(model):
            model._current_trainer.to_host()
        return vars(model)["weights"]

    def __set__(self, model: Any, weights: Float32Array) -> None:
        vars(model)["weights"] = weights


def _network_weights(*, init: Literal[False] = False) -> Any:
    return _NetworkWeights("(n_weights,)")


class TorchRecommender(EpochRecommender):
    """A network that is trained in epochs. A model implements `_network`, `_batches`, `_loss`, and `_score`.

    `_score` computes on the CPU. If the model also implements `_scoring_inputs`, and its network `scoring_tables` and
    `scores`, then scores are computed on the device of the network, where that is a GPU.

    All weights are one flat array, and the parameters of the network are views of it: a snapshot is one copy, and the
    optimizer makes one pass. Values that follow from the weights and take time belong in a `cached_property`: these
    are dropped when the weights change.

    A fit that begins from another model (`warm_start`) copies all weights, those of known users and items by their ids.
    New users and items get the initial weights of a fit from scratch; optimizer and schedule start from scratch.
    """

    too_large_advice: ClassVar[str] = "lower embedding_dim, or raise data.min_item_interactions"

    embedding_dim: int = hyperparameter(
        64, ge=1, help="Length of user and item embeddings.", search=Choices((32, 64, 128, 256))
    )
    learning_rate: float = hyperparameter(
        0.001, gt=0, help="Learning rate after warm-up.", search=Between(0.0001, 0.005, log=True)
    )
    batch_size: int = hyperparameter(256, ge=1, help="Examples per batch.")
    epochs: int = hyperparameter(20, ge=1, help="Maximum number of epochs.")
    accumulation_steps: int = hyperparameter(
        1, ge=1, help="Batches per step; the effective batch size is this times batch_size."
    )
    max_grad_norm: float = hyperparameter(0.0, ge=0, help="Gradients are clipped to this norm; 0 for no limit.")
    schedule: Literal["constant", "cosine", "linear"] = hyperparameter(
        "constant", help="How the learning rate falls from warm-up to the last epoch."
    )
    warmup_epochs: float = hyperparameter(0.0, ge=0, help="Epochs in which the learning rate grows from 0.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = hyperparameter(
        "auto", help="Number format of the network; auto: bfloat16 on a GPU that supports it, otherwise float32."
    )
    device: str = hyperparameter(
        "auto",
        pattern=devices.PATTERN,
        examples=devices.EXAMPLES,
        help="Device of the network; auto: a GPU if there is one; cuda:N: the GPU number N, from 0.",
    )
    seed: int = hyperparameter(
        42, ge=0, lt=2**63, help="Seed of initial weights, of the order of examples, and of dropout."
    )

    weights: Float32Array = _network_weights()

    _n_moments = 2

    # State of a trainer that is not live, as plain values: the next access to `_trainer` continues from it.
    _stored_training_state: dict[str, Any] | None = None

    # Weights with a row for each user or item, by their names in the network: of which, in the order of the rows. A
    # model that sets `warm_start_parameters` names all of them; a warm start copies the others as they are.
    _tables: ClassVar[Mapping[str, tuple[Literal["user", "item"], ...]]] = {}

    # ---- implemented by models

    def _network(self) -> torch.nn.Module:
        """The network on the CPU, with initial weights drawn from `_generator`; sizes are those of the vocabularies.

        Constants are buffers with `persistent=False`; other buffers are float32 and count as weights. Tensors name
        their number format, because the default is a setting of the process. What is drawn in training comes from
        `_generator`, or from `recctl.models.nn.dropout.Dropout`, which replaces `torch.nn.Dropout` in the network:
        threads share the generators of torch.
        """
        raise UnsupportedError(f"{type(self).__name__} does not implement _network")

    def _weight_shapes(self) -> flat_weights.WeightShapes:
        """Names and shapes of the network's weights: its own parameters, those of its modules, persistent buffers.

        The default makes a network. A model that declares them is scored on a CPU without importing torch, which takes
        seconds and hundreds of MB.
        """
        return flat_weights.shapes(self._new_network())

    def _batches(self, interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[Any]:
        """The batches of an epoch (from 0), on the CPU, with randomness from `rng.stream(self.seed, ..., epoch)` only.

        Half the `batch_size` must give the same examples in the same order: training continues with it after running
        out of memory.
        """
        raise UnsupportedError(f"{type(self).__name__} does not implement _batches")

    def _n_batches(self, interactions: InteractionDataset, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return math.ceil(interactions.matrix.nnz / batch_size)

    def _loss(self, network: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, int]:
        """The sum of the losses of a batch, which is on the device of the network, and their number."""
        raise UnsupportedError(f"{type(self).__name__} does not implement _loss")

    def _scoring_inputs(self, histories: InteractionMatrix, users: Int32Array | None) -> tuple[Any, ...]:
        """On the CPU, what the network's `scores` takes after its `scoring_tables`, to compute what `_score` does."""
        raise UnsupportedError(f"{type(self).__name__} does not implement _scoring_inputs")

    def _bytes_per_scored_row(self) -> int:
        """Estimate the memory on a device that the scores of a user take; it chooses the size of batches."""
        return 12 * len(self.item_vocabulary)

    def _optimizer(self, parameter: torch.nn.Parameter) -> torch.optim.Optimizer | Adam:
        """The optimizer of all weights, which are one flat parameter."""
        if parameter.device.type == "cpu":
            from recctl.models.nn.adam import Adam

            return Adam(parameter, self.learning_rate)
        import torch

        return torch.optim.Adam([parameter], lr=self.learning_rate, fused=parameter.device.type != "mps")

    def _before_epoch(self, network: torch.nn.Module, epoch: int) -> None:
        """Called before the first batch of each epoch (from 0)."""

    # ---- training

    def require_device(self) -> None:
        """Raise a ConfigError if the machine does not have the device, or it does not support the precision."""
        devices.select(self.name, self.device, self.precision)

    def _fit(self, interactions: InteractionDataset) -> None:
        self.require_device()
        self.weights = flat_weights.flatten(self._new_network())

    def _fit_from(self, interactions: InteractionDataset, parent: Self) -> None:
        """Copy the weights of a model: its rows of known users and items by their ids, and all other weights."""
        self._fit(interactions)
        known_rows = {
            "user": shared_rows(self.user_vocabulary, parent.user_vocabulary),
            "item": shared_rows(self.item_vocabulary, parent.item_vocabulary),
        }
        sizes = {"user": len(self.user_vocabulary), "item": len(self.item_vocabulary)}
        parent_sizes = {"user": len(parent.user_vocabulary), "item": len(parent.item_vocabulary)}
        for name, weights in self._arrays.items():
            fitted_weights = parent._arrays[name]
            if name not in self._tables:
                weights[...] = fitted_weights
                continue
            begin = 0
            parent_begin = 0
            for side in self._tables[name]:
                known = known_rows[side]
                weights[begin + known.new] = fitted_weights[parent_begin + known.old]
                begin += sizes[side]
                parent_begin += parent_sizes[side]
        self._invalidate_caches()

    def _train(
        self,
        interactions: InteractionDataset,
        validation: InteractionDataset | Validate | None,
        callbacks: Sequence[Any],
    ) -> None:
        try:
            super()._train(interactions, validation, callbacks)
        finally:
            self._store_trainer()

    @property
    def _n_epochs(self) -> int:
        return self.epochs

    def _default_validator(self, validation: InteractionDataset | Frame) -> Validate:
        return NDCG(self, validation)

    def _epoch(self, interactions: InteractionDataset) -> float:
        trainer = self._trainer
        if trainer.is_new and self.best_epoch and self._n_moments:
            progress.notice(
                f"{self.name}: training continues after epoch {self.best_epoch} with a new optimizer, whose moments "
                "begin at 0: weights of another epoch were restored, or the file of the model holds no training state "
                "(save(path, training_state=True) keeps it)"
            )
        trainer.announce(self.best_epoch)
        loss = trainer.run_epoch(interactions, self.best_epoch)
        self._invalidate_caches()
        return loss

    def assist(self, interactions: InteractionDataset) -> None:
        """Compute, as a worker, the epochs that the leading process announces, until training ends."""
        self._initialize(self._checked_dataset(interactions))
        while (message := torch_distributed.receive()) is not None:
            if message["state"] is not None:
                self.set_training_state(message["state"])
            self.best_epoch = message["epoch"]
            self._epoch(interactions)
        self.drop_training_state()

    def _new_network(self) -> torch.nn.Module:
        """A new network with initial weights."""
        with usual_settings():
            return self._network()

    @property
    def _trainer(self) -> Trainer:
        """The trainer, with the network and optimizer of the last epoch; made at the first access."""
        if "_current_trainer" not in vars(self):
            from recctl.models.nn import trainer

            if not flat_weights.is_aligned(self.weights):
                self.weights = flat_weights.align(self.weights)
                self._invalidate_caches()
            with usual_settings():
                self._current_trainer = trainer.Trainer(self)
            if self._stored_training_state is not None:
                self._current_trainer.set_state(self._stored_training_state)
                self._stored_training_state = None
        return self._current_trainer

    def _store_trainer(self) -> None:
        """Keep the state of the trainer only: frees gradients, buffers, and the memory of a device."""
        trainer = self._pop_trainer()
        if trainer is not None:
            self._stored_training_state = trainer.release()

    def drop_training_state(self) -> None:
        """Free the memory of training; `train_epoch` then continues with a new optimizer."""
        self._pop_trainer()
        self._stored_training_state = None

    def _pop_trainer(self) -> Trainer | None:
        trainer: Trainer | None = vars(self).pop("_current_trainer", None)
        if trainer is not None:
            trainer.to_host()
            # It refers to the network of the trainer, and thus to the gradients.
            vars(self).pop("_current_scorer", None)
        return trainer

    def _optimizer_state(self) -> dict[str, Any] | None:
        if "_current_trainer" not in vars(self):
            return self._stored_training_state
        return None if self._current_trainer.is_new else self._current_trainer.state()

    def _set_optimizer_state(self, state: Any) -> None:
        flat_weights.check_optimizer_state(state, len(self.weights))
        self._stored_training_state = state

    def __getstate__(self) -> dict[str, Any]:
        """The attributes for a copy or a pickle: the trainer, which shares memory with the model, as plain values."""
        if "_current_trainer" in vars(self):
            self._current_trainer.to_host()
        state = super().__getstate__()
        for name in ("_current_scorer", "_device_for_scores"):  # of this process and machine
            state.pop(name, None)
        if state.pop("_current_trainer", None) is not None:
            state["_stored_training_state"] = self._optimizer_state()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        # Copies can begin anywhere. At other addresses, scores may differ in the last digits.
        if self.is_fitted and not flat_weights.is_at_cache_line(self.weights):
            self.weights = flat_weights.align(self.weights)

    # ---- scoring

    def score_users(self, users: Int32Array) -> Float32Array:
        """Scores of every item for known users, `(len(users), n_items)`."""
        scorer = self._device_scorer()
        if scorer is None:
            return super().score_users(users)

        def inputs(rows: slice) -> tuple[Any, ...]:
            return self._scoring_inputs(self.seen.take(users[rows]), users[rows])

        return scorer.scores(len(users), len(self.item_vocabulary), inputs)

    def score_histories(self, histories: InteractionMatrix) -> Float32Array:
        """Scores of every item for users with these histories, `(n, n_items)`."""
        scorer = self._device_scorer()
        if scorer is None:
            return super().score_histories(histories)

        def inputs(rows: slice) -> tuple[Any, ...]:
            numbers = np.arange(rows.start, rows.stop, dtype=np.int32)
            return self._scoring_inputs(histories.take(numbers), None)

        return scorer.scores(histories.n_rows, len(self.item_vocabulary), inputs)

    def _device_scorer(self) -> DeviceScorer | None:
        """What scores users on a device; None if the CPU does, without torch."""
        if "_current_scorer" not in vars(self):
            # Several threads score at once; one network on the device is enough.
            with _MAKING_SCORER:
                if "_current_scorer" not in vars(self):
                    self._current_scorer = self._new_device_scorer() if self._scores_on_device else None
        return self._current_scorer

    @property
    def _scores_on_device(self) -> bool:
        """Whether the model can score on a device, and this machine has the device."""
        if type(self)._scoring_inputs is TorchRecommender._scoring_inputs:
            return False
        if "_current_trainer" in vars(self):
            return self._device.type != "cpu"
        if "_device_for_scores" not in vars(self):
            self._device_for_scores = devices.select_for_scores(self.device)
            if self._device_for_scores is None and self.device not in ("auto", "cpu"):
                progress.notice(
                    f"{self.name}: device={self.device!r}: not found on this machine; the CPU computes the scores"
                )
        return self._device_for_scores is not None

    def _new_device_scorer(self) -> DeviceScorer:
        from recctl.models.nn.device_scorer import DeviceScorer

        if "_current_trainer" in vars(self):
            return DeviceScorer(self._trainer.network, self._device, self._bytes_per_scored_row())
        import torch

        assert self._device_for_scores is not None
        network = self._new_network().to(self._device_for_scores)
        flat_weights.require_weight_count(self.name, flat_weights.shapes(network), self.weights)
        flat_weights.use(torch.from_numpy(self.weights).to(self._device_for_scores), network)
        return DeviceScorer(network, self._device_for_scores, self._bytes_per_scored_row())

    # ---- weights and state of training

    @property
    def model(self) -> torch.nn.Module:
        """The network, in evaluation mode until the next epoch. On a CPU it shares its weights with the model."""
        return self._trainer.network.eval()

    @property
    def _device(self) -> torch.device:
        """Device of the network."""
        return self._trainer.device

    def _generator(self, *stream: str | int) -> torch.Generator:
        """A torch generator on the CPU, seeded from a stream of the model's seed."""
        import torch

        stream_seed = int(rng.stream(self.seed, *stream).integers(2**63))
        return torch.Generator().manual_seed(stream_seed)

    def named_weights(self) -> dict[str, Float32Array]:
        """The weights by their names in the network, in the order of `weights`, of which they are views."""
        return dict(self._arrays)

    @cached_property
    def _arrays(self) -> dict[str, Float32Array]:
        """Views of the weights, by their names in the network."""
        return flat_weights.named_views(self.name, self._weight_shapes(), self.weights)

    def _invalidate_caches(self) -> None:
        """Drop the cached properties and the tables on a device, which follow from weights that have changed."""
        vars(self).pop("_current_scorer", None)
        for name in list(vars(self)):
            if isinstance(getattr(type(self), name, None), cached_property):
                del vars(self)[name]

    def learning_rate_at(self, epoch: float) -> float:
        """The learning rate at a point of training, in epochs from 0."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        remaining = (self.epochs - epoch) / max(self.epochs - self.warmup_epochs, 1e-9)
        if self.schedule == "constant" or remaining >= 1:
            return self.learning_rate
        remaining = max(remaining, 0.0)
        if self.schedule == "linear":
            return self.learning_rate * remaining
        return self.learning_rate * ((1 - math.cos(math.pi * remaining)) / 2)

    @property
    def rate_of_last_epoch(self) -> float:
        """The learning rate of the last step."""
        return self.learning_rate_at(self.best_epoch)

    @property
    def batch_size_of_last_epoch(self) -> int:
        """Examples that were computed together: fewer than `batch_size` after running out of memory."""
        trainer = self._trainer
        return min(self.batch_size, trainer.batch_size * trainer.world_size)

    # ---- estimates

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        sizes = super()._sizes(n_users, n_items, n_interactions)
        return sizes | {"n_weights": self.embedding_dim * (n_users + n_items)}

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """Time some steps of the first epoch, with all interactions."""
        begin = perf_counter()
        model = self.clone()
        interactions = model._checked_dataset(interactions)
        model._initialize(interactions)
        _ = model._trainer  # made before the steps are timed
        prepared = perf_counter()
        step_times: list[float] = []

        def timed_batches(interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[Any]:
            for batch in type(model)._batches(model, interactions, epoch, batch_size):
                step_times.append(perf_counter())
                is_long_enough = step_times[-1] - step_times[0] > _PROBE_SECONDS
                if is_long_enough and len(step_times) > 2 + _WARMUP_STEPS:
                    raise _ProbeFinished
                yield batch
            step_times.append(perf_counter())

        vars(model)["_batches"] = timed_batches
        with suppress(_ProbeFinished):
            model._epoch(interactions)
        del vars(model)["_batches"]
        model.best_epoch = 1
        model._trainer.network.eval()
        model._invalidate_caches()
        n_batches = model._n_batches(interactions, model._trainer.batch_size)
        n_untimed = min(_WARMUP_STEPS, len(step_times) - 2)
        batch_seconds = (step_times[-1] - step_times[n_untimed]) / (len(step_times) - 1 - n_untimed)
        epoch_seconds = step_times[0] - prepared + n_batches * batch_seconds
        return prepared - begin + self.epochs * epoch_seconds, model

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Estimate the bytes of a fit: embeddings, gradients, two moments, and copies of the best and last weights."""
        return 24 * self.embedding_dim * (n_users + n_items)

    # ---- state

    def snapshot(self) -> dict[str, Any]:
        """A copy of the weights and their epoch."""
        return {EPOCH_KEY: self.best_epoch, "weights": self.weights.copy()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Restore a result of `snapshot`.

        Unless its weights are the present ones, training then continues with a new optimizer: its moments are averages
        over steps that led to other weights.
        """
        self.best_epoch = snapshot[EPOCH_KEY]
        if not np.array_equal(self.weights, snapshot["weights"]):
            self._set_weights(snapshot["weights"])
            self._stored_training_state = None
            if "_current_trainer" in vars(self):
                self._current_trainer.restart_optimizer()

    def _undo(self) -> Callable[[], None]:
        trainer = vars(self).get("_current_trainer")
        if trainer is None or trainer.device.type == "cpu":
            return super()._undo()
        # The copy stays on the device: the weights need not come to the host for it.
        restore_weights = trainer.undo()
        epoch = self.best_epoch

        def undo() -> None:
            restore_weights()
            self.best_epoch = epoch
            self._invalidate_caches()

        return undo

    def _set_weights(self, weights: Float32Array) -> None:
        if weights.shape != self.weights.shape:
            raise ConfigError(
                f"{self.name}: the snapshot has {len(weights):,} weights, the network has {len(self.weights):,}; "
                "restore it into a model with the same hyperparameters"
            )
        if self.weights.flags.writeable:
            np.copyto(self.weights, weights)
        else:
            self.weights = weights.copy()
        if "_current_trainer" in vars(self):
            self._current_trainer.to_device()
        self._invalidate_caches()

    def training_state(self) -> dict[str, Any]:
        """A copy of everything that the following epochs depend on, as plain numbers and arrays for a checkpoint."""
        return self.snapshot() | (self._optimizer_state() or self._trainer.state())

    def set_training_state(self, state: dict[str, Any]) -> None:
        """Restore a result of `training_state` of a model with the same hyperparameters and interactions."""
        self.restore(state)
        self._trainer.set_state(state)
