"""Split: the parts of a data set, made by a strategy, kept compactly, and taken again later."""

from __future__ import annotations

import hashlib
import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.data.dataset import InteractionDataset
from recctl.data.splitting.parts import (
    HISTORY,
    PART_NAMES,
    TEST,
    TRAIN,
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


@dataclass(frozen=True, eq=False)
class Split:
    """Which part each interaction of a data set belongs to.

    A model is fitted on `train`. Most strategies hold out interactions of users that train knows. The `user` strategy
    holds out people: none of their interactions is in train, and the earlier ones are their *history*, which a model
    may see when it is asked for recommendations (`recommend_for_history`), while the later ones are relevant. So
    `validation` and `test` of such a split come with a `history`, a data set of the same users.

    Attributes:
        parts: One of `TRAIN, VALIDATION, TEST, HISTORY, UNUSED` for each interaction, uint8, shape `(n_interactions,)`.
        strategy: What made it.
        options: The strategy's options, sizes and seed, as plain values.
    """

    parts: PartCodes
    strategy: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation part."""
        return bool((self.parts == VALIDATION).any())

    def train(self, dataset: InteractionDataset) -> InteractionDataset:
        """What a model is fitted on."""
        return self._take(dataset, self.parts == TRAIN)

    def validation(self, dataset: InteractionDataset) -> InteractionDataset:
        """What models are chosen by, with its `history` if its users are held out."""
        return self._held_out(dataset, VALIDATION)

    def test(self, dataset: InteractionDataset) -> InteractionDataset:
        """What the chosen model is judged by, with its `history` if its users are held out."""
        return self._held_out(dataset, TEST)

    def train_and_validation(self, dataset: InteractionDataset) -> InteractionDataset:
        """What the chosen model is fitted on again: all that is known of users who are not in test."""
        known = (self.parts == TRAIN) | (self.parts == VALIDATION)
        return self._take(dataset, known | self._history(dataset, VALIDATION))

    def hash(self) -> str:
        """SHA-256 of the part codes: equal splits of equal rows have equal hashes, whatever made them."""
        return hashlib.sha256(self.parts.tobytes()).hexdigest()

    def _held_out(self, dataset: InteractionDataset, part: int) -> InteractionDataset:
        taken = self._take(dataset, self.parts == part)
        history = self._history(dataset, part)
        if history.any():
            taken.history = self._take(dataset, history)
        return taken

    def _history(self, dataset: InteractionDataset, part: int) -> NDArray[np.bool_]:
        """The history rows of the users of `part`."""
        self._check(dataset)
        if not (self.parts == HISTORY).any():
            return np.zeros(len(self.parts), bool)
        asked = np.zeros(dataset.n_users, bool)
        asked[dataset.users[self.parts == part]] = True
        held: NDArray[np.bool_] = (self.parts == HISTORY) & asked[dataset.users]
        return held

    def _take(self, dataset: InteractionDataset, rows: NDArray[np.bool_]) -> InteractionDataset:
        self._check(dataset)
        return dataset.take(rows)

    def _check(self, dataset: InteractionDataset) -> None:
        if len(dataset) != len(self.parts):
            raise DataError(
                f"the split is of {len(self.parts):,} interactions, the data has {len(dataset):,}: it is other data, "
                "or prepared another way"
            )


def make_split(
    dataset: InteractionDataset,
    strategy: str = "random",
    *,
    test_size: float = 0.2,
    val_size: float = 0.0,
    seed: int = 42,
    **options: Any,
) -> Split:
    """Split by a named strategy.

    Args:
        dataset: What is split.
        strategy: One of `STRATEGIES`.
        test_size: The test part: a fraction (float, in (0, 1)) or a count (int) of interactions, of users for `user`.
        val_size: The validation part, measured as `test_size` is; 0 for none.
        seed: Of the stream `split`, from which all draws are made.
        options: The strategy's own.

    Raises:
        ConfigError: A size, the strategy or an option is not valid.
        DataError: The data has not what the strategy needs, or a part would be empty.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"split strategy {strategy!r}: unknown{did_you_mean(strategy, STRATEGIES)}")
    known = list(inspect.signature(STRATEGIES[strategy]).parameters)[3:]
    problems = [
        f"split {strategy}: {name}: unknown option{did_you_mean(name, known)}" for name in options if name not in known
    ]
    if "labels" in known and "labels" not in options:
        problems.append(f"split {strategy}: labels: must be given, one for each interaction")
    problems += _size_problems(test_size, val_size)
    if problems:
        raise ConfigError(*problems)
    parts = STRATEGIES[strategy](dataset, Sizes(test_size, val_size), stream(seed, "split"), **options)
    told = {"test_size": test_size, "val_size": val_size, "seed": seed, **options}
    told.pop("labels", None)
    _require_parts(parts, dataset, strategy, told)
    return Split(parts, strategy, told)


def _size_problems(test_size: Any, val_size: Any) -> list[str]:
    problems = []
    if not (is_fraction(test_size) or is_whole(test_size, 1)):
        problems.append(f"test_size={test_size!r}: must be a fraction above 0 and below 1, or a count")
    if not (val_size == 0 or is_fraction(val_size) or is_whole(val_size, 1)):
        problems.append(f"val_size={val_size!r}: must be 0, a fraction below 1, or a count")
    if is_fraction(test_size) and is_fraction(val_size) and test_size + val_size >= 1:
        problems.append(f"test_size={test_size} and val_size={val_size}: together they must leave something for train")
    return problems


def _require_parts(parts: PartCodes, dataset: InteractionDataset, strategy: str, told: dict[str, Any]) -> None:
    sizes = np.bincount(parts, minlength=len(PART_NAMES))
    needed = [TRAIN, TEST, *([VALIDATION] if told["val_size"] else [])]
    empty = [PART_NAMES[part] for part in needed if not sizes[part]]
    if empty:
        settings = ", ".join(f"{name}={value}" for name, value in told.items() if name != "seed")
        raise DataError(
            f"split {strategy}: nothing is left for {' and '.join(empty)}: {len(dataset):,} interactions of "
            f"{dataset.n_users:,} users with {settings}; change these or use more data"
        )
