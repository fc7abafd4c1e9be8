"""Splitting a data set into train, validation and test."""

from recctl.data.splitting.parts import HISTORY, PART_NAMES, TEST, TRAIN, UNUSED, VALIDATION
from recctl.data.splitting.split import Split, make_split
from recctl.data.splitting.strategies import STRATEGIES

__all__ = ["HISTORY", "PART_NAMES", "STRATEGIES", "TEST", "TRAIN", "UNUSED", "VALIDATION", "Split", "make_split"]
