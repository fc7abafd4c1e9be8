"""Base class of models that are trained in epochs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from recctl import training
from recctl.data.dataset import InteractionDataset
from recctl.data.frames import Frame
from recctl.data.matrix import Float32Array
from recctl.errors import DataError, UnsupportedError
from recctl.models.base import fit_probe
from recctl.models.base.hyperparameters import fitted
from recctl.models.base.recommender import Recommender

if TYPE_CHECKING:
    from recctl.training import Validate

# Key of `best_epoch` in model files, exports and checkpoints: the name that the attribute had until 0.2. Files keep it,
# so that every version reads those of every other.
EPOCH_KEY = "chosen_epoch"


class EpochRecommender(Recommender):
    """A model that is trained in epochs.

    A subclass implements `_n_epochs`, `_epoch`, `_default_validator`, `snapshot` and `restore`.

    Attributes:
        step_size: Name of the hyperparameter that scales the steps.
        other_data_hint: Suggested fix for interactions other than those of the first epoch.
        best_epoch: Epoch of the weights, from 1; 0 before the first epoch.
    """

    trained_in_epochs = True
    step_size: ClassVar[str] = "learning_rate"
    other_data_hint: ClassVar[str] = "fit starts from scratch"

    # Number of copies of the learned values in a checkpoint besides the weights: moments of an optimizer.
    _n_moments: ClassVar[int] = 0

    best_epoch: int = fitted("", stored_as=EPOCH_KEY)

    @property
    def chosen_epoch(self) -> int:
        """Deprecated name of `best_epoch`; removed in 0.4."""
        _warn_of_old_name()
        return self.best_epoch

    @chosen_epoch.setter
    def chosen_epoch(self, epoch: int) -> None:
        _warn_of_old_name()
        self.best_epoch = epoch

    # ---- implemented by models

    @property
    def _n_epochs(self) -> int:
        """Maximum number of epochs."""
        raise UnsupportedError(f"{type(self).__name__} does not implement _n_epochs")

    def _epoch(self, interactions: InteractionDataset) -> float:
        """Train for one epoch, whose number from 0 is `best_epoch`; returns the mean loss."""
        raise UnsupportedError(f"{type(self).__name__} does not implement _epoch")

    def _default_validator(self, validation: InteractionDataset | Frame) -> Validate:
        """The validator for a data set, if the caller names no metric."""
        raise UnsupportedError(f"{type(self).__name__} does not implement _default_validator")

    def snapshot(self) -> dict[str, Any]:
        """A copy of the learned values."""
        raise UnsupportedError(f"{type(self).__name__} does not implement snapshot")

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Restore a result of `snapshot`, which stays unchanged."""
        raise UnsupportedError(f"{type(self).__name__} does not implement restore")

    def estimate_checkpoints(self, n_users: int, n_items: int, n_interactions: int, keeps_best: bool = False) -> int:
        """Estimate the bytes of the checkpoints: the best model, and the training state."""
        size = n_users, n_items, n_interactions
        learned_bytes = fit_probe.file_bytes(self, self._sizes(*size), dense_only=True)
        return self.estimate_file(*size) + (1 + self._n_moments + keeps_best) * learned_bytes

    def __copy__(self) -> Self:
        """A copy that trains independently: it shares the interactions and ids, which are never modified.

        Training modifies arrays in place; a copy that shared them would be changed by the original.
        """
        state = self.__getstate__()
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                state[name] = value.copy()
        copied = type(self).__new__(type(self))
        copied.__setstate__(state)
        return copied

    # ---- training

    def _writeable(self, name: str) -> Float32Array:
        """An array to write to; a read-only one, as loaded from a file, is replaced by a copy."""
        array: Float32Array = getattr(self, name)
        if not array.flags.writeable:
            array = array.copy()
            setattr(self, name, array)
        return array

    def _initialize(self, interactions: InteractionDataset, parent: Self | None = None) -> None:
        super()._initialize(interactions, parent)
        self.best_epoch = 0

    def _train(
        self,
        interactions: InteractionDataset,
        validation: InteractionDataset | Validate | None,
        callbacks: Sequence[Any],
    ) -> None:
        validate = validation if validation is None or callable(validation) else self._default_validator(validation)
        try:
            training.run_epochs(self, interactions, self._n_epochs, validate=validate, callbacks=callbacks)
        except KeyboardInterrupt:
            for callback in callbacks:
                if isinstance(callback, training.EarlyStopping):
                    callback.after_training(self)  # restores the best weights
            raise

    def _keeps_values_after_interrupt(self) -> bool:
        return bool(vars(self).get("best_epoch", 0) > 0)

    def drop_training_state(self) -> None:
        """Free memory that only further training needs, such as the moments of an optimizer."""

    def train_epoch(self, interactions: Frame | InteractionDataset) -> float:
        """Train for one more epoch; a model that is not fitted starts with its first epoch.

        After `fit`, training continues as in a longer fit, if the learning rate does not depend on the number of epochs
        (`schedule`). A network continues with a new optimizer where the weights of its best epoch were restored, or
        where its file was saved without `training_state=True`; a notice says so. An epoch that fails or is interrupted
        leaves the model as it was after the previous one.

        Args:
            interactions: The training data, the same at each call.

        Returns:
            The mean loss over the epoch, each batch before its step; for rating models, the root mean squared error.

        Raises:
            DataError: The interactions are invalid, or differ from those of the first call.
            TrainingError: The training diverged, or ran out of memory.
        """
        if not (self.is_fitted and isinstance(interactions, InteractionDataset)):
            interactions = self._checked_dataset(interactions)
        is_first = not self.is_fitted
        if is_first:
            self._initialize(interactions)
        elif not self._equal_training_data(interactions):
            raise DataError(
                f"{self.name}: train_epoch continues with the interactions of the first epoch, and these are others; "
                f"{self.other_data_hint}"
            )
        undo = self._undo() if self.best_epoch else None
        try:
            loss = self._epoch(interactions)
            self.best_epoch += 1
        except BaseException:
            # The weights are those of some steps of the epoch.
            if undo is not None:
                undo()
            elif is_first:
                self._reset()
            raise
        return loss

    def _undo(self) -> Callable[[], None]:
        """A function that restores the present values after a failed epoch."""
        snapshot = self.snapshot()
        return lambda: self.restore(snapshot)

    def _equal_training_data(self, interactions: InteractionDataset) -> bool:
        """Whether these are the interactions of the first epoch."""
        matrix = interactions.matrix
        if matrix is self.seen:
            return True
        pairs = [
            (interactions.user_vocabulary.ids, self.user_vocabulary.ids),
            (interactions.item_vocabulary.ids, self.item_vocabulary.ids),
            (matrix.starts, self.seen.starts),
            (matrix.columns, self.seen.columns),
            (matrix.values, self.seen.values),
        ]
        return all(np.array_equal(array, expected) for array, expected in pairs)

    @property
    def advice_on_divergence(self) -> str:
        """Suggested change of a hyperparameter after divergence."""
        value = getattr(self, self.step_size)
        return f"lower {self.step_size}, which is {value:g}: try {self.step_size}={value / 4:g}"


def _warn_of_old_name() -> None:
    # The third frame is the one that uses the property.
    warnings.warn("chosen_epoch is now best_epoch; the old name is removed in 0.4", FutureWarning, stacklevel=3)
