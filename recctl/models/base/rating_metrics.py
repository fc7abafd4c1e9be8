"""Which metrics mean something for a model: errors of predicted ratings need scores that are ratings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from recctl.errors import ConfigError
from recctl.metrics import MetricKey

if TYPE_CHECKING:
    from recctl.models.base.recommender import Recommender


def is_rating_metric(key: str) -> bool:
    """Whether a metric, by name or key, is an error of predicted ratings, such as `rmse`; False if it is unknown."""
    return MetricKey.parse(key).is_rating_error


def meaningless_metrics(model: Recommender | type[Recommender], keys: Iterable[str]) -> list[str]:
    """Those of some metrics that mean nothing for a model: errors of ratings, if its scores are none.

    Args:
        model: A model. The class stands for default hyperparameters.
        keys: Names or keys of metrics.
    """
    if model.predicts_ratings:
        return []
    return [key for key in keys if is_rating_metric(key)]


def require_meaningful(model: Recommender, keys: Iterable[str]) -> None:
    """Check that metrics mean something for a model.

    Raises:
        ConfigError: Some do not; the message names them and what to do.
    """
    refused = meaningless_metrics(model, keys)
    if refused:
        raise ConfigError(f"{', '.join(refused)}: {why_meaningless(model)}")


def why_meaningless(model: Recommender | type[Recommender]) -> str:
    """Why rating metrics are refused for a model, and what to do instead."""
    from recctl.models.registry import model_names

    model_type = model if isinstance(model, type) else type(model)
    models = [f"{name} with params: {params}" if params else name for name, params in models_of_ratings().items()]
    advice = f"measure rankings, as by ndcg, or use a model that predicts ratings: {', '.join(models)}"
    if model.name not in model_names():
        advice += f"; if they are ratings, set predicts_ratings = True in {model_type.__name__}"
    name = model.name or model_type.__name__
    return f"the scores of {name} are not ratings, so that their errors mean nothing; {advice}"


def models_of_ratings() -> dict[str, str]:
    """The models that predict ratings, each with the hyperparameter that makes it do so; empty if it always does."""
    from recctl.models.registry import model_classes

    models = {}
    for model_type in model_classes():
        if model_type.predicts_ratings:
            models[model_type.name] = ""
            continue
        for name, declared in model_type.parameters.items():
            if isinstance(declared.default, bool) and _predicts_ratings_with(model_type, name, not declared.default):
                models[model_type.name] = f"{{{name}: {str(not declared.default).lower()}}}"
    return models


def _predicts_ratings_with(model_type: type[Recommender], name: str, value: bool) -> bool:
    values, problems = model_type.check({name: value})
    return not problems and model_type(**values).predicts_ratings
