"""Whether the scores of a run's model are ratings: without, its RMSE and MAE of versions before 0.3 mean nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from recctl.errors import ArtifactError, RecctlError
from recctl.metrics import MetricKey
from recctl.runs import layout
from recctl.runs.directory import Run


def run_predicts_ratings(run: Run) -> bool:
    """Whether the model of a run predicts ratings; True if that is unknown, as for a plug-in that is not installed."""
    # Imported here, as it imports pandas, which most figures do not need.
    from recctl.models.registry import model_class, model_names

    models = run.metadata.get("models") or []
    name = models[-1].get("model") if models else None
    if name not in model_names():
        return True
    try:
        model_type = model_class(name)
        values, problems = model_type.check(_params(run))
        return bool(model_type.predicts_ratings if problems else model_type(**values).predicts_ratings)
    except RecctlError:  # a damaged config is left to `recctl runs verify`
        return True


def meaningful_metrics(directory: Path, metrics: dict[str, float]) -> dict[str, float]:
    """The figures of a run that mean something for its model. The run is opened only if it has errors of ratings.

    Args:
        directory: The directory of the run.
        metrics: Its figures by key.
    """
    rating_errors = {key for key in metrics if _is_rating_error(key)}
    if not rating_errors:
        return metrics
    try:
        run = Run.open(directory)
    except ArtifactError:  # damaged in the meantime
        return metrics
    if run_predicts_ratings(run):
        return metrics
    return {key: value for key, value in metrics.items() if key not in rating_errors}


@cache
def _is_rating_error(key: str) -> bool:
    # Cached: thousands of runs have the same few keys.
    return MetricKey.parse(key).is_rating_error


def _params(run: Run) -> dict[str, Any]:
    from recctl.config.yaml_tree import parse

    model = parse(run.config_text(), layout.CONFIG).values.get("model") or {}
    return dict(model.get("params") or {})
