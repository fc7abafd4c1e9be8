"""The JSON Schema of configs, put together from the declarations of sections, models, metrics and steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from recctl.config import schema as config_sections
from recctl.config.descriptions import descriptions
from recctl.config.schema import DEPRECATED_KEYS, Config, ModelConfig, RandomSplit, SplitConfig
from recctl.data.sources.options import FORMATS_OF_LINES
from recctl.experiment.json_schema import hyperparameters, metrics, preprocessing, splits
from recctl.experiment.json_schema.conditions import (
    ANYTHING,
    NOT_NULL,
    NULL,
    JsonSchema,
    either,
    escape,
    having,
    negated,
    nullable_section,
    rule,
    section,
    without,
    without_dotted_keys,
)
from recctl.models.base import Recommender
from recctl.models.registry import model_classes
from recctl.version import __version__

_HAS_MODELS = having(models={"type": "array", "minItems": 1})
# A lists file of `models:`, whose name is a label.
_HAS_LISTS = having(recommendations=NOT_NULL)


class _Generator(GenerateJsonSchema):
    """Leaves out titles such as `Max Download Gb`, which editors would show above the description."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def config_json_schema() -> JsonSchema:
    """Return the JSON Schema of configs, draft 2020-12, for the models, metrics and strategies that are installed."""
    models = model_classes()
    document = Config.model_json_schema(schema_generator=_Generator)
    _describe(document)
    _simplify(document)
    definitions = document["$defs"]
    definitions |= metrics.metric_definitions()
    definitions |= {
        "Step": preprocessing.step_definition(),
        "Moment": splits.moment_definition(),
        "Dimension": hyperparameters.dimension_definition(),
        "Number": {"type": "number"},
        "Interval": hyperparameters.interval_definition(),
    }
    for model in models:
        definitions[f"{model.name}.params"] = hyperparameters.params_definition(model)
        definitions[f"{model.name}.when"] = hyperparameters.conditions_definition(model)
        definitions[f"{model.name}.space"] = hyperparameters.space_definition(model)
    _complete_sections(definitions, models)
    document["properties"]["split"], split_rule = _split()
    document["patternProperties"] = _dotted_keys(document)
    document["allOf"] = [
        split_rule,
        *_config_rules(),
        *splits.split_rules(),
        *metrics.measured_rules(),
        *_model_rules(models),
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"recctl {__version__}; made by: recctl config schema",
        "title": "recctl config",
    } | without(document, "title")


def _describe(document: JsonSchema) -> None:
    """Add the descriptions of all keys."""
    for name, definition in document["$defs"].items():
        for key, text in descriptions(getattr(config_sections, name)).items():
            definition["properties"][key]["description"] = text
    for key, text in descriptions(Config).items():
        document["properties"][key]["description"] = text


def _simplify(schema: Any) -> None:
    """Leave out what says nothing to an editor: the defaults of sections, and keywords of OpenAPI."""
    if isinstance(schema, list):
        for element in schema:
            _simplify(element)
    if not isinstance(schema, dict):
        return
    schema.pop("discriminator", None)
    if isinstance(schema.get("default"), dict):
        del schema["default"]
    if isinstance(schema.get("description"), str):
        schema["description"] = " ".join(schema["description"].split())
    for key, value in schema.items():
        if key not in ("default", "enum", "examples", "description"):
            _simplify(value)


# ---- sections


def _complete_sections(definitions: JsonSchema, models: list[type[Recommender]]) -> None:
    """Add names, forms of values, and rules to the sections that pydantic describes."""
    data = definitions["DataConfig"]
    data["properties"]["preprocess"]["items"] = {"$ref": "#/$defs/Step"}
    data["allOf"] = _data_rules()
    evaluation = definitions["EvaluationConfig"]["properties"]
    evaluation["metrics"]["items"] = {"$ref": "#/$defs/Metric"}
    _refer(evaluation, "monitor", "Monitor")
    _refer(definitions["EarlyStoppingConfig"]["properties"], "monitor", "ValidationMonitor")
    temporal = definitions["TemporalSplit"]
    for key in ("test_start", "val_start"):
        temporal["properties"][key] = without(temporal["properties"][key], "anyOf") | {"$ref": "#/$defs/Moment"}
    temporal["allOf"] = splits.temporal_rules()
    definitions["KFoldSplit"]["allOf"] = splits.fold_rules()
    tuning = definitions["TuningConfig"]
    _refer(tuning["properties"], "monitor", "Monitor", unique=True)
    _refer(tuning["properties"], "pick", "Condition")
    tuning["properties"]["space"]["additionalProperties"] = True
    tuning["allOf"] = _tuning_rules()
    for old_name, new_name in DEPRECATED_KEYS["tuning"].items():
        tuning["properties"][old_name] = tuning["properties"][new_name] | {"deprecated": True}
    names = [model.name for model in models]
    definitions["ModelConfig"]["properties"]["name"]["enum"] = names
    compared = definitions["ComparedModel"]
    compared["properties"]["space"]["additionalProperties"] = True
    compared["allOf"] = _compared_model_rules(models)


