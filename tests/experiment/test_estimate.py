"""Estimates against actual memory and disk; times only as far as they do not depend on the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recctl import InteractionDataset, RunStore, experiment
from recctl.data.synthetic import generate
from recctl.errors import TrainingError
from recctl.experiment.estimate import Estimate, estimate
from recctl.models.base import fit_probe
from recctl.models.registry import make_model, model_names

CONFIG = """
data: {source: synthetic, synthetic: {n_users: 600, n_items: 300, n_interactions: 20000}}
split: {test_size: 0.2, val_size: 0.1}
model: {name: NAME, params: PARAMS}
evaluation: {metrics: [ndcg, recall], k_values: [10]}
"""
FEW_EPOCHS = {
    **dict.fromkeys(("svd", "svdpp"), "n_epochs"),
    **dict.fromkeys(("bpr", "ncf", "lightgcn", "mult-vae", "sasrec"), "epochs"),
}
# Problems that take 30 MB and more, and a second at most.
SIZES: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {
    "ease": ((500, 3000, 60_000), {}),
    "slim": ((500, 3000, 60_000), {"n_neighbors": 20, "max_iter": 3}),
    "als": ((40_000, 5000, 300_000), {"n_factors": 64, "n_iterations": 2}),
    "item-knn": ((3000, 5000, 200_000), {"n_neighbors": 200}),
    "user-knn": ((5000, 3000, 200_000), {"n_neighbors": 200}),
    "rp3beta": ((3000, 5000, 200_000), {"n_neighbors": 200}),
    "svdpp": ((50_000, 20_000, 200_000), {"n_factors": 64, "n_epochs": 1}),
    "bpr": ((50_000, 20_000, 200_000), {"n_factors": 64, "epochs": 1}),
    "ncf": ((20_000, 10_000, 24_000), {"epochs": 1, "batch_size": 8192}),
    "lightgcn": ((12_000, 6000, 24_000), {"epochs": 1, "batch_size": 20_000}),
    "mult-vae": ((600, 4000, 9_000), {"epochs": 1}),
    "sasrec": ((60, 30_000, 4_000), {"epochs": 1}),
}
PEAKS = """
import gc, json, sys
import numpy as np
from recctl import InteractionDataset
from recctl.models.registry import make_model
from recctl.data.synthetic import generate

def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

class KeepBest:  # as early stopping does
    def before_training(self, model): pass
    def after_epoch(self, model, epoch): self.best = model.snapshot()
    def after_training(self, model): model.restore(self.best)

found = {}
for name, (size, params) in json.loads(sys.argv[1]).items():
    model = make_model(name, **params)
    def dataset(*size):
        made = InteractionDataset(generate(*size, seed=1), implicit=not model.needs_ratings)
        made.matrix
        return made
    def fit(interactions):
        return model.clone().fit(interactions, callbacks=[KeepBest()] if model.trained_in_epochs else [])
    fit(dataset(60, 50, 600))  # libraries, kernels
    interactions = dataset(*size)
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
    before = status("VmRSS")
    fitted = fit(interactions)
    peak = status("VmHWM") - before
    sizes = interactions.n_users, interactions.n_items, len(interactions)
    found[name] = [peak, model.estimate_memory(*sizes)]
    del fitted, interactions
