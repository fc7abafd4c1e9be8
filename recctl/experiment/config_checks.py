"""Checks of a config that its schema can't make: the models, preprocessing steps and metrics that it names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ValidationError

from recctl import urls
from recctl.config import Checks, Config
from recctl.config.loading import Problem
from recctl.config.messages import expectation
from recctl.config.schema import ModelConfig, QueryConfig, TuningConfig, as_list
from recctl.config.yaml_tree import Path as TreePath
from recctl.config.yaml_tree import Tree
from recctl.errors import ConfigError
from recctl.experiment.config_defaults import fill_defaults
from recctl.experiment.use_of_ratings import learns_from_ratings, meaningless_for_model, model_of
from recctl.models.base.rating_metrics import why_meaningless
from recctl.suggest import did_you_mean

if TYPE_CHECKING:
    from recctl.models.base.search_space import Space


def config_of_model(config: Config, index: int) -> Config:
    """Return the config of one of the models in `models:`, without defaults that depend on the model.

    The common `training` section applies to it if it has none of its own; early stopping applies only to models that
    are trained in epochs. Of the metrics, those are left out that mean nothing for the model, unless none remains.
    """
    from recctl.models.registry import model_class, model_names

    model_entry = config.models[index]
    single = config.model_copy(deep=True)
    single.model = ModelConfig(name=model_entry.name, params=dict(model_entry.params))
    single.training = (model_entry.training or config.training).model_copy(deep=True)
    single.models = []
    if single.tuning is not None:
        single.tuning.space = dict(model_entry.space)
    if (
        model_entry.training is None
        and model_entry.name in model_names()
        and not model_class(model_entry.name).trained_in_epochs
    ):
        single.training.early_stopping = None
    if model_entry.name in model_names():
        refused = meaningless_for_model(single, single.evaluation.metrics)
        meaningful = [metric for metric in single.evaluation.metrics if metric not in refused]
        single.evaluation.metrics = meaningful or single.evaluation.metrics
    return single


def _check_reading(config: Config) -> Iterator[Problem]:
    from recctl.data.sources.options import FORMATS_OF_LINES
    from recctl.data.timestamps import format_problem

    data = config.data
    problem = format_problem(data.timestamp_format) if data.timestamp_format is not None else None
    if problem:
        yield ("data", "timestamp_format"), problem
    if data.user != "column" and data.format not in FORMATS_OF_LINES:
        formats = " or ".join(FORMATS_OF_LINES)
        yield ("data", "user"), f"{data.user} is not for the format {data.format}; set data.format: {formats} too"


def _check_urls(config: Config) -> Iterator[Problem]:
    """Check that the variables of URLs are set, before anything is read."""
    for path, url in _urls(config):
        problem = urls.template_problem(url)
        if problem:
            yield path, problem
            continue
        try:
            urls.expand(url, "")
        except ConfigError as error:
            yield path, error.problems[0].removeprefix(": ")


def _urls(config: Config) -> Iterator[tuple[TreePath, str]]:
    sources: list[tuple[TreePath, Any]] = [(("data", "source"), config.data.source)]
    if config.split.strategy == "predefined":
        sources.append((("split", "test"), config.split.test))
        sources.append((("split", "validation"), config.split.validation))
    if config.data.items is not None:
        sources.append((("data", "items", "file"), config.data.items.file))
    if config.data.users is not None:
        sources.append((("data", "users", "file"), config.data.users.file))
    for position, entry in enumerate(config.models):
        sources.append((("models", position, "recommendations"), entry.recommendations))
    for path, source in sources:
        if isinstance(source, QueryConfig):
            yield (*path, "url"), source.url
        elif urls.is_url(source):
            yield path, source


def _check_query(config: Config) -> Iterator[Problem]:
    from recctl.data.sources.remote.sql import require_query

    if not isinstance(config.data.source, QueryConfig):
        return
    try:
        require_query(config.data.source.sql)
    except ConfigError as error:
        for problem in error.problems:
            yield ("data", "source", "sql"), problem.removeprefix("data.source.sql: ")


def _check_split(config: Config) -> Iterator[Problem]:
    split_config = config.split
    if split_config.strategy == "k_fold" and split_config.fold >= split_config.n_folds:
        yield ("split", "fold"), f"{split_config.fold} is not below n_folds={split_config.n_folds}; folds count from 0"
    if split_config.strategy == "predefined" and config.data.source == "synthetic":
        yield ("split", "strategy"), "predefined needs files; data.source is synthetic"
    if split_config.strategy in ("temporal", "rolling"):
        from recctl.data.splitting.windows import option_problems

        for key, problem in option_problems(split_config.strategy, split_config.model_dump(exclude={"strategy"})):
            yield ("split", key), problem
    if config.backtest is not None and split_config.strategy != "rolling":
        yield ("backtest",), "applies to the windows of a rolling split; remove it, or set split.strategy: rolling"


def _check_models(config: Config) -> Iterator[Problem]:
    """Check the model, or each of the models that are compared."""
    if not config.models:
        yield from _check_single_model(config)
        return
    if "model" in config.model_fields_set:
        yield ("models",), "replaces model; remove one of the two"
    of_ratings: list[str] = []
    without_ratings: list[str] = []
    for position, entry in enumerate(config.models):
        if entry.recommendations is not None:
            continue
        # Each model is checked as the only one of a config; paths of its problems are mapped back to its place.
        single = config_of_model(config, position)
        fill_defaults(single)
        (without_ratings if single.data.implicit else of_ratings).append(entry.name)
        for (section, *key_path), problem in _check_single_model(single):
            if section == "model":
                yield ("models", position, *key_path), problem
            elif section == "training" and entry.training is not None:
                yield ("models", position, section, *key_path), problem
            else:
                yield (section, *key_path), problem
    # An adaptive search compares figures on validation only, and each model is fitted on data of its own.
    is_compared = config.tuning is None or config.tuning.allocation == "equal"
    if is_compared and of_ratings and without_ratings:
        problem = f"the default is false for {', '.join(of_ratings)}, and true for {', '.join(without_ratings)}"
        advice = "write implicit: false, so that all get the ratings, or train them separately and compare the runs"
        yield ("data", "implicit"), f"{problem}; {advice}"


def _check_lists(config: Config) -> Iterator[Problem]:
    """Refuse settings that need the scores of a model, if lists that were made elsewhere are compared."""
    from recctl.evaluation.given_lists import unmeasurable

    if not any(entry.recommendations for entry in config.models):
        return
    for problem in unmeasurable(config.evaluation.metrics, config.evaluation.n_candidates):
        key, _, message = problem.partition(": ")
        yield tuple(key.split(".")), message


def _check_single_model(config: Config) -> Iterator[Problem]:
    from recctl.models.registry import model_names

    yield from _check_refit(config)
    model_name = config.model.name
    if model_name not in model_names():
        yield ("model", "name"), f"unknown model {model_name!r}{did_you_mean(model_name, model_names())}"
        return
    yield from _check_implicit(config)
    hyperparameter_problems = list(_check_hyperparameters(config))
    yield from hyperparameter_problems
    yield from _check_early_stopping(config)
    yield from _check_warm_start(config)
    # Whether a model predicts ratings may depend on its hyperparameters.
    if not hyperparameter_problems:
        yield from _check_rating_metrics(config)


def _check_rating_metrics(config: Config) -> Iterator[Problem]:
    """Refuse metrics of predicted ratings of a model whose scores are no ratings."""
    section = config.evaluation
    stopping = config.training.early_stopping
    places: list[tuple[TreePath, list[str]]] = [
        (("evaluation", "metrics"), section.metrics),
        (("evaluation", "monitor"), [section.monitor or ""]),
        (("training", "early_stopping", "monitor"), [(stopping and stopping.monitor) or ""]),
    ]
    for path, metrics in places:
        if problem := _rating_metric_problem(config, metrics):
            yield path, problem


def _rating_metric_problem(config: Config, metrics: list[str]) -> str | None:
    refused = meaningless_for_model(config, metrics)
    return f"{', '.join(refused)}: {why_meaningless(model_of(config))}" if refused else None


def _check_implicit(config: Config) -> Iterator[Problem]:
    if config.data.implicit and learns_from_ratings(config):
        yield ("data", "implicit"), f"{config.model.name} learns from ratings; write implicit: false"


def _check_hyperparameters(config: Config) -> Iterator[Problem]:
    from recctl.models.registry import model_class

    _, problems = model_class(config.model.name).check(config.model.params)
    for parameter_name, problem in problems:
        yield ("model", "params", parameter_name), problem


def _check_refit(config: Config) -> Iterator[Problem]:
    if config.training.refit and not config.has_validation:
        yield (
            ("training", "refit"),
            f"needs a validation part to add to the training data; set {_validation_hint(config)}",
        )


def _validation_hint(config: Config) -> str:
    key, value = config.validation_setting
    return f"{key}: {value}"


def _check_early_stopping(config: Config) -> Iterator[Problem]:
    from recctl.metrics import key_problem
    from recctl.models.registry import model_class, model_classes

    stopping = config.training.early_stopping
    if stopping is None:
        return
    stopping_path = ("training", "early_stopping")
    if not model_class(config.model.name).trained_in_epochs:
        epoch_models = ", ".join(model.name for model in model_classes() if model.trained_in_epochs)
        yield (
            stopping_path,
            f"{config.model.name} is not trained in epochs; remove it, or choose one of: {epoch_models}",
        )
        return
    monitor = stopping.monitor
    if monitor is None or monitor == "loss":
        return
    if problem := key_problem(monitor):
        yield (*stopping_path, "monitor"), problem
    if not config.has_validation:
        yield (
            stopping_path,
            f"{monitor} is measured on validation, but there is no validation part; set {_validation_hint(config)}",
        )


def _check_warm_start(config: Config) -> Iterator[Problem]:
    from recctl.models.registry import model_class, model_classes

    if config.training.warm_start is None or model_class(config.model.name).warm_start_parameters is not None:
        return
    names = ", ".join(model.name for model in model_classes() if model.warm_start_parameters is not None)
    problem = f"{config.model.name} is always fitted from scratch; remove it, or choose one of: {names}"
    yield ("training", "warm_start"), problem


def _check_preprocessing(config: Config) -> Iterator[Problem]:
    if not config.data.preprocess:
        return
    from recctl.data.preprocessing import STEPS

    for position, step in enumerate(config.data.preprocess):
        ((step_name, params),) = step.items()
        step_path = ("data", "preprocess", position, step_name)
        if step_name in STEPS:
            for key_path, problem in _step_problems(step_name, params or {}):
                yield (*step_path, *key_path), problem
        else:
            yield step_path, f"unknown step{did_you_mean(step_name, STEPS)}"


def _step_problems(name: str, params: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    from recctl.data.preprocessing import STEPS

    signature = inspect.signature(STEPS[name])
    known_parameters = dict(list(signature.parameters.items())[1:])  # the first parameter is the table
    annotations = get_type_hints(STEPS[name], include_extras=True)
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for parameter_name, value in params.items():
        if parameter_name not in known_parameters:
            problems.append(((parameter_name,), f"unknown parameter{did_you_mean(parameter_name, known_parameters)}"))
            continue
        for path, problem in _type_problems(annotations[parameter_name], value):
            problems.append(((parameter_name, *path), problem))
    for parameter_name, parameter in known_parameters.items():
        if parameter.default is parameter.empty and parameter_name not in params:
            problems.append(((), f"{parameter_name} must be given"))
    yield from problems or _conflicts_of_step(name, params)


def _conflicts_of_step(name: str, params: dict[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The problems of parameters that are valid individually."""
    from recctl.data.preprocessing import PARAMETER_CHECKS

    if name not in PARAMETER_CHECKS:
        return
    check = PARAMETER_CHECKS[name]
    read = {key: value for key, value in params.items() if key in inspect.signature(check).parameters}
    try:
        check(**read)
    except ConfigError as error:
        for problem in error.problems:
            yield (), problem.removeprefix(f"{name}: ")


