"""A model file of EASE with 10,000 items: saving against writing as many bytes, loading against reading them.

Both write a new file, wait until it is on the disk, and rename it; both read from the system's cache of the disk.
Loading checks the hash, shapes, types and indices too.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import in_turns, report, seconds_of

from recctl import EASERecommender, load_model

N_ITEMS = 10_000


def main() -> None:
    """Print a line for each of both."""
    users, items = np.divmod(np.arange(N_ITEMS * 3), 3)
    rows = pd.DataFrame({"user_id": users % 5000, "item_id": (users * 7 + items * 13) % N_ITEMS})
    model = EASERecommender().fit(rows.drop_duplicates())
    with tempfile.TemporaryDirectory() as folder:
        path, plain, beside = (Path(folder) / name for name in ("model.pkl", "plain", "beside"))
        model.save(path)
        content = path.read_bytes()

        def write() -> None:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(plain)

        data = f"{len(model.item_vocabulary):,} items, {len(content) / 1e6:.0f} MB"
        saving = {"recctl": lambda: seconds_of(lambda: model.save(path)), "write and fsync": lambda: seconds_of(write)}
        report("model file: save", data, in_turns(saving, 9))
        loading = {
            "recctl": lambda: seconds_of(lambda: load_model(path)),
            "Path.read_bytes": lambda: seconds_of(plain.read_bytes),
        }
        report("model file: load", data, in_turns(loading, 9))


if __name__ == "__main__":
    main()
