"""Preprocessing of interaction tables: functions from a table to a new table, which never change their input.

A step is a function whose first argument is the table. To add one, write it in a module of this package and list it in
`steps.STEPS`: its name, parameters and docstring are then available to configs, `recctl config steps` and the docs.
"""

from recctl.data.preprocessing.duplicates import drop_duplicates
from recctl.data.preprocessing.filters import filter_by_interaction_count, select_time_window
from recctl.data.preprocessing.ratings import binarize_implicit_feedback, normalize_ratings
from recctl.data.preprocessing.sampling import sample_interactions
from recctl.data.preprocessing.steps import STEPS, Counts, StepReport, apply_steps

__all__ = [
    "STEPS",
    "Counts",
    "StepReport",
    "apply_steps",
    "binarize_implicit_feedback",
    "drop_duplicates",
    "filter_by_interaction_count",
    "normalize_ratings",
    "sample_interactions",
    "select_time_window",
]
