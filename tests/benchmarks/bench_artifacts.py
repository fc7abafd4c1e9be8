"""Model files: saving and loading EASE with 10,000 items, compared with writing and reading the same number of bytes.

Both write a new file, sync it to disk, and rename it; both read from the page cache of the system. Loading also checks
the hash, shapes, types and indices.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from side_by_side import alternate, report, seconds_of

from recctl import EASERecommender, load_model

N_ITEMS = 10_000


def main() -> None:
    """Print a line for saving and one for loading."""
    users, items = np.divmod(np.arange(N_ITEMS * 3), 3)
    rows = pd.DataFrame({"user_id": users % 5000, "item_id": (users * 7 + items * 13) % N_ITEMS})
    model = EASERecommender().fit(rows.drop_duplicates())
    with tempfile.TemporaryDirectory() as folder:
        model_file = Path(folder) / "model.pkl"
        plain_file = Path(folder) / "plain"
        temporary_file = Path(folder) / "temporary"
        model.save(model_file)
        content = model_file.read_bytes()

        def write() -> None:
            with temporary_file.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary_file.replace(plain_file)

        data = f"{len(model.item_vocabulary):,} items, {len(content) / 1e6:.0f} MB"
        save_measures = {
            "recctl": lambda: seconds_of(lambda: model.save(model_file)),
            "write and fsync": lambda: seconds_of(write),
        }
        report("model file: save", data, alternate(save_measures, 9))
        load_measures = {
            "recctl": lambda: seconds_of(lambda: load_model(model_file)),
            "Path.read_bytes": lambda: seconds_of(plain_file.read_bytes),
        }
        report("model file: load", data, alternate(load_measures, 9))


if __name__ == "__main__":
    main()