print(json.dumps(found))
"""


def load(tmp_path: Path, name: str, *overrides: str):
    params = f"{{{FEW_EPOCHS[name]}: 2}}" if name in FEW_EPOCHS else "{}"
    (tmp_path / "config.yaml").write_text(CONFIG.replace("NAME", name).replace("PARAMS", params))
    return experiment.load(tmp_path / "config.yaml", overrides)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's account of memory")
def test_estimated_memory_is_within_factor_of_two() -> None:
    # Small pieces go back to the system too, so that each fit begins from what it needs.
    small = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "RECCTL_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", PEAKS, json.dumps(SIZES)],
        env=os.environ | small,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ratios = {name: round(estimated / peak, 2) for name, (peak, estimated) in json.loads(done.stdout).items()}
    assert all(0.5 < ratio < 2 for ratio in ratios.values()), ratios


@pytest.mark.parametrize("name", [name for name in model_names() if name != "random"])
def test_estimated_disk_is_within_factor_of_two(tmp_path: Path, name: str) -> None:
    loaded = load(tmp_path, name)
    store = RunStore(tmp_path / "runs")
    estimated = estimate(loaded, store.root)
    assert not store.root.exists()
    run = experiment.train(loaded, store)
    model = run.metadata["models"][0]["bytes"]
    assert 0.5 < estimated.disk["models"] / model < 2
    whole = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert 0.5 < estimated.disk["run"] / whole < 2
    assert estimated.sizes["train_items"] <= 300
    assert estimated.seconds is not None
    assert estimated.seconds["total"] == pytest.approx(sum(v for k, v in estimated.seconds.items() if k != "total"))
    assert set(estimated.seconds) == {"prepare", "fit", "save", "evaluate_validation", "evaluate_test", "total"}
    assert min(estimated.seconds.values()) > 0
    json.dumps(estimated.plain())


@pytest.mark.parametrize("name", model_names())
def test_probe_leaves_model_unfitted_and_recommends(name: str) -> None:
    model = make_model(name, **({FEW_EPOCHS[name]: 1} if name in FEW_EPOCHS else {}))
    interactions = InteractionDataset(generate(80, 50, 2000, seed=1), implicit=not model.needs_ratings)
    seconds, trial = model.probe_fit(interactions)
    assert seconds >= 0
    assert not model.is_fitted
    assert type(trial) is type(model)
    answer = trial.recommend(interactions.user_vocabulary.ids[:3].tolist(), k=5)
    assert len(answer) == 15
    fitted = model.fit(interactions)
    assert trial.state().keys() == fitted.state().keys()


def test_refit_adds_time_and_disk(tmp_path: Path) -> None:
    estimated = estimate(load(tmp_path, "ease", "training.refit=true"), tmp_path)
    assert estimated.seconds is not None
    assert estimated.seconds["refit"] > 0
    assert estimated.disk["models"] == pytest.approx(
        2 * estimate(load(tmp_path, "ease"), tmp_path).disk["models"], rel=0.01
    )


def test_seconds_are_extrapolated_linearly() -> None:
    shares = []

    def measure(share: float) -> float:
        shares.append(share)
        return 0.05 + 2 * share

    assert fit_probe.extrapolate_seconds(measure) == pytest.approx(2.05)
    assert max(shares) < 1  # never all users
    assert fit_probe.extrapolate_seconds(lambda share: 0.01) == 0.01
    loading = iter([0.5, 0.01, 0.01, 0.01, 0.01, 0.01])
    assert fit_probe.extrapolate_seconds(lambda share: next(loading)) == pytest.approx(0.5)


# ---- too large models


HUGE = ("data.synthetic={n_users: 100000, n_items: 200000, n_interactions: 50000000}", "model.name=ease")


@pytest.mark.parametrize("smaller", [(), ("data.min_user_interactions=5",)])
def test_too_large_model_is_rejected_before_data_are_generated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smaller: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RECCTL_MEMORY", str(20 * 10**9))
    monkeypatch.setattr("recctl.experiment.api.prepare_for", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(TrainingError, match=r"200,000 items.* need 160\.\d GB of memory, 20\.0 GB are available; "):
        experiment.train(load(tmp_path, "ease", *HUGE, *smaller), RunStore(tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()
    estimated = estimate(load(tmp_path, "ease", *HUGE, *smaller), tmp_path)
    assert (estimated.fits, estimated.source, estimated.seconds) == (False, "known", None)
    assert "raise data.min_item_interactions" in estimated.troubles[0]


def test_data_with_filtered_items_are_read_before_deciding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECCTL_MEMORY", str(20 * 10**9))
    monkeypatch.setattr("recctl.experiment.api.prepare_for", lambda *_, **__: (_ for _ in ()).throw(EOFError))
    for more in ("data.min_item_interactions=20", "data.preprocess=[drop_duplicates: null]"):
        with pytest.raises(EOFError):
            experiment.train(load(tmp_path, "ease", *HUGE, more), RunStore(tmp_path / "runs"))


def test_model_too_large_for_disk_is_rejected_before_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recctl.engines.memory.available_disk", lambda folder: 1000)
    monkeypatch.setattr("recctl.models.ease.EASERecommender._fit", lambda *_: pytest.fail("fitted"))
    store = RunStore(tmp_path / "runs")
    with pytest.raises(
        TrainingError, match=r"ease: its model needs \d+\.\d kB of disk, 1\.0 kB are free in .*--runs-dir"
    ):
        experiment.train(load(tmp_path, "ease"), store)
    assert store.runs()[-1].status == "failed"
    assert "the run needs" in estimate(load(tmp_path, "ease"), tmp_path).troubles[0]


def test_data_not_downloaded_have_known_sizes_and_no_time(tmp_path: Path) -> None:
    estimated: Estimate = estimate(load(tmp_path, "item-knn", "data.source=movielens-1m"), tmp_path)
    assert (estimated.source, estimated.seconds, estimated.fits) == ("known", None, True)
    assert estimated.sizes["interactions"] == 1_000_209


def test_backtest_reads_the_data_once_and_fits_in_every_window(tmp_path: Path) -> None:
    settings = ["split.strategy=rolling", "split.n_windows=3", "split.test_days=5", "split.val_days=5"]
    estimated = estimate(load(tmp_path, "popularity", *settings), tmp_path)
    assert estimated.backtest is not None
    assert estimated.seconds is not None
    in_one_window = estimated.seconds["total"] - estimated.seconds["prepare"]
    assert estimated.backtest["seconds"] == pytest.approx(estimated.seconds["prepare"] + 3 * in_one_window)
    assert estimated.backtest["disk"] == 3 * estimated.disk["run"]
    assert estimate(load(tmp_path, "popularity"), tmp_path).backtest is None


def test_command_line_prints_estimate(recctl: Any) -> None:
    result = recctl("estimate", "small.yaml")
    assert result.code == 0
    for words in ("peak memory", "disk space of the run", "evaluate_test", "120 users x 60 items", "read"):
        assert words in result.out
    answer = recctl("estimate", "small.yaml", "--json").json
    assert answer["fits"] is True
    assert {"memory", "disk", "seconds", "sizes", "source", "available", "troubles"} <= answer.keys()
    assert recctl("estimate", "small.yaml", "--set", "model.name=nosuch").code == 2
