"""Preprocessing of interaction tables: functions from a table to a new table, which never change their input.

A step is a function whose first argument is the table. To add one, write it in a module of this package and list it in
`steps.STEPS`: its name, parameters and docstring are then available to configs, `recctl config steps` and the docs. A
parameter that names a column of the source, which is then read for the step, has the annotation `events.ColumnName`.
"""

from recctl.data.preprocessing.duplicates import drop_duplicates
from recctl.data.preprocessing.events import select_rows, weight_events
from recctl.data.preprocessing.filters import filter_by_interaction_count, select_time_window
from recctl.data.preprocessing.ratings import binarize_implicit_feedback, normalize_ratings
from recctl.data.preprocessing.sampling import sample_interactions
from recctl.data.preprocessing.steps import (
    PARAMETER_CHECKS,
    STEPS,
    Counts,
    StepReport,
    apply_steps,
    reads_ratings,
    selects_training_data,
    sets_weights,
    source_columns,
)

__all__ = [
    "PARAMETER_CHECKS",
    "STEPS",
    "Counts",
    "StepReport",
    "apply_steps",
    "binarize_implicit_feedback",
    "drop_duplicates",
    "filter_by_interaction_count",
    "normalize_ratings",
    "reads_ratings",
    "sample_interactions",
    "select_rows",
    "select_time_window",
    "selects_training_data",
    "sets_weights",
    "source_columns",
    "weight_events",
]
