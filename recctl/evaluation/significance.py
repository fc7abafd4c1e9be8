"""Confidence intervals and significance tests for metrics that are means over users.

Users are the sampling unit: the values of a user for all metrics and models stay together, so that differences between
models are paired. The functions take and return arrays; a row is a user, a column a metric of a model or a difference
between two models. Random numbers depend on the generator alone, not on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recctl.engines import map_threads
from recctl.kernels import bootstrap

Float64Array = NDArray[np.float64]
Test = Literal["randomisation", "wilcoxon"]

TESTS: tuple[Test, ...] = ("randomisation", "wilcoxon")
N_RESAMPLES = 10_000
# A block of resamples has about this many float32 cells, and at least as many rows as a matrix product needs to be
# efficient: 128 MB a thread for a million users. The size depends on the data only, so that threads change no result.
_BLOCK_CELLS = 2**20
_MIN_BLOCK_ROWS = 32
_SIGN_TILE = 4096  # users whose signs are drawn at once
# Sums in float32, added in another order, count as equal within this many standard deviations.
_TOLERANCE = 1e-5


def mean_interval(
    values: ArrayLike,
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
    n_resamples: int = N_RESAMPLES,
) -> tuple[Float64Array, Float64Array]:
    """Return the BCa bootstrap interval of a mean over users; of a paired difference if `values` are differences.

    Args:
        values: Finite values, shape `(n_users,)` or `(n_users, n_columns)`.
        generator: Draws the resamples, which all columns share.
        confidence: The confidence level.
        n_resamples: Number of bootstrap resamples.

    Returns:
        The lower and the upper ends, each of shape `(n_columns,)`; NaN for fewer than two users.
    """
    values = _as_columns(values)
    resampled = resample_means(values, generator, n_resamples)
    return bca_interval(resampled, values.mean(axis=0), values, confidence)


def resample_means(
    values: Float64Array,
    generator: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    weights: Float64Array | None = None,
) -> Float64Array:
    """Return means over bootstrap resamples of the users: n_users of them, drawn with replacement.

    This is the exact bootstrap: how often each user is drawn is counted, and the counts are multiplied with the values
    of all columns at once. (Independent Poisson weights are simpler, but drawing one costs ten times as much.) The cost
    is `n_users * n_resamples` draws, and products in float32 of the deviations from the mean.

    Args:
        values: Shape `(n_users, n_columns)`.
        generator: Draws the key of the random numbers of each block of resamples.
        n_resamples: Number of resamples.
        weights: The weight of each user in the mean, shape `(n_users,)`; equal weights if None.

    Returns:
        Shape `(n_resamples, n_columns)`; all columns share the resamples.
    """
    if weights is None:
        weights = np.ones(len(values))
    return resample_window_means(values[:, None], generator, n_resamples, weights[:, None])[:, 0]


def resample_window_means(
    values: Float64Array, generator: np.random.Generator, n_resamples: int, weights: Float64Array
) -> Float64Array:
    """Return means in each window over bootstrap resamples of the users, each with the values of all windows.

    Args:
        values: Shape `(n_users, n_windows, n_columns)`; any finite value where the weight is 0.
        generator: As for `resample_means`.
        n_resamples: Number of resamples.
        weights: The weight of each user in the mean of each window, 0 for users that a window does not have; shape
            `(n_users, n_windows)`.

    Returns:
        Shape `(n_resamples, n_windows, n_columns)`; NaN where a resample has no user of a window.
    """
    n_users, n_windows, n_columns = values.shape
    # Deviations from the mean are summed instead of the values: float32 then loses nothing that matters to the
    # interval.
    center = window_means(values, weights)
    relative_weights = weights / weights.mean(axis=0)
    weighted_deviations = ((values - center) * relative_weights[:, :, None]).reshape(n_users, -1)
    operand = np.column_stack([weighted_deviations, relative_weights]).astype(np.float32)

    def resample(key: int, n_rows: int) -> Float64Array:
        # float32, although counts are small integers: the product below is then a fast GEMM.
        counts = np.empty((n_rows, n_users), np.float32)
        bootstrap.draw_counts(key, counts)
        weighted_sums = (counts @ operand).astype(np.float64)
        deviation_sums = weighted_sums[:, :-n_windows].reshape(n_rows, n_windows, n_columns)
        weight_sums = weighted_sums[:, -n_windows:, None]
        with np.errstate(invalid="ignore"):  # 0 / 0: the resample has no user of this window
            means: Float64Array = deviation_sums / weight_sums
        return means

    deviations = np.concatenate(list(_map_blocks(resample, generator, n_users, n_resamples)))
    return np.asarray(center + deviations)


def window_means(values: Float64Array, weights: Float64Array) -> Float64Array:
    """Return the weighted means over users in each window, shape `(n_windows, n_columns)`."""
    return np.asarray(np.average(values, axis=0, weights=np.broadcast_to(weights[:, :, None], values.shape)))


def bca_interval(
    resampled: Float64Array, observed: Float64Array, influence: Float64Array, confidence: float = 0.95
) -> tuple[Float64Array, Float64Array]:
    """Return the bias-corrected and accelerated bootstrap interval (BCa).

    Efron, 1987, "Better Bootstrap Confidence Intervals". It is preferred to percentiles because metrics of users are
    skewed and users may be few, and because it costs nothing more: the acceleration of a mean follows from the
    deviations of the users. The interval respects monotone transformations: the interval of a root is the root of the
    interval.

    Args:
        resampled: The statistic on each resample, shape `(n_resamples, n_columns)`.
        observed: The statistic, shape `(n_columns,)`.
        influence: The influence of each user on the statistic, up to a factor and an offset, shape
            `(n_users, n_columns)`; the values themselves for a mean.
        confidence: The confidence level.

    Returns:
        The lower and the upper ends, each of shape `(n_columns,)`; NaN for fewer than two users.
    """
    from scipy.special import ndtr, ndtri  # slow to import, and needed for comparisons only

    if len(influence) < 2:
        return np.full(len(observed), np.nan), np.full(len(observed), np.nan)
    deviations = influence - influence.mean(axis=0)
    squares = np.einsum("uc,uc->c", deviations, deviations)
    cubed_sums = np.einsum("uc,uc,uc->c", deviations, deviations, deviations)
    # One sixth of the skewness of the influence: sum(d^3) / (6 sum(d^2)^1.5).
    acceleration = cubed_sums / np.where(squares > 0, 6 * squares**1.5, 1)
    # Resamples equal to the statistic, which are common for few hits, count as half below it.
    n_resamples = len(resampled)
    share_below = (np.mean(resampled < observed, axis=0) + np.mean(resampled <= observed, axis=0)) / 2
    bias_correction = ndtri(np.clip(share_below, 0.5 / n_resamples, 1 - 0.5 / n_resamples))
    interval_ends = []
    for z_value in ndtri([(1 - confidence) / 2, (1 + confidence) / 2]):
        shifted = bias_correction + z_value
        levels = ndtr(bias_correction + shifted / (1 - acceleration * shifted))
        interval_ends.append(
            np.array([np.quantile(column, level) for column, level in zip(resampled.T, levels, strict=True)])
        )
    lower_bound, upper_bound = interval_ends
    return lower_bound, upper_bound


def p_values(
    differences: ArrayLike,
    generator: np.random.Generator,
    test: Test = "randomisation",
    n_resamples: int = N_RESAMPLES,
) -> Float64Array:
    """Return two-sided p-values of the hypothesis that two models do not differ, on the same users.

    Args:
        differences: The value of one model minus that of the other, shape `(n_users,)` or `(n_users, n_columns)`.
        generator: Draws the signs of the randomization test.
        test: "randomisation" tests whether the means differ. "wilcoxon" tests whether the ranks of the differences are
            symmetric around 0, which for skewed metrics is another question and can have another answer.
        n_resamples: Number of random sign assignments.

    Returns:
        Shape `(n_columns,)`.
    """
    differences = _as_columns(differences)
    if test == "wilcoxon":
        return wilcoxon_test(differences)
    return randomization_test(differences, generator, n_resamples)


def randomization_test(
    differences: Float64Array, generator: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> Float64Array:
    """Paired randomization test of the mean difference (Fisher's).

    Smucker, Allan and Carterette, 2007, "A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation", recommend it for means of metrics. If the models did not differ, their labels could be exchanged for
    each user, which changes the sign of the difference. The p-value is the share of sign assignments whose sum is at
    least as far from 0 as the observed sum. If `n_resamples` suffice for all sign assignments, it is exact; otherwise
    it is `(1 + n_extreme) / (1 + n_resamples)`, which is never 0. All columns share the signs. The cost is
    `n_users * n_resamples` bits, and products in float32; users without any difference cost nothing.

    Returns:
        Two-sided p-values, shape `(n_columns,)`; 1 for columns without differences.
    """
    differences = differences[np.any(differences != 0, axis=1)]
    n_users = len(differences)
    # All sign assignments are no more than the resamples: the test is exact at no extra cost.
    if n_users <= np.log2(n_resamples):
        sign_bits = np.arange(2**n_users)[:, None] >> np.arange(n_users) & 1
        all_signs = 2.0 * sign_bits - 1
        return _count_extreme(all_signs @ differences, differences) / len(all_signs)
    operand = differences.astype(np.float32)

    def count_extreme(key: int, n_rows: int) -> Float64Array:
        sums = np.zeros((n_rows, operand.shape[1]), np.float32)
        for tile_start in range(0, n_users, _SIGN_TILE):
            operand_tile = operand[tile_start : tile_start + _SIGN_TILE]
            signs = np.empty((n_rows, len(operand_tile)), np.float32)
            bootstrap.draw_signs(key + tile_start, signs)
            sums += signs @ operand_tile
        return _count_extreme(sums, differences)

    n_extreme = sum(_map_blocks(count_extreme, generator, min(n_users, _SIGN_TILE), n_resamples))
    return np.asarray((1 + n_extreme) / (1 + n_resamples))


def wilcoxon_test(differences: Float64Array) -> Float64Array:
    """Wilcoxon signed-rank test.

    Users without a difference are excluded, as Wilcoxon did. The p-value is exact for up to 50 users without ties;
    otherwise it is the normal approximation, corrected for ties.

    Returns:
        Two-sided p-values, shape `(n_columns,)`; 1 for columns without differences.
    """
    from scipy.stats import wilcoxon

    nonzero_columns = [column[column != 0] for column in differences.T]
    return np.array([wilcoxon(column).pvalue if len(column) else 1.0 for column in nonzero_columns])


def holm(p: ArrayLike) -> Float64Array:
    """Correct the p-values of several tests by Holm's method.

    Holm, 1979, "A Simple Sequentially Rejective Multiple Test Procedure". The probability of one or more false
    rejections among all tests is at most the significance level, however the tests depend on each other. The i-th
    smallest of n p-values is multiplied by `n - i + 1`; the results are made non-decreasing and at most 1.

    Returns:
        The corrected p-values in the given order.
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


def _count_extreme(sums: NDArray[np.floating], differences: Float64Array) -> Float64Array:
    """Count the sums, `(n, n_columns)`, that are at least as far from 0 as the sum of the differences."""
    rounding = _TOLERANCE * np.sqrt(np.sum(differences**2, axis=0))
    threshold = np.abs(differences.sum(axis=0)) - rounding
    return np.asarray(np.sum(np.abs(sums) >= threshold, axis=0, dtype=np.float64))


def _as_columns(values: ArrayLike) -> Float64Array:
    values = np.asarray(values, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("values must be finite and of at least one user; exclude users without a value")
    return values


def _map_blocks(
    function: Callable[[int, int], Float64Array], generator: np.random.Generator, n_users: int, n_resamples: int
) -> Iterator[Float64Array]:
    """Call `function(key, n_rows)` for blocks of resamples on all threads, each with its own random key."""
    # Keys are drawn for each block before any is computed, so that the order in which threads finish does not matter.
    n_rows = max(_MIN_BLOCK_ROWS, _BLOCK_CELLS // n_users)
    block_sizes = [min(n_rows, n_resamples - block_start) for block_start in range(0, n_resamples, n_rows)]
    block_keys = generator.integers(2**62, size=len(block_sizes)).tolist()
    return map_threads(lambda block: function(*block), zip(block_keys, block_sizes, strict=True))
