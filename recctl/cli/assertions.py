"""Conditions on metrics such as `ndcg@10>=0.40`, for scripts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recctl.errors import AssertionFailedError, ConfigError
from recctl.metrics.condition import Condition
from recctl.suggest import did_you_mean

if TYPE_CHECKING:
    from recctl.runs import Run


def require_meaningful(conditions: list[Condition], run: Run) -> None:
    """Check, before anything is measured, that the metrics of conditions mean something for a run's model.

    Raises:
        ConfigError: One is an error of predicted ratings, and the scores of the model are no ratings.
    """
    from recctl.models.base.rating_metrics import is_rating_metric
    from recctl.runs.rating_models import run_predicts_ratings

    refused = [condition.metric for condition in conditions if is_rating_metric(condition.metric)]
    if refused and not run_predicts_ratings(run):
        model_name = run.model_entry()["model"]
        raise ConfigError(
            f"--assert {', '.join(refused)}: the scores of {model_name} are not ratings, so that their errors mean "
            "nothing; assert a metric of rankings, such as 'ndcg@10>=0.40'"
        )


def require(conditions: list[Condition], metrics: Mapping[str, float], part: str) -> None:
    """Check that all conditions hold.

    Args:
        conditions: Conditions to check.
        metrics: Measured values.
        part: Part of the split they were measured on.

    Raises:
        ConfigError: A metric was not measured.
        AssertionFailedError: Conditions do not hold; the message has each one and the measured value.
    """
    # A misspelt metric is a usage error, exit code 2: it must not look like a failed assertion, exit code 6.
    unknown = [condition.metric for condition in conditions if condition.metric not in metrics]
    if unknown:
        raise ConfigError(
            *(
                f"--assert: {metric_name!r} was not measured{did_you_mean(metric_name, metrics)}"
                for metric_name in unknown
            )
        )
    failures = []
    for condition in conditions:
        measured_value = metrics[condition.metric]
        if not condition.holds(measured_value):
            failures.append(
                f"{condition.metric} = {measured_value:.6g} is not {condition.comparison} {condition.bound:g}"
            )
    if failures:
        raise AssertionFailedError(f"on {part}: {'; '.join(failures)}")
