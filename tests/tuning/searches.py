"""Small searches shared by the tests."""

from pathlib import Path

import pandas as pd

from recctl import experiment
from recctl.config import LoadedConfig
from recctl.runs import Run

DATA = """
data: {source: synthetic, synthetic: {n_users: 80, n_items: 60, n_interactions: 2000}}
split: {test_size: 0.2, val_size: 0.2}
evaluation: {metrics: [ndcg, recall, coverage], k_values: [10]}
"""
EASE = DATA + "model: {name: ease}\n"
EPOCHS = (
    DATA.replace("[ndcg, recall, coverage]", "[ndcg, rmse]")
    + """
model: {name: svd, params: {n_epochs: 12, lr: 0.02, n_factors: 8}}
training: {early_stopping: {monitor: rmse, patience: 3}}
tuning: {monitor: rmse, space: {lr: {low: 0.001, high: 0.05, log: true}, n_factors: [4, 8, 16]}}
"""
)


def load(folder: Path, text: str, *overrides: str) -> LoadedConfig:
    (folder / "config.yaml").write_text(text)
    return experiment.load(folder / "config.yaml", overrides)


def trials(run: Run) -> pd.DataFrame:
    """Trials of a search without the columns that depend on the machine."""
    table = pd.read_parquet(run.path / "trials.parquet")
    return table.drop(columns=["fit_seconds", "evaluate_seconds"]).sort_values("number", ignore_index=True)
