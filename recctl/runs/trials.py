"""The table of a search's trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def best_first(trials: pd.DataFrame, monitors: Sequence[str], pareto: Sequence[int]) -> pd.DataFrame:
    """Return the complete trials by their first metric, the best first.

    Args:
        trials: The table that `Run.trials` returns.
        monitors: The metrics that the search optimized.
        pareto: Numbers of the trials of the Pareto front, if there are several metrics.
    """
    from recctl.training.monitor import direction

    # The config's own point, if it lies outside the space.
    if "in_space" in trials:
        trials = trials[trials["in_space"]]
    # With several metrics no single order is right; the front is what the search found.
    if pareto:
        trials = trials[trials["number"].isin(pareto)]
    trials = trials[trials["state"] == "complete"]
    # Trials with equal scores keep the order of their numbers.
    ascending = direction(monitors[0]) == "min"
    return trials.sort_values([monitors[0], "number"], ascending=[ascending, True])
