"""Refit of the best compared model on train + validation."""

from __future__ import annotations

from typing import Any

from recctl.errors import ArtifactError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.experiment import stages
from recctl.experiment.comparison.result import ComparisonOptions, nan_to_none
from recctl.experiment.data import Prepared
from recctl.experiment.lifecycle import prepare_for, recording
from recctl.experiment.run_config import load_run_config
from recctl.runs import Run


def refit_best(run: Run, prepared: Prepared | None, options: ComparisonOptions) -> dict[str, Any]:
    """Refit a run's model on train + validation as its next version, and evaluate only this version on test.

    Nothing is fitted or evaluated again if the run has both already.

    Args:
        run: The run of the best model.
        prepared: The data and the split of the run; read if None.
        options: Of the confidence intervals.

    Returns:
        The id of the run, the version, and each metric on test with its confidence interval.

    Raises:
        ArtifactError: The run has no model that was fitted on train.
    """
    refitted = stages.load_fitted(run, stages.TRAIN_AND_VALIDATION)
    # The figures of test are those of the newest version: a refit that was interrupted before test has none.
    if refitted is None or "test" not in run.metrics():
        _refit_and_evaluate(run, prepared)
    comparison = compare_paired(
        {"refit": run.per_user("test")},
        "refit",
        seed=options.seed,
        confidence=options.confidence,
        n_resamples=options.n_resamples,
    )
    metrics = {}
    for metric_key, value in run.metrics()["test"].items():
        interval: dict[str, float | None] = {"low": None, "high": None}
        if metric_key in comparison.estimates:
            estimate = comparison.estimates[metric_key]["refit"]
            interval = {"low": estimate.low, "high": estimate.high}
        metrics[metric_key] = nan_to_none({"value": value, **interval})
    versions = [
        entry["version"] for entry in run.metadata["models"] if entry["fitted_on"] == stages.TRAIN_AND_VALIDATION
    ]
    return {"run_id": run.id, "version": max(versions), "n_users": comparison.n_users, "metrics": metrics}


def _refit_and_evaluate(run: Run, prepared: Prepared | None) -> None:
    loaded = load_run_config(run)
    if prepared is None:
        prepared, _ = prepare_for(loaded, run)
    selected = stages.load_fitted(run, stages.TRAIN)
    if selected is None:
        raise ArtifactError(f"{run.id}: has no model fitted on train, which a refit needs for the number of epochs")
    run.begin()
    with recording(run, loaded.config, resumed=True):
        refitted = stages.refit(run, loaded.config, prepared, selected)
        with run.timed("evaluate_test"):
            stages.evaluate_part(run, "test", prepared, refitted, loaded.config)
