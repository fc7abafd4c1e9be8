"""The step that samples interactions or users."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from recctl.arguments import checked
from recctl.data import columns, frames
from recctl.data.frames import Frame
from recctl.data.preprocessing import table_arrays
from recctl.errors import ConfigError, DataError
from recctl.rng import stream


@checked
def sample_interactions(
    df: Frame,
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None,
    n: Annotated[int, Field(ge=1)] | None = None,
    by: Literal["interactions", "users"] = "interactions",
    seed: int = 42,
) -> pd.DataFrame:
    """Sample interactions, or users with all their interactions; rows stay in their order.

    Args:
        df: Any columns; to sample users, `user_id`.
        fraction: Fraction to keep, above 0 and at most 1.
        n: Number to keep. Exactly one of `fraction` and `n` must be given.
        by: What is sampled.
        seed: Seed of the random stream `sample`.
    """
    df = frames.to_pandas(df, "df")
    check_amount(fraction, n)
    if by == "users":
        codes, total = table_arrays.id_codes(df, columns.USER)
    else:
        codes = np.arange(len(df), dtype=np.int32)
        total = len(df)
    if n is None:
        n = int((fraction or 0) * total + 0.5)
    elif n > total:
        raise DataError(f"sample_interactions: n={n}: there are only {total:,} {by}")
    # A mask keeps the rows in their order; for users it is looked up by each row's code.
    is_sampled = np.zeros(total, bool)
    is_sampled[stream(seed, "sample").permutation(total)[:n]] = True
    return df[is_sampled[codes]]


def check_amount(fraction: float | None = None, n: int | None = None) -> None:
    """Check that one of the two ways to give the amount is used.

    Raises:
        ConfigError: Neither is given, or both are.
    """
    if (fraction is None) == (n is None):
        raise ConfigError("sample_interactions: set either fraction or n")
