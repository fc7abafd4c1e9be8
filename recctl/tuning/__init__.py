"""Searching hyperparameters: strategies, trials that resume, and what is left of them."""

from recctl.tuning.tuner import resume, tune

__all__ = ["resume", "tune"]
