"""Paired comparison of models on the same users: confidence intervals and significance tests for each metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
    resample_window_means,
    window_means,
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
class WindowEstimate:
    """A metric of a model in one window of a backtest, with intervals over the users of this window.

    Attributes:
        n_users: Number of users that all models have in this window.
        value: The metric.
        low: The lower end of its confidence interval; NaN for a single user.
        high: The upper end.
        difference: The value minus that of the reference. It and all below are None for the reference.
        difference_low: The lower end of the difference's confidence interval.
        difference_high: The upper end.
    """

    n_users: int
    value: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


@dataclass(frozen=True)
class PairedComparison:
    """The result of `compare_paired` and of `compare_windows`.

    Attributes:
        estimates: By metric key, then by model.
        n_users: Number of users that all models have.
        left_out: Number of users of each model that another one lacks; no estimate includes them.
        without_user_values: Requested metrics that are no means over users, such as coverage, or whose values by user
            were not stored.
        windows: Of several windows: the estimates in each, by metric key, then by model.
    """

    estimates: dict[str, dict[str, MetricEstimate]]
    n_users: int
    left_out: dict[str, int]
    without_user_values: list[str]
    windows: dict[str, dict[str, list[WindowEstimate]]] = field(default_factory=dict)


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
    by_window = {label: [table] for label, table in tables.items()}
    return _compare(by_window, reference, metrics, _Estimation(seed, confidence, test, n_resamples))


def compare_windows(
    tables: Mapping[str, Sequence[pd.DataFrame]],
    reference: str,
    metrics: Sequence[str] | None = None,
    *,
    seed: int = 42,
    confidence: float = 0.95,
    test: Test = "randomisation",
    n_resamples: int = N_RESAMPLES,
) -> PairedComparison:
    """Compare models by their metrics for each user in several windows of time.

    The figure of a model is the mean over windows of its metric in each window, `M = (1/W) sum_w m_w`, where `m_w` is
    the mean over the users of window w. Users are the sampling unit: a resample draws users, each with all of their
    windows (a cluster bootstrap), so that users who occur in several windows are not counted as several. For the test,
    the labels of two models are exchanged for a user in all windows at once: the difference is the sum over users of
    `d_u = (1/W) sum_w (a_uw - b_uw) / n_w`, whose signs are drawn. The claim is about these windows, and users such as
    these; it says nothing about other weeks.

    Args:
        tables: By model, a table for each window, in the same order: `Evaluation.per_user`.
        reference: As for `compare_paired`, as is all that follows.
        metrics: Keys such as `ndcg@10`.
        seed: Seed of the resamples.
        confidence: Level of the confidence intervals.
        test: The significance test.
        n_resamples: Number of resamples.

    Returns:
        Estimates of the means over windows, and those in each window. `left_out` counts users once for each window.

    Raises:
        ConfigError: The reference is none of the models, a metric is unknown, or the numbers of windows differ.
        DataError: The models have no user in common in some window.
    """
    n_windows = {label: len(some_tables) for label, some_tables in tables.items()}
    if len(set(n_windows.values())) > 1:
        raise ConfigError(f"the models have different numbers of windows: {n_windows}")
    return _compare(tables, reference, metrics, _Estimation(seed, confidence, test, n_resamples))


class _Estimation(NamedTuple):
    """How intervals and p-values are estimated; see `compare_paired`."""

    seed: int
    confidence: float
    test: Test
    n_resamples: int


def _compare(
    tables: Mapping[str, Sequence[pd.DataFrame]],
    reference: str,
    metrics: Sequence[str] | None,
    estimation: _Estimation,
) -> PairedComparison:
    if reference not in tables:
        raise ConfigError(f"reference={reference!r}: is none of {', '.join(tables)}")
    labels = list(tables)
    if metrics is None:
        every_table = [table for some_tables in tables.values() for table in some_tables]
        requested = list(dict.fromkeys(metric_key for table in every_table for metric_key in _metric_columns(table)))
    else:
        requested = list(metrics)
    if unknown := [metric_key for metric_key in requested if not MetricKey.parse(metric_key).is_known]:
        raise ConfigError(*(f"metric {metric_key!r}: unknown" for metric_key in unknown))
    windows: list[list[pd.DataFrame]] = []
    left_out = dict.fromkeys(labels, 0)
    for position in range(len(tables[reference])):
        indexed = {label: _index_by_user(tables[label][position], label) for label in labels}
        shared_users = _shared_users(indexed)
        windows.append([indexed[label].loc[shared_users] for label in labels])
        for label in labels:
            left_out[label] += len(indexed[label]) - len(shared_users)
    estimator = _Estimator(labels, labels.index(reference), *estimation)
    estimates: dict[str, dict[str, MetricEstimate]] = {}
    window_estimates: dict[str, dict[str, list[WindowEstimate]]] = {}
    with progress.task("Resampling users"):
        for batch in _batches(windows, requested):
            batch_estimates, batch_windows = estimator.estimate(batch)
            estimates |= batch_estimates
            window_estimates |= batch_windows
    return PairedComparison(
        estimates={metric_key: estimates[metric_key] for metric_key in requested if metric_key in estimates},
        n_users=len(_all_users([frames[0].index for frames in windows])),
        left_out=left_out,
        without_user_values=[metric_key for metric_key in requested if metric_key not in estimates],
        windows=window_estimates,
    )


def _all_users(indexes: Sequence[pd.Index]) -> pd.Index:
    """The users of any window, sorted, so that the resamples do not depend on the order of the rows."""
    users = indexes[0]
    for index in indexes[1:]:
        users = users.union(index, sort=False)
    return users.sort_values()


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
        weights: The weight of each user in the means of each window, 0 for users that it does not have; shape
            `(n_users, n_windows)`.
        values: Shape `(n_users, n_windows, n_metrics, n_models)`.
    """

    keys: list[str]
    weights: Float64Array
    values: Float64Array


