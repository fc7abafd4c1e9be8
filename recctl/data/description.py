"""What a data set is like, in plain numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from recctl.data.dataset import InteractionDataset


def describe(dataset: InteractionDataset) -> dict[str, Any]:
    """Sizes, concentration, ratings and time span, ready for JSON.

    - `density`: distinct pairs over all possible ones; `duplicates`: rows that repeat an earlier pair.
    - `per_user`, `per_item`: min, median, mean and max of the interactions of each.
    - `popularity.gini`: 0 when all items are equally popular, near 1 when few have everything.
    - `popularity.top_1_percent`, `top_20_percent`: share of the interactions that fall on the most popular 1 % and
      20 % of the items, rounded up to whole items.
    - `ratings`: min, median, mean, max, standard deviation and, for at most 20 different ones, how often each occurs;
      None without ratings.
    - `time`: first and last timestamp in seconds and the days between; None without timestamps.
    """
    distinct = dataset.matrix.nnz
    return {
        "interactions": len(dataset),
        "users": dataset.n_users,
        "items": dataset.n_items,
        "density": distinct / (dataset.n_users * dataset.n_items) if distinct else 0.0,
        "duplicates": len(dataset) - distinct,
        **summary(dataset),
    }


def summary(dataset: InteractionDataset) -> dict[str, Any]:
    """The part of `describe` that takes one pass: what a run records of its data, beside the sizes."""
    items = np.bincount(dataset.items, minlength=dataset.n_items)
    users = np.bincount(dataset.users, minlength=dataset.n_users)
    return {
        "per_user": _spread(users),
        "per_item": _spread(items),
        "popularity": {
            "gini": gini(items),
            "top_1_percent": _share_of_top(items, 0.01),
            "top_20_percent": _share_of_top(items, 0.2),
        },
        "ratings": None if dataset.ratings is None else _ratings(dataset.ratings),
        "time": None if dataset.timestamps is None else _time(dataset.timestamps),
    }


def gini(counts: NDArray[Any]) -> float:
    """Gini coefficient of non-negative counts: mean absolute difference of two of them over twice their mean."""
    n, total = len(counts), counts.sum(dtype=np.float64)
    if not total:
        return 0.0
    weights = 2 * np.arange(1, n + 1, dtype=np.float64) - n - 1
    return float(weights @ np.sort(counts) / (n * total))


def _spread(values: NDArray[Any]) -> dict[str, float] | None:
    if not len(values):
        return None
    return {
        "min": values.min().item(),
        "median": float(np.median(values)),
        "mean": float(values.mean(dtype=np.float64)),
        "max": values.max().item(),
    }


def _share_of_top(counts: NDArray[np.int64], part: float) -> float:
    if not len(counts):
        return 0.0
    n_top = int(np.ceil(part * len(counts)))
    return float(np.sort(counts)[-n_top:].sum() / counts.sum())


def _ratings(ratings: NDArray[np.float32]) -> dict[str, Any] | None:
    spread = _spread(ratings)
    if spread is None:
        return None
    values, counts = np.unique(ratings, return_counts=True)
    few = len(values) <= 20
    # str() of the float32: 3.7 and not the 3.700000047683716 it is as a float64.
    counted = {f"{value:g}": int(count) for value, count in zip(values, counts, strict=True)} if few else None
    return {**spread, "std": float(ratings.std(dtype=np.float64)), "counts": counted}


def _time(timestamps: NDArray[Any]) -> dict[str, float] | None:
    if not len(timestamps):
        return None
    first, last = timestamps.min().item(), timestamps.max().item()
    return {"first": first, "last": last, "days": (last - first) / 86_400}
