"""What models with a torch network share: hyperparameters, weights as one array, epochs, states to go on from.

Torch is imported when a model is fitted or asked, not with this module: listing models must not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from recctl import rng
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array
from recctl.engines import torch_distributed
from recctl.errors import ConfigError, UnsupportedError
from recctl.models.base.default_validator import NDCG
from recctl.models.base.epoch_recommender import EpochRecommender
from recctl.models.base.hyperparameters import Between, Choices, fitted, hyperparameter

# Of a trial: how long it goes on with its steps, and how many of the first don't count.
_TRIAL_SECONDS, _WARM = 1.0, 2

if TYPE_CHECKING:
    import torch

    from recctl.models.nn.trainer import Trainer
    from recctl.training import Validate


class _EnoughError(Exception):
    """A trial is over."""


class TorchRecommender(EpochRecommender):
    """A network trained in epochs. A model fills in `_network`, `_batches`, `_loss`, and `_score`.

    All weights are one flat array, of which the network's parameters are views: a snapshot is one copy, the optimiser
    one pass. What follows from them and is slow to make belongs in a `cached_property`: it is dropped when they change.
    """

    too_large_advice: ClassVar[str] = "lower embedding_dim, or raise data.min_item_interactions"

    embedding_dim: int = hyperparameter(
        64, ge=1, help="Length of the vectors of users and items.", search=Choices((32, 64, 128, 256))
    )
    learning_rate: float = hyperparameter(
        0.001, gt=0, help="Size of a step, after warm-up.", search=Between(0.0001, 0.005, log=True)
    )
    batch_size: int = hyperparameter(256, ge=1, help="Examples a step, with accumulation_steps=1.")
    epochs: int = hyperparameter(20, ge=1, help="How often the interactions are gone through, at most.")
    accumulation_steps: int = hyperparameter(
        1, ge=1, help="Batches whose gradients make one step; batch_size times this is the effective batch."
    )
    max_grad_norm: float = hyperparameter(0.0, ge=0, help="Gradients are cut to this length; 0 for no limit.")
    schedule: Literal["constant", "cosine", "linear"] = hyperparameter(
        "constant", help="How the learning rate falls from warm-up to the last epoch."
    )
    warmup_epochs: float = hyperparameter(0.0, ge=0, help="Epochs in which the learning rate grows from 0.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = hyperparameter(
        "auto", help="What the network computes in; auto: bfloat16 on a GPU that has it, else float32."
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = hyperparameter(
        "auto", help="Where it computes; auto: a GPU where there is one."
    )
    seed: int = hyperparameter(42, ge=0, lt=2**63, help="Of the first weights, the order of examples, and dropout.")

    weights: Float32Array = fitted("(n_weights,)")

    _n_moments = 2

    # ---- what a model fills in

    def _network(self) -> torch.nn.Module:
        """The network on the CPU, with its first weights drawn from `_generator`; sizes are the vocabularies'.

        Constants are buffers with `persistent=False`; other buffers are float32 and count as weights.
        """
        raise UnsupportedError(f"{type(self).__name__} has no _network")

    def _batches(self, interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[Any]:
        """The batches of an epoch (from 0), on the CPU; randomness from `rng.stream(self.seed, ..., epoch)` alone.

        Half the `batch_size` must cut the same examples in the same order: it is asked for when memory runs out.
        """
        raise UnsupportedError(f"{type(self).__name__} has no _batches")

    def _n_batches(self, interactions: InteractionDataset, batch_size: int) -> int:
        """How many batches an epoch has."""
        return math.ceil(interactions.matrix.nnz / batch_size)

    def _loss(self, network: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, int]:
        """The sum of the losses of a batch, and how many they are. The batch is to be moved to `self._device`."""
        raise UnsupportedError(f"{type(self).__name__} has no _loss")

    def _optimizer(self, parameter: torch.nn.Parameter) -> torch.optim.Optimizer:
        """The optimiser of all weights, which are one flat parameter."""
        import torch

        return torch.optim.Adam([parameter], lr=self.learning_rate, fused=parameter.device.type != "mps")

    @property
    def _uses_own_threads(self) -> bool:
        """Whether `_loss` spreads its work over threads itself, so that torch's would only be in the way."""
        return False

    def _before_epoch(self, network: torch.nn.Module, epoch: int) -> None:
        """Called before the batches of each epoch (from 0)."""

    # ---- training

    def require_device(self) -> None:
        """Refuse a device that isn't there."""
        from recctl.models.nn import trainer

        trainer.check_device(self.name, self.device, self.precision)

    def _fit(self, interactions: InteractionDataset) -> None:
        from recctl.models.nn import trainer

        self.require_device()
        self.weights = trainer.flattened(self._network())

    def _train(
        self,
        interactions: InteractionDataset,
        validation: InteractionDataset | Validate | None,
        callbacks: Sequence[Any],
    ) -> None:
        super()._train(interactions, validation, callbacks)
        vars(self).pop("_training", None)

    @property
    def _n_epochs(self) -> int:
        return self.epochs

    def _default_validator(self, validation: InteractionDataset | pd.DataFrame) -> Validate:
        return NDCG(self, validation)

    def _epoch(self, interactions: InteractionDataset) -> float:
        live = self._live()
        live.announce(self.chosen_epoch)
        loss = live.epoch(interactions, self.chosen_epoch)
        self._invalidate_caches()
        return loss

    def assist(self, interactions: InteractionDataset) -> None:
        """Take part in the training of such a model that another process leads, epoch by epoch until it is over."""
        self._initialize(self._checked_dataset(interactions))
        while (said := torch_distributed.receive()) is not None:
            if said["state"] is not None:
                self.set_training_state(said["state"])
            self.chosen_epoch = said["epoch"]
            self._epoch(interactions)
        vars(self).pop("_training", None)

    def _live(self) -> Trainer:
        """The network and optimiser as training left them."""
        if "_training" not in vars(self):
            from recctl.models.nn import trainer

            if not trainer.is_aligned(self.weights):
                self.weights = trainer.aligned(self.weights)
                self._invalidate_caches()
            self._training = trainer.Trainer(self)
        return self._training

    @property
    def model(self) -> torch.nn.Module:
        """The network, sharing its weights with the model on a CPU; in evaluation mode until the next epoch."""
        return self._live().network.eval()

    @property
    def _device(self) -> torch.device:
        """Where the network is."""
        return self._live().device

    def _generator(self, *stream: str | int) -> torch.Generator:
        """A generator for torch's own draws, from a stream of the seed; on the CPU."""
        import torch

        drawn = int(rng.stream(self.seed, *stream).integers(2**63))
        return torch.Generator().manual_seed(drawn)

    @cached_property
    def _arrays(self) -> dict[str, Float32Array]:
        """The weights by the names they have in the network, as views."""
        from recctl.models.nn import trainer

        return trainer.named_views(self)

    def _invalidate_caches(self) -> None:
        """Forget what follows from weights that have changed."""
        for name in list(vars(self)):
            if isinstance(getattr(type(self), name, None), cached_property):
                del vars(self)[name]

    def learning_rate_at(self, epoch: float) -> float:
        """The step size at a moment of training, in epochs from 0."""
        if epoch < self.warmup_epochs:
            return self.learning_rate * epoch / self.warmup_epochs
        left = (self.epochs - epoch) / max(self.epochs - self.warmup_epochs, 1e-9)
        if self.schedule == "constant" or left >= 1:
            return self.learning_rate
        left = max(left, 0.0)
        return self.learning_rate * (left if self.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2)

    @property
    def rate_of_last_epoch(self) -> float:
        """The size of its last step."""
        return self.learning_rate_at(self.chosen_epoch)

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        n_weights = self.embedding_dim * (n_users + n_items)
        return {**super()._sizes(n_users, n_items, n_interactions), "n_weights": n_weights}

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """Some steps of the first epoch, at full size."""
        trial, begin = self.clone(), perf_counter()
        interactions = trial._checked_dataset(interactions)
        trial._initialize(interactions)
        trial._live()
        begun = perf_counter()
        moments: list[float] = []

        def some(interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[Any]:
            for batch in type(trial)._batches(trial, interactions, epoch, batch_size):
                moments.append(perf_counter())
                if moments[-1] - moments[0] > _TRIAL_SECONDS and len(moments) > 2 + _WARM:
                    raise _EnoughError
                yield batch
            moments.append(perf_counter())

        vars(trial)["_batches"] = some
        with suppress(_EnoughError):
            trial._epoch(interactions)
        del vars(trial)["_batches"]
        trial.chosen_epoch = 1
        trial._live().network.eval()
        trial._invalidate_caches()
        n_batches = trial._n_batches(interactions, trial._live().batch_size)
        warm = min(_WARM, len(moments) - 2)
        of_batch = (moments[-1] - moments[warm]) / (len(moments) - 1 - warm)
        of_epoch = moments[0] - begun + n_batches * of_batch
        return begun - begin + self.epochs * of_epoch, trial

    @property
    def batch_size_of_last_epoch(self) -> int:
        """What it computed at once: less than `batch_size`, if memory ran out."""
        live = self._live()
        return min(self.batch_size, live.batch_size * live.world)

    # ---- states

    def snapshot(self) -> dict[str, Any]:
        """What it has learnt, copied."""
        return {"chosen_epoch": self.chosen_epoch, "weights": self.weights.copy()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Be as at the snapshot."""
        self.chosen_epoch = snapshot["chosen_epoch"]
        self._set_weights(snapshot["weights"])

    def _set_weights(self, weights: Float32Array) -> None:
        if weights.shape != self.weights.shape:
            raise ConfigError(f"{self.name}: {len(weights)} weights, the network has {len(self.weights)}")
        if not self.weights.flags.writeable:
            self.weights = weights.copy()
        else:
            np.copyto(self.weights, weights)
        if "_training" in vars(self):
            self._training.to_host()
        self._invalidate_caches()

    def training_state(self) -> dict[str, Any]:
        """All that further epochs depend on, copied: plain numbers and arrays, for a checkpoint."""
        return {**self.snapshot(), **self._live().state()}

    def set_training_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of a model with the same hyperparameters and interactions."""
        self.restore(state)
        self._live().set_state(state)

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Vectors, gradients, two moments of Adam, and a copy as the best so far."""
        return 20 * self.embedding_dim * (n_users + n_items)
