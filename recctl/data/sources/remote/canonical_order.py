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


def put_in_canonical_order(columns: dict[str, Any]) -> None:
    """Sort the columns of a source by their values, in place: one column at a time exists twice.

    Args:
        columns: As `SourceTable.columns` holds them, with timestamps.
    """
    for name, values in columns.items():
        if not isinstance(values, np.ndarray):
            columns[name] = _encode(values)
    order = _canonical_order(columns)
    for name, values in columns.items():
        if isinstance(values, np.ndarray):
            columns[name] = values[order]
        else:
            codes = values.chunk(0).indices.to_numpy()[order]
            encoded = pa.chunked_array([pa.DictionaryArray.from_arrays(codes, values.chunk(0).dictionary)])
            columns[name] = encoded if name in COLUMNS else encoded.cast(pa.large_string())


def _encode(values: Any) -> pa.ChunkedArray:
    """Text as one chunk of codes into its distinct values: taking rows of many dictionaries takes long."""
    column = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in column.chunks])
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, column.chunk(0).dictionary)])


def _canonical_order(columns: dict[str, Any]) -> NDArray[np.int64]:
    timestamps = columns[TIMESTAMP]
    order = np.argsort(timestamps, kind="stable")
    # The other columns decide only among rows of equal times, which are neighbors now.
    in_order = timestamps[order]
    is_tied = np.zeros(len(order), bool)
    is_tied[1:] = in_order[1:] == in_order[:-1]
    is_tied[:-1] |= is_tied[1:]
    tied = order[is_tied]
    names = [TIMESTAMP, *(name for name in COLUMNS if name != TIMESTAMP and name in columns)]
    names += [name for name in columns if name not in COLUMNS]
    # lexsort takes the most important key last.
    keys = [_sort_key(columns[name], tied) for name in reversed(names)]
    order[is_tied] = tied[np.lexsort(keys)]
    return order


def _sort_key(values: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Numbers in the order of the values of some rows; texts are ordered by their bytes."""
    if isinstance(values, np.ndarray):
        selected: NDArray[Any] = values[rows]
        return selected
    encoded = values.chunk(0)
    ranks = np.empty(len(encoded.dictionary), np.int32)
    ranks[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(ranks), dtype=np.int32)
    ranked: NDArray[np.int32] = ranks[encoded.indices.to_numpy()[rows]]
    return ranked
