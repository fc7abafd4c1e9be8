"""Exporting the ten best of every user of goodbooks with EASE, against the score products it needs; and its memory.

The floor is the products alone, in the same blocks. Memory is the peak above the model and its data, for as many users
as there are and for four times as many, each in a process of its own: it must not grow with them. It is measured with
the most popular items, which take no time to find: blocks of scores are those of any model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import in_turns, report, seconds_of

from recctl import EASERecommender, export_model
from recctl.ranking import map_blocks

PEAK = """if True:
    import ctypes
    import sys
    import pandas as pd
    import pyarrow as pa
    from recctl import PopularityRecommender, export_model

    def status(name):
        return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

    rows, times, file_format, folder = pd.read_parquet(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    n = rows.user_id.max() + 1
    rows = pd.concat([rows.assign(user_id=rows.user_id + n * at) for at in range(times)], ignore_index=True)
    small = PopularityRecommender().fit(rows[rows.item_id < 50])
    export_model(small, "recommendations", folder + "/small", users=rows.user_id[:5000].tolist(), on_unknown="popular",
                 file_format=file_format)
    model = PopularityRecommender().fit(rows)
    del rows, small
    ctypes.CDLL(None).malloc_trim(0)
    pa.default_memory_pool().release_unused()
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    export_model(model, "recommendations", folder + "/all", file_format=file_format)
    print((status("VmHWM") - before) / 1e6)
"""


def goodbooks() -> pd.DataFrame | None:
    """All distinct pairs; None, with a line that says so, where they are not there."""
    path = Path(os.environ.get("RECCTL_BENCH_DATA", "")) / "goodbooks" / "ratings.csv.zip"
    if not path.exists():
        print(f"goodbooks is left out: no {path}; see $RECCTL_BENCH_DATA in the README of the benchmarks", flush=True)
        return None
    rows = pd.read_csv(path).rename(columns={"book_id": "item_id"})
    return rows[["user_id", "item_id"]].drop_duplicates().reset_index(drop=True)


def peak(rows: pd.DataFrame, times: int, file_format: str) -> float:
    """Megabytes that an export takes at its peak above the model, with `times` copies of all users."""
    with tempfile.TemporaryDirectory() as folder:
        rows.to_parquet(f"{folder}/rows.parquet")
        command = [sys.executable, "-c", PEAK, f"{folder}/rows.parquet", str(times), file_format, folder]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print a line for each comparison."""
    rows = goodbooks()
    if rows is None:
        return
    model = EASERecommender(l2_reg=500.0).fit(rows)
    n_users, n_items = len(model.user_vocabulary), len(model.item_vocabulary)
    users = np.arange(n_users, dtype=np.int32)
    data = f"goodbooks, {n_users:,} users, {n_items:,} items"

    def products() -> None:
        for _ in map_blocks(lambda places: model.score_users(users[places]) is None, n_users, n_items):
            pass

    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def export(**options: str) -> float:
            place = f"{folder}/{next(numbers)}"
            return seconds_of(lambda: export_model(model, "recommendations", place, k=10, **options))

        for name in ("parquet", "csv", "jsonl"):
            measures = {
                "recctl": lambda name=name: export(file_format=name),
                "its score products alone": lambda: seconds_of(products),
            }
            report(f"export: 10 best of each user, {name}", data, in_turns(measures, repeats=3))
    for name in ("parquet", "csv", "jsonl"):
        peaks = [peak(rows, times, name) for times in (1, 4)]
        line = {"bench": f"export: peak memory above the model, 4 x {n_users:,} users, {name}", "data": "goodbooks"}
        line |= {"value": round(peaks[1], 1), "unit": "MB", "peer": f"{n_users:,} users"}
        print(json.dumps(line | {"peer_value": round(peaks[0], 1), "ratio": round(peaks[1] / peaks[0], 2)}), flush=True)


if __name__ == "__main__":
    main()