def _batches(windows: list[list[pd.DataFrame]], metrics: Sequence[str]) -> Iterator[_Batch]:
    """Yield the metrics that all tables have: means over users first, then means over ratings.

    Args:
        windows: For each window, the table of each model, with the same users.
        metrics: The requested metrics.
    """
    every_table = [table for tables in windows for table in tables]
    metric_keys = [metric_key for metric_key in metrics if all(metric_key in table for table in every_table)]
    rating_keys = [metric_key for metric_key in metric_keys if _is_error(metric_key)]
    ranking_keys = [metric_key for metric_key in metric_keys if not _is_error(metric_key)]
    if ranking_keys:
        weights = [_has_values(tables, ranking_keys).astype(np.float64) for tables in windows]
        yield from _cut(windows, ranking_keys, weights)
    if rating_keys:
        counts = [_shared_counts(tables, rating_keys) for tables in windows]
        known_counts = [count for count in counts if count is not None]
        if len(known_counts) == len(windows):
            yield from _cut(windows, rating_keys, known_counts)


def _shared_counts(tables: list[pd.DataFrame], keys: list[str]) -> Float64Array | None:
    """The number of ratings of each user, 0 for users who are not a pair; None if a table does not have it."""
    counts = [_n_rated(table) for table in tables]
    if any(count is None for count in counts):
        return None
    weights = np.asarray(counts[0])
    # A user for whom the models can predict different ratings is not a pair.
    has_same_ratings = np.all([count == weights for count in counts], axis=0)
    return np.where(_has_values(tables, keys) & has_same_ratings, weights, 0.0)


def _is_error(key: str) -> bool:
    return MetricKey.parse(key).metric.of == "errors"


def _has_values(frames: list[pd.DataFrame], keys: list[str]) -> NDArray[np.bool_]:
    """Which users have values of all metrics in all frames, shape `(n_users,)`."""
    return np.asarray(np.all([frame[keys].notna().all(axis=1) for frame in frames], axis=0))


