"""InteractionDataset: interactions as arrays of codes, with the vocabularies of their ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recctl.arguments import at_least, checked, validated
from recctl.data import columns, frames
from recctl.data.frames import Frame
from recctl.data.labels import Labels
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.pandas_types import is_series
from recctl.data.vocabulary import Vocabulary
from recctl.engines import map_threads
from recctl.errors import DataError
from recctl.kernels import csr, group_by

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

_N_SHOWN_ROWS = 5  # in notebooks, as pandas' `head`


class InteractionDataset:
    """Interactions of users with items.

    The columns are copied once, at construction, to codes and float32; the table itself is neither kept nor changed.

    Args:
        df: A pandas or polars DataFrame, or a pyarrow Table, with columns `user_id`, `item_id` (int or str), and
            optionally `rating` and `timestamp` (seconds, or datetimes). Other columns are ignored.
        implicit: Whether interactions are implicit feedback. If True, `csr` has weight 1 for each distinct pair, and
            ratings are kept in `data` but no model uses them. If False, `csr` holds the ratings, which are required.
        min_user_interactions: Users with fewer interactions are left out.
        min_item_interactions: Items with fewer interactions are left out. Both limits are applied until neither removes
            a row (k-core).

    Attributes:
        history: For held-out users: the interactions that a model may see when it recommends. None
            for all other data sets.
        known: For the test part of a split with a validation part: all earlier interactions of its users, in train
            and validation. None for all other data sets.
        labels: Other columns by name, by which evaluations divide interactions into segments.
        unused_columns: The columns that were not read of data without timestamps, for error messages.

    Raises:
        DataError: A column is missing or holds an invalid value, or no interaction is left.

    Examples:
        ```python
        from recctl import InteractionDataset

        dataset = InteractionDataset(table, min_user_interactions=5)
        train, val, test = dataset.split(test_size=0.2, val_size=0.1, strategy="temporal")
        ```
    """

    history: InteractionDataset | None = None
    known: InteractionDataset | None = None
    labels: Mapping[str, Labels] = MappingProxyType({})
    unused_columns: columns.UnusedColumns | None = None
    # Set for a part made by `take`: the data set it comes from, and the selected rows.
    _source: tuple[InteractionDataset, NDArray[Any]]
    _n_rows: int

    @checked
    def __init__(
        self,
        df: Frame,
        implicit: bool = True,
        min_user_interactions: int = 0,
        min_item_interactions: int = 0,
    ) -> None:
        frame = frames.to_pandas(df, "df")
        columns.require_columns(frame, columns.USER, columns.ITEM)
        if not implicit:
            columns.require_columns(frame, columns.RATING)
        frames.require_distinct_columns(frame, columns.COLUMNS)
        if not len(frame):
            raise DataError("interactions: the table is empty")
        arrays: dict[str, Any] = {
            columns.USER: columns.ids_of(frame[columns.USER], columns.USER),
            columns.ITEM: columns.ids_of(frame[columns.ITEM], columns.ITEM),
        }
        if columns.RATING in frame:
            arrays[columns.RATING] = columns.ratings_of(frame[columns.RATING])
        if columns.TIMESTAMP in frame:
            arrays[columns.TIMESTAMP] = columns.timestamps_of(frame[columns.TIMESTAMP])
            columns.notice_year_1970(frame[columns.TIMESTAMP], arrays[columns.TIMESTAMP])
        else:
            others = tuple(str(name) for name in frame.columns if name not in columns.COLUMNS)
            self.unused_columns = columns.UnusedColumns(others, "rename the column of times to timestamp")
        self._encode(arrays, implicit)
        self._filter_k_core(min_user_interactions, min_item_interactions)

    @classmethod
    def from_columns(
        cls,
        source_columns: dict[str, Any],
        implicit: bool = True,
        min_user_interactions: int = 0,
        min_item_interactions: int = 0,
    ) -> InteractionDataset:
        """Build a data set from the columns of a source without copying more than necessary.

        This is how data sets that hardly fit in memory are loaded.

        Args:
            source_columns: The columns as `SourceTable.columns` holds them. The dict is emptied, so that each column
                can be freed as soon as it is encoded.
            implicit: See the class.
            min_user_interactions: See the class.
            min_item_interactions: See the class.
        """
        if columns.RATING not in source_columns and not implicit:
            existing = ", ".join(source_columns)
            raise DataError(f"interactions: no column {columns.RATING}; the columns are {existing}")
        if not len(source_columns[columns.USER]):
            raise DataError("interactions: the table is empty")
        for name, column in source_columns.items():
            if not is_series(column):
                continue
            if name == columns.RATING:
                source_columns[name] = columns.ratings_of(column)
            elif name == columns.TIMESTAMP:
                source_columns[name] = columns.timestamps_of(column)
            else:
                source_columns[name] = columns.ids_of(column, name)
        dataset = object.__new__(cls)
        dataset._encode(source_columns, implicit)
        dataset._filter_k_core(min_user_interactions, min_item_interactions)
        pa.default_memory_pool().release_unused()  # the memory of columns that were replaced
        return dataset

    def _encode(self, arrays: dict[str, Any], implicit: bool) -> None:
        """Set the arrays and vocabularies; `arrays` is emptied."""
        self.implicit = implicit

        def encode(name: str) -> tuple[Vocabulary, Int32Array]:
            return Vocabulary.encode(arrays.pop(name))

        # pop() leaves the encoder the only reference to the column, so that its memory can be freed or reused.
        encoded_users, encoded_items = map_threads(encode, (columns.USER, columns.ITEM))
        self.user_vocabulary, self.users = encoded_users
        self.item_vocabulary, self.items = encoded_items
        self.ratings = arrays.pop(columns.RATING, None)
        self.timestamps = arrays.pop(columns.TIMESTAMP, None)

    def _filter_k_core(self, min_user: int, min_item: int) -> None:
        if min_user <= 1 and min_item <= 1:
            return
        is_kept = group_by.k_core(self.users, self.items, self.n_users, self.n_items, min_user, min_item)
        if not is_kept.any():
            raise DataError(
                f"min_user_interactions={min_user} and min_item_interactions={min_item} leave nothing of {len(self):,} "
                f"interactions of {self.n_users:,} users with {self.n_items:,} items; use smaller values"
            )
        if is_kept.all():
            return
        # One column after the other, so that at most one exists twice at a time.
        self.user_vocabulary, self.users = self.user_vocabulary.subset(self.users[is_kept])
        self.item_vocabulary, self.items = self.item_vocabulary.subset(self.items[is_kept])
        if self.ratings is not None:
            self.ratings = self.ratings[is_kept]
        if self.timestamps is not None:
            self.timestamps = self.timestamps[is_kept]

    def take(self, rows: NDArray[Any]) -> InteractionDataset:
        """Select rows by index or mask, in that order; the vocabularies hold only the ids that occur in them."""
        # Ratings and timestamps are copied when they are first used: most models need neither.
        part = object.__new__(InteractionDataset)
        part.implicit = self.implicit
        part.user_vocabulary, part.users = self.user_vocabulary.subset(self.users[rows])
        part.item_vocabulary, part.items = self.item_vocabulary.subset(self.items[rows])
        part._source = (self, rows)
        part.unused_columns = self.unused_columns
        if self.labels:
            part.labels = {name: labels.take(rows) for name, labels in self.labels.items()}
        return part

    @cached_property
    def users(self) -> Int32Array:
        """Code of each row's user in `user_vocabulary`, `(n_rows,)`."""
        source, rows = self._source
        return self.user_vocabulary.recode(source.users[rows], source.user_vocabulary)

    @cached_property
    def items(self) -> Int32Array:
        """Code of each row's item in `item_vocabulary`, `(n_rows,)`."""
        source, rows = self._source
        return self.item_vocabulary.recode(source.items[rows], source.item_vocabulary)

    @cached_property
    def ratings(self) -> Float32Array | None:
        """Rating of each row, or None. A part copies them when they are first used."""
        source, rows = self._source
        return None if source.ratings is None else source.ratings[rows]

    @cached_property
    def timestamps(self) -> NDArray[Any] | None:
        """Timestamp of each row in seconds since 1970, or None. A part copies them when they are first used."""
        source, rows = self._source
        return None if source.timestamps is None else source.timestamps[rows]

    def __getstate__(self) -> dict[str, Any]:
        # Compute all arrays, so that a part is pickled without its source.
        self.users, self.items, self.ratings, self.timestamps  # noqa: B018
        return {name: value for name, value in vars(self).items() if name != "_source"}

    def __len__(self) -> int:
        return len(self.users) if "users" in vars(self) else self._n_rows

    def __repr__(self) -> str:
        kind = "implicit" if self.implicit else "explicit"
        return f"InteractionDataset({len(self):,} {kind} interactions, {self.n_users:,} users, {self.n_items:,} items)"

    def _repr_html_(self) -> str:
        from recctl.html_repr import Table, render

        n_pairs = self.n_users * self.n_items
        sizes = f"{len(self):,} interactions of {self.n_users:,} users with {self.n_items:,} items"
        density = f"{self.matrix.nnz / n_pairs:.2%} of all pairs"
        first_rows = self.take(np.arange(min(len(self), _N_SHOWN_ROWS))).data
        # As text: ids and timestamps have no separators of thousands.
        rows = first_rows.astype(object).map(str).to_numpy(object).tolist()
        table = Table([str(name) for name in first_rows], rows)
        return render(
            type(self).__name__, ["implicit" if self.implicit else "explicit"], [f"{sizes}, {density}"], [table]
        )

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
        """The interactions as a table, rows in their original order."""
        import pandas as pd

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
        """Users by items. Of repeated pairs the latest counts; among equal times, and without times, the last row."""
        values = None if self.implicit else self.ratings
        matrix = self.matrix_of(values)
        if "_source" in vars(self):
            # A fit uses the matrix only. A part can compute its codes again from its source, so free their memory.
            self._n_rows = len(self.users)
            for name in ("users", "items", "timestamps"):
                vars(self).pop(name, None)
        return matrix

    def matrix_of(self, values: Float32Array | None) -> InteractionMatrix:
        """Users by items with one value for each row of the data, `(n_rows,)`, or binary; repeats as in `matrix`."""
        shape = (self.n_users, self.n_items)
        return InteractionMatrix.from_pairs(self.users, self.items, values, shape, lambda: self.timestamps)

    def last_timestamp(self) -> float | None:
        """The newest timestamp in seconds since 1970; None without timestamps."""
        if "timestamps" in vars(self) or "_source" not in vars(self):
            timestamps = self.timestamps
        else:
            # Not by the property, which would keep its copy for the lifetime of the part.
            source, rows = self._source
            timestamps = None if source.timestamps is None else source.timestamps[rows]
        if timestamps is None:
            return None
        newest: float = timestamps.max().item()
        return newest

    def latest_rows(self) -> NDArray[np.int64]:
        """The rows that count, ascending: of repeated pairs the latest, as in `matrix`."""
        n_rows = len(self)
        shape = (self.n_users, self.n_items)
        _, _, rows = csr.from_pairs(self.users, self.items, *shape, True, lambda: self.timestamps)
        return np.arange(n_rows) if len(rows) == n_rows else np.sort(rows)

    @property
    def csr(self) -> sp.csr_array:
        """`matrix` for SciPy, float32, shape `(n_users, n_items)`; rows and columns are codes of the vocabularies."""
        return self.matrix.to_scipy()

    def split(
        self,
        test_size: float | None = None,
        val_size: float = 0.0,
        strategy: str = "random",
        seed: int = 42,
        **options: Any,
    ) -> tuple[InteractionDataset, ...]:
        """Split into `(train, test)`, or into `(train, val, test)` if there is a validation part.

        Args:
            test_size: Size of the test part: a fraction of all interactions (of all users for `strategy="user"`), or a
                count; None: 0.2, unless the split is by dates.
            val_size: Size of the validation part, in the same unit; 0 for none.
            strategy: One of `recctl.data.splitting.STRATEGIES`.
            seed: Seed of the strategies that draw random numbers.
            options: Options of the strategy, e.g. `within_user=True`, `n=1`, `fold_in=0.8`, `test_start="2026-10-01"`,
                `test_days=7`; see `recctl.data.splitting.strategies`.

        Raises:
            ConfigError: A size, the strategy or an option is not valid.
            DataError: The data lacks what the strategy needs, or a part would be empty.
        """
        from recctl.data.splitting import make_split

        split = make_split(self, strategy, test_size=test_size, val_size=val_size, seed=seed, **options)
        train = split.train(self)
        test = split.test(self)
        return (train, split.validation(self), test) if split.has_validation else (train, test)

    def rolling(
        self, n_windows: int = 6, test_days: int = 7, **options: Any
    ) -> Iterator[tuple[InteractionDataset, ...]]:
        """Iterate over `(train, test)` of each window of a backtest, or `(train, val, test)` with `val_days`.

        The newest window ends with the day of the newest interaction; the oldest one comes first. Windows share the
        ids of this data set.

        Args:
            n_windows: Number of windows.
            test_days: Days of test in each window.
            options: `step_days`, `gap_days`, `train_days`, `val_days`; see `recctl.data.splitting.strategies.rolling`.

        Raises:
            ConfigError: An option is not valid; raised before the iteration starts.
            DataError: There are no timestamps, or a part of a window would be empty; the same.
        """
        from recctl.data.splitting import split_windows

        splits = split_windows(self, n_windows=n_windows, test_days=test_days, **options)
        return (
            (split.train(self), split.validation(self), split.test(self))
            if split.has_validation
            else (split.train(self), split.test(self))
            for split in splits
        )

    @validated(n_folds=at_least(2), seed=at_least(0))
    def k_fold(self, n_folds: int = 5, seed: int = 42) -> Iterator[tuple[InteractionDataset, InteractionDataset]]:
        """Iterate over `(train, test)` of each fold; every interaction is in exactly one test part.

        Raises:
            ConfigError: `n_folds` is not valid; raised before the iteration starts.
        """
        from recctl.data.splitting import make_split

        split_fold = partial(make_split, self, "k_fold", seed=seed, n_folds=n_folds)
        first = split_fold(fold=0)  # made now, to raise errors now
        others = (split_fold(fold=fold) for fold in range(1, n_folds))
        return ((split.train(self), split.test(self)) for split in chain([first], others))

    def describe(self) -> dict[str, Any]:
        """Sizes, density, popularity, ratings and time span; see `recctl.data.description.describe`."""
        from recctl.data.description import describe

        return describe(self)

    def content_hash(self) -> str:
        """SHA-256 of the rows; equal rows in equal order have equal hashes, whatever types they came in."""
        from recctl.data.hashing import content_hash

        return content_hash(self)
