"""InteractionDataset: interactions as arrays, with the ids they came from."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from recctl.data import columns
from recctl.data.arguments import checked
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.engines import map_threads
from recctl.errors import DataError
from recctl.kernels import group_by

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

    Attributes:
        history: For people held out whole: what a model may see of them before it is asked. Else None.

    Raises:
        DataError: A column is missing or holds what it may not, or nothing is left.
    """

    history: InteractionDataset | None = None
    _whole: tuple[InteractionDataset, NDArray[Any]]
    _n_rows: int

    @checked
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
        self._set(
            {
                columns.USER: columns.ids_of(df[columns.USER], columns.USER),
                columns.ITEM: columns.ids_of(df[columns.ITEM], columns.ITEM),
                columns.RATING: columns.ratings_of(df[columns.RATING]) if columns.RATING in df else None,
                columns.TIMESTAMP: columns.timestamps_of(df[columns.TIMESTAMP]) if columns.TIMESTAMP in df else None,
            },
            implicit,
        )
        self._filter_k_core(min_user_interactions, min_item_interactions)

    @classmethod
    def from_columns(
        cls,
        given: dict[str, Any],
        implicit: bool = True,
        min_user_interactions: int = 0,
        min_item_interactions: int = 0,
    ) -> InteractionDataset:
        """The dataset of columns as a source gives them (`SourceTable.columns`), which are emptied into it.

        Nothing is copied that need not be: this is how data sets that hardly fit in memory come into it.
        """
        if columns.RATING not in given and not implicit:
            raise DataError(f"interactions: no column {columns.RATING}; the columns are {', '.join(given)}")
        checks = {columns.RATING: columns.ratings_of, columns.TIMESTAMP: columns.timestamps_of}
        for name, column in given.items():
            if isinstance(column, pd.Series):
                given[name] = checks[name](column) if name in checks else columns.ids_of(column, name)
        dataset = object.__new__(cls)
        dataset._set(given, implicit)
        dataset._filter_k_core(min_user_interactions, min_item_interactions)
        pa.default_memory_pool().release_unused()  # of columns that were replaced
        return dataset

    def _set(self, given: dict[str, Any], implicit: bool) -> None:
        self.implicit = implicit
        encoded = map_threads(lambda name: Vocabulary.encode(given.pop(name)), (columns.USER, columns.ITEM))
        (self.user_vocabulary, self.users), (self.item_vocabulary, self.items) = encoded
        self.ratings, self.timestamps = given.pop(columns.RATING, None), given.pop(columns.TIMESTAMP, None)

    def _filter_k_core(self, min_user: int, min_item: int) -> None:
        if min_user <= 1 and min_item <= 1:
            return
        kept = group_by.core(self.users, self.items, self.n_users, self.n_items, min_user, min_item)
        if not kept.any():
            raise DataError(
                f"min_user_interactions={min_user} and min_item_interactions={min_item} leave nothing of {len(self):,} "
                f"interactions of {self.n_users:,} users with {self.n_items:,} items; lower them"
            )
        if kept.all():
            return
        # A column after the other, so that never more than one is there twice.
        self.user_vocabulary, self.users = self.user_vocabulary.subset(self.users[kept])
        self.item_vocabulary, self.items = self.item_vocabulary.subset(self.items[kept])
        self.ratings = None if self.ratings is None else self.ratings[kept]
        self.timestamps = None if self.timestamps is None else self.timestamps[kept]

    def take(self, rows: NDArray[Any]) -> InteractionDataset:
        """The dataset of only these rows (indices, or a mask), in that order, with only the ids that occur in them."""
        part = object.__new__(InteractionDataset)
        part.implicit = self.implicit
        part.user_vocabulary, part.users = self.user_vocabulary.subset(self.users[rows])
        part.item_vocabulary, part.items = self.item_vocabulary.subset(self.items[rows])
        part._whole = self, rows
        return part

    @cached_property
    def users(self) -> Int32Array:
        """Code of each row's user in `user_vocabulary`, `(n_rows,)`."""
        whole, rows = self._whole
        return self.user_vocabulary.recode(whole.users[rows], whole.user_vocabulary)

    @cached_property
    def items(self) -> Int32Array:
        """Code of each row's item in `item_vocabulary`, `(n_rows,)`."""
        whole, rows = self._whole
        return self.item_vocabulary.recode(whole.items[rows], whole.item_vocabulary)

    @cached_property
    def ratings(self) -> Float32Array | None:
        """Each row's rating, or None; of a part, copied from the whole when it is first asked for."""
        whole, rows = self._whole
        return None if whole.ratings is None else whole.ratings[rows]

    @cached_property
    def timestamps(self) -> NDArray[Any] | None:
        """Each row's time in seconds, or None; as the ratings."""
        whole, rows = self._whole
        return None if whole.timestamps is None else whole.timestamps[rows]

    def __getstate__(self) -> dict[str, Any]:
        self.users, self.items, self.ratings, self.timestamps  # noqa: B018 - a part goes without the whole
        return {name: value for name, value in vars(self).items() if name != "_whole"}

    def __len__(self) -> int:
        return len(self.users) if "users" in vars(self) else self._n_rows

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
            columns.USER: self.user_vocabulary.column(self.users),
            columns.ITEM: self.item_vocabulary.column(self.items),
        }
        if self.ratings is not None:
            table[columns.RATING] = self.ratings
        if self.timestamps is not None:
            table[columns.TIMESTAMP] = self.timestamps
        return pd.DataFrame(table)

    @cached_property
    def matrix(self) -> InteractionMatrix:
        """Users by items; of repeated pairs the last one counts."""
        made = InteractionMatrix.from_pairs(
            self.users, self.items, None if self.implicit else self.ratings, (self.n_users, self.n_items)
        )
        if "_whole" in vars(self):
            # A fit that holds the matrix has no use for the codes; of a part they can be had again.
            self._n_rows = len(self.users)
            for name in ("users", "items"):
                vars(self).pop(name, None)
        return made

    @property
    def csr(self) -> sp.csr_array:
        """The same matrix for SciPy, shape `(n_users, n_items)`, float32; rows and columns as in the vocabularies."""
        return self.matrix.to_scipy()

    def split(
        self, test_size: float = 0.2, val_size: float = 0.0, strategy: str = "random", seed: int = 42, **options: Any
    ) -> tuple[InteractionDataset, ...]:
        """Divide into `(train, test)`, or `(train, val, test)` when there is a validation part.

        Args:
            test_size: The test part: a fraction of all interactions (of all users for `strategy="user"`), or a count.
            val_size: The validation part, measured as `test_size` is; 0 for none.
            strategy: One of `recctl.data.splitting.STRATEGIES`, which also says what `options` each takes.
            seed: Seed of the strategies that draw.
            options: The strategy's own, e.g. `within_user=True`, `n=1`, `fold_in=0.8`.

        Raises:
            ConfigError: A size, the strategy or an option is not valid.
            DataError: The data has not what the strategy needs, or a part would be empty.
        """
        from recctl.data.splitting import make_split

        split = make_split(self, strategy, test_size=test_size, val_size=val_size, seed=seed, **options)
        train, test = split.train(self), split.test(self)
        return (train, split.validation(self), test) if split.has_validation else (train, test)

    def k_fold(self, n_folds: int = 5, seed: int = 42) -> Iterator[tuple[InteractionDataset, InteractionDataset]]:
        """`(train, test)` for each fold: every interaction is in exactly one test part."""
        from recctl.data.splitting import make_split

        split = partial(make_split, self, "k_fold", seed=seed, n_folds=n_folds)
        first = split(fold=0)  # a wrong `n_folds` is refused here, not when the folds are used
        splits = chain([first], (split(fold=fold) for fold in range(1, n_folds)))
        return ((fold.train(self), fold.test(self)) for fold in splits)

    def describe(self) -> dict[str, Any]:
        """Sizes, density, popularity, ratings and time span as plain numbers; `recctl.data.description` names them."""
        from recctl.data.description import describe

        return describe(self)

    def content_hash(self) -> str:
        """SHA-256 of the rows: equal rows in equal order give equal hashes, whatever types they came in."""
        from recctl.data.hashing import content_hash

        return content_hash(self)
