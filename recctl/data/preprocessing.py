"""x."""

import pandas as pd


def filter_by_interaction_count(
    df: pd.DataFrame, min_user_interactions: int = 5, min_item_interactions: int = 0
) -> pd.DataFrame:
    """X."""
    return df
