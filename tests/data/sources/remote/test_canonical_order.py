"""The order of rows that a database returns."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from recctl.data.sources.remote.canonical_order import put_in_canonical_order

_ROWS = [(f"ü{n % 3}", n % 2 * 7, float(n % 4), 100 + n // 12 + (n % 2) / 2, "ab"[n % 5 % 2]) for n in range(48)]


def _columns(rows: list[tuple[str, int, float, float, str]], encoded: bool) -> dict[str, object]:
    users, items, ratings, times, channels = zip(*rows, strict=True)
    # In chunks, as readers return text.
    text = pa.chunked_array([pa.array(users[:20], pa.large_string()), pa.array(users[20:], pa.large_string())])
    return {
        "user_id": text.dictionary_encode() if encoded else text,
        "item_id": np.array(items),
        "rating": np.array(ratings, np.float32),
        "timestamp": np.array(times),
        "channel": pa.chunked_array([pa.array(channels, pa.large_string())]),
    }


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_rows_are_sorted_by_time_and_then_by_all_other_columns(seed: int, encoded: bool) -> None:
    columns = _columns(random.Random(seed).sample(_ROWS, len(_ROWS)), encoded)
    put_in_canonical_order(columns)
    lists = [
        values.to_pylist() if isinstance(values, pa.ChunkedArray) else values.tolist() for values in columns.values()
    ]  # type: ignore[attr-defined]
    assert list(zip(*lists, strict=True)) == sorted(_ROWS, key=lambda row: (row[3], *row[:3], row[4]))
