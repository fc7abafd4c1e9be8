"""Hyperparameter search: strategies, resumable trials, executors and results."""

import warnings

with warnings.catch_warnings():
    # In a notebook without ipywidgets, the progress bars that Optuna imports warn. recctl does not use them.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import optuna  # noqa: F401

from recctl.tuning.tuner import resume, tune

__all__ = ["resume", "tune"]
