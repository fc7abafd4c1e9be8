"""Rows in an order that depends on their values alone: by time, then user, item, rating and extra columns.

A database may return the rows of the same query in another order tomorrow. Hashes, splits and repeated pairs must not
depend on that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recctl.data.columns import COLUMNS, TIMESTAMP


def in_canonical_order(columns: dict[str, Any]) -> dict[str, Any]:
    """Sort the columns of a source by their values.

    Args:
        columns: As `SourceTable.columns` holds them, with timestamps.
    """
    names = [TIMESTAMP, *(name for name in COLUMNS if name != TIMESTAMP and name in columns)]
    names += [name for name in columns if name not in COLUMNS]
    keys = [_sort_key(columns[name]) for name in names]
    # lexsort takes the most important key last.
    order = np.lexsort(keys[::-1])
    if np.array_equal(order, np.arange(len(order))):
        return columns
    return {name: _take(values, order) for name, values in columns.items()}


def _sort_key(values: Any) -> NDArray[Any]:
    """Numbers in the order of the values; texts are ordered by their bytes."""
    if isinstance(values, np.ndarray):
        return values
    column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    encoded = column.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    ranks = np.empty(len(encoded.dictionary), np.int64)
    ranks[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(ranks))
    codes: NDArray[np.int64] = ranks[encoded.indices.to_numpy()]
    return codes


def _take(values: Any, order: NDArray[np.int64]) -> Any:
    return values[order] if isinstance(values, np.ndarray) else values.take(pa.array(order))
