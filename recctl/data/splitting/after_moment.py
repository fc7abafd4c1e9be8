"""A split whose test part is everything after a given moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from recctl.data import columns
from recctl.data.interactions import Interactions
from recctl.data.splitting.parts import TEST, TRAIN, VALIDATION, PartCodes, Sizes
from recctl.data.splitting.split import Split, is_by_dates
from recctl.data.splitting.strategies import STRATEGIES
from recctl.data.splitting.windows import cut, window_after
from recctl.errors import ConfigError, DataError
from recctl.rng import stream

# Options of a split by dates that do not say where test begins.
_DATE_OPTIONS = ("val_start", "val_days", "gap_days", "train_days")


def split_after(
    dataset: Interactions, moment: float, strategy: str, *, val_size: float = 0.0, seed: int = 42, **options: Any
) -> Split:
    """Make everything after a moment the test part, and hold out validation from the rest by a strategy.

    The strategy holds out validation from the older interactions as it otherwise holds out test from all: `temporal`
    takes the newest ones, `leave_last` each user's last ones, `random` and `k_fold` random ones, `user` whole users.

    Args:
        dataset: The data set to split.
        moment: In seconds since 1970. Interactions of exactly this moment are not in test.
        strategy: The strategy that holds out validation.
        val_size: Size of the validation part, as a fraction or a count of the older interactions, or users; 0 for none.
        seed: Seed of the random stream `split`.
        options: Options of the strategy.

    Raises:
        ConfigError: The strategy is `predefined`, whose parts are given.
        DataError: The data have no timestamps, or a part would be empty.
    """
    if strategy == "predefined":
        raise ConfigError("split strategy predefined: the parts are given, so test can't be what is after a moment")
    if dataset.timestamps is None:
        problem = columns.missing_timestamps(dataset.unused_columns)
        raise DataError(f"test after {format_moment(moment)}: {problem}")
    is_test = dataset.timestamps > moment
    newest = dataset.timestamps.max().item()
    if not is_test.any():
        raise DataError(
            f"test after {format_moment(moment)}: there are no later interactions; the newest is of "
            f"{format_moment(newest)}"
        )
    if is_test.all():
        raise DataError(
            f"test after {format_moment(moment)}: all {len(dataset):,} interactions are later, so nothing is left for "
            "train"
        )
    parts = np.full(len(dataset), TRAIN, np.uint8)
    parts[is_test] = TEST
    stored_options: dict[str, Any] = {"test_after": moment, "val_size": val_size, "seed": seed}
    if is_by_dates(strategy, options):
        return _split_by_dates(dataset, moment, stored_options, options)
    if strategy == "temporal":
        options = {}  # all of them are dates
    if val_size:
        # Random folds have no order, so that validation of a k_fold split is a random part of the rest.
        held_out_by = "random" if strategy == "k_fold" else strategy
        held_out_options = {} if strategy == "k_fold" else options
        parts[~is_test] = _hold_out_validation(dataset.take(~is_test), held_out_by, val_size, seed, held_out_options)
        stored_options |= {"validation": held_out_by, **held_out_options}
    return Split(parts, "temporal", stored_options)


def _split_by_dates(
    dataset: Interactions, moment: float, stored_options: dict[str, Any], options: dict[str, Any]
) -> Split:
    """Test is everything after the moment; validation, the gap before it and the length of train are as in a config."""
    used = {name: options[name] for name in _DATE_OPTIONS if options.get(name)}
    window = window_after(moment, **used)
    assert dataset.timestamps is not None  # the caller has checked it
    parts = cut(dataset.timestamps, window, f"after {format_moment(moment)}")
    return Split(parts, "temporal", {**stored_options, **used}, window)


def _hold_out_validation(
    older: Interactions, strategy: str, val_size: float, seed: int, options: dict[str, Any]
) -> PartCodes:
    settings = ", ".join(f"{name}={value}" for name, value in options.items())
    problem = f"split {strategy} holds out no validation part of {len(older):,} older interactions, val_size={val_size}"
    if settings:
        problem = f"{problem}, {settings}"
    try:
        parts = STRATEGIES[strategy](older, Sizes(val_size, 0.0), stream(seed, "split"), **options)
    except DataError as error:
        raise DataError(f"{problem}: {error}") from None
    # The part that the strategy holds out is validation here.
    parts[parts == TEST] = VALIDATION
    if not (parts == VALIDATION).any():
        raise DataError(f"{problem}; change these settings or use more data")
    return parts


def format_moment(seconds: float) -> str:
    """A timestamp as date and time, and as the number that the data has: `2023-11-14 22:13:20 UTC (1700000000)`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC ({seconds})"
