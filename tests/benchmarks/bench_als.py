"""ALS: seconds, objective and NDCG@10 of fits, compared with peers that have the same objective.

All use the same number of factors and iterations. Peers take three steps of conjugate gradients; recctl takes as many
as it needs to reach a lower objective than theirs: two (irspack) and one (implicit). It is timed with their number of
iterations, and with the smallest number that reaches their objective. Each timed fit has its own seed; objectives and
NDCGs are means over the fits.

A lower objective does not always rank better if the regularization is as weak as implicit's: on MovieLens-100K implicit
reaches recctl's objective of 15 iterations after 100, and then ranks about the same.

implicit recommends one thread for BLAS, and is measured with and without. The benchmark also measures two threads
against one, the growth of time with the number of interactions, and compilation.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from side_by_side import (
    PEER_ENVIRONMENTS,
    PEER_FOLDER,
    alternate,
    peer_process,
    peer_python,
    print_json,
    report,
    report_compilation,
    report_threads,
    report_value,
    seconds_of,
    train_test_splits,
)

from recctl import ALSRecommender, InteractionDataset

N_ITERATIONS = 15


class Peer(NamedTuple):
    """A peer's name in `peers/als.py`, its environment, and the parameters with which recctl has its objective."""

    name: str
    environment: dict[str, str]
    als_parameters: dict[str, Any]


IMPLICIT_PARAMETERS = {"alpha": 9.0, "reg": 0.01, "reg_exponent": 0.0, "cg_steps": 1}
PEERS = {
    "irspack": Peer("irspack", {}, {"alpha": 10.0, "reg": 0.003, "reg_by": "pairs"}),
    "implicit": Peer("implicit", {}, IMPLICIT_PARAMETERS),
    "implicit, BLAS on one thread": Peer("implicit", {"OPENBLAS_NUM_THREADS": "1"}, IMPLICIT_PARAMETERS),
    # It takes five steps of conjugate gradients.
    "rusket": Peer("rusket", {}, {"alpha": 40.0, "reg": 0.01, "reg_exponent": 0.0}),
}


@contextmanager
def start_peer(peer: Peer, rows: pd.DataFrame, n_factors: int, out: Path) -> Iterator[Callable[[int], float] | None]:
    """Start the process of a peer.

    Yields:
        A function of a seed that fits once, writes the factors to `out`, and returns the seconds; None if the peer is
        not installed.
    """
    python = peer_python(PEER_ENVIRONMENTS[peer.name])
    if python is None:
        yield None
        return
    pairs = out.with_suffix(".npy")
    np.save(pairs, rows.to_numpy())
    command = [python, PEER_FOLDER / "als.py", peer.name, pairs, n_factors, out]
    with peer_process(command, peer.environment) as send_request:
        yield lambda seed: send_request(str(seed))[0]


def objective(X: sp.csr_array, U: np.ndarray, V: np.ndarray, model: ALSRecommender) -> float:
    """The objective of the model's docstring, in float64; `c` is 1, and `1 + alpha` for interactions."""
    U = U.astype(np.float64)
    V = V.astype(np.float64)
    users, items = X.nonzero()
    scores = np.einsum("ij,ij->i", U[users], V[items])
    total = np.sum((U.T @ U) * (V.T @ V)) + np.sum((1 + model.alpha) * (1 - scores) ** 2 - scores**2)
    for factors, n_others, axis in ((U, len(V), 1), (V, len(U), 0)):
        n_interactions = X.sum(axis=axis)
        weights = model.alpha * n_interactions + (n_others if model.reg_by == "pairs" else n_interactions)
        total += model.reg * weights**model.reg_exponent @ np.sum(factors**2, axis=1)
    return float(total)


def ndcg(U: np.ndarray, V: np.ndarray, train: sp.csr_array, test: sp.csr_array, k: int = 10) -> float:
    """Mean NDCG@k of the users with test items among the first 5,000; independent of recctl's evaluator."""
    gains = 1 / np.log2(np.arange(2, k + 2))
    ideal_gains = np.concatenate(([np.inf], np.cumsum(gains)))
    values = []
    for begin in range(0, min(len(U), 5000), 1000):
        scores = U[begin : begin + 1000] @ V.T
        scores[train[begin : begin + 1000].nonzero()] = -np.inf
        relevant = test[begin : begin + 1000].toarray() > 0
        top_items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        dcg = np.take_along_axis(relevant, top_items, axis=1) @ gains
        n_relevant = relevant.sum(axis=1)
        values.append((dcg / ideal_gains[np.minimum(n_relevant, k)])[n_relevant > 0])
    return float(np.mean(np.concatenate(values)))


def test_matrix(dataset: InteractionDataset, test: pd.DataFrame) -> sp.csr_array:
    """Test pairs of the users and items in train, as a matrix of the shape of train's."""
    users = dataset.user_vocabulary.codes(test["user_id"].tolist())
    items = dataset.item_vocabulary.codes(test["item_id"].tolist())
    is_known = (users >= 0) & (items >= 0)
    return sp.csr_array((np.ones(is_known.sum()), (users[is_known], items[is_known])), shape=dataset.csr.shape)


