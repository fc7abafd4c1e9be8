"""Small searches shared by the tests."""

from pathlib import Path

import optuna
import pandas as pd

from recctl import experiment
from recctl.config import LoadedConfig
from recctl.runs import Run
from recctl.tuning.outcomes import baseline_of, outcome_of
from recctl.tuning.storage import open_storage, stored_identity

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

MODELS = """\
seed: 7
data:
  source: synthetic
  synthetic: {n_users: 100, n_items: 50, n_interactions: 2000}
split: {test_size: 0.2, val_size: 0.1}
evaluation: {metrics: [ndcg, hit_rate], k_values: [10]}
models:
  - {name: ease, space: {l2_reg: {low: 1.0, high: 1000.0, log: true}}}
  - {name: item-knn, label: knn, space: {n_neighbors: {low: 5, high: 100}}}
  - {name: popularity}
  - {name: random}
"""
# Columns of its trials that do not depend on the machine.
MODELS_COLUMNS = ["model", "trial", "state", "ndcg@10", "l2_reg", "n_neighbors"]


def load(folder: Path, text: str, *overrides: str) -> LoadedConfig:
    (folder / "config.yaml").write_text(text)
    return experiment.load(folder / "config.yaml", overrides)


def trials(run: Run) -> pd.DataFrame:
    """Trials of a search without the columns that depend on the machine."""
    table = pd.read_parquet(run.path / "trials.parquet")
    return table.drop(columns=["fit_seconds", "evaluate_seconds"]).sort_values("number", ignore_index=True)


def optuna_study(run: Run) -> optuna.Study:
    """The study of a search that has its own database, as a user of Optuna opens it."""
    return optuna.load_study(study_name=None, storage=f"sqlite:///{run.path / 'study.db'}")


def store_as_version_0_2(run: Run) -> optuna.Study:
    """Rewrite the study of a search as version 0.2 stored it: named "study", with an outcome as one attribute."""
    study = optuna_study(run)
    database = f"sqlite:///{run.path / 'study.db'}"
    identity = stored_identity(open_storage(database), study.study_name)
    trials_of_study = study.trials
    directions = study.directions
    optuna.delete_study(study_name=study.study_name, storage=database)
    old_study = optuna.create_study(study_name="study", storage=database, directions=directions)
    old_study.set_user_attr("recctl", identity)
    for trial in trials_of_study:
        outcome = outcome_of(trial)
        stored = {
            "state": outcome.state,
            "values": outcome.values or [outcome.metrics[key] for key in identity["monitors"] if outcome.metrics],
            "metrics": outcome.metrics,
            "fit_seconds": outcome.fit_seconds,
            "evaluate_seconds": outcome.evaluate_seconds,
            "chosen_epoch": outcome.best_epoch,
            "model": str(run.path / "trials" / str(trial.number) / "model.pkl"),
            "error": outcome.error,
            "windows": outcome.windows,
        }
        attributes = {"recctl": {name: value for name, value in stored.items() if value is not None}}
        baseline = baseline_of(trial.user_attrs)
        if baseline is not None:
            attributes["baseline"] = baseline
        old_study.add_trial(
            optuna.trial.create_trial(
                state=trial.state,
                values=trial.values,
                params=trial.params,
                distributions=trial.distributions,
                intermediate_values=trial.intermediate_values,
                user_attrs=attributes,
            )
        )
    run.metadata["tuning"]["study"] = "study"
    run.save_metadata()
    return old_study
