"""What a config uses ratings for: learning, weights of interactions, evaluation, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from recctl.config import Config
from recctl.config.segments import parse_segment
from recctl.data.columns import RATING
from recctl.data.preprocessing import reads_ratings, sets_weights
from recctl.metrics import METRICS
from recctl.models.base.rating_metrics import meaningless_metrics


def needs_ratings(config: Config) -> bool:
    """Whether anything in a config uses the ratings of the source, so that they must be readable."""
    steps = step_list(config)
    if reads_ratings(steps):
        return True
    if sets_weights(steps):
        return False
    section = config.evaluation
    predicts_ratings = any(METRICS[name].task == "rating_prediction" for name in section.metrics if name in METRICS)
    is_graded = section.gain is not None or section.relevance_threshold is not None
    has_segments = any(parse_segment(entry).column == RATING for entry in section.segments)
    return not config.data.implicit or is_graded or predicts_ratings or has_segments


def learns_from_ratings(config: Config) -> bool:
    """Whether the model learns from ratings, which for some models depends on their hyperparameters."""
    return bool(model_of(config).needs_ratings)


def meaningless_for_model(config: Config, keys: Iterable[str]) -> list[str]:
    """Those of some metrics (names or keys) that mean nothing for the model of a config; see `rating_metrics`."""
    return meaningless_metrics(model_of(config), keys)


def uses_weights(config: Config) -> bool:
    """Whether the model uses weights of interactions, which for some models depends on their hyperparameters."""
    return bool(model_of(config).uses_weights)


def weight_notes(configs: Sequence[Config]) -> list[str]:
    """Notes on weights of interactions that are not used, for configs that share their data."""
    data = configs[0].data
    if not data.preprocess or not sets_weights(step_list(configs[0])):
        return []
    if data.implicit:
        return ["data.implicit is true, so that the weights of weight_events are not used; leave it out to use them"]
    ignoring = [config.model.name for config in configs if not uses_weights(config) and not learns_from_ratings(config)]
    if not ignoring:
        return []
    verb = "ignores" if len(ignoring) == 1 else "ignore"
    return [f"{', '.join(dict.fromkeys(ignoring))} {verb} the weights of weight_events"]


def step_list(config: Config) -> list[tuple[str, dict[str, Any]]]:
    """The preprocessing steps of a config as names with parameters."""
    # A step without parameters is null in YAML.
    return [(step_name, params or {}) for step in config.data.preprocess for step_name, params in step.items()]


def model_of(config: Config) -> Any:
    """The model with its hyperparameters; its class if they are invalid."""
    from recctl.models.registry import model_class

    model_type = model_class(config.model.name)
    _, problems = model_type.check(config.model.params)
    return model_type if problems else model_type(**config.model.params)
