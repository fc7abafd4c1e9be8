"""Running preprocessing steps by name, and recording what each did."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import pandas as pd

from recctl.data import columns, frames
from recctl.data.frames import Frame
from recctl.data.preprocessing import table_arrays
from recctl.data.preprocessing.duplicates import drop_duplicates
from recctl.data.preprocessing.events import SourceColumn, select_rows, weight_events
from recctl.data.preprocessing.filters import filter_by_interaction_count, select_time_window, time_window
from recctl.data.preprocessing.ratings import binarize_implicit_feedback, normalize_ratings
from recctl.data.preprocessing.sampling import check_amount, sample_interactions
from recctl.errors import ConfigError, DataError
from recctl.rng import stream
from recctl.suggest import did_you_mean

STEPS: dict[str, Callable[..., pd.DataFrame]] = {
    step.__name__: step
    for step in (
        filter_by_interaction_count,
        binarize_implicit_feedback,
        normalize_ratings,
        drop_duplicates,
        sample_interactions,
        select_time_window,
        select_rows,
        weight_events,
    )
}

# Checks of parameters that their types can't express, by step. Each takes some of the parameters of its step, so that a
# config can be checked before data are read.
PARAMETER_CHECKS: dict[str, Callable[..., object]] = {
    "sample_interactions": check_amount,
    "select_time_window": time_window,
}
# Steps that set ratings to weights of implicit feedback.
_SET_WEIGHTS = frozenset({"weight_events"})
# Steps that do not say what an interaction is, but which interactions models are fitted on.
_SELECT_TRAINING_DATA = frozenset({"filter_by_interaction_count", "sample_interactions", "select_time_window"})
# Steps that read ratings, with the parameter values for which they do; None for all.
_READ_RATINGS: dict[str, tuple[str, tuple[str, ...]] | None] = {
    "binarize_implicit_feedback": None,
    "normalize_ratings": None,
    "drop_duplicates": ("keep", ("sum", "mean")),
    "select_rows": ("column", (columns.RATING,)),
    "weight_events": ("column", (columns.RATING,)),
}

_MAX_SEED = 2**31


@dataclass(frozen=True)
class Counts:
    """The size of a table."""

    rows: int
    users: int
    items: int

    @classmethod
    def of(cls, df: pd.DataFrame) -> Counts:
        """Count the rows, users and items of a table."""
        _, n_users = table_arrays.id_codes(df, columns.USER)
        _, n_items = table_arrays.id_codes(df, columns.ITEM)
        return cls(len(df), n_users, n_items)

    def __str__(self) -> str:
        return f"{self.rows:,} interactions of {self.users:,} users with {self.items:,} items"


@dataclass(frozen=True)
class StepReport:
    """What one step did.

    Attributes:
        name: Name of the step, one of `STEPS`.
        params: The parameters that were set; all others had their defaults.
        before: Size of the table before the step.
        after: Size of the table after the step.
    """

    name: str
    params: dict[str, Any]
    before: Counts
    after: Counts


def apply_steps(
    df: Frame, steps: Sequence[tuple[str, Mapping[str, Any]]], seed: int = 42
) -> tuple[pd.DataFrame, list[StepReport]]:
    """Run steps one after the other.

    Args:
        df: Columns `user_id`, `item_id` and those that the steps need.
        steps: Names from `STEPS`, each with its parameters.
        seed: Each random step without a seed of its own gets one derived from this seed and its position.

    Returns:
        The new table, and a report for each step.

    Raises:
        ConfigError: A step or parameter does not exist; all problems are reported together, before any step runs.
        DataError: A step can't run on the data, or leaves no interactions.
    """
    problems = [problem for name, params in steps for problem in _step_problems(name, params)]
    if problems:
        raise ConfigError(*problems)
    reports = []
    df = frames.to_pandas(df, "df")
    before = Counts.of(df)
    for position, (name, configured) in enumerate(steps):
        params = dict(configured)
        # A step's seed depends on its position, so that two samples are not drawn with the same random numbers.
        if "seed" in inspect.signature(STEPS[name]).parameters:
            params.setdefault("seed", int(stream(seed, "preprocessing", position).integers(_MAX_SEED)))
        df = STEPS[name](df, **params)
        after = Counts.of(df)
        if not after.rows:
            arguments = ", ".join(f"{key}={value}" for key, value in configured.items())
            raise DataError(f"{name}({arguments}) removes all of {before}; loosen its parameters")
        reports.append(StepReport(name, params, before, after))
        before = after
    return df, reports


def source_columns(steps: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """The columns of the source that steps name besides those of the roles, each once, in the order of the steps.

    A parameter names such a column if its annotation has the mark `SourceColumn`.

    Args:
        steps: Names from `STEPS`, each with its parameters. Unknown steps are ignored.
    """
    named = []
    for name, params in steps:
        if name not in STEPS:
            continue
        annotations = get_type_hints(STEPS[name], include_extras=True)
        for key, value in params.items():
            is_column = any(isinstance(mark, SourceColumn) for mark in get_args(annotations.get(key)))
            if is_column and value not in columns.COLUMNS:
                named.append(str(value))
    return list(dict.fromkeys(named))


def selects_training_data(name: str) -> bool:
    """Whether a step selects data to fit models on, by counts, at random or by time: not for data to measure on."""
    return name in _SELECT_TRAINING_DATA


def sets_weights(steps: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
    """Whether steps set ratings to weights of implicit feedback."""
    return any(name in _SET_WEIGHTS for name, _ in steps)


def reads_ratings(steps: Sequence[tuple[str, Mapping[str, Any]]]) -> bool:
    """Whether steps read the ratings of the source; those after a step that sets weights read these instead."""
    for name, params in steps:
        if name in _READ_RATINGS:
            condition = _READ_RATINGS[name]
            if condition is None or params.get(condition[0]) in condition[1]:
                return True
        if name in _SET_WEIGHTS:
            return False
    return False


def _step_problems(name: str, params: Mapping[str, Any]) -> list[str]:
    if name not in STEPS:
        return [f"preprocessing step {name!r}: unknown{did_you_mean(name, STEPS)}"]
    # The first parameter is the table.
    known = dict(list(inspect.signature(STEPS[name]).parameters.items())[1:])
    problems = [f"{name}: {key}: unknown parameter{did_you_mean(key, known)}" for key in params if key not in known]
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in params:
            problems.append(f"{name}: {key}: must be given")
    return problems
