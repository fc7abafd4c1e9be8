"""Reading 20 million interactions, with all checks and conversions, compared with other readers of the same file.

Like is compared with like: the columns that training reads with Arrow's table, and a data frame with that of pandas,
which reads by Arrow, too.
"""

from __future__ import annotations

import gc
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
import pyarrow.dataset
import pyarrow.json
import pyarrow.parquet
from side_by_side import print_json

from recctl.data.sources import read_source
from recctl.data.synthetic import generate

N_PARTS = 30
COLUMNS = ["user_id", "item_id", "rating", "timestamp"]


def median_seconds(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median wall seconds of functions, which alternate.

    Unlike `side_by_side.alternate`, the memory of a result is released before the next call is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            gc.collect()
            begin = time.perf_counter()
            result = function()
            # The first round is a warm-up.
            if repeat:
                seconds[name].append(time.perf_counter() - begin)
            del result
    return {name: statistics.median(values) for name, values in seconds.items()}


def check(path: Path, expected: pd.DataFrame) -> None:
    """Check that the file is read as it was written."""
    frame = read_source(str(path)).frame
    assert frame.columns.tolist() == COLUMNS
    for column in COLUMNS:
        if pd.api.types.is_string_dtype(expected[column]):
            assert frame[column].equals(expected[column])
        else:
            np.testing.assert_array_equal(frame[column].to_numpy(), expected[column].to_numpy())


def measure(
    bench: str, data: str, read: Callable[[], Any], peer: str, read_by_peer: Callable[[], Any], repeats: int
) -> None:
    """Print the seconds of recctl and of another reader."""
    medians = median_seconds({"recctl": read, peer: read_by_peer}, repeats)
    print_json(
        {
            "bench": bench,
            "data": data,
            "seconds": round(medians["recctl"], 3),
            "peer": peer,
            "peer_seconds": round(medians[peer], 3),
            "ratio": round(medians["recctl"] / medians[peer], 3),
        }
    )


def measure_file(file_format: str, data: str, path: Path, repeats: int) -> None:
    """Measure reading a file into columns, and into a data frame."""
    source = str(path)
    readers: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "CSV": (lambda: pa.csv.read_csv(path), lambda: pd.read_csv(path, engine="pyarrow")),
        "Parquet": (lambda: pa.parquet.read_table(path), lambda: pd.read_parquet(path)),
    }
    read_table, read_frame = readers[file_format]
    arrow = f"pyarrow.{file_format.lower()}"
    pandas = f"pandas.read_{file_format.lower()}"
    measure(f"read {file_format}", data, lambda: read_source(source).columns, arrow, read_table, repeats)
    bench = f"read {file_format} into a data frame"
    measure(bench, data, lambda: read_source(source).frame, pandas, read_frame, repeats)


def measure_other_formats(n_rows: int, repeats: int) -> None:
    """Measure JSON lines, and a hive folder of Parquet parts, with integer ids."""
    table = pa.Table.from_pandas(generate(n_rows // 144, n_rows // 740, n_rows)[COLUMNS], preserve_index=False)
    data = f"{n_rows / 1e6:.0f}M rows, int ids"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "hive"
        for part in range(N_PARTS):
            (folder / f"day={part:02d}").mkdir(parents=True)
            begin = part * n_rows // N_PARTS
            end = (part + 1) * n_rows // N_PARTS
            pa.parquet.write_table(table.slice(begin, end - begin), folder / f"day={part:02d}" / "part.parquet")
        measure(
            f"read a hive folder of {N_PARTS} parts",
            data,
            lambda: read_source(str(folder)).columns,
            "pyarrow.dataset",
            lambda: pa.dataset.dataset(folder, partitioning="hive").to_table(),
            repeats,
        )
        lines = Path(name) / "rows.jsonl"
        table.to_pandas().to_json(lines, orient="records", lines=True)
        del table
        measure(
            "read JSON lines",
            data,
            lambda: read_source(str(lines)).columns,
            "pyarrow.json",
            lambda: pa.json.read_json(lines),
            repeats,
        )


def main(n_rows: int = 20_000_000, repeats: int = 9) -> None:
    """Measure CSV and Parquet, with integer ids and text ids; then JSON lines and hive folders of half the rows."""
    measure_other_formats(n_rows // 2, repeats)
    frame = generate(n_rows // 144, n_rows // 740, n_rows)[COLUMNS]
    with tempfile.TemporaryDirectory() as folder:
        for id_type in ("int", "text"):
            if id_type == "text":
                text_ids = {column: "id-" + frame[column].astype("str") for column in ("user_id", "item_id")}
                frame = frame.assign(**text_ids)
            csv_file = Path(folder) / f"{id_type}.csv"
            parquet_file = Path(folder) / f"{id_type}.parquet"
            table = pa.Table.from_pandas(frame, preserve_index=False)
            pa.csv.write_csv(table, csv_file)
            pa.parquet.write_table(table, parquet_file)
            del table
            check(csv_file, frame)
            check(parquet_file, frame)
            data = f"{n_rows / 1e6:.0f}M rows, {id_type} ids"
            measure_file("CSV", data, csv_file, repeats)
            measure_file("Parquet", data, parquet_file, repeats)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
