"""ALS's fit against peers with the same objective, factors and iterations: seconds, objective and NDCG@10 of each.

They take three steps of conjugate gradients; we take what it needs to be below their objective, two and one, and are
timed for as many iterations as they take and for as few as reach their objective. Each timed fit has a seed of its own,
and objectives and NDCGs are means over them. A lower objective need not rank better where reg is as small as
implicit's: after 100 iterations implicit too is about where we are after 15 on MovieLens-100K, and ranks about as we
do. implicit asks for BLAS on one thread, and is measured so too, beside what it does where nobody reads its warning.
And: two threads against one, how time grows with the interactions, and compilation.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from side_by_side import (
    in_turns,
    parts,
    process,
    python_of,
    report,
    report_compilation,
    report_threads,
    seconds_of,
)

from recctl import ALSRecommender, InteractionDataset

RUNNER = Path(__file__).parent / "peers" / "als.py"
# Name: the peer, its environment, and the hyperparameters that make our objective its own.
PEERS: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "irspack": ("irspack", {}, {"alpha": 10.0, "reg": 0.003, "reg_by": "pairs"}),
    "implicit": ("implicit", {}, {"alpha": 9.0, "reg": 0.01, "reg_exponent": 0.0, "cg_steps": 1}),
    "implicit, BLAS on one thread": (
        "implicit",
        {"OPENBLAS_NUM_THREADS": "1"},
        {"alpha": 9.0, "reg": 0.01, "reg_exponent": 0.0, "cg_steps": 1},
    ),
}


@contextmanager
def peer(
    name: str, environment: dict[str, str], rows: pd.DataFrame, d: int, out: Path
) -> Iterator[Callable[[int], float] | None]:
    """A peer's process, as a function that makes it fit once, with a seed, and gives the seconds."""
    python = python_of("classical")
    if python is None:
        yield None
        return
    pairs = out.with_suffix(".npy")
    np.save(pairs, rows.to_numpy())
    with process([python, RUNNER, name, pairs, d, out], environment) as ask:
        yield lambda seed: ask(str(seed))[0]


def objective(X: sp.csr_array, U: np.ndarray, V: np.ndarray, model: ALSRecommender) -> float:
    """The docstring's, in float64: `c` is 1, and `1 + alpha` where there is an interaction."""
    U, V = U.astype(np.float64), V.astype(np.float64)
    users, items = X.nonzero()
    scores = np.einsum("ij,ij->i", U[users], V[items])
    total = np.sum((U.T @ U) * (V.T @ V)) + np.sum((1 + model.alpha) * (1 - scores) ** 2 - scores**2)
    for factors, others, axis in ((U, len(V), 1), (V, len(U), 0)):
        n = X.sum(axis=axis)
        confidences = model.alpha * n + (others if model.reg_by == "pairs" else n)
        total += model.reg * confidences**model.reg_exponent @ np.sum(factors**2, axis=1)
    return float(total)


def ndcg(U: np.ndarray, V: np.ndarray, train: sp.csr_array, test: sp.csr_array, k: int = 10) -> float:
    """NDCG@k of those of the first 5,000 users who have something held out, written the plain way."""
    gains = 1 / np.log2(np.arange(2, k + 2))
    values = []
    for begin in range(0, min(len(U), 5000), 1000):
        scores = U[begin : begin + 1000] @ V.T
        scores[train[begin : begin + 1000].nonzero()] = -np.inf
        relevant = test[begin : begin + 1000].toarray() > 0
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        hits = np.take_along_axis(relevant, best, axis=1) @ gains
        sizes = relevant.sum(axis=1)
        values.append((hits / np.concatenate(([np.inf], np.cumsum(gains)))[np.minimum(sizes, k)])[sizes > 0])
    return float(np.mean(np.concatenate(values)))


