"""EASE: time of a fit, from a table to a fitted model, compared with LAPACK alone and with peers; and its memory.

LAPACK's factorization and inverse (`spotrf`, `spotri`) of the same matrix are the lower bound of this algorithm. They
are measured in the same process, on the same number of threads.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack

import numpy as np
import pandas as pd
import scipy.linalg.lapack as lapack
from side_by_side import alternate, fitting_peer, report, report_value, seconds_of, training_sets

from recctl import EASERecommender, InteractionDataset
from recctl.data.synthetic import generate
from recctl.engines import blas_threads
from recctl.models.linear.gram import upper_gram

L2_REG = 500.0
PEERS = {"skrecsys": "skrecsys", "irspack": "irspack", "rusket": "rusket", "numpy, float64 inverse": "numpy"}


class LapackInverse:
    """Measures LAPACK's two calls on the matrix that EASE inverts, in memory that is already mapped."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.matrix = upper_gram(InteractionDataset(rows).matrix)
        self.matrix[np.diag_indices_from(self.matrix)] += np.float32(L2_REG)
        self.workspace = self.matrix.copy()

    def __call__(self) -> float:
        self.workspace[:] = self.matrix
        with blas_threads():
            return seconds_of(self._invert)

    def _invert(self) -> None:
        factor, factorization_error = lapack.spotrf(self.workspace.T, lower=1, clean=0, overwrite_a=1)
        inverse, inversion_error = lapack.spotri(factor, lower=1, overwrite_c=1)
        assert not factorization_error
        assert not inversion_error
        assert np.shares_memory(inverse, self.workspace)


def peak_over_matrix(rows: pd.DataFrame) -> float:
    """Peak memory of a fit beyond its data, in float32 matrices `(n_items, n_items)`; measured in a new process."""
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
        result = subprocess.run([sys.executable, "-c", code, file.name], check=True, capture_output=True, text=True)
    return float(result.stdout)


def report_memory(data: str, rows: pd.DataFrame) -> None:
    """Print the peak memory of a fit."""
    title = "EASE: peak memory of the fit above the table"
    report_value(title, data, peak_over_matrix(rows), "x 4 n_items²", digits=2)


def measure_large_catalog(n_items: int = 20_000) -> None:
    """Print time and memory for a large catalog, where a second matrix would take 1.6 GB."""
    rows = generate(30_000, n_items, 2_000_000)[["user_id", "item_id"]]
    measures = {
        "recctl": lambda: seconds_of(lambda: EASERecommender(l2_reg=L2_REG).fit(rows)),
        "LAPACK spotrf + spotri alone": LapackInverse(rows),
    }
    report("EASE: fit", f"{n_items:,} items", alternate(measures, repeats=3))
    report_memory(f"{n_items:,} items", rows)


def main() -> None:
    """Print a line for each comparison."""
    for data, rows in training_sets():
        EASERecommender(l2_reg=L2_REG).fit(rows.iloc[:1000])
        with ExitStack() as stack:
            measures = {
                "recctl": lambda rows=rows: seconds_of(lambda: EASERecommender(l2_reg=L2_REG).fit(rows)),
                "LAPACK spotrf + spotri alone": LapackInverse(rows),
            }
            for name, package in PEERS.items():
                measures[name] = stack.enter_context(fitting_peer(name, package, rows))
            report("EASE: fit", data, alternate(measures, repeats=3 if data == "goodbooks" else 15))
        report_memory(data, rows)
    measure_large_catalog()


if __name__ == "__main__":
    main()
