"""The step that merges repeated interactions."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from recctl.arguments import checked
from recctl.data import columns, frames
from recctl.data.frames import Frame
from recctl.data.preprocessing import table_arrays
from recctl.kernels import group_by


@checked
def drop_duplicates(df: Frame, keep: Literal["last", "first", "sum", "mean"] = "last") -> pd.DataFrame:
    """Keep one interaction per pair of user and item.

    First and last are by timestamp; row order breaks ties, and is used alone without timestamps.

    Args:
        df: Columns `user_id` and `item_id`; for `sum` and `mean` also `rating`.
        keep: The interaction to keep. `sum` and `mean` keep the last one, with the sum or mean of the pair's ratings.
    """
    df = frames.to_pandas(df, "df")
    users, _ = table_arrays.id_codes(df, columns.USER)
    items, n_items = table_arrays.id_codes(df, columns.ITEM)
    order = None
    if columns.TIMESTAMP in df.columns:
        order = group_by.stable_argsort(table_arrays.timestamps(df))
    rows, begins = group_by.group_pairs(users, items, n_items, order)
    lengths = np.diff(begins, append=len(rows))
    kept_rows = rows[begins if keep == "first" else begins + lengths - 1]
    # A mask keeps the rows in their order.
    is_kept = np.zeros(len(df), bool)
    is_kept[kept_rows] = True
    if keep in ("first", "last"):
        return df[is_kept]
    ratings = table_arrays.ratings(df).astype(np.float64)
    if len(rows):
        sums = np.add.reduceat(ratings[rows], begins)
        ratings[kept_rows] = sums if keep == "sum" else sums / lengths
    return table_arrays.with_ratings(df[is_kept], ratings[is_kept])