def compare(data: str, train: pd.DataFrame, test: pd.DataFrame, d: int, name: str, repeats: int) -> None:
    """Print seconds, objective and NDCG@10 of ours and a peer's."""
    package, environment, settings = PEERS[name]
    dataset = InteractionDataset(train)
    X = dataset.csr
    known = [vocabulary.codes(test[column].tolist()) for column, vocabulary in
             (("user_id", dataset.user_vocabulary), ("item_id", dataset.item_vocabulary))]  # fmt: skip
    both = (known[0] >= 0) & (known[1] >= 0)
    held_out = sp.csr_array((np.ones(both.sum()), (known[0][both], known[1][both])), shape=X.shape)
    settings = {"n_factors": d, "n_iterations": 15, "tol": 0.0, **settings}
    model = ALSRecommender(**settings)
    scored: dict[str, list[tuple[float, float]]] = {"recctl": [], name: []}

    def keep(who: str, *factors: np.ndarray) -> None:
        scored[who].append((objective(X, *factors, model), ndcg(*factors, X, held_out)))

    def ours() -> float:
        fresh = ALSRecommender(**settings, seed=len(scored["recctl"]))
        seconds = seconds_of(lambda: fresh.fit(dataset))
        keep("recctl", fresh.user_factors, fresh.item_factors)
        return seconds

    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "factors.npz"
        ask = stack.enter_context(peer(package, environment, train, d, out))
        if ask is None:
            return

        def theirs() -> float:
            seconds = ask(len(scored[name]))
            with np.load(out) as file:
                keep(name, file["users"], file["items"])
            return seconds

        theirs()  # the first call of a process is slow
        n = reaching(scored[name].pop()[0], X, model, dataset)
        short = ALSRecommender(**{**settings, "n_iterations": n})
        measures = {"recctl": ours, "short": lambda: seconds_of(lambda: short.fit(dataset)), name: theirs}
        medians = in_turns(measures, repeats)
    report(f"ALS, {d} factors, 15 iterations: fit", data, {each: medians[each] for each in ("recctl", name)})
    title = f"ALS, {d} factors: fit to the peer's objective, in {n} of its 15 iterations"
    report(title, data, {each: medians[each] for each in ("short", name)})
    for column, what in enumerate(("objective", "NDCG@10")):
        values = [[pair[column] for pair in scored[who]] for who in ("recctl", name)]
        means = [statistics.fmean(each) for each in values]
        figures = {"value": means[0], "unit": "", "peer": name, "peer_value": means[1], "ratio": means[0] / means[1]}
        if repeats > 1:
            figures["spread"], figures["peer_spread"] = (statistics.stdev(each) for each in values)
        print(json.dumps({"bench": f"ALS, {d} factors: {what}", "data": data, **figures}), flush=True)


def reaching(bound: float, X: sp.csr_array, model: ALSRecommender, dataset: InteractionDataset) -> int:
    """After how many iterations our objective is no higher than a bound; at most those of the model."""
    for n in range(1, model.n_iterations):
        found = ALSRecommender(**{**model.hyperparameters(), "n_iterations": n}).fit(dataset)
        if objective(X, found.user_factors, found.item_factors, found) <= bound:
            return n
    return model.n_iterations


def growth() -> None:
    """Print seconds of an iteration for ever more interactions, of as many to each user and each item."""
    for n in (10**5, 10**6, 10**7):
        rng = np.random.default_rng(0)
        popular = (rng.random(n) ** 2 * (n // 200)).astype(np.int64)
        dataset = InteractionDataset(pd.DataFrame({"user_id": rng.integers(0, n // 50, n), "item_id": popular}))
        seconds = []
        for n_iterations in (1, 4):
            model = ALSRecommender(n_iterations=n_iterations, tol=0.0)
            seconds.append(min(seconds_of(partial(model.fit, dataset)) for _ in range(3)))
        value = (seconds[1] - seconds[0]) / 3 / dataset.matrix.nnz * 1e9
        line = {"bench": "ALS, 64 factors: an iteration, for each interaction", "data": f"{n:,} rows, drawn"}
        print(json.dumps({**line, "value": round(value, 1), "unit": "ns"}), flush=True)


def main() -> None:
    """Print a line for each comparison."""
    report_compilation("ALS", "least_squares", "least_squares_blocks")
    for data, train, test in parts():
        ALSRecommender().fit(train.iloc[:1000])
        for d in (64, 256):
            for name in PEERS:
                compare(data, train, test, d, name, repeats=(1 if d == 256 else 3) if data == "goodbooks" else 7)
        dataset = InteractionDataset(train)
        report_threads("ALS", data, lambda dataset=dataset: ALSRecommender(tol=0.0).fit(dataset))
    growth()


if __name__ == "__main__":
    main()
