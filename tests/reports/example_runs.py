"""Small runs of every kind, which the tests of reports share. A test that changes a run works on a copy."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd

from recctl import experiment, tuning
from recctl.config import LoadedConfig
from recctl.runs import Run, RunStore

SYNTHETIC = "data: {source: synthetic, synthetic: {n_users: 80, n_items: 50, n_interactions: 2000}}\n"
SPLIT_AND_METRICS = """
split: {test_size: 0.2, val_size: 0.1}
evaluation: {metrics: [precision, recall, ndcg, coverage], k_values: [5, 10]}
"""
MODELS = {
    "ease": "model: {name: ease, params: {l2_reg: 50.0}}",
    "popularity": "model: {name: popularity}",
    "svdpp": "model: {name: svdpp, params: {n_factors: 4, n_epochs: 3}}\ntraining: {early_stopping: {monitor: rmse}}",
}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&|_$%{}\\^~#"


def load(folder: Path, text: str) -> LoadedConfig:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(text)
    return experiment.load(folder / "config.yaml")


def load_model_config(folder: Path, model: str, data: str = SYNTHETIC, extra: str = "") -> LoadedConfig:
    split_and_metrics = SPLIT_AND_METRICS
    if model == "svdpp":
        split_and_metrics = split_and_metrics.replace("precision, recall, ndcg, coverage", "rmse, mae")
        data = data.replace("data: {", "data: {implicit: false, ")
    return load(folder, f"{data}{split_and_metrics}{MODELS[model]}\n{extra}")


def trained_run(folder: Path, model: str, data: str = SYNTHETIC) -> Run:
    return experiment.train(load_model_config(folder, model, data), RunStore(folder / "runs"))


def comparison_run(folder: Path) -> Run:
    models = "models: [{name: ease, params: {l2_reg: 50.0}}, {name: popularity}]\n"
    load(folder, SYNTHETIC + SPLIT_AND_METRICS + models)
    return experiment.compare([folder / "config.yaml"], RunStore(folder / "runs"))


def tuning_run(folder: Path, n_trials: int = 12) -> Run:
    space = "space: {l2_reg: {low: 1.0, high: 1000.0, log: true}, data.min_user_interactions: [0, 1]}"
    extra = f"tuning: {{n_trials: {n_trials}, strategy: random, {space}}}\n"
    return tuning.tune(load_model_config(folder, "ease", extra=extra), RunStore(folder / "runs"))


def hostile_run(folder: Path) -> Run:
    """A run whose data have markup in every text."""
    generator = np.random.default_rng(0)
    interactions = pd.DataFrame(
        {
            "user_id": [f"{HOSTILE}u{number}" for number in generator.integers(0, 40, 900)],
            "item_id": [f"{HOSTILE}i{number}" for number in generator.integers(0, 25, 900)],
        }
    ).drop_duplicates()
    folder.mkdir(parents=True, exist_ok=True)
    interactions.to_parquet(folder / "<b>&data.parquet", index=False)
    run = trained_run(folder, "ease", "data: {source: '<b>&data.parquet'}\n")
    run.metadata["environment"]["command"].append(HOSTILE)
    run.save_metadata()
    return run


def visible_text(page: str) -> str:
    """The text of a page, without scripts and markup."""
    without_scripts = re.sub(r"(?s)<(script|style).*?</\1>", " ", page)
    text = re.sub(r"<[^>]+>", " ", without_scripts)
    return re.sub(r"\s+", " ", unescape(text))


def section_titles(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)


def embedded_json(page: str) -> list[str]:
    """The JSON of every figure."""
    return re.findall(r'(?s)<script type="application/json">(.*?)</script>', page)
