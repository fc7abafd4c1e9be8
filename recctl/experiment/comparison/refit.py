"""The best of a comparison, fitted anew on all that is not test."""

from __future__ import annotations

from typing import Any

from recctl.errors import ArtifactError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.experiment import stages
from recctl.experiment.comparison.result import ComparisonOptions, plain
from recctl.experiment.config_checks import load
from recctl.experiment.data import Prepared
from recctl.experiment.lifecycle import prepare_for, recording
from recctl.runs import Run


def refit_best(run: Run, prepared: Prepared | None, terms: ComparisonOptions) -> dict[str, Any]:
    """Fit a run's model on train and validation as its next version, and read test with it alone, once.

    Args:
        run: The run of the best model.
        prepared: Its data; read if None.
        terms: Of the intervals.

    Returns:
        The run, the version, and each metric of test with its interval.

    Raises:
        ArtifactError: The run has no model that was fitted on train.
    """
    done = stages.load_fitted(run, stages.TRAIN_AND_VALIDATION) is not None and "test" in run.metrics()
    if not done:
        loaded = load(run.path / "config.yaml")
        prepared = prepared or prepare_for(loaded, run)[0]
        chosen = stages.load_fitted(run, stages.TRAIN)
        if chosen is None:
            raise ArtifactError(f"{run.id}: has no model fitted on train, whose epochs a refit would take")
        run.begin()
        with recording(run):
            model = stages.refit(run, loaded.config, prepared, chosen)
            with run.timed("evaluate_test"):
                stages.evaluate_part(run, "test", prepared, model, loaded.config)
    table = run.per_user("test")
    found = compare_paired(
        {"refit": table},
        "refit",
        seed=terms.seed,
        confidence=terms.confidence,
        n_resamples=terms.n_resamples,
    )
    metrics = {}
    for key, value in run.metrics()["test"].items():
        figure = found.figures.get(key, {}).get("refit")
        metrics[key] = plain(
            {"value": value, "low": figure.low if figure else None, "high": figure.high if figure else None}
        )
    version = max(e["version"] for e in run.metadata["models"] if e["fitted_on"] == stages.TRAIN_AND_VALIDATION)
    return {"run_id": run.id, "version": version, "n_users": found.n_users, "metrics": metrics}
