"""Hyperparameter search: strategies, resumable trials, executors and results."""

from recctl.tuning.tuner import resume, tune

__all__ = ["resume", "tune"]
