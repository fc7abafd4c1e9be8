"""Paired comparison of models on the same users: confidence intervals and significance tests for each metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recctl import progress, rng
from recctl.data.columns import USER
from recctl.errors import ConfigError, DataError
from recctl.evaluation.significance import (
    N_RESAMPLES,
    Float64Array,
    Test,
    bca_interval,
    holm,
    p_values,
    resample_means,
)
from recctl.metrics import MetricKey

# Values of users, metrics and models that are processed at once: an array of them takes 160 MB.
_BATCH_CELLS = 20_000_000


@dataclass(frozen=True)
class MetricEstimate:
    """A metric of a model with its confidence interval, and the paired difference from the reference.

    Attributes:
        n_users: Number of users that all models have.
        value: The metric, a mean over these users.
        low: The lower end of its confidence interval; NaN for a single user.
        high: The upper end.
        difference: The value minus that of the reference, paired by user. It and all below are None for the reference.
        difference_low: The lower end of the difference's confidence interval.
        difference_high: The upper end.
        p: Two-sided p-value of the hypothesis that there is no difference.
        p_holm: The same, corrected by Holm's method for the number of models that are compared with the reference.
    """

    n_users: int
    value: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class PairedComparison:
    """The result of `compare_paired`.

    Attributes:
        estimates: By metric key, then by model.
        n_users: Number of users that all models have.
        left_out: Number of users of each model that another one lacks; no estimate includes them.
        without_user_values: Requested metrics that are no means over users, such as coverage, or whose values by user
            were not stored.
    """

    estimates: dict[str, dict[str, MetricEstimate]]
    n_users: int
    left_out: dict[str, int]
    without_user_values: list[str]


def compare_paired(
    tables: Mapping[str, pd.DataFrame],
    reference: str,
    metrics: Sequence[str] | None = None,
    *,
    seed: int = 42,
    confidence: float = 0.95,
    test: Test = "randomisation",
    n_resamples: int = N_RESAMPLES,
) -> PairedComparison:
    """Compare models by their metrics for each user.

    Users are joined by id; users that not all models have are excluded and counted. RMSE and MAE are means over
    ratings, not users: users are resampled with all their ratings, and the squared (or absolute) errors are tested.

    Args:
        tables: By model, `Evaluation.per_user` or a part of per_user.parquet.
        reference: The model that the others are compared with.
        metrics: Keys such as `ndcg@10`; by default all that any table has.
        seed: Seed of the resamples, which are the same for all metrics and models.
        confidence: Level of the confidence intervals.
        test: The significance test.
        n_resamples: Number of resamples of intervals and randomization tests.

    Raises:
        ConfigError: The reference is none of the models, or a metric is unknown.
        DataError: The models have no user in common.
    """
    if reference not in tables:
        raise ConfigError(f"reference={reference!r}: is none of {', '.join(tables)}")
    indexed = {label: _index_by_user(table, label) for label, table in tables.items()}
    shared_users = _shared_users(indexed)
    joined = {label: table.loc[shared_users] for label, table in indexed.items()}
    if metrics is None:
        requested = list(
            dict.fromkeys(metric_key for table in indexed.values() for metric_key in _metric_columns(table))
        )
    else:
        requested = list(metrics)
    if unknown := [metric_key for metric_key in requested if not MetricKey.parse(metric_key).is_known]:
        raise ConfigError(*(f"metric {metric_key!r}: unknown" for metric_key in unknown))
    labels = list(tables)
    estimator = _Estimator(labels, labels.index(reference), seed, confidence, test, n_resamples)
    estimates: dict[str, dict[str, MetricEstimate]] = {}
    with progress.task("Resampling users"):
        for batch in _batches(list(joined.values()), requested):
            estimates |= estimator.estimate(batch)
    return PairedComparison(
        estimates={metric_key: estimates[metric_key] for metric_key in requested if metric_key in estimates},
        n_users=len(shared_users),
        left_out={label: len(table) - len(shared_users) for label, table in indexed.items()},
        without_user_values=[metric_key for metric_key in requested if metric_key not in estimates],
    )


def _metric_columns(table: pd.DataFrame) -> list[str]:
    return [column for column in map(str, table) if MetricKey.parse(column).is_known]


def _index_by_user(table: pd.DataFrame, label: str) -> pd.DataFrame:
    if USER not in table:
        raise ConfigError(f"{label}: the table has no column {USER}; give Evaluation.per_user")
    indexed = table.set_index(USER)
    if not indexed.index.is_unique:
        duplicate = indexed.index[indexed.index.duplicated()][0]
        raise DataError(f"{label}: the table has several rows for user {duplicate}; keep one row for each user")
    return indexed


def _shared_users(tables: Mapping[str, pd.DataFrame]) -> pd.Index:
    labels = list(tables)
    shared_users = tables[labels[0]].index
    for label in labels[1:]:
        other_users = tables[label].index
        # pandas would intersect integers with text without an error, and find no user in common.
        if other_users.dtype.kind != shared_users.dtype.kind:
            raise DataError(
                f"{label}: its user ids are {other_users.dtype}, those of {labels[0]} are {shared_users.dtype}"
            )
        shared_users = shared_users.intersection(other_users)
    if not len(shared_users):
        raise DataError(f"{', '.join(tables)}: have no user in common; evaluate them on the same part")
    # Sorted, so that the resamples do not depend on the order of the rows.
    return shared_users.sort_values()


class _Batch(NamedTuple):
    """Metrics that have values for the same users.

    Attributes:
        keys: The metrics.
        weights: The weight of each user in the means, shape `(n_users,)`.
        values: Shape `(n_users, n_metrics, n_models)`.
    """

    keys: list[str]
    weights: Float64Array
    values: Float64Array


def _batches(frames: list[pd.DataFrame], metrics: Sequence[str]) -> Iterator[_Batch]:
    """Yield the metrics that all frames have: means over users first, then means over ratings."""
    metric_keys = [metric_key for metric_key in metrics if all(metric_key in frame for frame in frames)]
    rating_keys = [metric_key for metric_key in metric_keys if _is_error(metric_key)]
    ranking_keys = [metric_key for metric_key in metric_keys if not _is_error(metric_key)]
    if ranking_keys:
        is_complete = _has_values(frames, ranking_keys)
        yield from _cut(frames, ranking_keys, is_complete, np.ones(len(is_complete)))
    counts = [_n_rated(frame) for frame in frames]
    if rating_keys and not any(count is None for count in counts):
        weights = np.asarray(counts[0])
        # A user for whom the models can predict different ratings is not a pair.
        has_same_ratings = np.all([count == weights for count in counts], axis=0)
        yield from _cut(frames, rating_keys, _has_values(frames, rating_keys) & has_same_ratings, weights)


def _is_error(key: str) -> bool:
    return MetricKey.parse(key).metric.of == "errors"


def _has_values(frames: list[pd.DataFrame], keys: list[str]) -> NDArray[np.bool_]:
    """Which users have values of all metrics in all frames, shape `(n_users,)`."""
    return np.asarray(np.all([frame[keys].notna().all(axis=1) for frame in frames], axis=0))


def _cut(
    frames: list[pd.DataFrame], keys: list[str], users: NDArray[np.bool_], weights: Float64Array
) -> Iterator[_Batch]:
    """Cut the metrics into batches of limited size."""
    n_users = int(users.sum())
    if not n_users:
        return
    # At least one metric at a time, however many users there are.
    n_metrics = max(1, _BATCH_CELLS // (n_users * len(frames)))
    for batch_start in range(0, len(keys), n_metrics):
        batch_keys = keys[batch_start : batch_start + n_metrics]
        values = np.stack([frame.loc[users, batch_keys].to_numpy(np.float64) for frame in frames], axis=2)
        yield _Batch(batch_keys, weights[users], values)


def _n_rated(frame: pd.DataFrame) -> Float64Array | None:
    """The number of ratings behind each user's errors; None if the table does not have it."""
    if "n_rated" in frame:
        return frame["n_rated"].to_numpy(np.float64)
    # Beside rankings, n_relevant counts relevant items.
    has_only_errors = all(_is_error(metric_key) for metric_key in _metric_columns(frame))
    if has_only_errors and "n_relevant" in frame:
        return frame["n_relevant"].to_numpy(np.float64)
    return None


