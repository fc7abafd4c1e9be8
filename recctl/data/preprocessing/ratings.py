"""Steps that change ratings."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from recctl.arguments import checked
from recctl.data import columns, frames
from recctl.data.frames import Frame
from recctl.data.preprocessing import table_arrays


@checked
def binarize_implicit_feedback(df: Frame, threshold: float) -> pd.DataFrame:
    """Keep interactions rated at least `threshold`, and set their rating to 1.

    Args:
        df: Column `rating`.
        threshold: Minimum rating of a positive interaction.
    """
    df = frames.to_pandas(df, "df")
    return table_arrays.with_ratings(df[table_arrays.ratings(df) >= threshold], 1)


@checked
def normalize_ratings(df: Frame, method: Literal["minmax", "zscore", "user_mean"] = "minmax") -> pd.DataFrame:
    """Scale or center ratings.

    - `minmax`: (r - min) / (max - min), from 0 to 1
    - `zscore`: (r - mean) / std, with the population's standard deviation
    - `user_mean`: r - mean of the user's ratings

    The first two are 0 if all ratings are equal.

    Args:
        df: Column `rating`, for `user_mean` also `user_id`.
        method: The formula.
    """
    df = frames.to_pandas(df, "df")
    # Means and deviations of float32 would lose digits on large tables.
    ratings = table_arrays.ratings(df).astype(np.float64)
    if not len(ratings):
        return table_arrays.with_ratings(df, ratings)
    if method == "user_mean":
        users, n_users = table_arrays.id_codes(df, columns.USER)
        user_means = np.bincount(users, ratings, n_users) / np.bincount(users, minlength=n_users)
        return table_arrays.with_ratings(df, ratings - user_means[users])
    if ratings.min() == ratings.max():
        return table_arrays.with_ratings(df, np.zeros(len(ratings)))
    if method == "minmax":
        offset = ratings.min()
        scale = ratings.max() - offset
    else:
        offset = ratings.mean()
        scale = ratings.std()
    return table_arrays.with_ratings(df, (ratings - offset) / scale)
