"""Tuning: 50 trials of EASE compared with a plain loop around Optuna, the overhead of a trial, two jobs compared with
one, and the ranking quality of tuned models.

The plain loop is a typical script: Optuna's TPE, EASE by numpy in float64, NDCG@10 of all users at once. Both search on
the same data and the same split, on two threads.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import scipy.sparse as sp
from side_by_side import alternate, goodbooks_path, report, report_value

from recctl import InteractionDataset, RunStore, engines, experiment, tuning
from recctl.config import LoadedConfig, parse_config
from recctl.runs import Run

ML = "MovieLens-100K"
CONFIG = """
data: {{source: {source}, implicit: true}}
split: {{strategy: random, test_size: 0.1, val_size: 0.1}}
model: {{name: {model}}}
evaluation: {{metrics: [ndcg, recall, coverage], k_values: [10]}}
"""
# Overrides of each model.
TUNED = {
    "ease": [],
    "slim": [],
    "als": ["model.params.n_iterations=15"],
    "svdpp": ["data.implicit=false", "tuning.monitor=ndcg@10"],
}


def load(source: str, model: str, *overrides: str) -> LoadedConfig:
    """The config for a data source and a model."""
    return parse_config(CONFIG.format(source=source, model=model), "bench", Path(), overrides, experiment.CHECKS)


def search(config: LoadedConfig) -> tuple[Run, float]:
    """Run a search; returns the run and the seconds. The table of trials and the metrics are added to its metadata."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        run = tuning.tune(config, RunStore(Path(folder)))
        seconds = time.perf_counter() - begin
        run.metadata["trials"] = pd.read_parquet(run.path / "trials.parquet")
        run.metadata["measured"] = run.metrics()
        return run, seconds


def plain_loop(X_train: sp.csr_array, X_validation: sp.csr_array, n_trials: int) -> float:
    """Search without recctl; returns the best NDCG@10."""
    n_relevant = np.diff(X_validation.indptr)
    users = np.flatnonzero(n_relevant)
    gains = 1 / np.log2(np.arange(2, 12))
    ideal_dcg = np.cumsum(gains)[np.minimum(n_relevant[users], 10) - 1]
    relevant = X_validation[users].toarray() > 0

    def objective(trial: optuna.Trial) -> float:
        l2_reg = trial.suggest_float("l2_reg", 10, 10_000, log=True)
        gram = np.asarray((X_train.T @ X_train).todense(), dtype=np.float64)
        gram[np.diag_indices(len(gram))] += l2_reg
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        scores = np.asarray(X_train[users] @ weights)
        scores[X_train[users].nonzero()] = -np.inf
        top_items = np.argsort(-scores, axis=1)[:, :10]
        hits = np.take_along_axis(relevant, top_items, axis=1)
        return float(np.mean(hits @ gains / ideal_dcg))

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=42))
    study.optimize(objective, n_trials=n_trials)
    return study.best_value


def compare_with_plain_loop() -> None:
    """Print 50 trials of EASE, compared with a plain loop, and the overhead of a trial."""
    config = load("movielens-100k", "ease", "tuning.n_trials=50")
    prepared = experiment.prepare(config)
    train = prepared.split.train(prepared.dataset)
    validation = prepared.split.validation(prepared.dataset)
    X_train = train.csr.astype(np.float64)
    X_validation = _matrix_in_codes_of(train, validation)
    peer = "a plain loop"
    best: dict[str, float] = {}
    search_seconds: list[float] = []
    overheads: list[float] = []

    def run_search() -> float:
        run, seconds = search(config)
        best["recctl"] = run.metadata["tuning"]["best_values"][0]
        trials = run.metadata["trials"]
        trial_seconds = trials["fit_seconds"].sum() + trials["evaluate_seconds"].sum()
        search_seconds.append(run.metadata["timings"]["search"])
        overheads.append(1000 * (search_seconds[-1] - trial_seconds) / len(trials))
        return seconds

    def run_plain_loop() -> float:
        begin = time.perf_counter()
        best[peer] = plain_loop(X_train, X_validation, 50)
        return time.perf_counter() - begin

    medians = alternate({"recctl": run_search, peer: run_plain_loop}, repeats=3)
    report("tuning: 50 trials of ease, figures and test included", ML, medians)
    report("tuning: 50 trials of ease", ML, medians | {"recctl": statistics.median(search_seconds)})
    title = "tuning: the best ndcg@10 on validation"
    report_value(title, ML, best["recctl"], digits=5, peer=peer, peer_value=best[peer])
    report_value("tuning: a trial beside fit and evaluation", ML, statistics.median(overheads), "ms")


def _matrix_in_codes_of(train: InteractionDataset, part: InteractionDataset) -> sp.csr_array:
    """The interactions of a part as a matrix of train's shape; users and items that are not in train are left out."""
    users = train.user_vocabulary.codes(part.user_vocabulary.ids)[part.users]
    items = train.item_vocabulary.codes(part.item_vocabulary.ids)[part.items]
    is_known = (users >= 0) & (items >= 0)
    shape = (train.n_users, train.n_items)
    return sp.csr_array((np.ones(is_known.sum()), (users[is_known], items[is_known])), shape=shape)


def compare_jobs() -> None:
    """Print a search of ALS by two jobs of one thread each, compared with one job of one thread."""
    path = goodbooks_path()
    if path is None:
        return
    source = f"{path}, columns: {{user_id: user_id, item_id: book_id, rating: rating}}"
    settings = ["tuning.n_trials=24", "tuning.strategy=random", "model.params.n_iterations=15"]
    space = "tuning.space={reg: {low: 0.001, high: 0.1, log: true}, alpha: {low: 1, high: 100, log: true}}"

    def search_seconds(n_jobs: int) -> float:
        engines.set_threads(n_jobs)
        run, _ = search(load(source, "als", *settings, space, f"tuning.jobs={n_jobs}"))
        return run.metadata["timings"]["search"]

    medians = alternate({"recctl": lambda: search_seconds(2), "one job": lambda: search_seconds(1)}, repeats=1)
    engines.set_threads(2)
    report("tuning: 24 trials of als, two jobs of one thread", "goodbooks", medians)


def tune_models() -> None:
    """Print the NDCG@10 on test of each classical model after 50 trials."""
    for name, overrides in TUNED.items():
        run, seconds = search(load("movielens-100k", name, *overrides, "tuning.n_trials=50"))
        best_point = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in run.metadata["tuning"]["best_point"].items()
        )
        ndcg = run.metadata["measured"]["test"]["ndcg@10"]
        report_value(f"tuned {name}, 50 trials: test ndcg@10 ({best_point})", ML, ndcg)
        report_value(f"tuned {name}: the search", ML, seconds, "s")


def main() -> None:
    """Print a line for each measurement."""
    compare_with_plain_loop()
    compare_jobs()
    tune_models()


if __name__ == "__main__":
    main()
