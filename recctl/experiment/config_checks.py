"""What a config's own schema can't check: names and parameters of models, steps and metrics."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ValidationError

from recctl.config import Checks, Config, LoadedConfig, load_config
from recctl.config.loading import Problem
from recctl.config.schema import ModelConfig
from recctl.config.yaml_tree import Tree
from recctl.errors import ConfigError
from recctl.suggest import did_you_mean


def load(path: Path, overrides: Sequence[str] = ()) -> LoadedConfig:
    """A config file, validated whole: its schema, and the models, steps and metrics it names.

    Raises:
        ConfigError: With every problem found.
    """
    return load_config(path, overrides, CHECKS)


def _model(config: Config) -> Iterator[Problem]:
    """Check the model's parameters, and fill in the defaults of those that aren't given."""
    from recctl.models.registry import model_class, model_names

    name = config.model.name
    if name not in model_names():
        yield ("model", "name"), f"unknown model {name!r}{did_you_mean(name, model_names())}"
        return
    checked, problems = model_class(name).check(config.model.params)
    yield from ((("model", "params", key), problem) for key, problem in problems)
    if not problems:
        # The experiment's seed is the model's, unless the model is given one of its own.
        config.model.params = {
            key: value for key, value in checked.items() if key != "seed" or "seed" in config.model.params
        }


def _steps(config: Config) -> Iterator[Problem]:
    if not config.data.preprocess:
        return
    from recctl.data.preprocessing import STEPS

    for place, step in enumerate(config.data.preprocess):
        ((name, params),) = step.items()
        path = ("data", "preprocess", place, name)
        if name not in STEPS:
            yield path, f"unknown step{did_you_mean(name, STEPS)}"
            continue
        known = dict(list(inspect.signature(STEPS[name]).parameters.items())[1:])
        hints = get_type_hints(STEPS[name], include_extras=True)
        for key, value in (params or {}).items():
            if key not in known:
                yield (*path, key), f"unknown parameter{did_you_mean(key, known)}"
            elif problem := _type_problem(hints[key], value):
                yield (*path, key), problem
        for key, parameter in known.items():
            if parameter.default is parameter.empty and key not in (params or {}):
                yield path, f"{key} must be given"


def _type_problem(annotation: Any, value: Any) -> str | None:
    from pydantic import TypeAdapter

    try:
        TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        return f"{value!r} {error.errors()[0]['msg'].replace('Input should', 'should')}"
    return None


def _metrics(config: Config) -> Iterator[Problem]:
    from recctl.metrics import METRICS, MetricKey

    section = config.evaluation
    for place, name in enumerate(section.metrics):
        if name not in METRICS:
            key = MetricKey.parse(name)
            if key.is_known and key.k is not None:
                hint = f"; write {key.name} here and {key.k} in k_values"
            else:
                hint = did_you_mean(name, METRICS)
            yield ("evaluation", "metrics", place), f"unknown metric {name!r}{hint}"
    if section.monitor is not None and (problem := _not_measured(config, section.monitor)):
        yield ("evaluation", "monitor"), problem


def _not_measured(config: Config, key: str) -> str | None:
    """Why the evaluation does not come to a value of this key; None if it does."""
    from recctl.metrics import METRICS, MetricKey, metric_keys

    section = config.evaluation
    names = [name for name in section.metrics if name in METRICS]
    if MetricKey.parse(key) not in metric_keys(names, section.k_values, sampled=section.n_candidates is not None):
        return f"{key!r} is not measured: see evaluation.metrics and k_values"
    return None


def _ratings(config: Config) -> Iterator[Problem]:
    """Models that learn from ratings are given them, unless that is said to be unwanted."""
    from recctl.models.registry import model_class, model_names

    name = config.model.name
    if name not in model_names():
        return
    model, params = model_class(name), config.model.params
    # For some it is a matter of their hyperparameters; those that are wrong are told elsewhere.
    if not (model.needs_ratings if model.check(params)[1] else model(**params).needs_ratings):
        return
    if "implicit" not in config.data.model_fields_set:
        config.data.implicit = False
    elif config.data.implicit:
        yield ("data", "implicit"), f"{name} learns from ratings; write implicit: false"


def _training(config: Config) -> Iterator[Problem]:
    """Whether training can be followed as it is said; fills in what is watched."""
    from recctl.metrics import key_problem
    from recctl.models.registry import model_class, model_classes, model_names

    name, stopping = config.model.name, config.training.early_stopping
    if config.training.refit and not config.has_validation:
        yield ("training", "refit"), "there is no validation part to fit on as well; set split.val_size"
    if stopping is None or name not in model_names():
        return
    place = ("training", "early_stopping")
    if not model_class(name).trained_in_epochs:
        others = ", ".join(model.name for model in model_classes() if model.trained_in_epochs)
        yield place, f"{name} is not trained in epochs; leave it out, or choose one of: {others}"
        return
    stopping.monitor = stopping.monitor or ("rmse" if model_class(name).needs_ratings else "ndcg@10")
    if stopping.monitor == "loss":
        return
    if problem := key_problem(stopping.monitor):
        yield (*place, "monitor"), problem
    if not config.has_validation:
        yield place, f"{stopping.monitor} is watched on validation, and there is none; set split.val_size"


def _tuning(config: Config) -> Iterator[Problem]:
    """Whether what is searched is there to be searched."""
    from recctl.models.base.search_space import parse_space
    from recctl.models.registry import model_class, model_names

    section, name = config.tuning, config.model.name
    if section is None or name not in model_names():
        return
    space, problems = parse_space(section.space, model_class(name))
    yield from ((("tuning", "space", key), problem) for key, problem in problems)
    for dimension in space.dimensions:
        if "." in dimension.name and (problem := _problem_of_path(config, dimension.path, dimension.at(0.0))):
            yield ("tuning", "space", dimension.name), problem
    for place, point in enumerate(section.points):
        checked = model_class(name).check({**config.model.params, **point})[1]
        yield from ((("tuning", "points", place, key), problem) for key, problem in checked if key in point)
    if section.points and section.strategy != "manual":
        yield ("tuning", "points"), "are for strategy: manual; leave them out, or choose it"
    if section.strategy == "manual" and not section.points:
        yield ("tuning", "points"), "a manual search needs some: a list of {parameter: value}"
    monitors = [section.monitor] if isinstance(section.monitor, str) else section.monitor or []
    for monitor in monitors:
        if problem := _not_measured(config, monitor):
            yield ("tuning", "monitor"), problem


def _problem_of_path(config: Config, path: tuple[str, ...], value: Any) -> str | None:
    """What is wrong with a path in a config that is to be searched."""
    values = config.model_dump()
    try:
        Tree("", values).set(path, value, "")
        Config.model_validate(values)
    except (ConfigError, ValidationError):
        return f"no value of a config stands there that may be {value!r}; `recctl config show` lists them"
    return None


def _alone(config: Config) -> Iterator[Problem]:
    """What is wrong with the model, or with each of those that are compared."""
    one = (_ratings, _model, _training)
    if not config.models:
        yield from (problem for check in one for problem in check(config))
        return
    if "model" in config.model_fields_set:
        yield ("models",), "stands instead of model; leave one of the two out"
    for place, entry in enumerate(config.models):
        for (section, *rest), problem in (found for check in one for found in check(config_of_model(config, place))):
            own = section == "model" or (section == "training" and entry.training is not None)
            within = () if section == "model" else (section,)
            yield (("models", place, *within, *rest) if own else (section, *rest)), problem


def config_of_model(config: Config, place: int) -> Config:
    """The config of one of the models that are compared; what is said of epochs is for those that have some."""
    from recctl.models.registry import model_class, model_names

    entry = config.models[place]
    alone = config.model_copy(deep=True)
    alone.model = ModelConfig(name=entry.name, params=dict(entry.params))
    alone.training = (entry.training or config.training).model_copy(deep=True)
    alone.models = []
    if entry.training is None and entry.name in model_names() and not model_class(entry.name).trained_in_epochs:
        alone.training.early_stopping = None
    return alone


def _source(config: Config) -> Iterator[Problem]:
    if config.split.strategy == "k_fold" and config.split.fold >= config.split.n_folds:
        yield ("split", "fold"), f"{config.split.fold} is not below n_folds={config.split.n_folds}; folds count from 0"
    if config.split.strategy == "predefined" and config.data.source == "synthetic":
        yield ("split", "strategy"), "predefined needs files; data.source is synthetic"


CHECKS = Checks((_source, _alone, _steps, _metrics, _tuning))
