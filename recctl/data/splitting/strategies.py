"""Ways to split. Each is a pure function of a data set to one part code per interaction.

The draws depend on the seed and the order of the rows alone. Except for `leave_last`, what is in test does not depend
on `val_size`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from recctl.data import columns
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
from recctl.errors import ConfigError, DataError
from recctl.kernels import group_by

# So that rounding down does not lose a row to binary fractions: 0.29 * 100 is 28.999999999999996.
_EPSILON = 1e-9


def random(data: InteractionDataset, sizes: Sizes, rng: np.random.Generator, within_user: bool = False) -> PartCodes:
    """Interactions drawn at random, from all of them or within each user.

    Args:
        data: What is split.
        sizes: Parts of all interactions.
        rng: Draws.
        within_user: Draw from each user that part of their interactions, rounded down: who has fewer than
            `1 / test_size` stays in train whole, and nobody loses all.
    """
    if not isinstance(within_user, bool):
        raise ConfigError(f"within_user={within_user!r}: must be true or false")
    parts = np.zeros(len(data), np.uint8)
    order = rng.permutation(len(data))
    if not within_user:
        n_test, n_validation = sizes.of(len(data), "interactions")
        parts[order[:n_test]] = TEST
        parts[order[n_test : n_test + n_validation]] = VALIDATION
        return parts
    if not is_fraction(sizes.test) or not (is_fraction(sizes.validation) or not sizes.validation):
        raise ConfigError("within_user=True: test_size and val_size must be fractions")
    counts = _user_counts(data)
    place = group_by.number(data.users, data.n_users, order)
    for part, size in ((VALIDATION, sizes.test + sizes.validation), (TEST, sizes.test)):
        taken = (counts * size + _EPSILON).astype(np.int64)
        parts[place < taken[data.users]] = part
    return parts


def temporal(data: InteractionDataset, sizes: Sizes, rng: np.random.Generator) -> PartCodes:
    """One moment for all: what happened from then on is test, what happened in the time just before is validation.

    Interactions of one moment stay together, so that the parts may be somewhat larger or smaller than asked; of the
    two possible moments the one that comes closer is taken.
    """
    if data.timestamps is None:
        raise DataError(f"split temporal: the data has no column {columns.TIMESTAMP}; add it or use another strategy")
    ordered = np.sort(data.timestamps)
    n_test, n_validation = sizes.of(len(data), "interactions")
    cut = _moment_near(ordered, len(data) - n_test, len(data))
    parts = np.zeros(len(data), np.uint8)
    if n_validation:
        parts[data.timestamps >= ordered[_moment_near(ordered, cut - n_validation, cut)]] = VALIDATION
    parts[data.timestamps >= ordered[cut]] = TEST
    return parts


def _moment_near(ordered: NDArray[Any], wanted: int, end: int) -> int:
    """The place next to `wanted`, after 0 and before `end`, where a new moment begins."""
    around = [int(np.searchsorted(ordered, ordered[max(0, min(wanted, end - 1))], side)) for side in ("left", "right")]
    places = [place for place in around if 0 < place < end]
    if not places:
        raise DataError(
            f"split temporal: no moment leaves something on both sides: {len(np.unique(ordered)):,} different "
            f"timestamps in {len(ordered):,} interactions; use other sizes or another strategy"
        )
    return min(places, key=lambda place: abs(place - wanted))


def leave_last(data: InteractionDataset, sizes: Sizes, rng: np.random.Generator, n: int = 1) -> PartCodes:
    """Each user's last interactions.

    Equal moments, and data without timestamps, count in the order of the rows. Users who have not at least one
    interaction left for train stay in train whole.

    Args:
        data: What is split.
        sizes: A `val_size` above 0 asks for a validation part; how large it is does not matter, nor does `test_size`.
        rng: Not used.
        n: How many interactions of each user go to test, and as many before them to validation.
    """
    _require_whole("n", n, least=1)
    from_end = group_by.number(data.users, data.n_users, np.ascontiguousarray(_time_order(data)[::-1]))
    held_out = 2 * n if sizes.validation else n
    enough = (_user_counts(data) > held_out)[data.users]
    parts = np.zeros(len(data), np.uint8)
    parts[enough & (from_end < held_out)] = VALIDATION
    parts[enough & (from_end < n)] = TEST
    return parts


def user(data: InteractionDataset, sizes: Sizes, rng: np.random.Generator, fold_in: float = 0.8) -> PartCodes:
    """People held out whole, the first part of whose interactions a model may see when it is asked.

    Only users with two interactions or more are held out, so that each has something to see and something to find.

    Args:
        data: What is split.
        sizes: Parts of all users.
        rng: Draws the users, and their history where there are no timestamps.
        fold_in: The part of a held-out user's interactions that is history (rounded down, at least 1 and not all):
            the earliest, or some at random where there are no timestamps. The rest is relevant.
    """
    if not is_fraction(fold_in):
        raise ConfigError(f"fold_in={fold_in!r}: must be above 0 and below 1")
    counts = _user_counts(data)
    able = rng.permutation(np.flatnonzero(counts > 1))
    n_test, n_validation = sizes.of(data.n_users, "users")
    if n_test + n_validation > len(able):
        raise DataError(
            f"split user: {n_test + n_validation:,} users to hold out, but only {len(able):,} of {data.n_users:,} "
            "have two interactions or more; use smaller sizes"
        )
    part_of_user = np.zeros(data.n_users, np.uint8)
    part_of_user[able[:n_test]] = TEST
    part_of_user[able[n_test : n_test + n_validation]] = VALIDATION
    order = rng.permutation(len(data)) if data.timestamps is None else _time_order(data)
    place = group_by.number(data.users, data.n_users, order)
    n_history = np.clip((counts * fold_in + _EPSILON).astype(np.int64), 1, counts - 1)
    parts = part_of_user[data.users]
    parts[(parts != TRAIN) & (place < n_history[data.users])] = HISTORY
    return parts


def predefined(data: InteractionDataset, sizes: Sizes, rng: np.random.Generator, labels: ArrayLike) -> PartCodes:
    """Parts that were decided elsewhere.

    Args:
        data: What is split.
        sizes: Where no label says validation, a `val_size` above 0 is drawn from train; `test_size` does not matter.
        rng: Draws.
        labels: Each interaction's part: its name (one of `PART_NAMES`, or `val`), or its code.
    """
    given = np.asarray(labels)
    if given.shape != (len(data),):
        raise DataError(f"split predefined: {len(data):,} interactions, but labels of shape {given.shape}")
    if given.dtype.kind in "iu":
        codes = given.astype(np.int64)
        wrong = (codes < 0) | (codes >= len(PART_NAMES))
    else:
        codes = pd.Index([*PART_NAMES, "val"]).get_indexer(pd.Index(given))
        wrong = codes < 0
        codes[codes == len(PART_NAMES)] = VALIDATION
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"split predefined: row {row}: no part is called {str(given[row])!r}; the parts are {', '.join(PART_NAMES)}"
        )
    parts = codes.astype(np.uint8)
    if sizes.validation and not (parts == VALIDATION).any():
        train = np.flatnonzero(parts == TRAIN)
        n_validation = Sizes(1, sizes.validation).of(len(train), "interactions of train")[1]
        parts[rng.permutation(train)[:n_validation]] = VALIDATION
    return parts


def k_fold(
    data: InteractionDataset, sizes: Sizes, rng: np.random.Generator, n_folds: int = 5, fold: int = 0
) -> PartCodes:
    """One of several random parts in turn: each interaction is in test in exactly one of the folds.

    Args:
        data: What is split.
        sizes: `val_size` is drawn from what is not in test; `test_size` does not matter.
        rng: Draws the folds, the same ones for each `fold`.
        n_folds: Number of folds.
        fold: Which one is test, from 0.
    """
    _require_whole("n_folds", n_folds, least=2)
    _require_whole("fold", fold, least=0)
    if fold >= n_folds:
        raise ConfigError(f"fold={fold}: must be below n_folds={n_folds}; folds count from 0")
    rows = len(data)
    order = rng.permutation(rows)
    start, end = fold * rows // n_folds, (fold + 1) * rows // n_folds
    n_validation = Sizes(end - start, sizes.validation).of(rows, "interactions")[1]
    parts = np.zeros(rows, np.uint8)
    parts[order[start:end]] = TEST
    parts[np.roll(order, -end)[:n_validation]] = VALIDATION
    return parts


STRATEGIES: dict[str, Callable[..., PartCodes]] = {
    function.__name__: function for function in (random, temporal, leave_last, user, predefined, k_fold)
}


def _user_counts(data: InteractionDataset) -> NDArray[np.int64]:
    return np.bincount(data.users, minlength=data.n_users)


def _time_order(data: InteractionDataset) -> NDArray[np.int64]:
    return np.arange(len(data)) if data.timestamps is None else group_by.ascending(data.timestamps)


def _require_whole(name: str, value: Any, least: int) -> None:
    if not is_whole(value, least):
        raise ConfigError(f"{name}={value!r}: must be a whole number of at least {least}")
