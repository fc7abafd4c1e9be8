"""Repeat published results: `python -m tests.benchmarks.reproduce [NAME ...]`, by default all of them.

Each `reproductions/NAME.yaml` is trained as any config is, by `recctl train`, or by `recctl tune` where it says what is
searched: epochs and hyperparameters are chosen on validation, then a fresh model is fitted on train and validation, and
test is read once. It takes hours, and may be interrupted: a run that was begun goes on where it stopped, and one that
is complete is not made again while its config stays what it is. Runs are kept in `$RECCTL_RUNS_DIR`, else in
`runs/reproduce`. What was measured goes into `results.json` and the README.
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
    """What others say of a model on a data set.

    Attributes:
        model: Its name in the table.
        data: The data set and the protocol.
        figures: What it came to on test, by who says so.
    """

    model: str
    data: str
    figures: dict[str, dict[str, float]]


# Zhu et al., 2022, "BARS: Towards Open Benchmarking for Recommender Systems".
BARS = "rerun in BARS"
ON_GOWALLA = "Gowalla, published split"
SASREC_ON_BEAUTY = {"SASRec, sampled softmax, as published": {"hit_rate@10": 0.0921, "ndcg@10": 0.0531}}

PUBLISHED = {
    "lightgcn-gowalla": Published(
        "LightGCN, 64 dim",
        ON_GOWALLA,
        {
            BARS: {"recall@20": 0.1820, "ndcg@20": 0.1547},
            # He et al., 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation"
            "the paper": {"recall@20": 0.1830, "ndcg@20": 0.1554},
        },
    ),
    "ease-gowalla": Published("EASE, tuned", ON_GOWALLA, {BARS: {"recall@20": 0.1765, "ndcg@20": 0.1467}}),
    # With sampled softmax of 256 negatives, up to 200 epochs, and 64 to 256 dim.
    "sasrec-beauty-64": Published("SASRec, 64 dim", "Beauty, leave-one-out", SASREC_ON_BEAUTY),
    "sasrec-beauty": Published("SASRec", "Beauty, leave-one-out", SASREC_ON_BEAUTY),
}


def completed(kind: str, config: Path, overrides: list[str], store: RunStore) -> Run:
    """The complete run of a config: found, gone on with, or made.

    Args:
        kind: "train" or "tune".
        config: Its file.
        overrides: What is set beside it.
        store: Where runs are kept.

    Raises:
        SystemExit: The run failed, or another process works on it.
    """
    text = to_yaml(resolve_config(experiment.load(config, overrides)))

    def there() -> list[Run]:
        return [run for run in store.runs() if run.metadata["kind"] == kind and run.config_text() == text]

    runs = there()
    if not any(run.status == "complete" for run in runs):
        begun = ["--resume", runs[-1].id] if runs else [str(config), *(f"--set={override}" for override in overrides)]
        command = [kind, *begun, "--runs-dir", str(store.root)]
        print(f"# {config.stem}: recctl {' '.join(command)}", flush=True)
        if not _ended_well(command):
            sys.exit(f"{config.stem}: recctl failed; once that is mended, the same command goes on")
        runs = there()
    return next(run for run in runs if run.status == "complete")


def _ended_well(command: list[str]) -> bool:
    """Run recctl; what it says is not a result of this script."""
    return subprocess.run([sys.executable, "-m", "recctl", *command], check=False, stdout=sys.stderr).returncode == 0


def located(config: Path) -> list[str]:
    """Overrides that name the files of a config below `$RECCTL_BENCH_DATA`.

    Raises:
        SystemExit: One is missing, or nobody says where they are.
    """
    if "RECCTL_BENCH_DATA" not in os.environ and _paths(config):
        sys.exit("$RECCTL_BENCH_DATA is not set; see the README of the benchmarks")
    data = Path(os.environ.get("RECCTL_BENCH_DATA", "")).absolute()
    found = [(key, data / path) for key, path in _paths(config)]
    if missing := [str(path) for _, path in found if not path.exists()]:
        sys.exit(f"{config.stem}: no {', '.join(missing)}; see $RECCTL_BENCH_DATA in the README of the benchmarks")
    return [f"{key}={path}" for key, path in found]


def _paths(config: Path) -> list[tuple[str, str]]:
    """Keys of a config that name files, and these files; a source without a slash is one that recctl knows."""
    values = yaml.safe_load(config.read_text())
    keys = [("data", "source"), ("split", "validation"), ("split", "test")]
    found = [(f"{section}.{key}", values.get(section, {}).get(key)) for section, key in keys]
    return [(key, path) for key, path in found if isinstance(path, str) and "/" in path]


def lines(run: Run, published: Published, link: str) -> list[dict[str, Any]]:
    """The table's lines of a complete run: test against each published figure, then the last fit's time."""
    epochs = history.read(run.path / "history-refit.jsonl")
    after = f", {len(epochs)} epochs" if epochs else ""
    what = {"bench": f"[{published.model}{after}]({link})", "data": published.data}
    test = run.metrics()["test"]
    found: list[dict[str, Any]] = []
    for source, figures in published.figures.items():
        for metric, theirs in figures.items():
            line = {**what, "bench": f"{what['bench']}: {metric} on test", "value": round(test[metric], 4), "unit": ""}
            found.append(line | {"peer": source, "peer_value": theirs, "ratio": round(test[metric] / theirs, 3)})
    # Of a fit that was interrupted only its epochs know how long all of it took.
    seconds = sum(epoch["seconds"] for epoch in epochs) or run.metadata["timings"]["refit"]
    threads = run.metadata["environment"]["hardware"]["threads"]
    fit = f"{what['bench']}: the fit that was tested, threads: {threads}"
    return [*found, {**what, "bench": fit, "seconds": round(seconds, 1)}]


def main(names: list[str]) -> None:
    """Make the runs, and put what they came to into the table."""
    unknown = [name for name in names if name not in PUBLISHED]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; there is: {', '.join(PUBLISHED)}")
    store = RunStore(Path(os.environ.get("RECCTL_RUNS_DIR") or "runs/reproduce"))
    for name in names or PUBLISHED:
        config = CONFIGS / f"{name}.yaml"
        kind = "tune" if "tuning" in yaml.safe_load(config.read_text()) else "train"
        run = completed(kind, config, located(config), store)
        measured = lines(run, PUBLISHED[name], config.relative_to(benchmarks.README.parent).as_posix())
        for line in measured:
            print(json.dumps(line), flush=True)
        results = json.loads(benchmarks.RESULTS.read_text())
        results[f"reproduce {name}"] = measured
        benchmarks.RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        benchmarks.main([f"reproduce {name}"])  # no benchmark has this name: only the README's table is made anew


if __name__ == "__main__":
    main(sys.argv[1:])
