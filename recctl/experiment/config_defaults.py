"""Defaults of a config that depend on its model, which the schema alone can't know.

Invalid values are left as they are; `config_checks` reports them afterwards.
"""

from __future__ import annotations

from recctl.config import Config
from recctl.experiment.monitors import default_monitor


def fill_defaults(config: Config) -> None:
    """Fill in the model's hyperparameters, `data.implicit` and the metric of early stopping.

    A config with `models:` is left unchanged: each of its models has defaults of its own.
    """
    from recctl.models.registry import model_names

    if config.models or config.model.name not in model_names():
        return
    _fill_implicit(config)
    _fill_hyperparameters(config)
    _fill_monitor(config)


def learns_from_ratings(config: Config) -> bool:
    """Whether the model learns from ratings, which for some models depends on their hyperparameters."""
    from recctl.models.registry import model_class

    model_type = model_class(config.model.name)
    _, problems = model_type.check(config.model.params)
    if problems:
        return model_type.needs_ratings
    return model_type(**config.model.params).needs_ratings


def _fill_implicit(config: Config) -> None:
    if "implicit" not in config.data.model_fields_set and learns_from_ratings(config):
        config.data.implicit = False


def _fill_hyperparameters(config: Config) -> None:
    from recctl.models.registry import model_class

    params, problems = model_class(config.model.name).check(config.model.params)
    if problems:
        return
    # The model uses the seed of the experiment unless it is given one of its own.
    if "seed" not in config.model.params:
        params = {parameter_name: value for parameter_name, value in params.items() if parameter_name != "seed"}
    config.model.params = dict(params)


def _fill_monitor(config: Config) -> None:
    from recctl.models.registry import model_class

    stopping = config.training.early_stopping
    model_type = model_class(config.model.name)
    if stopping is not None and model_type.trained_in_epochs and not stopping.monitor:
        # Early stopping watches validation; a config without a validation part is refused.
        stopping.monitor = default_monitor(model_type, has_validation=True)
