"""Making a split, and selecting its parts from the data set."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recctl.data.interactions import Interactions
from recctl.data.splitting.parts import (
    HISTORY,
    PART_NAMES,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    PartCodes,
    Sizes,
    is_fraction,
    is_whole,
)
from recctl.data.splitting.strategies import STRATEGIES
from recctl.errors import ConfigError, DataError
from recctl.rng import stream
from recctl.suggest import did_you_mean

D = TypeVar("D", bound=Interactions)

# Strategy of a split without held-out parts, as runs record it.
ALL = "all"
# Parameters that every strategy has: the data set, the sizes and the random generator.
_N_COMMON_PARAMETERS = 3


@dataclass(frozen=True, eq=False)
class Split:
    """Assignment of each interaction of a data set to a part.

    A model is fitted on `train`. Most strategies hold out interactions of users who are in train. The `user` strategy
    holds out whole users: none of their interactions is in train. Their older interactions are their *history*, which a
    model may see when it recommends (`recommend_for_history`); the later ones are relevant. The
    `validation` and `test` data sets of such a split have a `history`, a data set of the same users.

    Attributes:
        parts: One of `TRAIN, VALIDATION, TEST, HISTORY, UNUSED` for each interaction, uint8, shape `(n_interactions,)`.
        strategy: Name of the strategy.
        options: The strategy's options, sizes and seed, as plain values.
    """

    parts: PartCodes
    strategy: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation part."""
        return bool((self.parts == VALIDATION).any())

    def train(self, dataset: D) -> D:
        """The interactions that a model is fitted on."""
        return self._select(dataset, self.parts == TRAIN)

    def validation(self, dataset: D) -> D:
        """The interactions that models are selected by, with a `history` if whole users are held out."""
        return self._held_out(dataset, VALIDATION)

    def test(self, dataset: D) -> D:
        """The interactions that the selected model is tested on.

        They have a `history` if whole users are held out, and `known` if their users are in validation too: what users
        interacted with before test, in train and validation. (Test of a fold of `k_fold`: in the other folds.)
        """
        test_part = self._held_out(dataset, TEST)
        is_test_user = np.zeros(dataset.n_users, bool)
        is_test_user[dataset.users[self.parts == TEST]] = True
        of_test_users = is_test_user[dataset.users]
        # Without them, all that is known of the test users is in train or in their history.
        if (of_test_users & (self.parts == VALIDATION)).any():
            test_part.known = self._select(dataset, of_test_users & (self.parts != TEST) & (self.parts != UNUSED))
        return test_part

    def train_and_validation(self, dataset: D) -> D:
        """The interactions for refitting the selected model: everything known of users who are not in test."""
        is_known = (self.parts == TRAIN) | (self.parts == VALIDATION)
        return self._select(dataset, is_known | self._history_rows(dataset, VALIDATION))

    def hash(self) -> str:
        """SHA-256 of the part codes. Equal splits of equal rows have equal hashes, whatever their strategy."""
        return hashlib.sha256(self.parts.tobytes()).hexdigest()

    def _held_out(self, dataset: D, part: int) -> D:
        selected = self._select(dataset, self.parts == part)
        history_rows = self._history_rows(dataset, part)
        # Only a split by users (or predefined labels) has history.
        if history_rows.any():
            selected.history = self._select(dataset, history_rows)
        return selected

    def _history_rows(self, dataset: Interactions, part: int) -> NDArray[np.bool_]:
        """Mask of the history of the users in `part`."""
        self._check_size(dataset)
        is_history: NDArray[np.bool_] = self.parts == HISTORY
        if not is_history.any():
            return is_history
        is_user_of_part = np.zeros(dataset.n_users, bool)
        is_user_of_part[dataset.users[self.parts == part]] = True
        return is_history & is_user_of_part[dataset.users]

    def _select(self, dataset: D, rows: NDArray[np.bool_]) -> D:
        self._check_size(dataset)
        return dataset.take(rows)

    def _check_size(self, dataset: Interactions) -> None:
        if len(dataset) != len(self.parts):
            raise DataError(
                f"the split is of {len(self.parts):,} interactions, but the data has {len(dataset):,}: the data or its "
                "preprocessing has changed"
            )


def make_split(
    dataset: Interactions,
    strategy: str = "random",
    *,
    test_size: float = 0.2,
    val_size: float = 0.0,
    seed: int = 42,
    **options: Any,
) -> Split:
    """Split a data set by a named strategy.

    Args:
        dataset: The data set to split.
        strategy: One of `STRATEGIES`.
        test_size: Size of the test part: a fraction (float in (0, 1)) or a count (int) of interactions, or of users for
            the strategy `user`.
        val_size: Size of the validation part, in the same unit; 0 for none.
        seed: Seed of the random stream `split`.
        options: Options of the strategy; see `recctl.data.splitting.strategies`.

    Raises:
        ConfigError: A size, the strategy or an option is not valid; all problems are reported together.
        DataError: The data lacks what the strategy needs, or a part would be empty.
    """
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise ConfigError(f"split strategy {strategy!r}: unknown{did_you_mean(str(strategy), STRATEGIES)}")
    problems = _option_problems(strategy, options) + _size_problems(test_size, val_size)
    if problems:
        raise ConfigError(*problems)
    parts = STRATEGIES[strategy](dataset, Sizes(test_size, val_size), stream(seed, "split"), **options)
    stored_options = {"test_size": test_size, "val_size": val_size, "seed": seed, **options}
    stored_options.pop("labels", None)  # as large as the data, and equal to the parts
    _require_nonempty_parts(parts, dataset, strategy, stored_options)
    return Split(parts, strategy, stored_options)


def all_train(dataset: Interactions) -> Split:
    """Put every interaction of a data set into train; nothing is held out."""
    return Split(np.full(len(dataset), TRAIN, np.uint8), ALL)


def _option_problems(strategy: str, options: dict[str, Any]) -> list[str]:
    known = list(inspect.signature(STRATEGIES[strategy]).parameters)[_N_COMMON_PARAMETERS:]
    unknown = [name for name in options if name not in known]
    problems = [f"split {strategy}: {name}: unknown option{did_you_mean(name, known)}" for name in unknown]
    if "labels" in known and "labels" not in options:
        problems.append(f"split {strategy}: labels: must be given, one for each interaction")
    return problems


def _size_problems(test_size: Any, val_size: Any) -> list[str]:
    problems = []
    if not (is_fraction(test_size) or is_whole(test_size, 1)):
        problems.append(f"test_size={test_size!r}: must be a fraction above 0 and below 1, or a count")
    if not (val_size == 0 or is_fraction(val_size) or is_whole(val_size, 1)):
        problems.append(f"val_size={val_size!r}: must be 0, a fraction below 1, or a count")
    if is_fraction(test_size) and is_fraction(val_size) and test_size + val_size >= 1:
        problems.append(
            f"test_size={test_size} and val_size={val_size}: their sum must be below 1, to leave train data"
        )
    return problems


def _require_nonempty_parts(parts: PartCodes, dataset: Interactions, strategy: str, options: dict[str, Any]) -> None:
    required = [TRAIN, TEST]
    if options["val_size"]:
        required.append(VALIDATION)
    sizes = np.bincount(parts, minlength=len(PART_NAMES))
    empty = [PART_NAMES[part] for part in required if not sizes[part]]
    if empty:
        settings = ", ".join(f"{name}={value}" for name, value in options.items() if name != "seed")
        raise DataError(
            f"split {strategy}: nothing is left for {' and '.join(empty)}: {len(dataset):,} interactions of "
            f"{dataset.n_users:,} users with {settings}; change these settings or use more data"
        )
