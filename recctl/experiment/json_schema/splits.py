"""The JSON Schema of the options of a split that exclude each other, and of what needs a validation part."""

from __future__ import annotations

from recctl.config.schema import KFoldSplit
from recctl.experiment.json_schema.conditions import (
    ANYTHING,
    NOT_NULL,
    NULL,
    JsonSchema,
    either,
    having,
    negated,
    nullable_section,
    rule,
    section,
    without_dotted_keys,
)

_ZERO_OR_NULL: JsonSchema = {"enum": [0, None]}
# Numbers of folds for which `fold` is compared with them: JSON Schema needs a rule for each.
_NUMBERS_OF_FOLDS = range(2, 31)
# A date as `datetime.fromisoformat` reads it, with or without a time.
_DATE: JsonSchema = {
    "type": "string",
    "pattern": r"^\s*[0-9]{4}-?([0-9]{2}-?[0-9]{2}|W[0-9]{2}(-?[1-7])?)([^0-9].*)?\s*$",
}
# Seconds since 1970. Whole numbers such as 20261001 are dates without hyphens, which are refused.
_SECONDS: JsonSchema = {"type": "number", "not": {"type": "integer", "minimum": 19_000_101, "maximum": 20_991_231}}


def moment_definition() -> JsonSchema:
    """A date, a moment, or seconds since 1970."""
    return {"anyOf": [_DATE, _SECONDS, NULL], "examples": ["2026-10-01", "2026-10-01T06:00+02:00"]}


def temporal_rules() -> list[JsonSchema]:
    """A temporal split is given by sizes or by dates."""
    by_dates = either(having(test_start=NOT_NULL), having(test_days=NOT_NULL))
    return [
        rule(by_dates, section(test_size=NULL, val_size=_ZERO_OR_NULL)),
        rule(negated(by_dates), section(val_start=NULL, val_days=NULL, train_days=NULL, gap_days=_ZERO_OR_NULL)),
        rule(having(val_start=NOT_NULL), section(val_days=NULL)),
    ]


def fold_rules() -> list[JsonSchema]:
    """The number of the test fold is below the number of folds."""
    default = KFoldSplit(strategy="k_fold").n_folds
    rules = [rule(negated(having(n_folds=ANYTHING)), _fold_below(default))]
    rules += [rule(having(n_folds={"const": n_folds}), _fold_below(n_folds)) for n_folds in _NUMBERS_OF_FOLDS]
    return rules


def _fold_below(n_folds: int) -> JsonSchema:
    return section(fold={"type": "integer", "maximum": n_folds - 1})


def split_rules() -> list[JsonSchema]:
    """Rules of a config on the split and what depends on it."""
    is_rolling = having(split=having(strategy={"const": "rolling"}))
    is_predefined = having(split=having(strategy={"const": "predefined"}))
    rules = [
        rule(negated(is_rolling), section(backtest=NULL)),
        rule(is_predefined, section(data=section(source=negated({"const": "synthetic"})))),
    ]
    return [rule(without_dotted_keys("split"), {"type": "object", "allOf": [*rules, *_validation_rules()]})]


def _validation_rules() -> list[JsonSchema]:
    """Without a validation part there is nothing to add in a refit, and early stopping can only watch the loss."""
    size = negated(_ZERO_OR_NULL)
    options = ("val_size", "val_days", "val_start", "validation")
    no_validation = negated(having(split=either(*(having(**{key: size}) for key in options))))
    on_loss = either(NULL, having(monitor={"const": "loss"}))
    training = section(refit={"const": False}, early_stopping=on_loss)
    in_models = section(training=nullable_section(refit={"const": False}))
    models = {"type": "array", "items": in_models}
    has_models = having(models={"type": "array", "minItems": 1})
    return [
        rule(no_validation, section(models=models)),
        # With `models:`, the common section concerns only those without one of their own.
        rule({"type": "object", "allOf": [no_validation, negated(has_models)]}, section(training=training)),
    ]
