"""The JSON Schema of metrics, of monitors, and of what the evaluation measures."""

from __future__ import annotations

from collections.abc import Iterable

from recctl.config.schema import EvaluationConfig
from recctl.experiment.json_schema.conditions import (
    NOT_NULL,
    JsonSchema,
    either,
    escape,
    having,
    negated,
    nullable_section,
    one_of,
    rule,
    section,
    without_dotted_keys,
)
from recctl.metrics import METRICS

# Cutoffs whose monitors are compared with `k_values`: JSON Schema needs a rule for each of them.
_USUAL_CUTOFFS = (*range(1, 31), 40, 50, 60, 70, 80, 90, 100, 150, 200, 250, 300, 400, 500, 1000)
_CUTOFF = "@[1-9][0-9]*"
_COMPARISON = r"\s*(>=|<=|>|<)\s*[-+0-9.eE]+\s*"


def metric_definitions() -> dict[str, JsonSchema]:
    """The names of metrics and the forms of monitors, for `$defs`."""
    ranking = [name for name, metric in METRICS.items() if metric.task == "ranking"]
    measured = _key_pattern(METRICS, sampled=True)
    examples = [f"{name}@10" if METRICS[name].per_k else name for name in METRICS]
    return {
        "Metric": {"type": "string", "enum": list(METRICS)},
        "RankingMetric": {"type": "string", "enum": ranking},
        "Monitor": {"type": "string", "pattern": f"^{measured}$", "examples": examples},
        "ValidationMonitor": {
            "type": "string",
            "pattern": f"^(loss|{_key_pattern(METRICS, sampled=False)})$",
            "examples": ["loss", *examples],
        },
        "Condition": {"type": "string", "pattern": rf"^\s*{measured}{_COMPARISON}$", "examples": ["coverage@10>=0.3"]},
    }


def _key_pattern(names: Iterable[str], *, sampled: bool) -> str:
    """A regular expression of the keys of metrics, such as `ndcg@10` and `auc`."""
    with_cutoff = [name for name in names if METRICS[name].per_k]
    without_cutoff = [name for name in names if not METRICS[name].per_k]
    prefix = "(sampled_)?" if sampled else ""
    return f"{prefix}({one_of(with_cutoff)}{_CUTOFF}|{one_of(without_cutoff)})"


def measured_rules() -> list[JsonSchema]:
    """Rules of a config: a monitor is among what `evaluation` measures."""
    rules = []
    defaults = EvaluationConfig()
    for name in METRICS:
        is_measured = _holds_value("metrics", {"const": name}, is_default=name in defaults.metrics)
        rules.append(rule(negated(is_measured), _no_monitor(f"^\\s*(sampled_)?{escape(name)}(\\W|$)")))
    for cutoff in _USUAL_CUTOFFS:
        is_measured = _holds_value("k_values", {"const": cutoff}, is_default=cutoff in defaults.k_values)
        rules.append(rule(negated(is_measured), _no_monitor(f"@{cutoff}([^0-9]|$)")))
    rating = one_of(name for name, metric in METRICS.items() if metric.task != "ranking")
    is_sampled = having(evaluation=having(n_candidates=NOT_NULL))
    rules.append(rule(is_sampled, _no_monitor(rf"^\s*(?!sampled_|{rating}\b)")))
    rules.append(rule(negated(is_sampled), _no_monitor(r"^\s*sampled_")))
    return [rule(without_dotted_keys("evaluation"), {"allOf": rules})]


def _holds_value(key: str, value: JsonSchema, *, is_default: bool) -> JsonSchema:
    """A config whose list `evaluation.KEY` holds a value."""
    is_listed = having(evaluation=having(**{key: {"type": "array", "contains": value}}))
    if not is_default:
        return is_listed
    is_given = having(evaluation=having(**{key: NOT_NULL}))
    return either(is_listed, negated(is_given))


def _no_monitor(pattern: str) -> JsonSchema:
    """A config none of whose monitors is of a form."""
    other = {"not": {"type": "string", "pattern": pattern}}
    others = {"not": {"type": "array", "contains": {"type": "string", "pattern": pattern}}}
    several = {"allOf": [other, others]}
    return section(evaluation=section(monitor=other), tuning=nullable_section(monitor=several, pick=several))


def no_rating_metrics() -> JsonSchema:
    """A config without errors of predicted ratings, for a model that predicts none."""
    rating = one_of(name for name, metric in METRICS.items() if metric.task != "ranking")
    other = {"not": {"type": "string", "pattern": rf"^\s*{rating}\b"}}
    others = {"not": {"type": "array", "contains": {"type": "string", "pattern": rf"^\s*{rating}\b"}}}
    several = {"allOf": [other, others]}
    return section(
        evaluation=section(metrics={"type": "array", "items": {"$ref": "#/$defs/RankingMetric"}}, monitor=other),
        training=section(early_stopping=nullable_section(monitor=other)),
        tuning=nullable_section(monitor=several, pick=several),
    )
