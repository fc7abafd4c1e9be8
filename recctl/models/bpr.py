"""BPR: matrix factorization that learns which of two items a user prefers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recctl import rng
from recctl.data.dataset import InteractionDataset
from recctl.data.frames import Frame
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.engines import map_threads
from recctl.kernels import bpr, matmul
from recctl.models.base import Embeddings
from recctl.models.base.default_validator import NDCG
from recctl.models.base.epoch_recommender import EPOCH_KEY, EpochRecommender
from recctl.models.base.hyperparameters import Between, fitted, hyperparameter
from recctl.models.factors.vectors import unit_rows, with_columns

if TYPE_CHECKING:
    from recctl.training import Validate

# Users and items are cut into this many groups each, at random in each epoch. As many threads can work at a time. It is
# a constant, so that results do not depend on the number of threads.
_N_GROUPS = 8
# Negatives are sampled from the group of the item: a group of a small catalog would be the same few items too often.
_MIN_GROUP_SIZE = 128


class BPRRecommender(EpochRecommender):
    """Bayesian personalized ranking (Rendle et al., 2009, "BPR: Bayesian Personalized Ranking from Implicit Feedback").

    The score of an item is `x_ui = b_i + p_u . q_i`. Training maximizes, over pairs of an item `i` of user `u` and an
    item `j` that the user has not interacted with (section 4.1)

        log sigmoid(x_ui - x_uj) - reg / 2 (|p_u|^2 + |q_i|^2 + |q_j|^2 + b_i^2 + b_j^2)

    by stochastic gradient descent. An epoch visits every interaction once, in random order, each with one `j` that is
    sampled uniformly. Ratings are ignored.

    An epoch costs O(interactions * n_factors), on up to eight threads. For this, users and items are cut into groups at
    random, and threads work on groups of users and items that do not meet (Gemulla et al., 2011, "Large-Scale Matrix
    Factorization with Distributed Stochastic Gradient Descent"); `j` comes from the group of `i`, and because the
    groups change in each epoch, every other item is sampled equally often. The result depends on `seed`, not on the
    number of threads. The model takes `4 (n_users + n_items) (n_factors + 1)` bytes.

    Factors of new users are learned from their history by the same steps, with fixed items, in `best_epoch` epochs.
    `similar_items` uses the cosine similarity of item factors.

    Differences from the paper: items have biases; one `reg` for all parameters; each interaction is visited once in an
    epoch, not drawn with replacement.

    Examples:
        ```python
        from recctl import BPRRecommender

        model = BPRRecommender(n_factors=32).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "bpr"
    too_large_advice: ClassVar[str] = "lower n_factors, or raise data.min_user_interactions"

    n_factors: int = hyperparameter(
        64, ge=1, help="Number of factors of users and items.", search=Between(16, 256, log=True)
    )
    learning_rate: float = hyperparameter(0.05, gt=0, help="Learning rate.", search=Between(0.005, 0.2, log=True))
    reg: float = hyperparameter(
        0.01, ge=0, help="L2 regularization of factors and biases.", search=Between(0.0001, 0.1, log=True)
    )
    epochs: int = hyperparameter(100, ge=1, help="Maximum number of epochs.")
    init_std: float = hyperparameter(0.1, gt=0, help="Standard deviation of the initial factors.")
    seed: int = hyperparameter(
        42, ge=0, lt=2**63, help="Seed of the initial factors, of the order of interactions, and of sampled items."
    )

    user_factors: Float32Array = fitted("(n_users, n_factors)")
    item_factors: Float32Array = fitted("(n_items, n_factors)")
    item_biases: Float32Array = fitted("(n_items,)")

    # ---- training

    def _fit(self, interactions: InteractionDataset) -> None:
        self.user_factors = self._initial_factors("users", interactions.n_users)
        self.item_factors = self._initial_factors("items", interactions.n_items)
        self.item_biases = np.zeros(interactions.n_items, np.float32)

    def _initial_factors(self, side: str, n_rows: int) -> Float32Array:
        factors = rng.stream(self.seed, "init", side).standard_normal((n_rows, self.n_factors), np.float32)
        factors *= np.float32(self.init_std)
        return factors

    @property
    def _n_epochs(self) -> int:
        return self.epochs

    def _default_validator(self, validation: InteractionDataset | Frame) -> Validate:
        return NDCG(self, validation)

    def _epoch(self, interactions: InteractionDataset) -> float:
        seen = self.seen
        epoch = self.best_epoch
        draws = rng.stream(self.seed, "order", epoch)
        n_groups = max(1, min(_N_GROUPS, seen.n_columns // _MIN_GROUP_SIZE))
        group_of_user = _random_groups(draws, seen.n_rows, n_groups)
        group_of_item = _random_groups(draws, seen.n_columns, n_groups)
        order = draws.permutation(np.arange(seen.nnz, dtype=np.int32))
        # The pairs of each group of users with each group of items, in random order.
        users = np.empty(seen.nnz, np.int32)
        items = np.empty(seen.nnz, np.int32)
        ends = np.empty(n_groups**2, np.int64)
        bpr.order_by_block(seen.rows, seen.columns, order, group_of_user, group_of_item, n_groups, users, items, ends)
        begins = np.append(0, ends[:-1])
        candidates = [np.flatnonzero(group_of_item == group).astype(np.int32) for group in range(n_groups)]
        key = rng.key(self.seed, "negatives", epoch)
        weights = (self._writeable("user_factors"), self._writeable("item_factors"), self._writeable("item_biases"))
        totals = np.zeros((n_groups**2, 2))

        def train_block(block: int) -> None:
            pairs = slice(begins[block], ends[block])
            bpr.train(
                users[pairs],
                items[pairs],
                begins[block],
                key,
                (seen.starts, seen.columns),
                candidates[block % n_groups],
                weights,
                self.learning_rate,
                self.reg,
                totals[block],
            )

        for shift in range(n_groups):
            # Blocks of a round have no group of users and no group of items in common.
            blocks = [group * n_groups + (group + shift) % n_groups for group in range(n_groups)]
            for _ in map_threads(train_block, blocks):
                pass
        loss, n_steps = totals.sum(axis=0)
        return float(loss / max(1, n_steps))

    def snapshot(self) -> dict[str, Any]:
        """A copy of factors, biases and their epoch."""
        return {
            EPOCH_KEY: self.best_epoch,
            "user_factors": self.user_factors.copy(),
            "item_factors": self.item_factors.copy(),
            "item_biases": self.item_biases.copy(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Restore a snapshot, which remains valid."""
        self.best_epoch = snapshot[EPOCH_KEY]
        self.user_factors = snapshot["user_factors"].copy()
        self.item_factors = snapshot["item_factors"].copy()
        self.item_biases = snapshot["item_biases"].copy()

    def training_state(self) -> dict[str, Any]:
        """A copy of everything that further epochs depend on, as plain numbers and arrays for a checkpoint."""
        return self.snapshot()

    def set_training_state(self, state: dict[str, Any]) -> None:
        """Continue from the state of a model with the same hyperparameters and interactions."""
        self.restore(state)

    # ---- scoring

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        factors = self._folded_in(histories) if users is None else self.user_factors[users]
        scores: Float32Array = factors @ self.item_factors.T
        scores += self.item_biases
        return scores

    def _folded_in(self, histories: InteractionMatrix) -> Float32Array:
        """Factors of users the model was not fitted on, `(n, n_factors)`."""
        factors = np.empty((histories.n_rows, self.n_factors), np.float32)
        bpr.fold_in(
            histories.starts,
            histories.columns,
            rng.key(self.seed, "fold in"),
            np.arange(histories.n_columns, dtype=np.int32),
            self.item_factors,
            self.item_biases,
            max(1, self.best_epoch),
            self.learning_rate,
            self.reg,
            factors,
        )
        return factors

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """The score of each pair of codes, `(n_pairs,)`, in O(n_factors) per pair."""
        scores = np.empty(len(users), np.float32)
        user_codes = np.ascontiguousarray(users, np.int32)
        item_codes = np.ascontiguousarray(items, np.int32)
        matmul.pair_dots(self.user_factors, self.item_factors, user_codes, item_codes, scores)
        scores += self.item_biases[items]
        return scores

    def embeddings(self) -> Embeddings:
        """Factors, with one dimension for the bias of the item."""
        return Embeddings(with_columns(self.user_factors, 1), with_columns(self.item_factors, self.item_biases))

    def _similarity(self, items: Int32Array) -> Float32Array:
        unit = unit_rows(self.item_factors)
        similarity: Float32Array = unit[items] @ unit.T
        return similarity

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Estimate the bytes of a fit: factors and biases, and a copy of the best so far; and the pairs of an epoch."""
        return 8 * (self.n_factors + 1) * (n_users + n_items) + 24 * n_interactions


def _random_groups(draws: np.random.Generator, n: int, n_groups: int) -> NDArray[np.uint8]:
    """A random partition of `n` rows into groups of nearly equal size: the group of each row, `(n,)`."""
    groups = np.arange(n) * n_groups // n
    return draws.permutation(groups.astype(np.uint8))
