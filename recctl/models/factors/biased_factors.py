"""What SVD++ and SVD share: biases and factors of users and items, learnt from ratings one after another."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recctl import rng, training
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.errors import ConfigError
from recctl.kernels import matmul, sgd
from recctl.models.base import Embeddings, extend
from recctl.models.base.default_validator import RMSE
from recctl.models.base.epoch_recommender import EpochRecommender
from recctl.models.base.hyperparameters import Between, fitted, hyperparameter
from recctl.models.factors.vectors import unit_rows, with_columns

if TYPE_CHECKING:
    from recctl.training import Validate

_NO_FACTORS = np.empty((0, 1), np.float32)
_ALL_HELD = np.empty(0, np.uint8)


class BiasedFactors(EpochRecommender):
    """A rating is a mean, two biases, and the product of a taste and an item's factors."""

    needs_ratings = True
    step_size = "lr"
    way_out_of_others = "partial_fit adds new ones, fit begins anew"
    serves_empty_history = True
    too_large_advice: ClassVar[str] = "lower n_factors, or raise data.min_user_interactions"

    n_factors: int = hyperparameter(
        20, ge=1, help="Length of the factors of users and items.", search=Between(10, 100, log=True)
    )
    n_epochs: int = hyperparameter(20, ge=1, help="How often each rating is visited, at most.")
    lr: float = hyperparameter(0.007, gt=0, help="Size of a step.", search=Between(0.001, 0.05, log=True))
    reg: float = hyperparameter(
        0.02, ge=0, help="Weight of the squares of biases and factors.", search=Between(0.001, 1.0, log=True)
    )
    lr_decay: float = hyperparameter(
        1.0, gt=0, le=1, help="What lr is multiplied by from one epoch to the next; 1 for a constant lr."
    )
    init_std: float = hyperparameter(0.05, gt=0, help="Standard deviation of the factors before the first epoch.")
    seed: int = hyperparameter(42, ge=0, lt=2**63, help="Of the first factors, and of the order of users.")

    mean: float = fitted("")
    lowest: float = fitted("")
    highest: float = fitted("")
    user_biases: Float32Array = fitted("(n_users,)")
    item_biases: Float32Array = fitted("(n_items,)")
    user_factors: Float32Array = fitted("(n_users, n_factors)")
    item_factors: Float32Array = fitted("(n_items, n_factors)")

    # ---- training

    def _fit(self, interactions: InteractionDataset) -> None:
        ratings = interactions.matrix.values
        self.mean = float(ratings.mean(dtype=np.float64))
        self.lowest, self.highest = float(ratings.min()), float(ratings.max())
        for name, of_users in self._learnt().items():
            setattr(self, name, self._first(name, interactions.n_users if of_users else interactions.n_items))

    def _learnt(self) -> dict[str, bool]:
        """The arrays that training changes, and whether they have a row for each user (or for each item)."""
        return {"user_biases": True, "item_biases": False, "user_factors": True, "item_factors": False}

    def _first(self, name: str, n: int, *stream: int) -> Float32Array:
        """Rows that nothing has changed yet: biases are 0, factors drawn."""
        if name.endswith("biases"):
            return np.zeros(n, np.float32)
        drawn = rng.stream(self.seed, "init", name, *stream).standard_normal((n, self.n_factors), np.float32)
        drawn *= np.float32(self.init_std)
        return drawn

    def _first_of_new(self, name: str, n: int, n_known: int) -> Float32Array:
        if name == "implicit_factors":  # nothing moves them, and noise would be taken for a taste
            return np.zeros((n, self.n_factors), np.float32)
        return self._first(name, n, n_known)

    def _implicit_factors(self) -> Float32Array | None:
        """The factors of what a person had, where the model has such."""
        return None

    @property
    def _n_epochs(self) -> int:
        return self.n_epochs

    def _default_validator(self, validation: InteractionDataset | pd.DataFrame) -> Validate:
        return RMSE(self, validation)

    def _epoch(self, interactions: InteractionDataset) -> float:
        ratings, epoch, implicit = self.seen, self.chosen_epoch, self._implicit_factors()
        order = np.flatnonzero(np.diff(ratings.starts)).astype(np.int32)
        rng.stream(self.seed, "shuffle", epoch).shuffle(order)
        squares = sgd.epoch(
            order,
            (ratings.starts, ratings.columns, ratings.values),
            (ratings.starts, ratings.columns),
            (
                *(self._own(name) for name in self._learnt() if name != "implicit_factors"),
                _NO_FACTORS if implicit is None else self._own("implicit_factors"),
            ),
            self.mean,
            self._lr(epoch),
            self.reg,
            implicit is not None,
        )
        return self._checked_loss(squares, ratings.nnz, epoch)

    def _lr(self, epoch: int) -> float:
        return self.lr * self.lr_decay**epoch

    def _checked_loss(self, squares: float, n: int, epoch: int) -> float:
        """The root of the mean squared error, refused where training ran away; epochs count from 0."""
        loss = math.sqrt(squares / n)
        # No rating is further from what a sane model says than the scale is wide; 1 leaves room for the first factors.
        training.require_convergence(self, epoch + 1, loss, 1 + self.highest - self.lowest)
        return loss

    def _own(self, name: str) -> Float32Array:
        """An array to write to: those of a file may be read-only."""
        array: Float32Array = getattr(self, name)
        if not array.flags.writeable:
            array = array.copy()
            setattr(self, name, array)
        return array

    def snapshot(self) -> dict[str, Any]:
        """What training changes, copied."""
        return {"chosen_epoch": self.chosen_epoch} | {name: getattr(self, name).copy() for name in self._learnt()}

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Be as at the snapshot."""
        for name, value in snapshot.items():
            setattr(self, name, value if name == "chosen_epoch" else value.copy())

    def training_state(self) -> dict[str, Any]:
        """All that further epochs depend on, copied: plain numbers and arrays, for a checkpoint."""
        return self.snapshot()

    def set_training_state(self, state: dict[str, Any]) -> None:
        """Go on from a state of a model with the same hyperparameters and interactions."""
        self.restore({name: state[name] for name in ("chosen_epoch", *self._learnt())})

    @property
    def rate_of_last_epoch(self) -> float:
        """The size of its steps."""
        return self._lr(self.chosen_epoch - 1)

    def partial_fit(self, interactions: pd.DataFrame | InteractionDataset, n_epochs: int | None = None) -> Self:
        """Learn new ratings, users and items without fitting again, as in Rendle & Schmidt-Thieme, 2008.

        Users with new ratings learn their bias and factors anew, and new items theirs, by `n_epochs` visits of all
        ratings of these users, old and new. What was known of other users and of items is held: new ratings must not
        make the model forget old ones (going on with the new ones alone does), and answers for other users stay what
        they were. A new user gets what `recommend_for_history` says of a person with these ratings. What a new item's
        rating says by itself (`y_j`) is 0 until the next fit, and the mean stays; fit again now and then.

        A rating of a pair that is known replaces the old one. Costs a copy of the model and of what it has seen, and
        O(n_factors) an epoch for each rating of the users who have new ones.

        Args:
            interactions: Only the new ones.
            n_epochs: Visits of each rating; as many as the model was fitted for unless given.

        Raises:
            NotFittedError: There is nothing to add to.
            ConfigError: `n_epochs` is below 1.
            DataError: The interactions are not usable, or have ids of another kind than the model's.
            TrainingError: The training diverged; the model stays as it was.
        """
        before = self.state()
        interactions = self._checked_dataset(interactions)
        n_epochs = self._visits() if n_epochs is None else n_epochs
        if n_epochs < 1:
            raise ConfigError(f"{self.name}: partial_fit: n_epochs={n_epochs!r}: must be at least 1")
        try:
            users, new_items = extend.extend_model(self, interactions, self._learnt(), self._first_of_new)
            added = interactions.matrix.values
            self.lowest, self.highest = min(self.lowest, float(added.min())), max(self.highest, float(added.max()))
            histories = self.seen.take(users)
            z = self._of_history(histories)
            p, biases = self._fold(histories, z, n_epochs, new_items)
            self.user_factors[users], self.user_biases[users] = p, biases
            self._require_finite()
        except BaseException:
            vars(self).update(before)
            raise
        return self

    def _visits(self) -> int:
        return max(1, self.chosen_epoch)

    def _of_history(self, histories: InteractionMatrix) -> Float32Array:
        """What histories say by themselves: z of eq. 15, `(n, n_factors)`."""
        z = np.zeros((histories.n_rows, self.n_factors), np.float32)
        implicit = self._implicit_factors()
        if implicit is not None:
            sgd.add_history(histories.starts, histories.columns, implicit, z)
        return z

    def _fold(
        self, histories: InteractionMatrix, z: Float32Array, n_epochs: int, free: NDArray[np.uint8] = _ALL_HELD
    ) -> tuple[Float32Array, Float32Array]:
        """Factors and biases of people from all their ratings; items are held, but for free ones, which are changed."""
        p, biases = np.zeros_like(z), np.zeros(len(z), np.float32)
        item_biases, item_factors = self._own("item_biases"), self._own("item_factors")
        for epoch in range(n_epochs):
            squares = sgd.folding_epoch(
                (histories.starts, histories.columns, histories.values),
                free,
                (biases, item_biases, p, item_factors),
                z,
                self.mean,
                self._lr(epoch),
                self.reg,
            )
            if len(free):
                self._checked_loss(squares, histories.nnz, epoch)
        return p, biases

    # ---- answering

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        tastes, biases = self._people(histories, users)
        scores: Float32Array = tastes @ self.item_factors.T
        scores += self.item_biases + np.float32(self.mean)
        scores += biases[:, None]
        return scores

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """The score of each pair of codes: only what is asked for is computed."""
        distinct, rows = np.unique(users, return_inverse=True)
        tastes, biases = self._people(self.seen.take(distinct), distinct)
        out = np.empty(len(users), np.float32)
        matmul.pair_dots(tastes, self.item_factors, rows.astype(np.int32), np.ascontiguousarray(items, np.int32), out)
        out += self.item_biases[items] + np.float32(self.mean) + biases[rows]
        return out

    def predict(
        self, user_ids: Iterable[Any], item_ids: Iterable[Any], *, on_unknown: Literal["error", "skip"] = "error"
    ) -> Float32Array:
        """As of every model, cut to the lowest and highest rating ever given; scores that are ranked by are not."""
        return np.clip(super().predict(user_ids, item_ids, on_unknown=on_unknown), self.lowest, self.highest)

    def _people(self, histories: InteractionMatrix, users: Int32Array | None) -> tuple[Float32Array, Float32Array]:
        """Tastes `p + z`, `(n, n_factors)`, and biases, `(n,)`, of known users, or of strangers."""
        z = self._of_history(histories)
        if users is not None:
            p, biases = self.user_factors[users], self.user_biases[users]
        elif histories.is_binary:
            return z, np.zeros(len(z), np.float32)
        else:
            p, biases = self._fold(histories, z, self._visits())
        z += p
        return z, biases

    def embeddings(self) -> Embeddings:
        """Tastes with the mean and the user's bias, and a 1; items' factors with a 1, and the item's bias."""
        tastes, biases = self._people(self.seen, np.arange(self.seen.n_rows, dtype=np.int32))
        return Embeddings(
            with_columns(tastes, biases + np.float32(self.mean), 1),
            with_columns(self.item_factors, 1, self.item_biases),
        )

    def _similarity(self, items: Int32Array) -> Float32Array:
        unit = unit_rows(self.item_factors)
        similarity: Float32Array = unit[items] @ unit.T
        return similarity

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Biases and factors, and a copy of them as the best so far."""
        return 8 * (self.n_factors + 1) * (n_users + 2 * n_items)
