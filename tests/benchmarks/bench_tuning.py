"""Searching: 50 trials of EASE against a plain loop around Optuna, what a trial costs beside its fit, two jobs against
one, and how well tuned models rank.

The plain loop is what one writes by hand: Optuna's TPE, EASE by numpy in float64, NDCG@10 of all users at once. Both
search on the same rows and the same parts, on two threads.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import scipy.sparse as sp
from side_by_side import in_turns, report

from recctl import InteractionDataset, RunStore, experiment, tuning
from recctl.config import LoadedConfig, parse_config
from recctl.runs import Run

ML = "MovieLens-100K"
TEXT = """
data: {{source: {source}, implicit: true}}
split: {{strategy: random, test_size: 0.1, val_size: 0.1}}
model: {{name: {model}}}
evaluation: {{metrics: [ndcg, recall, coverage], k_values: [10]}}
"""
TUNED = {
    "ease": [],
    "slim": [],
    "als": ["model.params.n_iterations=15"],
    "svdpp": ["data.implicit=false", "tuning.monitor=ndcg@10"],
}


def load(source: str, model: str, *overrides: str) -> LoadedConfig:
    """A config of a source and a model."""
    return parse_config(TEXT.format(source=source, model=model), "bench", Path(), overrides, experiment.CHECKS)


def search(loaded: LoadedConfig) -> tuple[Run, float]:
    """A search, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        run = tuning.tune(loaded, RunStore(Path(folder)))
        seconds = time.perf_counter() - begin
        run.metadata["trials"] = pd.read_parquet(run.path / "trials.parquet")
        run.metadata["measured"] = run.metrics()
        return run, seconds


def plain(train: sp.csr_array, held_out: sp.csr_array, trials: int) -> float:
    """The loop one writes by hand; its best value."""
    users = np.flatnonzero(np.diff(held_out.indptr))
    gains = 1 / np.log2(np.arange(2, 12))
    ideal = np.cumsum(gains)[np.minimum(np.diff(held_out.indptr)[users], 10) - 1]
    relevant = held_out[users].toarray() > 0

    def objective(trial: optuna.Trial) -> float:
        l2_reg = trial.suggest_float("l2_reg", 10, 10_000, log=True)
        gram = np.asarray((train.T @ train).todense(), dtype=np.float64)
        gram[np.diag_indices(len(gram))] += l2_reg
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        scores = np.asarray(train[users] @ weights)
        scores[train[users].nonzero()] = -np.inf
        top = np.argsort(-scores, axis=1)[:, :10]
        hits = np.take_along_axis(relevant, top, axis=1)
        return float(np.mean(hits @ gains / ideal))

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=42))
    study.optimize(objective, n_trials=trials)
    return study.best_value


def against_plain() -> None:
    """50 trials of EASE, in turns."""
    loaded = load("movielens-100k", "ease", "tuning.n_trials=50")
    prepared = experiment.prepare(loaded)
    train, validation = prepared.split.train(prepared.dataset), prepared.split.validation(prepared.dataset)
    parts = (train.csr.astype(np.float64), _aligned(validation, train))
    best: dict[str, float] = {}

    def ours() -> float:
        run, seconds = search(loaded)
        best["recctl"] = run.metadata["tuning"]["best_values"][0]
        trials = run.metadata["trials"]
        within = trials["fit_seconds"].sum() + trials["evaluate_seconds"].sum()
        searches.append(run.metadata["timings"]["search"])
        overheads.append(1000 * (searches[-1] - within) / len(trials))
        return seconds

    def by_hand() -> float:
        begin = time.perf_counter()
        best["a plain loop"] = plain(*parts, 50)
        return time.perf_counter() - begin

    searches: list[float] = []
    overheads: list[float] = []
    medians = in_turns({"recctl": ours, "a plain loop": by_hand}, repeats=3)
    report("tuning: 50 trials of ease, figures and test included", ML, medians)
    report("tuning: 50 trials of ease", ML, {**medians, "recctl": statistics.median(searches)})
    line = {
        "bench": "tuning: the best ndcg@10 on validation",
        "data": ML,
        "value": round(best["recctl"], 5),
        "unit": "",
    }
    theirs = round(best["a plain loop"], 5)
    print(
        json.dumps({**line, "peer": "a plain loop", "peer_value": theirs, "ratio": line["value"] / theirs}), flush=True
    )
    told("tuning: a trial beside fit and evaluation", ML, statistics.median(overheads), "ms")


def _aligned(part: InteractionDataset, train: InteractionDataset) -> sp.csr_array:
    """A part in the codes of train, without items that train does not have."""
    users = train.user_vocabulary.codes(part.user_vocabulary.ids)[part.users]
    items = train.item_vocabulary.codes(part.item_vocabulary.ids)[part.items]
    known = (users >= 0) & (items >= 0)
    shape = train.n_users, train.n_items
    return sp.csr_array((np.ones(known.sum()), (users[known], items[known])), shape=shape)


def two_jobs() -> None:
    """Two jobs of one thread each against one of one thread, on ALS."""
    from recctl import engines

    settings = ["tuning.n_trials=24", "tuning.strategy=random", "model.params.n_iterations=15"]
    space = "tuning.space={reg: {low: 0.001, high: 0.1, log: true}, alpha: {low: 1, high: 100, log: true}}"
    source = _goodbooks()
    if source is None:
        return

    def timed(jobs: int) -> float:
        engines.set_threads(jobs)
        return search(load(source, "als", *settings, space, f"tuning.jobs={jobs}"))[0].metadata["timings"]["search"]

    medians = in_turns({"recctl": lambda: timed(2), "one job": lambda: timed(1)}, repeats=1)
    engines.set_threads(2)
    report("tuning: 24 trials of als, two jobs of one thread", "goodbooks", medians)


def tuned() -> None:
    """50 trials of each classical model, then its test."""
    for name, overrides in TUNED.items():
        run, seconds = search(load("movielens-100k", name, *overrides, "tuning.n_trials=50"))
        measured = run.metadata["measured"]
        point = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in run.metadata["tuning"]["best_point"].items()
        )
        title = f"tuned {name}, 50 trials: test ndcg@10 ({point})"
        told(title, ML, measured["test"]["ndcg@10"], "")
        told(f"tuned {name}: the search", ML, seconds, "s")


def told(bench: str, data: str, value: float, unit: str) -> None:
    """One line of JSON for a figure that nothing is held against."""
    print(json.dumps({"bench": bench, "data": data, "value": round(value, 4), "unit": unit}), flush=True)


def _goodbooks() -> str | None:
    path = Path(os.environ.get("RECCTL_BENCH_DATA", "")) / "goodbooks" / "ratings.csv.zip"
    if path.exists():
        return f"{path}, columns: {{user_id: user_id, item_id: book_id, rating: rating}}"
    print(f"goodbooks is left out: no {path}; see $RECCTL_BENCH_DATA in the README of the benchmarks", flush=True)
    return None


def main() -> None:
    """Print a line for each measurement."""
    against_plain()
    two_jobs()
    tuned()


if __name__ == "__main__":
    main()
