"""What models have in common that learn by going through the interactions again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from recctl import training
from recctl.data.dataset import InteractionDataset
from recctl.errors import DataError, UnsupportedError
from recctl.models.base import fit_probe
from recctl.models.base.hyperparameters import fitted
from recctl.models.base.recommender import Recommender

if TYPE_CHECKING:
    from recctl.training import Validate


class EpochRecommender(Recommender):
    """A model that is trained in epochs. It fills in `_n_epochs`, `_epoch`, `_watch`, `snapshot` and `restore`.

    Attributes:
        step_size: The hyperparameter that says how large steps are.
        way_out_of_others: What to do with interactions that are not those it began with.
    """

    trained_in_epochs = True
    step_size: ClassVar[str] = "learning_rate"
    way_out_of_others: ClassVar[str] = "fit begins anew"

    chosen_epoch: int = fitted("")

    # ---- what a model fills in

    @property
    def _n_epochs(self) -> int:
        """How many epochs at most."""
        raise UnsupportedError(f"{type(self).__name__} has no _n_epochs")

    def _epoch(self, interactions: InteractionDataset) -> float:
        """Go through the interactions once, the epoch's number from 0 being `chosen_epoch`; returns the mean loss."""
        raise UnsupportedError(f"{type(self).__name__} has no _epoch")

    def _default_validator(self, validation: InteractionDataset | pd.DataFrame) -> Validate:
        """What measures the model on a data set, where no metric is named."""
        raise UnsupportedError(f"{type(self).__name__} has no _watch")

    def snapshot(self) -> dict[str, Any]:
        """What it has learnt, copied."""
        raise UnsupportedError(f"{type(self).__name__} has no snapshot")

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Be as at the snapshot, which stays good."""
        raise UnsupportedError(f"{type(self).__name__} has no restore")

    # Of what it learns, copies in a checkpoint beside those of a snapshot: moments of an optimiser.
    _n_moments: ClassVar[int] = 0

    def estimate_checkpoints(self, n_users: int, n_items: int, n_interactions: int, keeps_best: bool = False) -> int:
        """The best model, and the state to go on from."""
        size = n_users, n_items, n_interactions
        learnt = fit_probe.file_bytes(self, self._sizes(*size), dense_only=True)
        return self.estimate_file(*size) + (1 + self._n_moments + keeps_best) * learnt

    # ---- training

    def _initialize(self, interactions: InteractionDataset) -> None:
        super()._initialize(interactions)
        self.chosen_epoch = 0

    def _train(
        self,
        interactions: InteractionDataset,
        validation: InteractionDataset | Validate | None,
        callbacks: Sequence[Any],
    ) -> None:
        validate = validation if validation is None or callable(validation) else self._default_validator(validation)
        training.run_epochs(self, interactions, self._n_epochs, validate=validate, callbacks=callbacks)

    def train_epoch(self, interactions: pd.DataFrame | InteractionDataset) -> float:
        """Go through the interactions once more; a model that is not fitted yet begins.

        Args:
            interactions: The same at each call.

        Returns:
            The mean loss, each taken before its step; of models of ratings, the root of the mean squared error.

        Raises:
            DataError: The interactions are not usable, or not those of the first call.
            TrainingError: The training diverged, or would not fit in memory.
        """
        if not (self.is_fitted and isinstance(interactions, InteractionDataset)):
            interactions = self._checked_dataset(interactions)
        if not self.is_fitted:
            self._initialize(interactions)
        elif not self._began_with(interactions):
            raise DataError(
                f"{self.name}: train_epoch goes on with the interactions the model began with, and these are others; "
                f"{self.way_out_of_others}"
            )
        loss = self._epoch(interactions)
        self.chosen_epoch += 1
        return loss

    def _began_with(self, interactions: InteractionDataset) -> bool:
        theirs, ours = interactions.matrix, self.seen
        if theirs is ours:
            return True
        pairs = (
            (interactions.user_vocabulary.ids, self.user_vocabulary.ids),
            (interactions.item_vocabulary.ids, self.item_vocabulary.ids),
            *((getattr(theirs, name), getattr(ours, name)) for name in ("starts", "columns", "values")),
        )
        return all(np.array_equal(a, b) for a, b in pairs)

    @property
    def advice_on_divergence(self) -> str:
        """What to change when the loss runs away."""
        name, value = self.step_size, getattr(self, self.step_size)
        return f"lower {name}, which is {value:g}: try {name}={value / 4:g}"
