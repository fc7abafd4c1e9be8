"""The columns of an interaction table as checked arrays, for the preprocessing steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recctl.data import columns
from recctl.data.matrix import Int32Array
from recctl.data.vocabulary import Vocabulary


def id_codes(df: pd.DataFrame, name: str) -> tuple[Int32Array, int]:
    """The code of each row's id, `(n_rows,)`, and the number of distinct ids."""
    columns.require_columns(df, name)
    vocabulary, codes = Vocabulary.encode(columns.ids_of(df[name], name))
    return codes, len(vocabulary)


def ratings(df: pd.DataFrame) -> NDArray[np.float32]:
    """The ratings, `(n_rows,)`."""
    columns.require_columns(df, columns.RATING)
    return columns.ratings_of(df[columns.RATING])


def timestamps(df: pd.DataFrame) -> NDArray[Any]:
    """The timestamps in seconds since 1970, `(n_rows,)`."""
    columns.require_columns(df, columns.TIMESTAMP)
    return columns.timestamps_of(df[columns.TIMESTAMP])


def with_ratings(df: pd.DataFrame, new_ratings: Any) -> pd.DataFrame:
    """A copy of the table with other ratings, as float32."""
    return df.assign(**{columns.RATING: np.float32(new_ratings)})
