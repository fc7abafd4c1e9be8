"""Metrics of predicted ratings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recctl import progress
from recctl.data import columns
from recctl.data.dataset import InteractionDataset
from recctl.errors import DataError
from recctl.evaluation.segments import Segment
from recctl.metrics import METRICS, Float64Array
from recctl.models.base import Recommender


def evaluate_ratings(
    model: Recommender, test: InteractionDataset, metrics: Sequence[str], segments: Sequence[Segment] = ()
) -> tuple[dict[str, float], pd.DataFrame, dict[str, pd.DataFrame]]:
    """Compare predicted with actual ratings; the latest of repeated pairs counts.

    Returns:
        Each metric over all ratings that the model can predict; a table of the metrics over each user's ratings, with
        their number as `n_relevant`; and by key of each segment such a table of the ratings in it.

    Raises:
        DataError: Test has no ratings, or the model can predict none of them.
    """
    if test.ratings is None:
        raise DataError("test: has no ratings to compare predictions with; use task='ranking' without ratings")
    counted = test.latest_rows()
    with progress.task("Predicting", len(counted), "interactions") as task:
        user_ids = test.user_vocabulary.ids[test.users[counted]]
        item_ids = test.item_vocabulary.ids[test.items[counted]]
        # NaN marks pairs that the model cannot predict, and rows of repeated pairs that are not the latest.
        predicted = np.full(len(test), np.nan, np.float32)
        predicted[counted] = model.predict(user_ids, item_ids, on_unknown="skip")
        task.update(len(counted))
    predictable = np.flatnonzero(~np.isnan(predicted))
    if not len(predictable):
        raise DataError(
            f"test: the model can predict none of its {len(counted):,} ratings, because it was fitted on no user and "
            "item of a pair; check that the ids of train and test are of the same kind"
        )
    sorted_rows = predictable[np.argsort(test.users[predictable], kind="stable")]
    # float64: RMSE sums squares of up to millions of errors.
    errors = predicted[sorted_rows].astype(np.float64) - test.ratings[sorted_rows]
    all_rows = np.array([0, len(sorted_rows)])
    values = {metric_name: float(METRICS[metric_name].compute(errors, all_rows)[0]) for metric_name in metrics}
    per_user = _errors_by_user(test, sorted_rows, errors, metrics)
    tables = {}
    for segment in segments:
        is_member = _row_members(segment, test)[sorted_rows]
        tables[segment.key] = _errors_by_user(test, sorted_rows[is_member], errors[is_member], metrics)
    return values, per_user, tables


def _row_members(segment: Segment, test: InteractionDataset) -> NDArray[np.bool_]:
    """Whether each row of test belongs to a segment."""
    if segment.unit == "users":
        return segment.members[test.users]
    if segment.unit == "items":
        return segment.members[test.items]
    return segment.members


def _errors_by_user(
    test: InteractionDataset, rows: NDArray[np.int64], errors: Float64Array, metrics: Sequence[str]
) -> pd.DataFrame:
    """The metrics over each user's errors; `rows` are grouped by user."""
    # The errors of user codes[i] are errors[starts[i]:starts[i + 1]].
    user_codes, first_rows, n_ratings = np.unique(test.users[rows], return_index=True, return_counts=True)
    starts = np.append(first_rows, len(rows))
    table = pd.DataFrame({columns.USER: test.user_vocabulary.column(user_codes.astype(np.int32))})
    for metric_name in metrics:
        table[metric_name] = METRICS[metric_name].compute(errors, starts) if len(rows) else np.empty(0)
    table["n_relevant"] = n_ratings
    return table
