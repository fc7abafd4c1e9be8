"""How a run's model compares with recommending the most popular items, recorded for `recctl diagnose`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from recctl import progress, rng
from recctl.data.columns import USER
from recctl.data.dataset import InteractionDataset
from recctl.errors import ArtifactError, DataError
from recctl.evaluation import Evaluator
from recctl.experiment.data import Prepared
from recctl.metrics import MetricKey
from recctl.models.base import Recommender
from recctl.models.popularity import PopularityRecommender
from recctl.runs import Run

# The standard error of a mean over as many users is 1.4 % of the standard deviation; ranking them takes a second.
_MAX_USERS = 5000
_NORMAL_QUANTILE = 1.96
# Models that are baselines themselves.
_BASELINES = ("popularity", "random")


def accuracy_metric(run: Run, part: str) -> MetricKey | None:
    """Return the metric that selects the run, or the first measured one that is about the accuracy of rankings.

    Args:
        run: A run that was evaluated on the part.
        part: "validation" or "test".

    Returns:
        None if there is no such metric, or the model is a baseline itself.
    """
    if run.model_entry()["model"] in _BASELINES:
        return None
    measured = list(run.metrics().get(part, {}))
    selecting = str((run.metadata.get("monitor") or {}).get("metric"))
    if selecting in measured:
        measured.insert(0, selecting)
    for key in map(MetricKey.parse, measured):
        if key.is_known and key.metric.kind == "accuracy":
            return key
    return None


def popularity_baseline(
    run: Run,
    part: str,
    prepared: Prepared,
    metric_key: MetricKey,
    evaluator: Evaluator,
    fitted_on_train: Recommender | None = None,
) -> dict[str, Any] | None:
    """Compare the run's model with popularity on the users of a part on which the run was evaluated.

    Popularity is that of train, and measured by the same protocol. Of many users, a random sample is taken.

    Args:
        run: The run.
        part: "validation", or "test" if the split has no validation part.
        prepared: Its data set and split.
        metric_key: A metric that the run has by user.
        evaluator: Measures this metric, by the protocol of the run.
        fitted_on_train: A model that has the interactions of train already; None: they are taken from the data set.

    Returns:
        The means of both, and the mean of their paired differences with a 95 % interval; None if they have no users in
        common.
    """
    measured = (part, repr(evaluator))
    try:
        of_model = _by_user(run.per_user(part), metric_key)
        if measured not in prepared.popularity:
            popularity = _popularity(prepared, fitted_on_train)
            prepared.popularity[measured] = _values_by_user(popularity, part, prepared, metric_key, evaluator)
    except (ArtifactError, DataError):
        return None
    pairs = pd.concat({"model": of_model, "popularity": prepared.popularity[measured]}, axis=1).dropna()
    if len(pairs) < 2:
        return None
    differences = pairs["model"] - pairs["popularity"]
    difference = float(differences.mean())
    margin = _NORMAL_QUANTILE * float(differences.std()) / math.sqrt(len(pairs))
    return {
        "part": part,
        "metric": str(metric_key),
        "users": len(pairs),
        "model": float(pairs["model"].mean()),
        "popularity": float(pairs["popularity"].mean()),
        "difference": difference,
        "low": difference - margin,
        "high": difference + margin,
    }


def _popularity(prepared: Prepared, fitted_on_train: Recommender | None) -> PopularityRecommender:
    if fitted_on_train is not None:
        return PopularityRecommender.of_model(fitted_on_train)
    with progress.silence():
        return PopularityRecommender().fit(prepared.split.train(prepared.dataset))


def _values_by_user(
    popularity: PopularityRecommender, part: str, prepared: Prepared, metric_key: MetricKey, evaluator: Evaluator
) -> pd.Series[float]:
    relevant: InteractionDataset = getattr(prepared.split, part)(prepared.dataset)
    with progress.silence():
        evaluation = evaluator.evaluate_users(
            popularity, _sample_users(relevant, evaluator.seed), train_data=relevant.history, known=relevant.known
        )
    return _by_user(evaluation.per_user, metric_key)


def _by_user(table: pd.DataFrame, metric_key: MetricKey) -> pd.Series[float]:
    values: pd.Series[float] = table.set_index(USER)[str(metric_key)]
    return values


def _sample_users(relevant: InteractionDataset, seed: int) -> InteractionDataset:
    if relevant.n_users <= _MAX_USERS:
        return relevant
    sampled = rng.stream(seed, "popularity-baseline").choice(relevant.n_users, _MAX_USERS, replace=False)
    is_sampled = np.zeros(relevant.n_users, bool)
    is_sampled[sampled] = True
    return relevant.take(is_sampled[relevant.users])
