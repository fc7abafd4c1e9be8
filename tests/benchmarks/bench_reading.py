"""Reading 20 million interactions, checked and in their final types, against Arrow's bare readers on the same file."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from recctl.data.sources import read_source
from recctl.data.synthetic import generate

COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


def in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median wall seconds of each, taken in turns; what a call gives is freed before the next."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for turn in range(repeats + 1):
        for function, taken in zip((ours, theirs), seconds, strict=True):
            gc.collect()
            start = time.perf_counter()
            result = function()
            if turn:  # the first turn warms both up
                taken.append(time.perf_counter() - start)
            del result
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def check(path: Path, expected: pd.DataFrame) -> None:
    """What is read must be what was written."""
    frame = read_source(str(path)).frame
    assert frame.columns.tolist() == COLUMNS
    for column in COLUMNS:
        if pd.api.types.is_string_dtype(expected[column]):
            assert frame[column].equals(expected[column])
        else:
            np.testing.assert_array_equal(frame[column].to_numpy(), expected[column].to_numpy())


def measure(bench: str, data: str, path: Path, peer: str, bare: Callable[[], Any], repeats: int) -> None:
    """Print one line of JSON."""
    seconds, peer_seconds = in_turns(lambda: read_source(str(path)).frame, bare, repeats)
    line = {
        "bench": bench,
        "data": data,
        "seconds": round(seconds, 3),
        "peer": peer,
        "peer_seconds": round(peer_seconds, 3),
        "ratio": round(seconds / peer_seconds, 3),
    }
    print(json.dumps(line), flush=True)


def main(n: int = 20_000_000, repeats: int = 9) -> None:
    """Measure each kind of file."""
    frame = generate(n // 144, n // 740, n)[COLUMNS]
    size = f"{n / 1e6:.0f}M rows"
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("int", "text"):
            if kind == "text":
                frame = frame.assign(**{c: "id-" + frame[c].astype("str") for c in ("user_id", "item_id")})
            table = pa.Table.from_pandas(frame, preserve_index=False)
            csv, parquet = Path(folder) / f"{kind}.csv", Path(folder) / f"{kind}.parquet"
            pa.csv.write_csv(table, csv)
            pa.parquet.write_table(table, parquet)
            del table
            check(csv, frame)
            check(parquet, frame)
            data = f"{size}, {kind} ids"
            measure("read CSV", data, csv, "pyarrow.csv", lambda csv=csv: pa.csv.read_csv(csv), repeats)
            measure(
                "read Parquet",
                data,
                parquet,
                "pyarrow.parquet",
                lambda parquet=parquet: pa.parquet.read_table(parquet),
                repeats,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
