"""InteractionDataset: interactions as arrays, with the ids they came from."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd
from numpy.typing import NDArray

from recctl.data import columns
from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.data.preprocessing import filter_by_interaction_count
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError

if TYPE_CHECKING:
    import scipy.sparse as sp


class InteractionDataset:
    """Interactions of users with items.

    The columns are copied once, at construction, to codes and float32; the table given is not kept or changed.

    Args:
        df: Columns `user_id`, `item_id` (int or str), and optionally `rating` and `timestamp` (seconds, or datetimes).
            Other columns are left out.
        implicit: Whether an interaction only says that it happened. If so, `csr` weighs each distinct pair 1, and
            ratings are kept in `data` but used by no model; else `csr` holds the ratings, which must then be there.
        min_user_interactions: Users with fewer are left out.
        min_item_interactions: Items with fewer are left out. Both are applied until neither removes a row.

    Raises:
        DataError: A column is missing or holds what it may not, or nothing is left.
    """

    def __init__(
        self,
        df: pd.DataFrame,
        implicit: bool = True,
        min_user_interactions: int = 0,
        min_item_interactions: int = 0,
    ) -> None:
        columns.require_columns(df, columns.USER, columns.ITEM, *([] if implicit else [columns.RATING]))
        if not len(df):
            raise DataError("interactions: the table is empty")
        if min_user_interactions > 1 or min_item_interactions > 1:
            df = filter_by_interaction_count(df, min_user_interactions, min_item_interactions)
        self.implicit = implicit
        self.user_vocabulary, self.users = Vocabulary.encode(columns.ids_of(df[columns.USER], columns.USER))
        self.item_vocabulary, self.items = Vocabulary.encode(columns.ids_of(df[columns.ITEM], columns.ITEM))
        self.ratings: Float32Array | None = columns.ratings_of(df[columns.RATING]) if columns.RATING in df else None
        self.timestamps: NDArray[Any] | None = (
            columns.timestamps_of(df[columns.TIMESTAMP]) if columns.TIMESTAMP in df else None
        )

    def take(self, rows: NDArray[Any]) -> InteractionDataset:
        """The dataset of only these rows (indices, or a mask), in that order, with only the ids that occur in them."""
        part = object.__new__(InteractionDataset)
        part.implicit = self.implicit
        part.user_vocabulary, part.users = self.user_vocabulary.subset(self.users[rows])
        part.item_vocabulary, part.items = self.item_vocabulary.subset(self.items[rows])
        part.ratings = None if self.ratings is None else self.ratings[rows]
        part.timestamps = None if self.timestamps is None else self.timestamps[rows]
        return part

    def __len__(self) -> int:
        return len(self.users)

    def __repr__(self) -> str:
        kind = "implicit" if self.implicit else "explicit"
        return f"InteractionDataset({len(self):,} {kind} interactions, {self.n_users:,} users, {self.n_items:,} items)"

    @property
    def n_users(self) -> int:
        """Number of distinct users."""
        return len(self.user_vocabulary)

    @property
    def n_items(self) -> int:
        """Number of distinct items."""
        return len(self.item_vocabulary)

    @cached_property
    def data(self) -> pd.DataFrame:
        """The interactions as a table, in the order they were given."""
        table: dict[str, Any] = {
            columns.USER: self.user_vocabulary.decode(self.users),
            columns.ITEM: self.item_vocabulary.decode(self.items),
        }
        if self.ratings is not None:
            table[columns.RATING] = self.ratings
        if self.timestamps is not None:
            table[columns.TIMESTAMP] = self.timestamps
        return pd.DataFrame(table)

    @cached_property
    def matrix(self) -> InteractionMatrix:
        """Users by items; of repeated pairs the last one counts."""
        return InteractionMatrix.from_pairs(
            self.users, self.items, None if self.implicit else self.ratings, (self.n_users, self.n_items)
        )

    @property
    def csr(self) -> sp.csr_array:
        """The same matrix for SciPy, shape `(n_users, n_items)`, float32; rows and columns as in the vocabularies."""
        return self.matrix.to_scipy()
