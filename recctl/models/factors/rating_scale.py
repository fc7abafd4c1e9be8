"""The scale of ratings: hyperparameters of rating models mean the same on every scale."""

from __future__ import annotations

# The range of ratings from 1 to 5, for which the defaults of the rating models were chosen.
_REFERENCE_RANGE = 4.0
# A narrower range is rounding: float32 ratings of ordinary size do not resolve it.
_MIN_RANGE = 1e-30


def relative_range(lowest: float, highest: float) -> float:
    """The range of the ratings relative to that of ratings from 1 to 5; 1 if all ratings are equal.

    Ratings divided by this number spread as far as ratings from 1 to 5.
    """
    rating_range = highest - lowest
    if rating_range < _MIN_RANGE:
        return 1.0
    return rating_range / _REFERENCE_RANGE
