"""Splitting a data set into train, validation and test."""

from recctl.data.splitting.after_moment import format_moment, split_after
from recctl.data.splitting.parts import HISTORY, PART_NAMES, TEST, TRAIN, UNUSED, VALIDATION
from recctl.data.splitting.split import Split, all_train, make_split
from recctl.data.splitting.strategies import STRATEGIES

__all__ = [
    "HISTORY",
    "PART_NAMES",
    "STRATEGIES",
    "TEST",
    "TRAIN",
    "UNUSED",
    "VALIDATION",
    "Split",
    "all_train",
    "format_moment",
    "make_split",
    "split_after",
]