def _refer(properties: JsonSchema, key: str, definition: str, *, unique: bool = False) -> None:
    """Let the texts of a key have the form of a definition: the text itself, and those of a list."""
    reference = {"$ref": f"#/$defs/{definition}"}
    alternatives = []
    for alternative in properties[key]["anyOf"]:
        if alternative["type"] == "string":
            alternative = reference
        elif alternative["type"] == "array":
            alternative = alternative | {"items": reference}
            if unique:
                alternative["uniqueItems"] = True
        alternatives.append(alternative)
    properties[key]["anyOf"] = alternatives


def _split() -> tuple[JsonSchema, JsonSchema]:
    """The section `split`, and the rule of a config by which the strategy selects a definition.

    As `oneOf` of the definitions, an error in one of them would have no clear message.
    """
    strategies = []
    rules = []
    for split_class in _split_classes():
        strategy = get_args(split_class.model_fields["strategy"].annotation)[0]
        strategies.append(strategy)
        is_chosen = having(strategy={"const": strategy})
        if strategy == RandomSplit().strategy:
            is_chosen = either(is_chosen, negated(having(strategy=ANYTHING)))
        rules.append(rule({"type": "object"} | is_chosen, {"$ref": f"#/$defs/{split_class.__name__}"}))
    names = {"type": "string", "enum": strategies, "default": RandomSplit().strategy}
    described = section(strategy=names) | {"description": "Split into train, validation and test."}
    selected = section(split={"type": "object", "allOf": rules})
    return described, rule(without_dotted_keys("split"), selected)


def _split_classes() -> tuple[type[BaseModel], ...]:
    return get_args(get_args(SplitConfig)[0])


def config_keys(document: JsonSchema) -> Iterator[tuple[tuple[str, ...], JsonSchema]]:
    """Yield the path of each key that a section of a config may have, and the schema of its values.

    Args:
        document: What `config_json_schema` returns.
    """
    definitions = document["$defs"]
    for name, schema in document["properties"].items():
        yield (name,), schema
        if name != "split":
            yield from _keys_in((name,), schema, definitions)
            continue
        found: dict[str, JsonSchema] = {"strategy": schema["properties"]["strategy"]}
        for split_class in _split_classes():
            for key, value in definitions[split_class.__name__]["properties"].items():
                found.setdefault(key, value)
        for key, value in found.items():
            yield (name, key), value


def _keys_in(
    path: tuple[str, ...], schema: JsonSchema, definitions: JsonSchema
) -> Iterator[tuple[tuple[str, ...], JsonSchema]]:
    for definition in _references(schema):
        for key, value in definitions[definition].get("properties", {}).items():
            yield (*path, key), value
            yield from _keys_in((*path, key), value, definitions)


def _dotted_keys(document: JsonSchema) -> JsonSchema:
    """Keys such as `data.id_type`, which stand for a key of a section."""
    # Which keys of a split there are, and their values, depends on the strategy.
    patterns: JsonSchema = {r"^split\.": ANYTHING}
    for path, schema in config_keys(document):
        if path[0] == "split" or len(path) == 1:
            continue
        dotted = r"\.".join(escape(part) for part in path)
        patterns[f"^{dotted}$"] = without(schema, "default", "description")
        if schema.get("type") == "object" and "properties" not in schema:
            # Names that the user or the model chooses, as in data.columns and model.params.
            patterns[rf"^{dotted}\."] = ANYTHING
    return patterns


def _references(schema: JsonSchema) -> Iterator[str]:
    """The definitions that a value of a schema may have."""
    if "$ref" in schema:
        yield schema["$ref"].removeprefix("#/$defs/")
    for keyword in ("anyOf", "oneOf", "allOf"):
        for alternative in schema.get(keyword, []):
            yield from _references(alternative)
    if "then" in schema:
        yield from _references(schema["then"])


# ---- rules


