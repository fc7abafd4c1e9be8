"""Monitored metrics: the one that selects the best epoch of a training, and the one that selects the best run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from recctl.config import Config
from recctl.metrics import MetricKey
from recctl.training.monitor import LOSS, default_metric

if TYPE_CHECKING:
    from recctl.models.base import Recommender

_RANKING_DEFAULT = "ndcg@10"
_RATING_DEFAULT = "rmse"


def default_monitor(model: type[Recommender], has_validation: bool) -> str:
    """Return the metric that selects the best epoch if the config names none."""
    metric = default_metric(model) if has_validation else None
    return metric or LOSS


def training_monitor(config: Config, has_validation: bool) -> str:
    """Return the metric that selects the best epoch: the one of early stopping, else the default of the model."""
    from recctl.models.registry import model_class

    stopping = config.training.early_stopping
    if stopping is not None and stopping.monitor:
        return stopping.monitor
    return default_monitor(model_class(config.model.name), has_validation)


def selection_metric(config: Config, measured: Iterable[str]) -> dict[str, str]:
    """Return the metric that selects the best run, and whether it is maximized.

    The default does not depend on the model, unlike that of a training: runs of different models are compared by it.

    Args:
        config: The config of a run; `evaluation.monitor` comes first.
        measured: Keys of the measured metrics. By default NDCG@10 is selected, else another NDCG, RMSE, or the first.

    Returns:
        `{"metric": key, "mode": "max" or "min"}`.
    """
    metric_keys = list(measured)
    if config.evaluation.monitor:
        candidates = [config.evaluation.monitor]
    else:
        default = MetricKey.parse(_RANKING_DEFAULT)
        if config.evaluation.n_candidates is not None:
            default = replace(default, sampled=True)
        candidates = [str(default)]
        candidates.extend(metric_key for metric_key in metric_keys if "ndcg" in metric_key)
        candidates.append(_RATING_DEFAULT)
        candidates.extend(metric_keys)
    metric = next(metric_key for metric_key in candidates if metric_key in metric_keys)
    return {"metric": metric, "mode": MetricKey.parse(metric).mode}
