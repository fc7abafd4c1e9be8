"""Models side by side on the same users: every figure with its interval, every difference with its interval and p."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

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

# Values of users, metrics and models under way at once: an array of them is 160 MB.
_CELLS = 20_000_000


@dataclass(frozen=True)
class MetricEstimate:
    """A metric of a model, and what it is beside that of the reference.

    Attributes:
        n_users: How many users it is of: those that all the models have.
        value: The metric.
        low: The lower end of its interval; NaN where there is one user.
        high: The upper end.
        difference: From the reference, paired by user; None for the reference itself, as all below.
        difference_low: The lower end of the difference's interval.
        difference_high: The upper end.
        p: Two-sided, of no difference.
        p_holm: Corrected for the number of models that are held against the reference by this metric.
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
    """What a comparison on the same users came to.

    Attributes:
        figures: By metric, then by model.
        n_users: Users that all the models have.
        left_out: Users of each model that another one does not have, and who are in no figure.
        without: Metrics that are no function of users' values, as coverage, or whose users' values were not kept.
    """

    figures: dict[str, dict[str, MetricEstimate]]
    n_users: int
    left_out: dict[str, int]
    without: list[str]


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
    """Compare models by what each user got of them.

    Users are joined by id; those that not all models have are left out and counted. RMSE and MAE are over ratings, not
    users: users are drawn with all their ratings, and the squared (absolute) errors of a user are what is tested.

    Args:
        tables: By model: `Evaluation.per_user` or a part of per_user.parquet.
        reference: The model the others are held against.
        metrics: Keys such as `ndcg@10`; all that every table has unless given.
        seed: Of the resamples, which are the same for all metrics and models.
        confidence: Of the intervals.
        test: What p is of.
        n_resamples: Of intervals and randomisation tests.

    Raises:
        ConfigError: The reference is none of the models, or a metric is unknown.
        DataError: The models share no user.
    """
    if reference not in tables:
        raise ConfigError(f"reference={reference!r}: is none of {', '.join(tables)}")
    indexed = {label: _by_user(table, label) for label, table in tables.items()}
    users = _shared_users(indexed)
    joined = {label: table.loc[users] for label, table in indexed.items()}
    every = list(dict.fromkeys(key for table in indexed.values() for key in _metrics_in(table)))
    wanted = every if metrics is None else list(metrics)
    if unknown := [key for key in wanted if not MetricKey.parse(key).is_known]:
        raise ConfigError(*(f"metric {key!r}: unknown" for key in unknown))
    compare = _Comparison(list(tables).index(reference), list(tables), seed, confidence, test, n_resamples)
    figures: dict[str, dict[str, MetricEstimate]] = {}
    with progress.task("Resampling users"):
        for keys, weights, values in _groups(joined, wanted):
            figures |= compare(keys, weights, values)
    return PairedComparison(
        figures={key: figures[key] for key in wanted if key in figures},
        n_users=len(users),
        left_out={label: len(table) - len(users) for label, table in indexed.items()},
        without=[key for key in wanted if key not in figures],
    )


def _metrics_in(table: pd.DataFrame) -> list[str]:
    return [key for key in map(str, table) if MetricKey.parse(key).is_known]


def _by_user(table: pd.DataFrame, label: str) -> pd.DataFrame:
    if USER not in table:
        raise ConfigError(f"{label}: the table has no column {USER}; give Evaluation.per_user")
    indexed = table.set_index(USER)
    if not indexed.index.is_unique:
        raise DataError(f"{label}: user {indexed.index[indexed.index.duplicated()][0]} is there twice")
    return indexed


def _shared_users(tables: Mapping[str, pd.DataFrame]) -> pd.Index:
    users, *others = (table.index for table in tables.values())
    for label, other in zip(list(tables)[1:], others, strict=True):
        if other.dtype.kind != users.dtype.kind:
            raise DataError(f"{label}: its user ids are {other.dtype}, those of {next(iter(tables))} {users.dtype}")
        users = users.intersection(other)
    if not len(users):
        raise DataError(f"{', '.join(tables)}: share no user; were they judged on the same part?")
    return users.sort_values()


