"""Conditions on metrics such as `ndcg@10>=0.40`, for scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from recctl.errors import AssertionFailedError, ConfigError
from recctl.metrics.condition import Condition
from recctl.suggest import did_you_mean

if TYPE_CHECKING:
    from recctl.config import Config
    from recctl.runs import Run
    from recctl.runs.evaluations import EvaluationRecord


def require_meaningful(conditions: list[Condition], run: Run) -> None:
    """Check, before anything is measured, that the metrics of conditions mean something for a run's model.

    Raises:
        ConfigError: One is an error of predicted ratings, and the scores of the model are no ratings.
    """
    from recctl.models.base.rating_metrics import is_rating_metric
    from recctl.runs.rating_models import run_predicts_ratings

    refused = [condition.metric for condition in conditions if is_rating_metric(condition.metric)]
    if refused and not run_predicts_ratings(run):
        model_name = run.model_entry()["model"]
        raise ConfigError(
            f"--assert {', '.join(refused)}: the scores of {model_name} are not ratings, so that their errors mean "
            "nothing; assert a metric of rankings, such as 'ndcg@10>=0.40'"
        )


def require_segments(conditions: list[Condition], config: Config) -> None:
    """Check, before anything is measured, that the segments of conditions are among those of a config.

    Raises:
        ConfigError: One is not; lists those that there are.
    """
    from recctl.config.segments import parse_segment

    specs = [parse_segment(entry) for entry in config.evaluation.segments]
    known = [name for spec in specs for name in spec.key_beginnings]
    problems = []
    for condition in conditions:
        if condition.segment is None or any(_begins(condition.segment, name) for name in known):
            continue
        message = f"--assert {condition.subject}: unknown segment"
        if known:
            problems.append(
                f"{message}{did_you_mean(condition.segment, known)}; evaluation.segments has {_listed(known)}"
            )
        else:
            problems.append(f"{message}: no segments are measured; add --set 'evaluation.segments=[new_users]'")
    if problems:
        raise ConfigError(*problems)


def _begins(segment: str, name: str) -> bool:
    return segment == name or (name.endswith("=") and segment.startswith(name))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name}..." if name.endswith("=") else name for name in names)


def require(conditions: list[Condition], record: EvaluationRecord) -> None:
    """Check that all conditions hold.

    Args:
        conditions: Conditions to check.
        record: What was measured.

    Raises:
        ConfigError: A metric or a segment was not measured.
        AssertionFailedError: Conditions do not hold; the message has each one and the measured value.
    """
    # A misspelt metric is a usage error, exit code 2: it must not look like a failed assertion, exit code 6.
    unknown = [problem for condition in conditions for problem in _unknown(condition, record)]
    if unknown:
        raise ConfigError(*unknown)
    failures = []
    for condition in conditions:
        measured_value = _value(condition, record)
        if measured_value is None:
            failures.append(
                f"{condition.subject} has no value: no user of the segment was evaluated (users that the model does "
                "not know count as 0 with evaluation.on_unknown=zero)"
            )
        elif not condition.holds(measured_value):
            failures.append(
                f"{condition.subject} = {measured_value:.6g} is not {condition.comparison} {condition.bound:g}"
            )
    if failures:
        raise AssertionFailedError(f"on {record.data.label}: {'; '.join(failures)}")


def _unknown(condition: Condition, record: EvaluationRecord) -> Iterator[str]:
    if condition.segment is not None and condition.segment not in record.segments:
        suggestion = did_you_mean(condition.segment, record.segments)
        listed = ", ".join(record.segments) or "none"
        yield f"--assert {condition.subject}: unknown segment{suggestion}; there are {listed}"
        return
    measured = record.metrics
    if condition.segment is not None and record.segments[condition.segment]["n_users"]:
        measured = record.segment_metrics[condition.segment]
    if condition.metric in measured:
        return
    if condition.metric in record.metrics:
        yield f"--assert {condition.subject}: {condition.metric} is not measured within segments of this kind"
    else:
        yield f"--assert: {condition.metric!r} was not measured{did_you_mean(condition.metric, measured)}"


def _value(condition: Condition, record: EvaluationRecord) -> float | None:
    """The measured value; None if no user of the segment was evaluated."""
    if condition.segment is None:
        return record.metrics[condition.metric]
    return record.segment_metrics[condition.segment].get(condition.metric)