def _cut(windows: list[list[pd.DataFrame]], keys: list[str], weights: list[Float64Array]) -> Iterator[_Batch]:
    """Cut the metrics into batches of limited size.

    Args:
        windows: For each window, the table of each model.
        keys: The metrics.
        weights: For each window, the weight of each of its users; those with 0 are left out.
    """
    is_used = [window_weights > 0 for window_weights in weights]
    if not all(used.any() for used in is_used):
        return
    users_by_window = [tables[0].index[used] for tables, used in zip(windows, is_used, strict=True)]
    all_users = _all_users(users_by_window)
    rows_by_window = [all_users.get_indexer(users) for users in users_by_window]
    n_models = len(windows[0])
    weight_table = np.zeros((len(all_users), len(windows)))
    for position, rows in enumerate(rows_by_window):
        weight_table[rows, position] = weights[position][is_used[position]]
    # At least one metric at a time, however many users there are.
    n_metrics = max(1, _BATCH_CELLS // (len(all_users) * len(windows) * n_models))
    for batch_start in range(0, len(keys), n_metrics):
        batch_keys = keys[batch_start : batch_start + n_metrics]
        values = np.zeros((len(all_users), len(windows), len(batch_keys), n_models))
        for position, rows in enumerate(rows_by_window):
            tables = [table.loc[is_used[position], batch_keys] for table in windows[position]]
            values[rows, position] = np.stack([table.to_numpy(np.float64) for table in tables], axis=2)
        yield _Batch(batch_keys, weight_table, values)


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

    def estimate(
        self, batch: _Batch
    ) -> tuple[dict[str, dict[str, MetricEstimate]], dict[str, dict[str, list[WindowEstimate]]]]:
        """Return the estimates of metrics that are means over users, or the roots of such means (RMSE).

        Returns:
            Those of the mean over windows and, if there are several windows, those of each window.
        """
        values = batch.values
        n_users, n_windows, n_metrics, n_models = values.shape
        is_root = np.array([MetricKey.parse(metric_key).name == "rmse" for metric_key in batch.keys])
        # A mean of roots is not the root of a mean: squared errors are averaged, and the root is taken at the end.
        values[:, :, is_root] **= 2
        relative_weights = (batch.weights / batch.weights.mean(axis=0))[:, :, None, None]

        # The same stream for each batch: all metrics are estimated from the same resamples.
        generator = rng.stream(self.seed, "bootstrap")
        flat_values = values.reshape(n_users, n_windows, -1)
        resampled = resample_window_means(flat_values, generator, self.n_resamples, batch.weights)
        resampled = resampled.reshape(-1, n_windows, n_metrics, n_models)
        observed = window_means(flat_values, batch.weights).reshape(n_windows, n_metrics, n_models)
        # A resample without any user of a small window says nothing about this window.
        resampled = np.where(np.isnan(resampled), observed, resampled)
        p_table = self._p_values((relative_weights * self._minus_reference(values)).mean(axis=1))

        influence = relative_weights * (values - observed)
        resampled[:, :, is_root] = np.sqrt(np.maximum(resampled[:, :, is_root], 0))
        observed[:, is_root] = np.sqrt(observed[:, is_root])
        # Delta method: the derivative of sqrt(m) is 1 / (2 sqrt(m)).
        influence[:, :, is_root] /= np.where(observed[:, is_root] > 0, 2 * observed[:, is_root], 1)
        arrays = self._arrays(resampled.mean(axis=1), observed.mean(axis=0), influence.mean(axis=1))
        p_holm = np.full_like(p_table, np.nan)
        # Corrected over the models, for each metric separately.
        p_holm[:, self._others] = [holm(metric_row) for metric_row in p_table[:, self._others]]
        arrays |= {"p": p_table, "p_holm": p_holm}
        estimates: dict[str, dict[str, MetricEstimate]] = {}
        for metric_row, metric_key in enumerate(batch.keys):
            estimates[metric_key] = {}
            for column, label in enumerate(self.labels):
                estimates[metric_key][label] = MetricEstimate(n_users, **self._cells(arrays, metric_row, column))
        if n_windows == 1:
            return estimates, {}
        window_estimates = self._estimate_windows(batch, resampled, observed, influence)
        return estimates, window_estimates

    def _estimate_windows(
        self, batch: _Batch, resampled: Float64Array, observed: Float64Array, influence: Float64Array
    ) -> dict[str, dict[str, list[WindowEstimate]]]:
        estimates: dict[str, dict[str, list[WindowEstimate]]] = {
            metric_key: {label: [] for label in self.labels} for metric_key in batch.keys
        }
        for position in range(batch.weights.shape[1]):
            is_in_window = batch.weights[:, position] > 0
            n_users = int(is_in_window.sum())
            arrays = self._arrays(resampled[:, position], observed[position], influence[is_in_window, position])
            for metric_row, metric_key in enumerate(batch.keys):
                for column, label in enumerate(self.labels):
                    cells = self._cells(arrays, metric_row, column)
                    estimates[metric_key][label].append(WindowEstimate(n_users, **cells))
        return estimates

    def _arrays(
        self, resampled: Float64Array, observed: Float64Array, influence: Float64Array
    ) -> dict[str, Float64Array]:
        """The values and differences with their intervals, each of shape `(n_metrics, n_models)`."""
        lower_bounds, upper_bounds = self._intervals(resampled, observed, influence)
        difference = self._minus_reference(observed)
        difference_low, difference_high = self._intervals(
            self._minus_reference(resampled), difference, self._minus_reference(influence)
        )
        return {
            "value": observed,
            "low": lower_bounds,
            "high": upper_bounds,
            "difference": difference,
            "difference_low": difference_low,
            "difference_high": difference_high,
        }

    def _cells(self, arrays: Mapping[str, Float64Array], metric_row: int, column: int) -> dict[str, float]:
        names = list(arrays)
        if column == self.reference:
            names = ["value", "low", "high"]
        return {name: float(arrays[name][metric_row, column]) for name in names}

    @property
    def _others(self) -> list[int]:
        return [column for column in range(len(self.labels)) if column != self.reference]

    def _minus_reference(self, array: Float64Array) -> Float64Array:
        return array - array[..., [self.reference]]

    def _p_values(self, differences: Float64Array) -> Float64Array:
        """p-values of the differences from the reference, `(n_metrics, n_models)`; NaN for the reference.

        Args:
            differences: What each user adds to the difference of each model, `(n_users, n_metrics, n_models)`.
        """
        n_users, n_metrics, n_models = differences.shape
        p_table = np.full((n_metrics, n_models), np.nan)
        if self._others:
            others = differences[:, :, self._others].reshape(n_users, -1)
            generator = rng.stream(self.seed, "signs")
            flat_p_values = p_values(others, generator, self.test, self.n_resamples)
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
