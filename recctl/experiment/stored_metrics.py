"""Configs of versions before 0.3, which accepted metrics of predicted ratings for every model."""

from __future__ import annotations

from typing import Any

from recctl.config import to_yaml
from recctl.config.yaml_tree import parse
from recctl.errors import ConfigError
from recctl.models.base.rating_metrics import is_rating_metric, meaningless_metrics
from recctl.models.registry import model_class, model_names

# The keys that name one metric, or a list of metrics.
_KEYS = (
    ("evaluation", "monitor"),
    ("training", "early_stopping", "monitor"),
    ("tuning", "monitor"),
)


def without_meaningless_metrics(config_text: str, name: str) -> str:
    """Remove the metrics that mean nothing for the model from the config of a run, which would be refused now.

    Args:
        config_text: The text of the config.
        name: Its file, for error messages.

    Returns:
        The text; the same one unless there are such metrics.
    """
    try:
        values = parse(config_text, name).values
    except ConfigError:
        return config_text  # the parser of configs reports the problem
    models = values.get("models") or [values.get("model") or {}]
    evaluation = values.get("evaluation") or {}
    metrics = evaluation.get("metrics") or []
    if all(_predicts_ratings(model) for model in models):
        return config_text
    changed = False
    # Metrics of a comparison that mean nothing are left out separately for each model, as long as one remains.
    if "models" not in values or all(is_rating_metric(metric) for metric in metrics):
        remaining = [metric for metric in metrics if not is_rating_metric(metric)]
        changed = remaining != metrics
        evaluation["metrics"] = remaining
        if not remaining:
            del evaluation["metrics"]
    for *sections, key in _KEYS:
        section: Any = values
        for section_name in sections:
            section = (section or {}).get(section_name)
        if section and _names_rating_metric(section.get(key)):
            del section[key]
            changed = True
    return to_yaml(values) if changed else config_text


def _names_rating_metric(monitor: Any) -> bool:
    named = monitor if isinstance(monitor, list) else [monitor]
    return any(isinstance(metric, str) and is_rating_metric(metric) for metric in named)


def _predicts_ratings(model: Any) -> bool:
    """Whether a model of a config predicts ratings; True if that is unknown."""
    name = model.get("name", "ease")
    if name not in model_names():
        return True
    model_type = model_class(name)
    checked, problems = model_type.check(model.get("params") or {})
    return bool(problems) or not meaningless_metrics(model_type(**checked), ["rmse"])
