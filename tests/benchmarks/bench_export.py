"""Exporting the top 10 of every user of goodbooks with EASE, compared with its score products alone; and its memory.

The lower bound are the products alone, in the same blocks. Memory is the peak beyond the model and its data, for the
users of goodbooks and for four copies of them, each in a process of its own; it must not grow with the users. Memory is
measured with the popularity model, which is fitted at once: the blocks of scores have the same size for all models.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from itertools import count

import numpy as np
import pandas as pd
from side_by_side import alternate, goodbooks_path, report, report_value, seconds_of

from recctl import EASERecommender, export_model
from recctl.ranking import map_blocks

FILE_FORMATS = ("parquet", "csv", "jsonl")
PEAK_PROGRAM = """if True:
    import ctypes
    import sys
    import pandas as pd
    import pyarrow as pa
    from recctl import PopularityRecommender, export_model

    def status(name):
        return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

    rows = pd.read_parquet(sys.argv[1])
    n_copies = int(sys.argv[2])
    file_format = sys.argv[3]
    folder = sys.argv[4]
    n_users = rows.user_id.max() + 1
    copies = [rows.assign(user_id=rows.user_id + n_users * copy) for copy in range(n_copies)]
    rows = pd.concat(copies, ignore_index=True)
    small = PopularityRecommender().fit(rows[rows.item_id < 50])
    export_model(small, "recommendations", folder + "/small", users=rows.user_id[:5000].tolist(), on_unknown="popular",
                 file_format=file_format)
    model = PopularityRecommender().fit(rows)
    del rows, copies, small
    ctypes.CDLL(None).malloc_trim(0)
    pa.default_memory_pool().release_unused()
    open("/proc/self/clear_refs", "w").write("5")
    before = status("VmRSS")
    export_model(model, "recommendations", folder + "/all", file_format=file_format)
    print((status("VmHWM") - before) / 1e6)
"""


def peak_megabytes(rows: pd.DataFrame, n_copies: int, file_format: str) -> float:
    """Peak memory of an export beyond the model, in MB, with `n_copies` copies of all users."""
    with tempfile.TemporaryDirectory() as folder:
        rows.to_parquet(f"{folder}/rows.parquet")
        command = [sys.executable, "-c", PEAK_PROGRAM, f"{folder}/rows.parquet", str(n_copies), file_format, folder]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print a line for each comparison."""
    path = goodbooks_path()
    if path is None:
        return
    all_rows = pd.read_csv(path).rename(columns={"book_id": "item_id"})
    rows = all_rows[["user_id", "item_id"]].drop_duplicates().reset_index(drop=True)
    model = EASERecommender(l2_reg=500.0).fit(rows)
    n_users = len(model.user_vocabulary)
    n_items = len(model.item_vocabulary)
    users = np.arange(n_users, dtype=np.int32)
    data = f"goodbooks, {n_users:,} users, {n_items:,} items"

    def compute_scores() -> None:
        for _ in map_blocks(lambda block: model.score_users(users[block]) is None, n_users, n_items):
            pass

    with tempfile.TemporaryDirectory() as folder:
        numbers = count()

        def export(**options: str) -> float:
            target = f"{folder}/{next(numbers)}"
            return seconds_of(lambda: export_model(model, "recommendations", target, k=10, **options))

        for file_format in FILE_FORMATS:
            measures = {
                "recctl": lambda file_format=file_format: export(file_format=file_format),
                "its score products alone": lambda: seconds_of(compute_scores),
            }
            report(f"export: 10 best of each user, {file_format}", data, alternate(measures, repeats=3))
    for file_format in FILE_FORMATS:
        report_value(
            f"export: peak memory above the model, 4 x {n_users:,} users, {file_format}",
            "goodbooks",
            peak_megabytes(rows, 4, file_format),
            "MB",
            digits=1,
            peer=f"{n_users:,} users",
            peer_value=peak_megabytes(rows, 1, file_format),
        )


if __name__ == "__main__":
    main()
