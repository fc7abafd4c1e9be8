"""Splitting a data set into train, validation and test."""

from recctl.data.splitting.after_moment import format_moment, split_after
from recctl.data.splitting.parts import HISTORY, PART_NAMES, TEST, TRAIN, UNUSED, VALIDATION
from recctl.data.splitting.split import Split, all_train, is_by_dates, make_split, split_windows, temporal_options
from recctl.data.splitting.strategies import STRATEGIES
from recctl.data.splitting.windows import Window, format_time

__all__ = [
    "HISTORY",
    "PART_NAMES",
    "STRATEGIES",
    "TEST",
    "TRAIN",
    "UNUSED",
    "VALIDATION",
    "Split",
    "Window",
    "all_train",
    "format_moment",
    "format_time",
    "is_by_dates",
    "make_split",
    "split_after",
    "split_windows",
    "temporal_options",
]
