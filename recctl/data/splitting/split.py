"""Making a split, and selecting its parts from the data set."""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recctl.data.interactions import Interactions
from recctl.data.splitting import windows
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
from recctl.data.splitting.windows import Window
from recctl.errors import ConfigError, DataError
from recctl.rng import stream
from recctl.suggest import did_you_mean

D = TypeVar("D", bound=Interactions)

# Strategy of a split without held-out parts, as runs record it.
ALL = "all"
_DEFAULT_TEST_SIZE = 0.2
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
        window: Where the parts begin and end; None if this is not a new split by dates.
    """

    parts: PartCodes
    strategy: str
    options: dict[str, Any] = field(default_factory=dict)
    window: Window | None = None

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
    test_size: float | None = None,
    val_size: float = 0.0,
    seed: int = 42,
    **options: Any,
) -> Split:
    """Split a data set by a named strategy.

    Args:
        dataset: The data set to split.
        strategy: One of `STRATEGIES`. `rolling` gives its newest window; `split_windows` gives all.
        test_size: Size of the test part: a fraction (float in (0, 1)) or a count (int) of interactions, or of users for
            the strategy `user`; None: 0.2, unless the split is by dates.
        val_size: Size of the validation part, in the same unit; 0 for none.
        seed: Seed of the random stream `split`.
        options: Options of the strategy; see `recctl.data.splitting.strategies`.

    Raises:
        ConfigError: A size, the strategy or an option is not valid; all problems are reported together.
        DataError: The data lacks what the strategy needs, or a part would be empty.
    """
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise ConfigError(f"split strategy {strategy!r}: unknown{did_you_mean(str(strategy), STRATEGIES)}")
    if is_by_dates(strategy, options):
        return _split_by_dates(dataset, strategy, test_size, val_size, seed, options)
    test_size = _DEFAULT_TEST_SIZE if test_size is None else test_size
    if strategy == "temporal":
        # Without dates, all of its options are None or 0.
        options = {option_name: value for option_name, value in options.items() if value}
    problems = _option_problems(strategy, options) + _size_problems(test_size, val_size)
    if problems:
        raise ConfigError(*problems)
    parts = STRATEGIES[strategy](dataset, Sizes(test_size, val_size), stream(seed, "split"), **options)
    stored_options = {"test_size": test_size, "val_size": val_size, "seed": seed, **options}
    stored_options.pop("labels", None)  # as large as the data, and equal to the parts
    _require_nonempty_parts(parts, dataset, strategy, stored_options)
    return Split(parts, strategy, stored_options)


def split_windows(dataset: Interactions, **options: Any) -> list[Split]:
    """Split a data set once for each window of a rolling split, the oldest first.

    Each is a split by the strategy `temporal` with the dates of its window.

    Args:
        dataset: The data set to split.
        options: Options of the strategy `rolling`.

    Raises:
        ConfigError: An option is not valid.
        DataError: There are no timestamps, or a part of a window would be empty.
    """
    _require_valid_dates("rolling", options)
    given = {option_name: value for option_name, value in options.items() if value is not None}
    splits = []
    for window in windows.rolling_windows(dataset, **given):
        assert dataset.timestamps is not None  # rolling_windows has checked it
        parts = windows.cut(dataset.timestamps, window, "rolling")
        splits.append(Split(parts, "temporal", temporal_options(window, given), window))
    return splits


def temporal_options(window: Window, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the strategy `temporal` that give a window of a rolling split with these options."""
    assert window.test_end is not None  # those of a rolling split have an end
    dates: dict[str, Any] = {
        "test_start": windows.format_time(window.test_start),
        "test_days": round((window.test_end - window.test_start) / windows.SECONDS_PER_DAY),
    }
    for option_name in ("val_days", "gap_days", "train_days"):
        if options.get(option_name):
            dates[option_name] = options[option_name]
    return dates


def is_by_dates(strategy: str, options: Mapping[str, Any]) -> bool:
    """Whether a strategy with these options splits by dates or days, not by sizes."""
    return strategy == "rolling" or (strategy == "temporal" and windows.uses_dates(options))


def _split_by_dates(
    dataset: Interactions,
    strategy: str,
    test_size: float | None,
    val_size: float,
    seed: int,
    options: dict[str, Any],
) -> Split:
    _require_valid_dates(strategy, options, {"test_size": test_size, "val_size": val_size})
    given = {option_name: value for option_name, value in options.items() if value is not None}
    if strategy == "temporal":
        window = windows.temporal_window(dataset, **given)
    else:
        window = windows.rolling_windows(dataset, **given)[-1]
    assert dataset.timestamps is not None  # the window was found by them
    parts = windows.cut(dataset.timestamps, window, strategy)
    stored_options = {option_name: _plain(value) for option_name, value in given.items()}
    return Split(parts, strategy, {"seed": seed, **stored_options}, window)


def _require_valid_dates(strategy: str, options: dict[str, Any], sizes: Mapping[str, Any] | None = None) -> None:
    problems = _option_problems(strategy, options)
    for option_name, problem in windows.option_problems(strategy, {**options, **(sizes or {})}):
        problems.append(f"split {strategy}: {option_name}: {problem}")
    if problems:
        raise ConfigError(*problems)


def _plain(value: Any) -> Any:
    """A value as JSON can express it: a date or datetime as text, NumPy's integers as int."""
    if isinstance(value, dt.date):
        return value.isoformat()
    return int(value) if is_whole(value, 0) else value


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
