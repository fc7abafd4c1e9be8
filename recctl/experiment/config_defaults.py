"""Defaults of a config that depend on its model, which the schema alone can't know.

Invalid values are left as they are; `config_checks` reports them afterwards.
"""

from __future__ import annotations

from recctl.config import Config
from recctl.data.preprocessing import sets_weights
from recctl.experiment.monitors import default_monitor
from recctl.experiment.use_of_ratings import learns_from_ratings, step_list


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


def _fill_implicit(config: Config) -> None:
    if "implicit" in config.data.model_fields_set:
        return
    # Weights set the value for every model, so that models that use them can be compared with others.
    if learns_from_ratings(config) or (config.data.preprocess and sets_weights(step_list(config))):
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
