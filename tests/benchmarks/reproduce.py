"""Reproduce published results: `python -m tests.benchmarks.reproduce [NAME ...]`, by default all of them.

Each `reproductions/NAME.yaml` is an ordinary config, which `recctl train` runs, or `recctl tune` if it has a `tuning`
section: epochs and hyperparameters are chosen on validation, then a new model is fitted on train + validation and
evaluated once on test. This takes hours. An interrupted run is resumed, and a complete run is only repeated if its
config has changed. Runs are stored in `$RECCTL_RUNS_DIR` or `runs/reproduce`; the results are written to
`results.json` and the tables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from recctl import experiment
from recctl.config import to_yaml
from recctl.experiment.data import resolve_config
from recctl.runs import Run, RunStore
from recctl.training import history
from tests.benchmarks import __main__ as benchmarks

CONFIGS = Path(__file__).parent / "reproductions"


@dataclass(frozen=True)
class Published:
    """Published results of a model on a dataset.

    Attributes:
        model: Name of the model in the table.
        data: Dataset and protocol.
        metrics: Metrics on test, by source.
        config: Name of the config; None: that of the result.
        overrides: What differs from the config, as for `--set`.
    """

    model: str
    data: str
    metrics: dict[str, dict[str, float]]
    config: str | None = None
    overrides: tuple[str, ...] = ()

    def config_path(self, name: str) -> Path:
        """The config of the result `name`."""
        return CONFIGS / f"{self.config or name}.yaml"


# Zhu et al., 2022, "BARS_SOURCE: Towards Open Benchmarking for Recommender Systems".
BARS_SOURCE = "rerun in BARS"
GOWALLA = "Gowalla, published split"
BEAUTY = "Beauty, leave-one-out"
# "eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion", 2025, arXiv:2508.06450; the tables are in
# the README of github.com/blondered/transformer_benchmark. Models are fitted on train alone.
SASREC_BEAUTY_METRICS = {"SASRec, sampled softmax, as published": {"hit_rate@10": 0.0921, "ndcg@10": 0.0531}}
ESASREC_BEAUTY_METRICS = {"eSASRec, as published": {"hit_rate@10": 0.0928, "ndcg@10": 0.0523}}

# irspack 0.5.2: 60 trials of its own tuner in its own ranges on the same train and validation, chosen by NDCG@10 on
# validation, fitted on both, and its scores measured by recctl's Evaluator. Of its user-kNN models, that with the
# asymmetric cosine was best on validation.
IRSPACK = "irspack, tuned alike"
MOVIELENS = "MovieLens-100K, random 7:1:2"

PUBLISHED = {
    "lightgcn-gowalla": Published(
        "LightGCN, 64 dim",
        GOWALLA,
        {
            BARS_SOURCE: {"recall@20": 0.1820, "ndcg@20": 0.1547},
            # He et al., 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation"
            "the paper": {"recall@20": 0.1830, "ndcg@20": 0.1554},
        },
    ),
    "ease-gowalla": Published("EASE, tuned", GOWALLA, {BARS_SOURCE: {"recall@20": 0.1765, "ndcg@20": 0.1467}}),
    # Published with sampled softmax of 256 negatives, up to 200 epochs, and 64 to 256 dim.
    "sasrec-beauty-64": Published("SASRec, 64 dim", BEAUTY, SASREC_BEAUTY_METRICS),
    "sasrec-beauty-64-train": Published(
        "SASRec, 64 dim",
        BEAUTY,
        SASREC_BEAUTY_METRICS | ESASREC_BEAUTY_METRICS,
        config="sasrec-beauty-64",
        overrides=("training.refit=false",),
    ),
    "sasrec-beauty": Published("SASRec", BEAUTY, SASREC_BEAUTY_METRICS),
    "user-knn-movielens": Published("User-kNN, tuned", MOVIELENS, {IRSPACK: {"ndcg@10": 0.4016, "recall@10": 0.2185}}),
    "rp3beta-movielens": Published("RP3beta, tuned", MOVIELENS, {IRSPACK: {"ndcg@10": 0.3929, "recall@10": 0.2139}}),
}


def complete_run(kind: str, config: Path, overrides: list[str], store: RunStore) -> Run:
    """Return the complete run of a config; start or resume it if there is none.

    Args:
        kind: "train" or "tune".
        config: The config file.
        overrides: Values for `--set`.
        store: Where runs are stored.

    Raises:
        SystemExit: The run failed, or another process works on it.
    """
    config_text = to_yaml(resolve_config(experiment.load(config, overrides)))

    def find_runs() -> list[Run]:
        return [run for run in store.runs() if run.metadata["kind"] == kind and run.config_text() == config_text]

    runs = find_runs()
    if not any(run.status == "complete" for run in runs):
        if runs:
            arguments = ["--resume", runs[-1].id]
        else:
            arguments = [str(config)] + [f"--set={override}" for override in overrides]
        command = [kind, *arguments, "--runs-dir", str(store.root)]
        print(f"# {config.stem}: recctl {' '.join(command)}", flush=True)
        if not _run_recctl(command):
            sys.exit(f"{config.stem}: recctl failed; once the cause is fixed, the same command continues")
        runs = find_runs()
    return next(run for run in runs if run.status == "complete")


def _run_recctl(command: list[str]) -> bool:
    """Run recctl, with its output on stderr; returns whether it succeeded."""
    return subprocess.run([sys.executable, "-m", "recctl", *command], check=False, stdout=sys.stderr).returncode == 0


def path_overrides(config: Path) -> list[str]:
    """Overrides that make the paths of a config absolute, relative to `$RECCTL_BENCH_DATA`.

    Raises:
        SystemExit: A file is missing, or the variable is not set.
    """
    paths = _relative_paths(config)
    if "RECCTL_BENCH_DATA" not in os.environ and paths:
        sys.exit("$RECCTL_BENCH_DATA is not set; see the README of the benchmarks")
    folder = Path(os.environ.get("RECCTL_BENCH_DATA", "")).absolute()
    missing = [str(folder / path) for path in paths.values() if not (folder / path).exists()]
    if missing:
        sys.exit(f"{config.stem}: no {', '.join(missing)}; see $RECCTL_BENCH_DATA in the README of the benchmarks")
    return [f"{key}={folder / path}" for key, path in paths.items()]


def _relative_paths(config: Path) -> dict[str, str]:
    """The files of a config, by key. Sources without a slash are datasets of the catalog."""
    values = yaml.safe_load(config.read_text())
    paths = {}
    for section, key in (("data", "source"), ("split", "validation"), ("split", "test")):
        path = values.get(section, {}).get(key)
        if isinstance(path, str) and "/" in path:
            paths[f"{section}.{key}"] = path
    return paths


def result_rows(run: Run, published: Published, link: str) -> list[dict[str, Any]]:
    """Rows for the results of a complete run: one for each published metric, then the time of the final fit."""
    stage = "refit" if any(entry["fitted_on"] == "train+validation" for entry in run.metadata["models"]) else "fit"
    epochs = history.read(run.path / ("history-refit.jsonl" if stage == "refit" else "history.jsonl"))
    title = published.model
    if epochs:
        # A refit ends with the best epoch, but a fit does not.
        n_epochs = len(epochs) if stage == "refit" else run.metadata["training"]["best_epoch"]
        title += f", {n_epochs} epochs"
    if stage == "fit":
        title += ", without refit"
    title = f"[{title}]({link})"
    test_metrics = run.metrics()["test"]
    rows: list[dict[str, Any]] = []
    for source, metrics in published.metrics.items():
        for metric, published_value in metrics.items():
            value = test_metrics[metric]
            rows.append(
                {
                    "bench": f"{title}: {metric} on test",
                    "data": published.data,
                    "value": round(value, 4),
                    "unit": "",
                    "peer": source,
                    "peer_value": published_value,
                    "ratio": round(value / published_value, 3),
                }
            )
    # If the fit was interrupted, the run's timing covers only its last part; the epochs cover all of it.
    seconds = sum(epoch["seconds"] for epoch in epochs) or run.metadata["timings"][stage]
    threads = run.metadata["environment"]["hardware"]["threads"]
    fit_title = f"{title}: the fit that was tested, threads: {threads}"
    rows.append({"bench": fit_title, "data": published.data, "seconds": round(seconds, 1)})
    return rows


def main(names: list[str]) -> None:
    """Reproduce these results, or all, and update the tables."""
    unknown_names = [name for name in names if name not in PUBLISHED]
    if unknown_names:
        sys.exit(f"unknown: {', '.join(unknown_names)}; available: {', '.join(PUBLISHED)}")
    store = RunStore(Path(os.environ.get("RECCTL_RUNS_DIR") or "runs/reproduce"))
    for name in names or PUBLISHED:
        published = PUBLISHED[name]
        config = published.config_path(name)
        kind = "tune" if "tuning" in yaml.safe_load(config.read_text()) else "train"
        run = complete_run(kind, config, [*path_overrides(config), *published.overrides], store)
        rows = result_rows(run, published, config.relative_to(benchmarks.README.parent).as_posix())
        for row in rows:
            print(json.dumps(row), flush=True)
        results = json.loads(benchmarks.RESULTS.read_text())
        results[f"reproduce {name}"] = rows
        benchmarks.RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        benchmarks.write_tables(results)


if __name__ == "__main__":
    main(sys.argv[1:])
