"""EASE's fit, from a table to a model that can recommend, against LAPACK alone and against peers; and its memory.

LAPACK's factorisation and inverse (`spotrf`, `spotri`) of the same matrix are the floor: the time below which no fit
by this formula can go. It is measured in the same process, on as many threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import numpy as np
import pandas as pd
import scipy.linalg.lapack as lapack
from side_by_side import in_turns, interactions, peer, report, seconds_of

from recctl import EASERecommender, InteractionDataset
from recctl.data.synthetic import generate
from recctl.engines import blas_threads
from recctl.models.linear.gram import upper_gram

L2_REG = 500.0
PEERS = {"skrecsys": "skrecsys", "irspack": "irspack", "numpy, float64 inverse": "numpy"}


class Floor:
    """LAPACK's two calls on the matrix that EASE inverts, in memory that was touched before."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.matrix = upper_gram(InteractionDataset(rows).matrix)
        self.matrix[np.diag_indices_from(self.matrix)] += np.float32(L2_REG)
        self.room = self.matrix.copy()

    def __call__(self) -> float:
        self.room[:] = self.matrix
        with blas_threads():
            return seconds_of(self._invert)

    def _invert(self) -> None:
        factor, failed = lapack.spotrf(self.room.T, lower=1, clean=0, overwrite_a=1)
        inverse, failed_too = lapack.spotri(factor, lower=1, overwrite_c=1)
        assert not failed
        assert not failed_too
        assert np.shares_memory(inverse, self.room)


def peak_over_matrix(rows: pd.DataFrame) -> float:
    """Peak memory of a fit above its table, in `(n_items, n_items)` float32 matrices; in a process of its own."""
    code = """if True:
        import sys
        import pandas as pd
        from recctl import EASERecommender

        def status(name):
            return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

        rows = pd.read_parquet(sys.argv[1])
        EASERecommender().fit(rows.iloc[:1000])
        before = status("VmRSS")
        model = EASERecommender().fit(rows)
        print((status("VmHWM") - before) / model.weights.nbytes)
    """
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        rows.to_parquet(file.name)
        done = subprocess.run([sys.executable, "-c", code, file.name], check=True, capture_output=True, text=True)
    return float(done.stdout)


def large(n_items: int = 20_000) -> None:
    """Print time and memory at a size where a second matrix would hurt."""
    rows = generate(30_000, n_items, 2_000_000)[["user_id", "item_id"]]
    measures = {
        "recctl": lambda: seconds_of(lambda: EASERecommender(l2_reg=L2_REG).fit(rows)),
        "LAPACK spotrf + spotri alone": Floor(rows),
    }
    report("EASE: fit", f"{n_items:,} items", in_turns(measures, repeats=3))
    line = {"bench": "EASE: peak memory of the fit above the table", "data": f"{n_items:,} items"}
    print(json.dumps(line | {"value": round(peak_over_matrix(rows), 2), "unit": "x 4 n_items²"}), flush=True)


def main() -> None:
    """Print a line for each comparison."""
    for data, rows in interactions():
        EASERecommender(l2_reg=L2_REG).fit(rows.iloc[:1000])
        with ExitStack() as stack:
            measures = {
                "recctl": lambda rows=rows: seconds_of(lambda: EASERecommender(l2_reg=L2_REG).fit(rows)),
                "LAPACK spotrf + spotri alone": Floor(rows),
                **{name: stack.enter_context(peer(name, package, rows)) for name, package in PEERS.items()},
            }
            report("EASE: fit", data, in_turns(measures, repeats=3 if data == "goodbooks" else 15))
        line = {"bench": "EASE: peak memory of the fit above the table", "data": data}
        print(json.dumps(line | {"value": round(peak_over_matrix(rows), 2), "unit": "x 4 n_items²"}), flush=True)
    large()


if __name__ == "__main__":
    main()
