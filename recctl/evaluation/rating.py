"""Predicted ratings against given ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from recctl import progress
from recctl.data import columns
from recctl.data.dataset import InteractionDataset
from recctl.errors import DataError
from recctl.metrics.definitions import METRICS
from recctl.models.base import Recommender


def evaluate_ratings(
    model: Recommender, test: InteractionDataset, metrics: Sequence[str]
) -> tuple[dict[str, float], pd.DataFrame]:
    """Metrics over all interactions the model can predict, and the same for each user.

    Raises:
        DataError: Test has no ratings, or the model can predict none of them.
    """
    if test.ratings is None:
        raise DataError("test: no ratings to compare predictions with; for interactions without use task='ranking'")
    with progress.task("Predicting", len(test), "interactions") as task:
        users, items = test.user_vocabulary.ids[test.users], test.item_vocabulary.ids[test.items]
        predicted = model.predict(users, items, on_unknown="skip")
        task.update(len(test))
    can = np.flatnonzero(~np.isnan(predicted))
    if not len(can):
        raise DataError(
            f"test: the model can predict none of its {len(test):,} ratings: it was fitted on no pair's user and item; "
            "are ids of the same kind in both?"
        )
    rows = can[np.argsort(test.users[can], kind="stable")]
    errors = predicted[rows].astype(np.float64) - test.ratings[rows]
    codes, begins, counts = np.unique(test.users[rows], return_index=True, return_counts=True)
    starts, everyone = np.append(begins, len(rows)), np.array([0, len(rows)])
    table = pd.DataFrame({columns.USER: test.user_vocabulary.column(codes.astype(np.int32))})
    for name in metrics:
        table[name] = METRICS[name].compute(errors, starts)
    return {name: float(METRICS[name].compute(errors, everyone)[0]) for name in metrics}, table.assign(
        n_relevant=counts
    )
