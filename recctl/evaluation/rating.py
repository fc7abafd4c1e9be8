"""Metrics of predicted ratings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from recctl import progress
from recctl.data import columns
from recctl.data.dataset import InteractionDataset
from recctl.errors import DataError
from recctl.metrics import METRICS
from recctl.models.base import Recommender


def evaluate_ratings(
    model: Recommender, test: InteractionDataset, metrics: Sequence[str]
) -> tuple[dict[str, float], pd.DataFrame]:
    """Compare predicted with actual ratings; the latest of repeated pairs counts.

    Returns:
        Each metric over all ratings that the model can predict; and a table of the metrics over each user's ratings,
        with their number as `n_relevant`.

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
    # The errors of user codes[i] are errors[starts[i]:starts[i + 1]].
    user_codes, first_rows, n_ratings = np.unique(test.users[sorted_rows], return_index=True, return_counts=True)
    starts = np.append(first_rows, len(sorted_rows))
    per_user = pd.DataFrame({columns.USER: test.user_vocabulary.column(user_codes.astype(np.int32))})
    all_rows = np.array([0, len(sorted_rows)])
    values = {}
    for metric_name in metrics:
        per_user[metric_name] = METRICS[metric_name].compute(errors, starts)
        values[metric_name] = float(METRICS[metric_name].compute(errors, all_rows)[0])
    per_user["n_relevant"] = n_ratings
    return values, per_user
