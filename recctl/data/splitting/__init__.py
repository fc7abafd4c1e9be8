"""Splits: which interactions a model is fitted on, and which ones judge it."""

from recctl.data.splitting.parts import HISTORY, PART_NAMES, TEST, TRAIN, UNUSED, VALIDATION
from recctl.data.splitting.split import Split, make_split
from recctl.data.splitting.strategies import STRATEGIES

__all__ = ["HISTORY", "PART_NAMES", "STRATEGIES", "TEST", "TRAIN", "UNUSED", "VALIDATION", "Split", "make_split"]