def _type_problems(annotation: Any, value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The problems of a value, each with the path to the part of the value that has it."""
    from pydantic import TypeAdapter

    try:
        TypeAdapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        problems: dict[tuple[str | int, ...], str] = {}
        for details in error.errors():
            part = value
            path: tuple[str | int, ...] = ()
            # After the keys of the value, the location names the members of a union.
            for key in details["loc"]:
                if not _has_item(part, key):
                    break
                part = part[key]
                path = (*path, key)
            problems.setdefault(path, f"{part!r} {expectation(details)}")
        yield from problems.items()


def _has_item(value: Any, key: str | int) -> bool:
    if isinstance(value, dict):
        return key in value
    return isinstance(value, list) and isinstance(key, int) and key < len(value)


def _check_metrics(config: Config) -> Iterator[Problem]:
    from recctl.metrics import METRICS, MetricKey

    for position, metric_name in enumerate(config.evaluation.metrics):
        if metric_name in METRICS:
            continue
        metric_key = MetricKey.parse(metric_name)
        if metric_key.is_known and metric_key.k is not None:
            hint = f"; write {metric_key.name} here and {metric_key.k} in k_values"
        else:
            hint = did_you_mean(metric_name, METRICS)
        yield ("evaluation", "metrics", position), f"unknown metric {metric_name!r}{hint}"
    monitor = config.evaluation.monitor
    if monitor is not None and not _is_measured(config, monitor):
        yield ("evaluation", "monitor"), _not_measured(monitor)


def _check_segments(config: Config) -> Iterator[Problem]:
    from recctl.config.segments import parse_segment

    labels: set[str] = set()
    for position, entry in enumerate(config.evaluation.segments):
        path: TreePath = ("evaluation", "segments", position)
        spec = parse_segment(entry)
        if spec.label in labels:
            hint = ""
            if spec.column is not None:
                hint = f"; write {{{spec.by}: {{column: {spec.column}, label: {spec.by}_{spec.column}}}}}"
            yield path, f"two segments are called {spec.label}{hint}"
        labels.add(spec.label)
        if spec.by == "users" and config.data.users is None:
            yield path, f"{spec} needs a table of users; set data.users: {{file: users.csv, id: user_id}}"
        if spec.by == "items" and config.data.items is None:
            yield path, f"{spec} needs a table of items; set data.items: {{file: items.csv, id: item_id, title: null}}"
        if spec.by == "interactions" and config.data.source == "synthetic" and spec.column != "rating":
            yield path, f"{spec}: synthetic data have no such column; choose another data.source"


def _is_measured(config: Config, key: str) -> bool:
    """Whether the evaluation measures a metric, at this cutoff and with these candidates."""
    from recctl.metrics import METRICS, MetricKey, metric_keys

    section = config.evaluation
    metric_names = [metric_name for metric_name in section.metrics if metric_name in METRICS]
    return MetricKey.parse(key) in metric_keys(metric_names, section.k_values, sampled=section.n_candidates is not None)


def _not_measured(key: str) -> str:
    return f"{key!r} is not measured; add it to evaluation.metrics and k_values, or choose a metric that is"


def _check_tuning(config: Config) -> Iterator[Problem]:
    """Check the search of the model, or of each of the models."""
    if not config.models:
        yield from _check_search(config)
        return
    if config.tuning is not None and config.tuning.space:
        yield ("tuning", "space"), "is that of one model; write it below its name: models: [{name: ease, space: {...}}]"
    found: list[Problem] = []
    for position, entry in enumerate(config.models):
        if entry.recommendations is not None:
            continue
        single = config_of_model(config, position)
        single.tuning = single.tuning or TuningConfig(space=dict(entry.space))
        for path, problem in _check_search(single):
            if path[:2] == ("tuning", "space"):
                path = ("models", position, "space", *path[2:])
            found.append((path, problem))
    # Problems of settings that all models share are found for each of them.
    yield from dict.fromkeys(found)


def _check_search(config: Config) -> Iterator[Problem]:
    from recctl.models.base.search_space import parse_space
    from recctl.models.registry import model_class, model_names

    section = config.tuning
    if section is None or config.model.name not in model_names():
        return
    model_type = model_class(config.model.name)
    space, problems = parse_space(section.space, model_type)
    for dimension_name, problem in problems:
        yield ("tuning", "space", dimension_name), problem
    for dimension in space.dimensions:
        # A name with a dot is a key of the config; without one, a hyperparameter, which parse_space has checked.
        if "." in dimension.name and not _is_valid_setting(config, dimension.path, dimension.at(0.0)):
            problem = f"the config has no such key that accepts {dimension.at(0.0)!r}; `recctl config show` lists them"
            yield ("tuning", "space", dimension.name), problem
    yield from _check_tried_models(config, space)
    yield from _check_points(config, section, space)
    yield from _check_tuning_monitors(config)


def _check_tried_models(config: Config, space: Space) -> Iterator[Problem]:
    """Refuse choices of hyperparameters with which the metrics of the config mean nothing."""
    from recctl.models.base.hyperparameters import Choices

    for dimension in space.dimensions:
        if "." in dimension.name or not isinstance(dimension.range, Choices):
            continue
        for value in dimension.range.values:
            params = config.model.params | {dimension.name: value}
            tried = config.model_copy(update={"model": config.model.model_copy(update={"params": params})})
            if problem := _rating_metric_problem(tried, config.evaluation.metrics):
                yield ("tuning", "space", dimension.name), f"{value!r}: {problem}"


def _check_points(config: Config, section: TuningConfig, space: Space) -> Iterator[Problem]:
    """Check the points of a manual search."""
    from recctl.models.registry import model_class

    model_type = model_class(config.model.name)
    for position, point in enumerate(section.points):
        _, point_problems = model_type.check(config.model.params | point)
        for dimension_name, problem in point_problems:
            if dimension_name in point:
                yield ("tuning", "points", position, dimension_name), problem
        for dimension in space.dimensions:
            if dimension.name in point and not dimension.contains(point[dimension.name]):
                problem = (
                    f"{point[dimension.name]!r} is outside tuning.space ({dimension.describe()}); change one of them"
                )
                yield ("tuning", "points", position, dimension.name), problem
    if section.points and section.strategy != "manual":
        yield ("tuning", "points"), "needs strategy: manual; remove the points or choose it"
    if section.strategy == "manual" and not section.points:
        yield ("tuning", "points"), "strategy: manual needs points: a list of {parameter: value}"


def _check_tuning_monitors(config: Config) -> Iterator[Problem]:
    assert config.tuning is not None
    monitors = as_list(config.tuning.monitor)
    for monitor in monitors:
        if problem := _rating_metric_problem(config, [monitor]):
            yield ("tuning", "monitor"), problem
        elif not _is_measured(config, monitor):
            yield ("tuning", "monitor"), _not_measured(monitor)
        elif monitors.count(monitor) > 1:
            yield ("tuning", "monitor"), f"{monitor!r} is listed {monitors.count(monitor)} times; list each metric once"
            return
    yield from _check_pick(config, monitors)


def _check_pick(config: Config, monitors: list[str]) -> Iterator[Problem]:
    from recctl.metrics.condition import parse_condition

    assert config.tuning is not None
    for text in as_list(config.tuning.pick):
        try:
            condition = parse_condition(text, "a condition,")
        except ConfigError as error:
            yield ("tuning", "pick"), str(error)
            continue
        if not _is_measured(config, condition.metric):
            yield ("tuning", "pick"), _not_measured(condition.metric)
        elif len(monitors) < 2:
            # With one metric, the front is the best trial.
            first_metric = monitors[0] if monitors else "ndcg@10"
            problem = (
                f"{text!r} chooses on the Pareto front of several metrics; "
                f"write monitor: [{first_metric}, {condition.metric}]"
            )
            yield ("tuning", "pick"), problem


def _is_valid_setting(config: Config, path: tuple[str, ...], value: Any) -> bool:
    values = config.model_dump()
    try:
        Tree("", values).set(path, value, "")
        Config.model_validate(values)
    except (ConfigError, ValidationError):
        return False
    return True


# What the check of a value reads besides it, for configs that have errors.
_READS: dict[TreePath, tuple[TreePath, ...]] = {
    ("data",): (("data",), ("model",)),
    ("data", "source"): (),
    ("data", "items"): (),
    ("data", "users"): (),
    ("data", "preprocess"): (),
    ("data", "timestamp_format"): (),
    ("data", "user"): (("data", "format"),),
    ("split",): (("split",), ("data", "source")),
    ("split", "test_start"): (),
    ("backtest",): (("backtest",), ("split", "strategy")),
    ("split", "test"): (),
    ("split", "validation"): (),
    ("model", "name"): (),
    ("model", "params"): (("model", "name"),),
    ("models",): (("models",), ("model",)),
    ("models", "*", "name"): (),
    ("models", "*", "recommendations"): (),
    ("models", "*", "params"): (("models", "*", "name"),),
    ("models", "*", "space"): (("models", "*", "name"),),
    ("models", "*", "training"): (("models", "*"), ("training",), ("split",)),
    ("training",): (("training",), ("model",), ("models",), ("split",)),
    ("evaluation", "metrics"): (("model",), ("models",)),
    ("evaluation", "segments"): (("evaluation", "segments"), ("data",)),
    ("evaluation",): (("evaluation",), ("model",), ("models",)),
    ("tuning",): (("tuning",), ("model",), ("evaluation",)),
    ("tuning", "space"): (("model", "name"),),
    ("tuning", "points"): (("tuning", "strategy"), ("model",)),
}

_CHECKS_OF_STORED = (
    _check_reading,
    _check_query,
    _check_split,
    _check_models,
    _check_lists,
    _check_preprocessing,
    _check_metrics,
    _check_segments,
    _check_tuning,
)
CHECKS = Checks((_check_urls, *_CHECKS_OF_STORED), fill_defaults, _READS)
# For the configs of runs, whose models serve without their data: a variable may be missing.
CHECKS_OF_STORED = Checks(_CHECKS_OF_STORED, fill_defaults, _READS)
