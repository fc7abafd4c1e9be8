"""The base of SVD and SVD++: biases and factors of users and items, learned from ratings by SGD."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from recctl import rng, training
from recctl.arguments import at_least, optional, validated
from recctl.data.dataset import InteractionDataset
from recctl.data.frames import Frame
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.kernels import matmul, sgd
from recctl.models.base import Embeddings, extend
from recctl.models.base.default_validator import RMSE
from recctl.models.base.epoch_recommender import EPOCH_KEY, EpochRecommender
from recctl.models.base.hyperparameters import Between, fitted, hyperparameter
from recctl.models.base.id_tables import OnUnknownPair
from recctl.models.factors.rating_scale import relative_range
from recctl.models.factors.vectors import unit_rows, with_columns

if TYPE_CHECKING:
    from recctl.training import Validate

_NO_FACTORS = np.empty((0, 1), np.float32)
_SCALE_KEY = "rating_scale"
_NO_TRAINABLE_ITEMS = np.empty(0, np.uint8)


class BiasedFactors(EpochRecommender):
    """A rating is a mean, two biases, and the product of the factors of the user and of the item."""

    needs_ratings = True
    step_size = "lr"
    other_data_hint = "partial_fit adds new ones, fit starts from scratch"
    serves_empty_history = True
    too_large_advice: ClassVar[str] = "lower n_factors, or raise data.min_user_interactions"

    n_factors: int = hyperparameter(
        20, ge=1, help="Number of factors of users and items.", search=Between(10, 100, log=True)
    )
    n_epochs: int = hyperparameter(20, ge=1, help="Maximum number of epochs.")
    lr: float = hyperparameter(0.007, gt=0, help="Learning rate.", search=Between(0.001, 0.05, log=True))
    reg: float = hyperparameter(
        0.02, ge=0, help="L2 regularization of biases and factors.", search=Between(0.001, 1.0, log=True)
    )
    lr_decay: float = hyperparameter(
        1.0, gt=0, le=1, help="Factor that lr is multiplied by after each epoch; 1 for a constant lr."
    )
    init_std: float = hyperparameter(0.05, gt=0, help="Standard deviation of the initial factors.")
    seed: int = hyperparameter(42, ge=0, lt=2**63, help="Seed of the initial factors and of the order of users.")

    mean: float = fitted("")
    lowest: float = fitted("")
    highest: float = fitted("")
    # Before this value existed, ratings were trained on as they are.
    rating_scale: float = fitted("", if_absent=1.0)
    user_biases: Float32Array = fitted("(n_users,)")
    item_biases: Float32Array = fitted("(n_items,)")
    user_factors: Float32Array = fitted("(n_users, n_factors)")
    item_factors: Float32Array = fitted("(n_items, n_factors)")

    # ---- training

    def _fit(self, interactions: InteractionDataset) -> None:
        ratings = interactions.matrix.values
        self.mean = float(ratings.mean(dtype=np.float64))
        self.lowest = float(ratings.min())
        self.highest = float(ratings.max())
        self.rating_scale = relative_range(self.lowest, self.highest)
        for name, by_user in self._trained_arrays().items():
            n_rows = interactions.n_users if by_user else interactions.n_items
            setattr(self, name, self._initial_rows(name, n_rows))

    def _trained_arrays(self) -> dict[str, bool]:
        """The names of the arrays that training changes; True for a row per user, False for a row per item."""
        return {"user_biases": True, "item_biases": False, "user_factors": True, "item_factors": False}

    def _initial_rows(self, name: str, n_rows: int, *stream: int) -> Float32Array:
        """Rows of an array before training: biases are 0, factors are normally distributed."""
        if name.endswith("biases"):
            return np.zeros(n_rows, np.float32)
        factors = rng.stream(self.seed, "init", name, *stream).standard_normal((n_rows, self.n_factors), np.float32)
        # The product of two factors is in the units of the ratings.
        factors *= np.float32(self.init_std * math.sqrt(self.rating_scale))
        return factors

    def _initial_rows_of_new(self, name: str, n_rows: int, n_known: int) -> Float32Array:
        """Rows of users and items that `partial_fit` adds."""
        if name == "implicit_factors":
            # partial_fit does not train them. Random values would act as preferences.
            return np.zeros((n_rows, self.n_factors), np.float32)
        return self._initial_rows(name, n_rows, n_known)

    def _implicit_factors(self) -> Float32Array | None:
        """The implicit factors `y` of the items, `(n_items, n_factors)`; None for a model without them."""
        return None

    @property
    def _n_epochs(self) -> int:
        return self.n_epochs

    def _default_validator(self, validation: InteractionDataset | Frame) -> Validate:
        return RMSE(self, validation)

    def _epoch(self, interactions: InteractionDataset) -> float:
        ratings = self.seen
        epoch = self.best_epoch
        has_implicit = self._implicit_factors() is not None
        order = np.flatnonzero(np.diff(ratings.starts)).astype(np.int32)
        rng.stream(self.seed, "shuffle", epoch).shuffle(order)
        squared_errors = sgd.epoch(
            order,
            (ratings.starts, ratings.columns, ratings.values),
            (ratings.starts, ratings.columns),  # the items N(u) of eq. 15: here those with a rating
            (
                self._writeable("user_biases"),
                self._writeable("item_biases"),
                self._writeable("user_factors"),
                self._writeable("item_factors"),
                self._writeable("implicit_factors") if has_implicit else _NO_FACTORS,
            ),
            self.mean,
            self._lr(epoch),
            self.reg,
            self.rating_scale,
            has_implicit,
        )
        return self._checked_loss(squared_errors, ratings.nnz, epoch)

    def _lr(self, epoch: int) -> float:
        return self.lr * self.lr_decay**epoch

    def _checked_loss(self, squared_errors: float, n_ratings: int, epoch: int) -> float:
        """The root mean squared error of an epoch, counted from 0.

        Raises:
            TrainingError: The training diverged.
        """
        loss = math.sqrt(squared_errors / n_ratings)
        # A sane prediction is never further off than the range of ratings; the scale allows for the initial factors.
        training.require_convergence(self, epoch + 1, loss, self.rating_scale + self.highest - self.lowest)
        return loss

    def snapshot(self) -> dict[str, Any]:
        """A copy of everything that training changes."""
        copies = {name: getattr(self, name).copy() for name in self._trained_arrays()}
        return {EPOCH_KEY: self.best_epoch} | copies

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Restore a snapshot, which remains valid."""
        self.best_epoch = snapshot[EPOCH_KEY]
        for name, value in snapshot.items():
            if name != EPOCH_KEY:
                setattr(self, name, value.copy())

    def training_state(self) -> dict[str, Any]:
        """A copy of everything that further epochs depend on, as plain numbers and arrays for a checkpoint."""
        return self.snapshot() | {_SCALE_KEY: self.rating_scale}

    def set_training_state(self, state: dict[str, Any]) -> None:
        """Continue from the state of a model with the same hyperparameters and interactions."""
        self.rating_scale = state.get(_SCALE_KEY, 1.0)  # older checkpoints have none, and trained with 1
        self.restore({name: state[name] for name in (EPOCH_KEY, *self._trained_arrays())})

    @property
    def rate_of_last_epoch(self) -> float:
        """The learning rate of the last epoch."""
        return self._lr(self.best_epoch - 1)

    @validated(n_epochs=optional(at_least(1)))
    def partial_fit(self, interactions: Frame | InteractionDataset, n_epochs: int | None = None) -> Self:
        """Add ratings, users and items without a new fit.

        As in Rendle & Schmidt-Thieme, 2008, "Online-Updating Regularized Kernel Matrix Factorization Models for
        Large-Scale Recommender Systems", RecSys: the bias and factors of users with new ratings, and of new items, are
        learned from scratch in `n_epochs` epochs over all ratings of these users, old and new. All other users and
        items are fixed, so that the model does not forget old ratings (as it would in epochs over new ratings only),
        and the scores of other users do not change. A new user gets the scores of `recommend_for_history`. The implicit
        factors `y_j` of a new item are 0, and the mean does not change; fit the model again from time to time.

        The new rating of a pair that is already known replaces the old one. Cost: a copy of the model and of `seen`;
        and O(n_factors) per epoch and rating of the users with new ratings.

        Args:
            interactions: The new interactions only.
            n_epochs: Number of epochs; as many as the model was trained for by default.

        Returns:
            The model itself.

        Raises:
            NotFittedError: The model is not fitted.
            ConfigError: `n_epochs` is not a whole number of at least 1.
            DataError: The interactions are invalid, or their ids have another type than those of the model.
            TrainingError: The training diverged. The model is then unchanged.
        """
        before = self.state()
        interactions = self._checked_dataset(interactions)
        n_epochs = self._folding_epochs() if n_epochs is None else n_epochs
        try:
            users, is_new_item = extend.extend_model(
                self, interactions, self._trained_arrays(), self._initial_rows_of_new
            )
            added = interactions.matrix.values
            self.lowest = min(self.lowest, float(added.min()))
            self.highest = max(self.highest, float(added.max()))
            histories = self.seen.take(users)
            implicit = self._implicit_sums(histories)
            factors, biases = self._fold_in(histories, implicit, n_epochs, is_new_item)
            self.user_factors[users] = factors
            self.user_biases[users] = biases
            self._require_finite()
        except BaseException:
            vars(self).update(before)
            raise
        return self

    def _folding_epochs(self) -> int:
        return max(1, self.best_epoch)

    def _implicit_sums(self, histories: InteractionMatrix) -> Float32Array:
        """`z = |N(u)|^-1/2 * sum of y_j over N(u)` (eq. 15) of each history, `(n, n_factors)`; 0 without `y`."""
        sums = np.zeros((histories.n_rows, self.n_factors), np.float32)
        implicit = self._implicit_factors()
        if implicit is not None:
            sgd.add_history(histories.starts, histories.columns, implicit, sums)
        return sums

    def _fold_in(
        self,
        histories: InteractionMatrix,
        implicit: Float32Array,
        n_epochs: int,
        trainable_items: NDArray[np.uint8] = _NO_TRAINABLE_ITEMS,
    ) -> tuple[Float32Array, Float32Array]:
        """Learn factors and biases of users from all of their ratings, with fixed items.

        Args:
            histories: The ratings of each user.
            implicit: The result of `_implicit_sums`.
            n_epochs: Number of epochs.
            trainable_items: 1 for each item whose bias and factors are trained as well, `(n_items,)`; empty for none.

        Returns:
            Factors, `(n, n_factors)`, and biases, `(n,)`.
        """
        factors = np.zeros_like(implicit)
        biases = np.zeros(len(implicit), np.float32)
        item_biases = self._writeable("item_biases")
        item_factors = self._writeable("item_factors")
        for epoch in range(n_epochs):
            squared_errors = sgd.folding_epoch(
                (histories.starts, histories.columns, histories.values),
                trainable_items,
                (biases, item_biases, factors, item_factors),
                implicit,
                self.mean,
                self._lr(epoch),
                self.reg,
                self.rating_scale,
            )
            if len(trainable_items):
                self._checked_loss(squared_errors, histories.nnz, epoch)
        return factors, biases

    # ---- scoring

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        factors, biases = self._user_vectors(histories, users)
        scores: Float32Array = factors @ self.item_factors.T
        scores += self.item_biases + np.float32(self.mean)
        scores += biases[:, None]
        return scores

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """The score of each pair of codes, `(n_pairs,)`, in O(n_factors) per pair."""
        distinct_users, rows = np.unique(users, return_inverse=True)
        factors, biases = self._user_vectors(self.seen.take(distinct_users), distinct_users)
        scores = np.empty(len(users), np.float32)
        item_codes = np.ascontiguousarray(items, np.int32)
        matmul.pair_dots(factors, self.item_factors, rows.astype(np.int32), item_codes, scores)
        scores += self.item_biases[items] + np.float32(self.mean) + biases[rows]
        return scores

    def predict(
        self, user_ids: Iterable[Any], item_ids: Iterable[Any], *, on_unknown: OnUnknownPair = "error"
    ) -> Float32Array:
        """Predict the rating of each pair, clipped to the range of ratings in the training data.

        Arguments and errors as in `Recommender.predict`. With `on_unknown="mean"`, pairs with an unknown user or item
        get the mean plus the bias of the one that is known. Rankings use scores that are not clipped.
        """
        return np.clip(super().predict(user_ids, item_ids, on_unknown=on_unknown), self.lowest, self.highest)

    def _expected_ratings(self, users: Int32Array, items: Int32Array) -> Float32Array:
        expected = np.full(len(users), self.mean, np.float32)
        expected += np.where(users >= 0, self.user_biases[users], 0)
        expected += np.where(items >= 0, self.item_biases[items], 0)
        return expected

    def _user_vectors(
        self, histories: InteractionMatrix, users: Int32Array | None
    ) -> tuple[Float32Array, Float32Array]:
        """Factors `p_u + z`, `(n, n_factors)`, and biases, `(n,)`, of known users; of histories if `users` is None."""
        implicit = self._implicit_sums(histories)
        if users is not None:
            factors = self.user_factors[users]
            biases = self.user_biases[users]
        elif histories.is_binary:
            return implicit, np.zeros(len(implicit), np.float32)
        else:
            factors, biases = self._fold_in(histories, implicit, self._folding_epochs())
        implicit += factors
        return implicit, biases

    def embeddings(self) -> Embeddings:
        """Factors, with one dimension for the mean and the bias of the user, and one for the bias of the item."""
        factors, biases = self._user_vectors(self.seen, np.arange(self.seen.n_rows, dtype=np.int32))
        return Embeddings(
            with_columns(factors, biases + np.float32(self.mean), 1),
            with_columns(self.item_factors, 1, self.item_biases),
        )

    def _similarity(self, items: Int32Array) -> Float32Array:
        unit = unit_rows(self.item_factors)
        similarity: Float32Array = unit[items] @ unit.T
        return similarity

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Biases and factors, and copies of the best and of the last ones."""
        return 12 * (self.n_factors + 1) * (n_users + 2 * n_items)
