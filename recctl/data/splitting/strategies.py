"""Split strategies: pure functions from a data set to one part code per interaction.

Random draws depend only on the seed and the order of the rows. Except for `leave_last`, the test part does not depend
on the size of validation.

To add a strategy: a function here, its entry in `STRATEGIES`, and a section with its options in the union `SplitConfig`
of `recctl.config.schema`. The names of the config, the checks of its options and docs/reference/config.md follow from
these; docs/guides/splits.md says when to use which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from recctl import progress
from recctl.data import columns
from recctl.data.interactions import Interactions
from recctl.data.splitting import windows
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
from recctl.errors import ConfigError, DataError
from recctl.kernels import group_by

# Added before rounding down, so that binary fractions lose no row: 0.29 * 100 is 28.999999999999996.
_EPSILON = 1e-9


def random(data: Interactions, sizes: Sizes, rng: np.random.Generator, within_user: bool = False) -> PartCodes:
    """Hold out random interactions, of all interactions or of each user's.

    Args:
        data: The data set to split.
        sizes: Sizes of the parts in interactions.
        rng: Source of randomness.
        within_user: Whether to hold out that fraction of each user's interactions, rounded down. Users with fewer than
            `1 / test_size` interactions then stay in train, and every user keeps some interaction in train.
    """
    if not isinstance(within_user, bool):
        raise ConfigError(f"within_user={within_user!r}: must be true or false")
    parts = np.zeros(len(data), np.uint8)
    order = rng.permutation(len(data))
    if not within_user:
        n_test, n_validation = sizes.counts(len(data), "interactions")
        parts[order[:n_test]] = TEST
        parts[order[n_test : n_test + n_validation]] = VALIDATION
        return parts
    if not is_fraction(sizes.test) or (sizes.validation and not is_fraction(sizes.validation)):
        raise ConfigError("within_user=True: test_size and val_size must be fractions")
    user_counts = _count_by_user(data)
    rank_in_user = group_by.cumulative_count(data.users, data.n_users, order)
    # The first interactions in the random order are test, the next ones validation; so test is independent of val_size.
    for part, fraction in ((VALIDATION, sizes.test + sizes.validation), (TEST, sizes.test)):
        n_held_out = (user_counts * fraction + _EPSILON).astype(np.int64)
        parts[rank_in_user < n_held_out[data.users]] = part
    return parts


def temporal(
    data: Interactions,
    sizes: Sizes,
    rng: np.random.Generator,
    test_start: windows.Moment | None = None,
    test_days: int | None = None,
    val_start: windows.Moment | None = None,
    val_days: int | None = None,
    gap_days: int = 0,
    train_days: int | None = None,
) -> PartCodes:
    """Split at one timestamp for all users: test from then on, validation just before.

    By size, interactions with equal timestamps stay together, so the parts may be larger or smaller than requested. Of
    the two possible split points, the one that gives the closer size is used. By dates, see
    `recctl.data.splitting.windows`.

    Args:
        data: The data set to split.
        sizes: Sizes of the parts in interactions; not used by dates.
        rng: Not used.
        test_start: Test begins at this date or moment (UTC unless it has a time zone).
        test_days: Without `test_start`, test is the newest days; with it, the length of test: what follows is unused.
        val_start: Validation begins at this date or moment.
        val_days: Validation is as many days before test.
        gap_days: Days before validation and before test that are in no part.
        train_days: Length of train; what is older is unused. None for all.
    """
    options: dict[str, Any] = {
        "test_start": test_start,
        "test_days": test_days,
        "val_start": val_start,
        "val_days": val_days,
        "gap_days": gap_days,
        "train_days": train_days,
    }
    if windows.uses_dates(options):
        window = windows.temporal_window(data, **options)
        assert data.timestamps is not None  # temporal_window has checked it
        return windows.cut(data.timestamps, window, "temporal")
    if data.timestamps is None:
        problem = columns.missing_timestamps(data.unused_columns, ", or use another strategy")
        raise DataError(f"split temporal: {problem}")
    ordered = np.sort(data.timestamps)
    n_test, n_validation = sizes.counts(len(data), "interactions")
    test_start = _nearest_split_point(ordered, len(data) - n_test, len(data))
    parts = np.zeros(len(data), np.uint8)
    if n_validation:
        validation_start = _nearest_split_point(ordered, test_start - n_validation, test_start)
        parts[data.timestamps >= ordered[validation_start]] = VALIDATION
    parts[data.timestamps >= ordered[test_start]] = TEST
    return parts


def rolling(
    data: Interactions,
    sizes: Sizes,
    rng: np.random.Generator,
    n_windows: int = 6,
    test_days: int = 7,
    step_days: int | None = None,
    gap_days: int = 0,
    train_days: int | None = None,
    val_days: int | None = None,
) -> PartCodes:
    """Split by the newest of several windows of time; `recctl.data.splitting.split_windows` returns all of them.

    Args:
        data: The data set to split.
        sizes: Not used.
        rng: Not used.
        n_windows: Number of windows.
        test_days: Days of test in each window.
        step_days: Days from one window to the next; None for `test_days`, so that each day is tested once.
        gap_days: Days before validation and before test that are in no part.
        train_days: Days of train in each window (sliding); None for all that is older (expanding).
        val_days: Days of validation before test; None for no validation part.
    """
    newest = windows.rolling_windows(
        data,
        n_windows=n_windows,
        test_days=test_days,
        step_days=step_days,
        gap_days=gap_days,
        train_days=train_days,
        val_days=val_days,
    )[-1]
    assert data.timestamps is not None  # rolling_windows has checked it
    return windows.cut(data.timestamps, newest, "rolling")


def leave_last(data: Interactions, sizes: Sizes, rng: np.random.Generator, n: int = 1) -> PartCodes:
    """Hold out each user's last interactions.

    Ties in timestamps are broken by row order, as is everything without timestamps. Users without at least one
    interaction left for train stay in train completely.

    Args:
        data: The data set to split.
        sizes: If `val_size` is above 0, there is a validation part; its size and `test_size` are ignored.
        rng: Not used.
        n: Number of interactions of each user that go to test, and as many before these to validation.
    """
    _require_whole("n", n, least=1)
    if data.timestamps is None:
        notice = "split leave_last: the data has no timestamps; the order of rows is taken as the order of time"
        if data.unused_columns is not None and data.unused_columns.hint is not None:
            listed = columns.list_unused(data.unused_columns)
            notice += f"; not used: {listed}; for the order of their times {data.unused_columns.hint}"
        progress.notice(notice)
    newest_first = np.ascontiguousarray(_time_order(data)[::-1])
    rank_from_end = group_by.cumulative_count(data.users, data.n_users, newest_first)
    n_held_out = 2 * n if sizes.validation else n
    has_enough = (_count_by_user(data) > n_held_out)[data.users]
    parts = np.zeros(len(data), np.uint8)
    parts[has_enough & (rank_from_end < n_held_out)] = VALIDATION
    parts[has_enough & (rank_from_end < n)] = TEST
    return parts


def user(data: Interactions, sizes: Sizes, rng: np.random.Generator, fold_in: float = 0.8) -> PartCodes:
    """Hold out whole users; a model may see the first part of their interactions when it recommends.

    Only users with at least two interactions are held out, so that each has history and relevant items.

    Args:
        data: The data set to split.
        sizes: Sizes of the parts in users.
        rng: Draws the users and, without timestamps, their history.
        fold_in: The fraction of a held-out user's interactions that is history, rounded down but at least one
            interaction and not all: the oldest ones, or random ones without timestamps. The rest is relevant.
    """
    if not is_fraction(fold_in):
        raise ConfigError(f"fold_in={fold_in!r}: must be above 0 and below 1")
    user_counts = _count_by_user(data)
    candidates = rng.permutation(np.flatnonzero(user_counts > 1))
    n_test, n_validation = sizes.counts(data.n_users, "users")
    if n_test + n_validation > len(candidates):
        raise DataError(
            f"split user: {n_test + n_validation:,} users to hold out, but only {len(candidates):,} of "
            f"{data.n_users:,} have two or more interactions; use smaller sizes"
        )
    part_of_user = np.zeros(data.n_users, np.uint8)
    part_of_user[candidates[:n_test]] = TEST
    part_of_user[candidates[n_test : n_test + n_validation]] = VALIDATION
    order = rng.permutation(len(data)) if data.timestamps is None else _time_order(data)
    rank_in_user = group_by.cumulative_count(data.users, data.n_users, order)
    n_history = np.clip((user_counts * fold_in + _EPSILON).astype(np.int64), 1, user_counts - 1)
    # All interactions of a held-out user get its part, then the oldest ones become history.
    parts = part_of_user[data.users]
    parts[(parts != TRAIN) & (rank_in_user < n_history[data.users])] = HISTORY
    return parts


def predefined(data: Interactions, sizes: Sizes, rng: np.random.Generator, labels: ArrayLike) -> PartCodes:
    """Use parts that were decided elsewhere.

    Args:
        data: The data set to split.
        sizes: If no label is validation and `val_size` is above 0, validation is drawn from train; `test_size` is
            ignored.
        rng: Draws the validation part.
        labels: The part of each interaction: its name (one of `PART_NAMES`, or `val`) or its code.
    """
    labels = np.asarray(labels)
    if labels.shape != (len(data),):
        raise DataError(f"split predefined: {len(data):,} interactions, but labels of shape {labels.shape}")
    parts = _label_codes(labels)
    if sizes.validation and not (parts == VALIDATION).any():
        train_rows = np.flatnonzero(parts == TRAIN)
        _, n_validation = Sizes(1, sizes.validation).counts(len(train_rows), "interactions of train")
        parts[rng.permutation(train_rows)[:n_validation]] = VALIDATION
    return parts


def k_fold(data: Interactions, sizes: Sizes, rng: np.random.Generator, n_folds: int = 5, fold: int = 0) -> PartCodes:
    """Hold out one of several random folds; each interaction is in test in exactly one of them.

    Args:
        data: The data set to split.
        sizes: `val_size` is drawn from the interactions that are not in test; `test_size` is ignored.
        rng: Draws the folds, the same ones for each `fold`.
        n_folds: Number of folds.
        fold: The fold that is the test part, counted from 0.
    """
    _require_whole("n_folds", n_folds, least=2)
    _require_whole("fold", fold, least=0)
    if fold >= n_folds:
        raise ConfigError(f"fold={fold}: must be below n_folds={n_folds}; folds count from 0")
    n_rows = len(data)
    # The permutation does not depend on `fold`, so that the folds divide the data.
    order = rng.permutation(n_rows)
    begin = fold * n_rows // n_folds
    end = (fold + 1) * n_rows // n_folds
    _, n_validation = Sizes(end - begin, sizes.validation).counts(n_rows, "interactions")
    parts = np.zeros(n_rows, np.uint8)
    parts[order[begin:end]] = TEST
    # The rows after the test fold, continued from the start.
    parts[np.roll(order, -end)[:n_validation]] = VALIDATION
    return parts


STRATEGIES: dict[str, Callable[..., PartCodes]] = {
    strategy.__name__: strategy for strategy in (random, temporal, leave_last, user, predefined, k_fold, rolling)
}


def _nearest_split_point(ordered: NDArray[Any], wanted: int, end: int) -> int:
    """The index nearest to `wanted`, after 0 and before `end`, at which a new timestamp starts.

    Args:
        ordered: Timestamps in ascending order.
        wanted: Where the split would be without ties.
        end: Start of the next part.
    """
    timestamp = ordered[max(0, min(wanted, end - 1))]
    around = (int(np.searchsorted(ordered, timestamp, "left")), int(np.searchsorted(ordered, timestamp, "right")))
    candidates = [index for index in around if 0 < index < end]
    if not candidates:
        raise DataError(
            f"split temporal: no timestamp divides the data (distinct timestamps: {len(np.unique(ordered)):,}, "
            f"interactions: {len(ordered):,}); use other sizes or another strategy"
        )
    return min(candidates, key=lambda index: abs(index - wanted))


def _label_codes(labels: NDArray[Any]) -> PartCodes:
    """Part codes of names or codes."""
    if labels.dtype.kind in "iu":
        codes = labels.astype(np.int64)
        is_unknown = (codes < 0) | (codes >= len(PART_NAMES))
    else:
        names = [*PART_NAMES, "val"]
        codes = pd.Index(names).get_indexer(pd.Index(labels))
        is_unknown = codes < 0
        codes[codes == names.index("val")] = VALIDATION
    if is_unknown.any():
        row = int(np.argmax(is_unknown))
        raise DataError(
            f"split predefined: row {row}: unknown part {str(labels[row])!r}; the parts are {', '.join(PART_NAMES)}"
        )
    return codes.astype(np.uint8)


def _count_by_user(data: Interactions) -> NDArray[np.int64]:
    return np.bincount(data.users, minlength=data.n_users)


def _time_order(data: Interactions) -> NDArray[np.int64]:
    """Row indices in ascending order of time; row order breaks ties, and is all there is without timestamps."""
    return np.arange(len(data)) if data.timestamps is None else group_by.stable_argsort(data.timestamps)


def _require_whole(name: str, value: Any, least: int) -> None:
    if not is_whole(value, least):
        raise ConfigError(f"{name}={value!r}: must be a whole number of at least {least}")
