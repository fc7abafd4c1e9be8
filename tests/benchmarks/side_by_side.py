"""What benchmarks of fits share: their data, the processes of the peers, and the clock."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

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


@contextmanager
def peer(name: str, package: str, rows: pd.DataFrame) -> Iterator[Measure | None]:
    """A peer's process, as a function that makes it fit once and gives the seconds; None where it is not there."""
    python = Path(os.environ.get("RECCTL_BENCH_PEERS", "")) / "classical" / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", f"import {package}"], capture_output=True).returncode:
        print(f"{name} is left out: it is not in $RECCTL_BENCH_PEERS/classical", flush=True)
        yield None
        return
    with tempfile.NamedTemporaryFile(suffix=".npy") as pairs:
        np.save(pairs, rows.to_numpy())
        pairs.flush()
        command = [python, RUNNER, name, pairs.name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            stdin, stdout = process.stdin, process.stdout
            assert stdin is not None
            assert stdout is not None

            def once() -> float:
                print(file=stdin, flush=True)
                return float(stdout.readline())

            yield once
            stdin.close()


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