def _data_rules() -> list[JsonSchema]:
    with_lines = having(format={"enum": list(FORMATS_OF_LINES)})
    hour_of_half_day = {"type": "string", "pattern": "%I"}
    half_of_day = {"type": "string", "pattern": "%p"}
    return [
        rule(having(user={"enum": ["line", "counted_line"]}), with_lines),
        section(timestamp_format=either({"type": "string", "pattern": "%"}, NULL)),
        rule(having(timestamp_format=hour_of_half_day), having(timestamp_format=half_of_day)),
        rule(having(timestamp_format=half_of_day), having(timestamp_format=hour_of_half_day)),
    ]


def _tuning_rules() -> list[JsonSchema]:
    is_manual = having(strategy={"const": "manual"})
    several_monitors = having(monitor={"type": "array", "minItems": 2})
    some = {"type": "array", "minItems": 1}
    none = {"type": "array", "maxItems": 0}
    return [
        rule(is_manual, having(points=some)),
        rule(negated(is_manual), section(points=none)),
        rule(having(pick=NOT_NULL), several_monitors),
    ]


def _config_rules() -> list[JsonSchema]:
    """Rules about several sections that hold for all models."""
    empty = {"type": "object", "maxProperties": 0}
    has_users = having(data=having(users=NOT_NULL))
    has_items = having(data=having(items=NOT_NULL))
    has_lists = having(models={"type": "array", "contains": _HAS_LISTS})
    return [
        rule(_HAS_MODELS, section(model=False, tuning=nullable_section(space=empty))),
        rule(has_lists, section(evaluation=section(n_candidates=NULL))),
        rule(
            without_dotted_keys("data"),
            {
                "allOf": [
                    rule(negated(has_users), _without_segments("users")),
                    rule(negated(has_items), _without_segments("items")),
                ]
            },
        ),
    ]


def _without_segments(name: str) -> JsonSchema:
    segment = negated(having(**{name: ANYTHING}))
    return section(evaluation=section(segments={"type": "array", "items": segment}))


def _compared_model_rules(models: list[type[Recommender]]) -> list[JsonSchema]:
    """Rules of an entry of `models:`: a model, or a file of lists."""
    empty = {"type": "object", "maxProperties": 0}
    by_model = [rule(_is_named(model.name), section(**hyperparameters.model_rules(model))) for model in models]
    fitted = section(name={"enum": [model.name for model in models]}, columns=empty)
    return [
        rule(_HAS_LISTS, section(params=empty, space=empty, training=NULL)) | {"else": fitted | {"allOf": by_model}},
    ]


def _is_named(name: str) -> JsonSchema:
    """A section of a model with this name, which is the default if it gives none."""
    is_given = having(name={"const": name})
    if name != ModelConfig().name:
        return is_given
    return either(is_given, negated(having(name=ANYTHING)))


def _model_rules(models: list[type[Recommender]]) -> list[JsonSchema]:
    """Rules of a config about its model, or about all of its models."""
    rules = []
    for model in models:
        is_model = having(model=_is_named(model.name))
        if model.name == ModelConfig().name:
            is_model = either(is_model, negated(having(model=ANYTHING)))
        rules.append(rule({"type": "object"} | is_model, _with_model(model)))
    for_one = {"type": "object", "allOf": [without_dotted_keys("model"), negated(_HAS_MODELS)]}
    always_ratings = [model.name for model in models if model.needs_ratings is True]
    fitted_on_ratings = having(name={"enum": always_ratings})
    fitted_on_ratings["properties"]["recommendations"] = NULL
    learns = having(models={"type": "array", "contains": fitted_on_ratings})
    return [rule(for_one, {"type": "object", "allOf": rules}), rule(learns, _without_implicit())]


def _with_model(model: type[Recommender]) -> JsonSchema:
    """A config as its model allows it."""
    params = {"$ref": f"#/$defs/{model.name}.params"}
    rules = []
    for condition, learns_from_ratings, predicts_ratings in hyperparameters.rating_conditions(model):
        if learns_from_ratings:
            rules.append(rule(condition, _without_implicit()))
        if not predicts_ratings:
            rules.append(rule(condition, metrics.no_rating_metrics()))
    tuning = nullable_section(space={"$ref": f"#/$defs/{model.name}.space"}, points={"type": "array", "items": params})
    sections = section(model=section(params=params), training=hyperparameters.training_rules(model), tuning=tuning)
    return sections | {"allOf": rules}


def _without_implicit() -> JsonSchema:
    return section(data=section(implicit={"const": False}))