def compare(data: str, train: pd.DataFrame, test: pd.DataFrame, n_factors: int, name: str, repeats: int) -> None:
    """Print seconds, objective and NDCG@10 of recctl and a peer."""
    peer = PEERS[name]
    dataset = InteractionDataset(train)
    X = dataset.csr
    X_test = test_matrix(dataset, test)
    parameters = {"n_factors": n_factors, "n_iterations": N_ITERATIONS, "tol": 0.0} | peer.als_parameters
    model = ALSRecommender(**parameters)
    objectives: dict[str, list[float]] = {"recctl": [], name: []}
    ndcgs: dict[str, list[float]] = {"recctl": [], name: []}

    def record(system: str, U: np.ndarray, V: np.ndarray) -> None:
        objectives[system].append(objective(X, U, V, model))
        ndcgs[system].append(ndcg(U, V, X, X_test))

    def fit() -> float:
        fitted = ALSRecommender(**parameters, seed=len(objectives["recctl"]))
        seconds = seconds_of(lambda: fitted.fit(dataset))
        record("recctl", fitted.user_factors, fitted.item_factors)
        return seconds

    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "factors.npz"
        run_peer = stack.enter_context(start_peer(peer, train, n_factors, out))
        if run_peer is None:
            return

        def fit_peer() -> float:
            seconds = run_peer(len(objectives[name]))
            with np.load(out) as file:
                record(name, file["users"], file["items"])
            return seconds

        fit_peer()  # the first call of a process is slow
        ndcgs[name].pop()
        n_iterations = iterations_to_reach(objectives[name].pop(), X, model, dataset)
        short_model = ALSRecommender(**(parameters | {"n_iterations": n_iterations}))
        measures = {"recctl": fit, "short": lambda: seconds_of(lambda: short_model.fit(dataset)), name: fit_peer}
        medians = alternate(measures, repeats)
    title = f"ALS, {n_factors} factors"
    report(f"{title}, 15 iterations: fit", data, {system: medians[system] for system in ("recctl", name)})
    short_title = f"{title}: fit to the peer's objective, in {n_iterations} of its 15 iterations"
    report(short_title, data, {system: medians[system] for system in ("short", name)})
    for metric, values in (("objective", objectives), ("NDCG@10", ndcgs)):
        report_means(f"{title}: {metric}", data, values["recctl"], name, values[name])


def report_means(bench: str, data: str, values: list[float], peer: str, peer_values: list[float]) -> None:
    """Print the means over the fits, and their standard deviations if there are several."""
    mean = statistics.fmean(values)
    peer_mean = statistics.fmean(peer_values)
    line = {"bench": bench, "data": data, "value": mean, "unit": "", "peer": peer}
    line |= {"peer_value": peer_mean, "ratio": mean / peer_mean}
    if len(values) > 1:
        line["spread"] = statistics.stdev(values)
        line["peer_spread"] = statistics.stdev(peer_values)
    print_json(line)


def iterations_to_reach(bound: float, X: sp.csr_array, model: ALSRecommender, dataset: InteractionDataset) -> int:
    """The smallest number of iterations after which the objective is at most `bound`, or the model's number."""
    for n_iterations in range(1, model.n_iterations):
        fitted = ALSRecommender(**(model.hyperparameters() | {"n_iterations": n_iterations})).fit(dataset)
        if objective(X, fitted.user_factors, fitted.item_factors, fitted) <= bound:
            return n_iterations
    return model.n_iterations


def measure_growth() -> None:
    """Print the time of an iteration per interaction; the interactions per user and per item are constant."""
    for n_rows in (10**5, 10**6, 10**7):
        rng = np.random.default_rng(0)
        items = (rng.random(n_rows) ** 2 * (n_rows // 200)).astype(np.int64)
        dataset = InteractionDataset(pd.DataFrame({"user_id": rng.integers(0, n_rows // 50, n_rows), "item_id": items}))
        seconds = []
        for n_iterations in (1, 4):
            model = ALSRecommender(n_iterations=n_iterations, tol=0.0)
            seconds.append(min(seconds_of(partial(model.fit, dataset)) for _ in range(3)))
        nanoseconds = (seconds[1] - seconds[0]) / 3 / dataset.matrix.nnz * 1e9
        title = "ALS, 64 factors: an iteration, for each interaction"
        report_value(title, f"{n_rows:,} rows, drawn", nanoseconds, "ns", digits=1)


def main() -> None:
    """Print a line for each comparison."""
    report_compilation("ALS", "least_squares", "least_squares_blocks")
    for data, train, test in train_test_splits():
        ALSRecommender().fit(train.iloc[:1000])
        for n_factors in (64, 256):
            repeats = 7
            if data == "goodbooks":
                repeats = 1 if n_factors == 256 else 3
            for name in PEERS:
                compare(data, train, test, n_factors, name, repeats)
        dataset = InteractionDataset(train)
        report_threads("ALS", data, lambda dataset=dataset: ALSRecommender(tol=0.0).fit(dataset))
    measure_growth()


if __name__ == "__main__":
    main()
