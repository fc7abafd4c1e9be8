"""Runs of every kind, small ones, that the tests of reports share; none of them is to be changed."""

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
REST = """
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


def config_of(folder: Path, model: str, data: str = SYNTHETIC, more: str = "") -> LoadedConfig:
    rest = REST.replace("precision, recall, ndcg, coverage", "rmse, mae") if model == "svdpp" else REST
    data = data.replace("data: {", "data: {implicit: false, ") if model == "svdpp" else data
    return load(folder, data + rest + MODELS[model] + "\n" + more)


def trained(folder: Path, model: str, data: str = SYNTHETIC) -> Run:
    return experiment.train(config_of(folder, model, data), RunStore(folder / "runs"))


def compared(folder: Path) -> Run:
    models = "models: [{name: ease, params: {l2_reg: 50.0}}, {name: popularity}]\n"
    load(folder, SYNTHETIC + REST + models)
    return experiment.compare([folder / "config.yaml"], RunStore(folder / "runs"))


def tuned(folder: Path, n_trials: int = 12) -> Run:
    space = "space: {l2_reg: {low: 1.0, high: 1000.0, log: true}, data.min_user_interactions: [0, 1]}"
    loaded = config_of(folder, "ease", more=f"tuning: {{n_trials: {n_trials}, strategy: random, {space}}}\n")
    return tuning.tune(loaded, RunStore(folder / "runs"))


def hostile(folder: Path) -> Run:
    """A run of data whose every text tries to be markup."""
    generator = np.random.default_rng(0)
    rows = pd.DataFrame(
        {
            "user_id": [f"{HOSTILE}u{number}" for number in generator.integers(0, 40, 900)],
            "item_id": [f"{HOSTILE}i{number}" for number in generator.integers(0, 25, 900)],
        }
    ).drop_duplicates()
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "<b>&data.parquet", index=False)
    run = trained(folder, "ease", "data: {source: '<b>&data.parquet'}\n")
    run.metadata["environment"]["command"].append(HOSTILE)
    run.save_metadata()
    return run


def text_of(page: str) -> str:
    """What a page says, without scripts and markup."""
    words = re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", page))
    return re.sub(r"\s+", " ", unescape(words))


def headings(page: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page)