@dataclass(frozen=True)
class _Estimator:
    labels: list[str]
    reference: int
    seed: int
    confidence: float
    test: Test
    n_resamples: int

    def estimate(self, batch: _Batch) -> dict[str, dict[str, MetricEstimate]]:
        """Return the estimates of metrics that are means over users, or the roots of such means (RMSE)."""
        values = batch.values
        n_users, n_metrics, n_models = values.shape
        is_root = np.array([MetricKey.parse(metric_key).name == "rmse" for metric_key in batch.keys])
        # A mean of roots is not the root of a mean: squared errors are averaged, and the root is taken at the end.
        values[:, is_root] **= 2
        relative_weights = (batch.weights / batch.weights.mean())[:, None, None]

        # The same stream for each batch: all metrics are estimated from the same resamples.
        generator = rng.stream(self.seed, "bootstrap")
        resampled = resample_means(values.reshape(n_users, -1), generator, self.n_resamples, batch.weights)
        resampled = resampled.reshape(-1, n_metrics, n_models)
        observed = np.average(values, axis=0, weights=batch.weights)
        p_table = self._p_values(values, relative_weights)

        influence = relative_weights * (values - observed)
        resampled[:, is_root] = np.sqrt(np.maximum(resampled[:, is_root], 0))
        observed[is_root] = np.sqrt(observed[is_root])
        # Delta method: the derivative of sqrt(m) is 1 / (2 sqrt(m)).
        influence[:, is_root] /= np.where(observed[is_root] > 0, 2 * observed[is_root], 1)
        lower_bounds, upper_bounds = self._intervals(resampled, observed, influence)
        difference = self._minus_reference(observed)
        difference_low, difference_high = self._intervals(
            self._minus_reference(resampled), difference, self._minus_reference(influence)
        )
        p_holm = np.full_like(p_table, np.nan)
        # Corrected over the models, for each metric separately.
        p_holm[:, self._others] = [holm(metric_row) for metric_row in p_table[:, self._others]]
        interval_arrays = {"value": observed, "low": lower_bounds, "high": upper_bounds}
        difference_arrays = {
            "difference": difference,
            "difference_low": difference_low,
            "difference_high": difference_high,
            "p": p_table,
            "p_holm": p_holm,
        }
        estimates: dict[str, dict[str, MetricEstimate]] = {}
        for metric_row, metric_key in enumerate(batch.keys):
            estimates[metric_key] = {}
            for column, label in enumerate(self.labels):
                arrays = interval_arrays if column == self.reference else interval_arrays | difference_arrays
                cells = {name: float(array[metric_row, column]) for name, array in arrays.items()}
                estimates[metric_key][label] = MetricEstimate(n_users, **cells)
        return estimates

    @property
    def _others(self) -> list[int]:
        return [column for column in range(len(self.labels)) if column != self.reference]

    def _minus_reference(self, array: Float64Array) -> Float64Array:
        return array - array[..., [self.reference]]

    def _p_values(self, values: Float64Array, relative_weights: Float64Array) -> Float64Array:
        """p-values of the differences from the reference, `(n_metrics, n_models)`; NaN for the reference."""
        n_users, n_metrics, n_models = values.shape
        p_table = np.full((n_metrics, n_models), np.nan)
        if self._others:
            differences = (relative_weights * self._minus_reference(values))[:, :, self._others]
            generator = rng.stream(self.seed, "signs")
            flat_p_values = p_values(differences.reshape(n_users, -1), generator, self.test, self.n_resamples)
            p_table[:, self._others] = flat_p_values.reshape(n_metrics, -1)
        return p_table

    def _intervals(
        self, resampled: Float64Array, observed: Float64Array, influence: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        lower_bounds, upper_bounds = bca_interval(
            resampled.reshape(len(resampled), -1),
            observed.reshape(-1),
            influence.reshape(len(influence), -1),
            self.confidence,
        )
        return lower_bounds.reshape(observed.shape), upper_bounds.reshape(observed.shape)
