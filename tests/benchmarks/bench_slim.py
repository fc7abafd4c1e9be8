"""SLIM's fit against peers with the same objective, whose value is told for each; one thread against two; compilation.

The regularisation is irspack's default and one with which SLIM ranks well on both data sets.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from side_by_side import (
    Measure,
    in_turns,
    interactions,
    process,
    python_of,
    report,
    report_compilation,
    report_threads,
    seconds_of,
)

from recctl import InteractionDataset, SLIMRecommender

RUNNER = Path(__file__).parent / "peers" / "slim.py"
# Peers stop by other rules than we do: ours is the loosest of these at which the objective is at most a millionth above
# theirs. It stands in the row of the objectives.
TOLERANCES = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7)


@contextmanager
def peer(name: str, rows: pd.DataFrame, settings: list[float], out: Path) -> Iterator[Measure | None]:
    """A peer's process, as a function that makes it fit once and gives the seconds."""
    python = python_of("classical")
    if python is None:
        yield None
        return
    pairs = out.with_suffix(".npy")
    np.save(pairs, rows[["user_id", "item_id"]].to_numpy())
    with process([python, RUNNER, name, pairs, *settings, out]) as ask:
        yield lambda: ask()[0]


def objective(X: sp.csr_array, W: sp.csr_matrix, l1_reg: float, l2_reg: float) -> float:
    """`1/2 |X - X W|^2 + l1_reg |W|_1 + l2_reg/2 |W|^2`, in float64."""
    W = sp.csr_array(W.astype(np.float64))
    error = X.astype(np.float64) - X.astype(np.float64) @ W
    return float((error.data**2).sum() / 2 + l1_reg * abs(W.data).sum() + l2_reg / 2 * (W.data**2).sum())


def compare(data: str, rows: pd.DataFrame, l1_reg: float, l2_reg: float, n_neighbors: int | None) -> None:
    """Print a line for the peer that is at its best with such a support, and one for the objectives."""
    what = f"SLIM, l1 {l1_reg:g}, l2 {l2_reg:g}, {f'{n_neighbors} neighbours' if n_neighbors else 'full support'}"
    name = "skrecsys" if n_neighbors else "irspack"
    X = InteractionDataset(rows).csr
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / f"{name}.npz"
        theirs = stack.enter_context(peer(name, rows, [l1_reg, l2_reg, n_neighbors or 0], file))
        if theirs is None:
            return
        theirs()
        value = objective(X, sp.load_npz(file), l1_reg, l2_reg)
        for tol in TOLERANCES:
            model = SLIMRecommender(l1_reg=l1_reg, l2_reg=l2_reg, n_neighbors=n_neighbors, tol=tol, max_iter=1000)
            ours = objective(X, model.fit(rows).weights.to_scipy(), l1_reg, l2_reg)
            if ours <= (1 + 1e-6) * value:
                break
        repeats = 5 if data != "goodbooks" else 3 if l1_reg > 2 else 1
        report(
            f"{what}: fit",
            data,
            in_turns({"recctl": lambda: seconds_of(lambda: model.fit(rows)), name: theirs}, repeats),
        )
        figures = {"value": ours, "unit": "", "peer": name, "peer_value": value, "ratio": ours / value, "tol": tol}
        print(json.dumps({"bench": f"{what}: objective", "data": data, **figures}), flush=True)


def growth() -> None:
    """Print nanoseconds an interaction, with 2,000 items and ever more users of 50 each."""
    rng = np.random.default_rng(0)
    for n in (10**5, 10**6, 10**7):
        users, items = np.repeat(np.arange(n // 50), 50), (rng.random(n) ** 2 * 2000).astype(np.int64)
        data = InteractionDataset(pd.DataFrame({"user_id": users, "item_id": items}))
        model = SLIMRecommender(l1_reg=n / 2e5, l2_reg=n / 2e4)
        seconds = min(seconds_of(lambda model=model, data=data: model.fit(data)) for _ in range(3))
        line = {"bench": "SLIM: fit, an interaction", "data": f"{n:.0e} synthetic, 2,000 items".replace("e+0", "e")}
        print(json.dumps(line | {"value": round(1e9 * seconds / data.matrix.nnz, 1), "unit": "ns"}), flush=True)


def main() -> None:
    """Print a line for each comparison."""
    report_compilation("SLIM", "elastic_net")
    growth()
    for data, rows in interactions():
        SLIMRecommender().fit(rows.iloc[:1000])
        n_users = rows.user_id.nunique()
        theirs = n_users * 0.05 * 0.01, n_users * 0.05 * 0.99
        for l1_reg, l2_reg in ((1.0, 10.0), theirs):
            for n_neighbors in (100, None):
                compare(data, rows, l1_reg, l2_reg, n_neighbors)
        report_threads("SLIM", data, lambda rows=rows: SLIMRecommender(l2_reg=10.0).fit(rows))


if __name__ == "__main__":
    main()
