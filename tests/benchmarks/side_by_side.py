"""Shared code of the benchmarks: data, processes of the peers, time measurement, and output."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recctl import EarlyStopping, Evaluator, InteractionDataset, Recommender
from recctl.engines import blas_threads, set_threads, threads

PEER_FOLDER = Path(__file__).parent / "peers"
# The virtual environment of each peer, by the first word of its name in lower case.
PEER_ENVIRONMENTS = {
    "implicit": "classical",
    "irspack": "classical",
    "skrecsys": "classical",
    "fastslim": "rust",
    "rusket": "rust",
    "recbole": "recbole",
    "rectools": "rectools",
    "surprise": "surprise",
}
# Peers whose package on the index has another name.
DISTRIBUTIONS = {"surprise": "scikit-surprise"}

# Runs something once and returns its seconds.
Measure = Callable[[], float]


# ---- data


def data_path(*parts: str) -> Path | None:
    """A path in `$RECCTL_BENCH_DATA`; None, with a message, if it does not exist."""
    path = Path(os.environ.get("RECCTL_BENCH_DATA", "")).joinpath(*parts)
    if path.exists():
        return path
    print(f"{parts[0]} is skipped: {path} does not exist; see $RECCTL_BENCH_DATA in the benchmarks' README", flush=True)
    return None


def goodbooks_path() -> Path | None:
    """The file of goodbooks-10k; None, with a message, if it does not exist."""
    return data_path("goodbooks", "ratings.csv.zip")


def training_sets() -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (name, train) of each available dataset, as in `train_test_splits`."""
    for name, train, _ in train_test_splits():
        yield name, train


