"""The interface of a data set, for functions that describe, hash or split one.

`InteractionDataset` has methods that call these functions. They take this protocol, so that neither module imports the
other.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

from numpy.typing import NDArray

from recctl.data.columns import UnusedColumns
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary


class Interactions(Protocol):
    """Interactions of users with items, as `recctl.data.dataset.InteractionDataset` holds them.

    Attributes:
        user_vocabulary: The user ids.
        item_vocabulary: The item ids.
        history: For held-out users: the interactions that a model may see when it recommends.
        known: For the test part of a split with a validation part: all earlier interactions of its users.
        unused_columns: The columns that were not read of data without timestamps, if they are known.
    """

    user_vocabulary: Vocabulary
    item_vocabulary: Vocabulary
    history: Self | None
    known: Self | None
    unused_columns: UnusedColumns | None

    @property
    def users(self) -> Int32Array:
        """User code of each row, `(n_rows,)`."""
        ...

    @property
    def items(self) -> Int32Array:
        """Item code of each row, `(n_rows,)`."""
        ...

    @property
    def ratings(self) -> Float32Array | None:
        """Rating of each row, `(n_rows,)`; None if there are none."""
        ...

    @property
    def timestamps(self) -> NDArray[Any] | None:
        """Timestamp of each row in seconds since 1970, `(n_rows,)`; None if there are none."""
        ...

    @property
    def matrix(self) -> InteractionMatrix:
        """Users by items."""
        ...

    @property
    def n_users(self) -> int:
        """Number of distinct users."""
        ...

    @property
    def n_items(self) -> int:
        """Number of distinct items."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[Any]) -> Self:
        """Select rows by index or mask."""
        ...
