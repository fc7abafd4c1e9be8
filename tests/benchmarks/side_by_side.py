"""What benchmarks of fits share: their data, the processes of the peers, and the clock."""

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
from pathlib import Path

import numpy as np
import pandas as pd

from recctl import EarlyStopping, Evaluator, InteractionDataset, Recommender
from recctl.data.matrix import InteractionMatrix
from recctl.engines import blas_threads, set_threads, threads

RUNNER = Path(__file__).parent / "peers" / "fitting.py"

Measure = Callable[[], float]


def interactions() -> Iterator[tuple[str, pd.DataFrame]]:
    """(name, the 80 % that models are fitted on) of each data set that is there: `user_id` and `item_id`, int64."""
    yield from ((name, train) for name, train, _ in parts())


def parts() -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """The same, and the other 20 %."""
    from recctl import load_movielens

    yield "MovieLens-100K", *_split(load_movielens("100k"))
    path = Path(os.environ.get("RECCTL_BENCH_DATA", "")) / "goodbooks" / "ratings.csv.zip"
    if path.exists():
        yield "goodbooks", *_split(pd.read_csv(path).rename(columns={"book_id": "item_id"}))
    else:
        print(f"goodbooks is left out: no {path}; see $RECCTL_BENCH_DATA in the README of the benchmarks", flush=True)


def _split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    pairs = rows[["user_id", "item_id"]].drop_duplicates()
    train = np.random.default_rng(42).random(len(pairs)) >= 0.2
    return pairs[train].reset_index(drop=True), pairs[~train].reset_index(drop=True)


def python_of(peers: str) -> Path | None:
    """The interpreter of a virtual environment of peers; None, with a line that says so, where there is none."""
    python = Path(os.environ.get("RECCTL_BENCH_PEERS", "")).absolute() / peers / "bin" / "python"
    if python.exists():
        return python
    print(f"{peers} is left out: it is not in $RECCTL_BENCH_PEERS", flush=True)
    return None


@contextmanager
def process(
    command: Sequence[object], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[Callable[..., list[float]]]:
    """A process that answers every line with a line of numbers, as a function that asks it once."""
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        stdin, stdout = started.stdin, started.stdout
        assert stdin is not None
        assert stdout is not None

        def ask(line: str = "") -> list[float]:
            print(line, file=stdin, flush=True)
            return [float(number) for number in stdout.readline().split()]

        yield ask
        stdin.close()


@contextmanager
def peer(name: str, package: str, rows: pd.DataFrame) -> Iterator[Measure | None]:
    """A peer's process, as a function that makes it fit once and gives the seconds; None where it is not there."""
    python = python_of("classical")
    if python is None or subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode:
        print(f"{name} is left out", flush=True)
        yield None
        return
    with tempfile.NamedTemporaryFile(suffix=".npy") as pairs:
        np.save(pairs, rows.to_numpy())
        pairs.flush()
        with process([python, RUNNER, name, pairs.name]) as ask:
            yield lambda: ask()[0]


@contextmanager
def recbole(model: str, rows: pd.DataFrame) -> Iterator[Callable[[], list[float]] | None]:
    """RecBole's process: a function that trains an epoch, ranks, and gives the seconds of each."""
    python = python_of("recbole")
    if python is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ml-100k.inter"
        types = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
        columns = [f"{name}:{kind}" for name, kind in types.items()]
        rows[list(types)].set_axis(columns, axis=1).to_csv(file, sep="\t", index=False)
        # It leaves files where it is started.
        with process([python, RUNNER.with_name("recbole.py"), model, file], folder=Path(folder)) as ask:
            yield ask


def report_recbole_ndcg(
    bench: str,
    model: Recommender,
    stopping: EarlyStopping,
    peer: str,
    recorded: float,
    parts: Sequence[InteractionDataset],
) -> None:
    """Fit, and print NDCG@10 on test as RecBole has it, which leaves validation out of the lists as well as train.

    Args:
        bench: The model's name.
        model: Not fitted.
        stopping: When to stop, by validation.
        peer: RecBole's model and epochs.
        recorded: Its NDCG@10, from an earlier run: it is not measured here.
        parts: Train, validation and test.
    """
    train, validation, test = parts
    evaluator = Evaluator(["ndcg"], [10])
    watched = lambda fitted: evaluator.evaluate(fitted, validation)  # noqa: E731
    seconds = seconds_of(lambda: model.fit(train, validation=watched, callbacks=[stopping]))
    had = pd.concat([train.data, validation.data]).query("item_id in @train.item_vocabulary.ids")
    users, items = model.user_vocabulary.codes(list(had.user_id)), model.item_vocabulary.codes(list(had.item_id))
    model.score_users(users[:1])  # what follows from the graph of train is made, and kept
    model.seen = InteractionMatrix.from_pairs(users, items, None, (train.n_users, train.n_items))
    found = evaluator.evaluate(model, test)["ndcg@10"]
    data = "MovieLens-100K"
    line = {
        "bench": f"{bench}: NDCG@10 on test, 8:1:1 within users",
        "data": data,
        "value": round(found, 4),
        "unit": "",
    }
    print(json.dumps(line | {"peer": peer, "peer_value": recorded, "ratio": round(found / recorded, 3)}), flush=True)
    print(json.dumps({"bench": f"{bench}: that fit", "data": data, "seconds": round(seconds, 1)}), flush=True)


def gemm_rate() -> float:
    """Operations a second of float32 GEMM on all threads."""
    a = np.ones((2048, 2048), np.float32)
    with blas_threads():
        return 2 * 2048**3 / min(seconds_of(lambda: a @ a) for _ in range(7))


def report_compilation(bench: str, *modules: str) -> None:
    """Print the seconds that importing kernels takes beyond numba: with an empty cache, and with a full one."""
    kernels = ", ".join(f"recctl.kernels.{name}" for name in modules)
    code = f"import time, recctl.kernels.compile; t = time.time(); import {kernels}; print(time.time() - t)"
    command = [sys.executable, "-c", code]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        for what in ("compile its kernels, once", "load its kernels from the cache"):
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            line = {"bench": f"{bench}: {what}", "data": "", "seconds": round(float(done.stdout), 3)}
            print(json.dumps(line), flush=True)


def report_threads(bench: str, data: str, fit: Callable[[], object], repeats: int = 5) -> None:
    """Print two threads against one."""
    before, measures = threads(), {}
    for count, name in ((2, "2 threads"), (1, "one thread")):

        def run(count: int = count) -> float:
            set_threads(count)
            return seconds_of(fit)

        measures[name] = run
    report(f"{bench} on two threads: fit", data, in_turns(measures, repeats))
    set_threads(before)


def seconds_of(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def in_turns(measures: Mapping[str, Measure | None], repeats: int) -> dict[str, float]:
    """The median of each, measured in turns, so that what else the machine does hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name, measure in measures.items() if measure}
    for _ in range(repeats):
        for name, seconds in taken.items():
            measure = measures[name]
            assert measure is not None
            seconds.append(measure())
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def report(bench: str, data: str, medians: Mapping[str, float]) -> None:
    """One line of JSON for each peer; the first of the medians is recctl's."""
    (_, ours), *others = medians.items()
    for name, theirs in others:
        figures = {"seconds": round(ours, 4), "peer": name, "peer_seconds": round(theirs, 4)}
        print(json.dumps({"bench": bench, "data": data, **figures, "ratio": round(ours / theirs, 3)}), flush=True)