def train_test_splits() -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield (name, train, test) of each available dataset: a random 80/20 split of the distinct pairs.

    The tables have the columns `user_id` and `item_id`, int64.
    """
    from recctl import load_movielens

    yield "MovieLens-100K", *_split(load_movielens("100k"))
    path = goodbooks_path()
    if path is not None:
        yield "goodbooks", *_split(pd.read_csv(path).rename(columns={"book_id": "item_id"}))


def _split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    pairs = rows[["user_id", "item_id"]].drop_duplicates()
    is_train = np.random.default_rng(42).random(len(pairs)) >= 0.2
    return pairs[is_train].reset_index(drop=True), pairs[~is_train].reset_index(drop=True)


# ---- peers


def peer_python(environment: str) -> Path | None:
    """The interpreter of a virtual environment of peers; None, with a message, if it does not exist."""
    python = Path(os.environ.get("RECCTL_BENCH_PEERS", "")).absolute() / environment / "bin" / "python"
    if python.exists():
        return python
    print(f"{environment} is skipped: it is not in $RECCTL_BENCH_PEERS", flush=True)
    return None


@cache
def peer_version(peer: str) -> str | None:
    """The installed version of a peer, such as "irspack" or "RecBole NeuMF"; None of what is no package."""
    package = peer.replace(",", " ").split()[0].lower()
    if package not in PEER_ENVIRONMENTS:
        return None
    python = peer_python(PEER_ENVIRONMENTS[package])
    if python is None:
        return None
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    distribution = DISTRIBUTIONS.get(package, package)
    found = subprocess.run([python, "-c", code, distribution], check=True, capture_output=True, text=True)
    return found.stdout.strip()


@contextmanager
def peer_process(
    command: Sequence[object], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[Callable[..., list[float]]]:
    """Start a process that answers every line with a line of numbers.

    Yields:
        A function that sends a line and returns the numbers of the answer.
    """
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=os.environ | (environment or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        stdin = process.stdin
        stdout = process.stdout
        assert stdin is not None
        assert stdout is not None

        def send_request(line: str = "") -> list[float]:
            print(line, file=stdin, flush=True)
            return [float(number) for number in stdout.readline().split()]

        yield send_request
        stdin.close()


@contextmanager
def fitting_peer(name: str, package: str, rows: pd.DataFrame) -> Iterator[Measure | None]:
    """Start the process of a peer of `peers/fitting.py`.

    Yields:
        A function that fits the peer once and returns the seconds; None if the peer is not installed.
    """
    python = peer_python(PEER_ENVIRONMENTS.get(package, "classical"))
    if python is None or subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode:
        print(f"{name} is skipped", flush=True)
        yield None
        return
    with tempfile.NamedTemporaryFile(suffix=".npy") as pairs:
        np.save(pairs, rows.to_numpy())
        pairs.flush()
        with peer_process([python, PEER_FOLDER / "fitting.py", name, pairs.name]) as send_request:
            yield lambda: send_request()[0]


@contextmanager
def recbole_peer(model: str, rows: pd.DataFrame) -> Iterator[Callable[[], list[float]] | None]:
    """Start the process of a model of RecBole.

    Yields:
        A function that trains an epoch, ranks the validation set, and returns the seconds of both; None if RecBole is
        not installed.
    """
    python = peer_python("recbole")
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ml-100k.inter"
        types = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
        columns = [f"{name}:{kind}" for name, kind in types.items()]
        rows[list(types)].set_axis(columns, axis=1).to_csv(file, sep="\t", index=False)
        # RecBole writes files into its working directory.
        with peer_process([python, PEER_FOLDER / "recbole.py", model, file], folder=Path(folder)) as send_request:
            yield send_request


def report_recbole_ndcg(
    bench: str,
    model: Recommender,
    stopping: EarlyStopping,
    peer: str,
    peer_ndcg: float,
    parts: Sequence[InteractionDataset],
) -> None:
    """Fit a model, and print NDCG@10 on test under RecBole's protocol, which excludes train and validation items.

    Args:
        bench: Name of the model in the output.
        model: An unfitted model.
        stopping: Early stopping on validation.
        peer: RecBole's model and number of epochs.
        peer_ndcg: NDCG@10 of the peer, from an earlier run.
        parts: Train, validation and test of a split, so that what test's users had in validation is known.
    """
    train, validation, test = parts
    data = "MovieLens-100K"
    evaluator = Evaluator(["ndcg"], [10])
    seconds = seconds_of(
        lambda: model.fit(train, validation=lambda fitted: evaluator.evaluate(fitted, validation), callbacks=[stopping])
    )
    ndcg = evaluator.evaluate(model, test)["ndcg@10"]
    report_value(f"{bench}: NDCG@10 on test, 8:1:1 within users", data, ndcg, peer=peer, peer_value=peer_ndcg)
    print_json({"bench": f"{bench}: that fit", "data": data, "seconds": round(seconds, 1)})


# ---- measurement


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def alternate(measures: Mapping[str, Measure | None], repeats: int) -> dict[str, float]:
    """Median seconds of each measure; they alternate, so that other load on the machine affects all alike.

    Args:
        measures: By name; those that are None are skipped.
        repeats: Number of rounds.
    """
    seconds: dict[str, list[float]] = {name: [] for name, measure in measures.items() if measure}
    for _ in range(repeats):
        for name, values in seconds.items():
            measure = measures[name]
            assert measure is not None
            values.append(measure())
    return {name: statistics.median(values) for name, values in seconds.items()}


def gemm_rate() -> float:
    """Operations per second of float32 GEMM on all threads."""
    matrix = np.ones((2048, 2048), np.float32)
    with blas_threads():
        return 2 * 2048**3 / min(seconds_of(lambda: matrix @ matrix) for _ in range(7))


# ---- output


def print_json(line: Mapping[str, Any]) -> None:
    """Print a line of JSON."""
    print(json.dumps(line), flush=True)


def report(bench: str, data: str, medians: Mapping[str, float]) -> None:
    """Print a line for each peer, with its version; the first of the medians is recctl's."""
    (_, seconds), *peers = medians.items()
    for peer, peer_seconds in peers:
        line = {
            "bench": bench,
            "data": data,
            "seconds": round(seconds, 4),
            "peer": peer,
            "peer_seconds": round(peer_seconds, 4),
            "ratio": round(seconds / peer_seconds, 3),
        }
        if version := peer_version(peer):
            line["peer_version"] = version
        print_json(line)


def report_value(
    bench: str,
    data: str,
    value: float,
    unit: str = "",
    digits: int = 4,
    peer: str = "",
    peer_value: float | None = None,
) -> None:
    """Print a line for a value that is not a time, and its ratio to a peer's if there is one."""
    line = {"bench": bench, "data": data, "value": round(value, digits), "unit": unit}
    if peer_value is not None:
        line |= {"peer": peer, "peer_value": round(peer_value, digits), "ratio": round(value / peer_value, 4)}
    print_json(line)


def report_compilation(bench: str, *modules: str) -> None:
    """Print the seconds that loading all kernels of modules takes without a cache (compilation) and with one."""
    code = f"""
import time
from recctl.kernels import loading

start_time = time.time()
loading.load([name for module in {modules} for name in loading.kernels_of_module(module)])
print(time.time() - start_time)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"RECCTL_KERNELS_DIR": cache}
        for title in ("compile its kernels, once", "load its kernels from the cache"):
            result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            print_json({"bench": f"{bench}: {title}", "data": "", "seconds": round(float(result.stdout), 3)})


def report_threads(bench: str, data: str, fit: Callable[[], object], repeats: int = 5) -> None:
    """Print the seconds of a fit on two threads and on one."""
    original_threads = threads()

    def fit_on(n_threads: int) -> float:
        set_threads(n_threads)
        return seconds_of(fit)

    measures = {"2 threads": lambda: fit_on(2), "one thread": lambda: fit_on(1)}
    report(f"{bench} on two threads: fit", data, alternate(measures, repeats))
    set_threads(original_threads)