def _groups(
    tables: Mapping[str, pd.DataFrame], metrics: Sequence[str]
) -> Iterator[tuple[list[str], Float64Array, Float64Array]]:
    """Metrics that are of the same users, those users' weights, and values `(n_users, n_metrics, n_models)`."""
    frames = list(tables.values())
    kept = [key for key in metrics if all(key in frame for frame in frames)]
    for errors in (False, True):
        keys = [key for key in kept if (MetricKey.parse(key).metric.of == "errors") == errors]
        if not keys:
            continue
        there = np.all([frame[keys].notna().all(axis=1) for frame in frames], axis=0)
        weights = np.ones(len(there))
        if errors:
            counts = [_n_rated(frame) for frame in frames]
            if any(count is None for count in counts):
                continue
            weights = np.asarray(counts[0])
            # A user of whom models can predict different ratings is no pair.
            there &= np.all([count == weights for count in counts], axis=0)
        if not there.any():
            continue
        size = max(1, _CELLS // (int(there.sum()) * len(frames)))
        for first in range(0, len(keys), size):
            some = keys[first : first + size]
            values = np.stack([frame.loc[there, some].to_numpy(np.float64) for frame in frames], axis=2)
            yield some, weights[there], values


def _n_rated(frame: pd.DataFrame) -> Float64Array | None:
    """How many ratings each user's errors are of; None where the table counts something else."""
    if "n_rated" in frame:
        return frame["n_rated"].to_numpy(np.float64)
    only_errors = all(MetricKey.parse(key).metric.of == "errors" for key in _metrics_in(frame))
    return frame["n_relevant"].to_numpy(np.float64) if only_errors and "n_relevant" in frame else None


@dataclass(frozen=True)
class _Comparison:
    reference: int
    labels: Sequence[str]
    seed: int
    confidence: float
    test: Test
    n_resamples: int

    def __call__(
        self, keys: list[str], weights: Float64Array, values: Float64Array
    ) -> dict[str, dict[str, MetricEstimate]]:
        """Figures of some metrics: a mean over users each, or the root of one."""
        n_users, n_metrics, n_models = values.shape
        roots = np.array([MetricKey.parse(key).name == "rmse" for key in keys])
        values[:, roots] **= 2
        share = (weights / weights.mean())[:, None, None]

        # The same stream for every group of metrics: each is judged on the same resamples.
        resampled = resample_means(
            values.reshape(n_users, -1), rng.stream(self.seed, "bootstrap"), self.n_resamples, weights
        ).reshape(-1, n_metrics, n_models)
        observed = np.average(values, axis=0, weights=weights)
        others = [at for at in range(n_models) if at != self.reference]
        p = np.full((n_metrics, n_models), np.nan)
        if others:
            differences = (share * (values - values[:, :, [self.reference]]))[:, :, others]
            found = p_values(
                differences.reshape(n_users, -1), rng.stream(self.seed, "signs"), self.test, self.n_resamples
            )
            p[:, others] = found.reshape(n_metrics, -1)

        influence = share * (values - observed)
        resampled[:, roots] = np.sqrt(np.maximum(resampled[:, roots], 0))
        observed[roots] = np.sqrt(observed[roots])
        # What a user adds to a root is what it adds to the mean, over twice the root.
        influence[:, roots] /= np.where(observed[roots] > 0, 2 * observed[roots], 1)
        low, high = self._interval(resampled, observed, influence)
        against = [array - array[..., [self.reference]] for array in (resampled, observed, influence)]
        lows, highs = self._interval(*against)
        corrected = np.full_like(p, np.nan)
        corrected[:, others] = [holm(row) for row in p[:, others]]

        def figure(row: int, at: int) -> MetricEstimate:
            own = {"value": observed, "low": low, "high": high}
            beside = {"difference": against[1], "difference_low": lows, "difference_high": highs, "p": p}
            known = own if at == self.reference else {**own, **beside, "p_holm": corrected}
            return MetricEstimate(n_users, **{name: float(array[row, at]) for name, array in known.items()})

        return {key: {label: figure(row, at) for at, label in enumerate(self.labels)} for row, key in enumerate(keys)}

    def _interval(
        self, resampled: Float64Array, observed: Float64Array, influence: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        shape = observed.shape
        low, high = bca_interval(
            resampled.reshape(len(resampled), -1),
            observed.reshape(-1),
            influence.reshape(len(influence), -1),
            self.confidence,
        )
        return low.reshape(shape), high.reshape(shape)
