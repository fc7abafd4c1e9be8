"""Descriptive statistics of a data set, as plain numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    # It imports pandas, for which metrics need not wait.
    from recctl.data.interactions import Interactions

# With more distinct ratings, their frequencies are left out.
_MAX_COUNTED_RATINGS = 20
_SECONDS_PER_DAY = 86_400


def describe(dataset: Interactions) -> dict[str, Any]:
    """Sizes, concentration, ratings and time span, ready for JSON.

    - `density`: distinct pairs divided by all possible pairs; `duplicates`: rows that repeat an earlier pair.
    - `per_user`, `per_item`: min, median, mean and max of the interactions of each.
    - `popularity.gini`: 0 if all items are equally popular, close to 1 if a few items have almost all interactions.
    - `popularity.top_1_percent`, `top_20_percent`: share of the interactions that the most popular 1 % and 20 % of the
      items have, rounded up to whole items.
    - `ratings`: min, median, mean, max, standard deviation and, for at most 20 distinct ratings, their frequencies;
      None without ratings.
    - `time`: first and last timestamp in seconds, and the days between them; None without timestamps.
    """
    # The matrix merges repeated pairs.
    n_distinct = dataset.matrix.nnz
    return {
        "interactions": len(dataset),
        "users": dataset.n_users,
        "items": dataset.n_items,
        "density": n_distinct / (dataset.n_users * dataset.n_items) if n_distinct else 0.0,
        "duplicates": len(dataset) - n_distinct,
        **summary(dataset),
    }


def summary(dataset: Interactions) -> dict[str, Any]:
    """The part of `describe` that needs one pass over the data; every run stores it."""
    item_counts = np.bincount(dataset.items, minlength=dataset.n_items)
    user_counts = np.bincount(dataset.users, minlength=dataset.n_users)
    return {
        "per_user": _distribution(user_counts),
        "per_item": _distribution(item_counts),
        "popularity": {
            "gini": gini(item_counts),
            "top_1_percent": _share_of_top(item_counts, 0.01),
            "top_20_percent": _share_of_top(item_counts, 0.2),
        },
        "ratings": None if dataset.ratings is None else _describe_ratings(dataset.ratings),
        "time": None if dataset.timestamps is None else _describe_time(dataset.timestamps),
    }


def gini(counts: NDArray[Any]) -> float:
    """Gini coefficient of non-negative counts: their mean absolute difference divided by twice their mean.

    Computed from the ascending counts x as sum((2 i - n - 1) x_i) / (n sum(x)), with i from 1.
    """
    n = len(counts)
    total = counts.sum(dtype=np.float64)
    if not total:
        return 0.0
    weights = 2 * np.arange(1, n + 1, dtype=np.float64) - n - 1
    return float(weights @ np.sort(counts) / (n * total))


def _distribution(values: NDArray[Any]) -> dict[str, float] | None:
    if not len(values):
        return None
    return {
        "min": values.min().item(),
        "median": float(np.median(values)),
        "mean": float(values.mean(dtype=np.float64)),
        "max": values.max().item(),
    }


def _share_of_top(counts: NDArray[np.int64], fraction: float) -> float:
    """The share of the interactions that the most popular items have."""
    if not len(counts):
        return 0.0
    n_top = int(np.ceil(fraction * len(counts)))
    return float(np.sort(counts)[-n_top:].sum() / counts.sum())


def _describe_ratings(ratings: NDArray[np.float32]) -> dict[str, Any] | None:
    distribution = _distribution(ratings)
    if distribution is None:
        return None
    values, frequencies = np.unique(ratings, return_counts=True)
    counts = None
    if len(values) <= _MAX_COUNTED_RATINGS:
        # "g" formats the float32 3.7 as "3.7"; as a float64 it is 3.700000047683716.
        counts = {f"{value:g}": int(count) for value, count in zip(values, frequencies, strict=True)}
    return {**distribution, "std": float(ratings.std(dtype=np.float64)), "counts": counts}


def _describe_time(timestamps: NDArray[Any]) -> dict[str, float] | None:
    if not len(timestamps):
        return None
    first = timestamps.min().item()
    last = timestamps.max().item()
    return {"first": first, "last": last, "days": (last - first) / _SECONDS_PER_DAY}
