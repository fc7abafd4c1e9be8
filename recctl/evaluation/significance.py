"""What chance may have done to figures that are means over users: intervals, tests, and their correction.

Users are what is drawn: a user's values for all metrics and models stay together, so that differences of models are
paired. Arrays in, arrays out; a row is a user, a column a metric of a model or a difference of two. All that is random
follows from the generator, whatever the threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from recctl.engines import map_threads
from recctl.kernels import bootstrap

Float64Array = NDArray[np.float64]
Test = Literal["randomisation", "wilcoxon"]

TESTS: tuple[Test, ...] = ("randomisation", "wilcoxon")
N_RESAMPLES = 10_000
# A block of resamples has about so many float32 cells, and no fewer rows than make a product worth while: 128 MB a
# thread for a million users. Cut by the data, so that threads change no result.
_CELLS, _ROWS = 2**20, 32
_TILE = 4096  # users whose signs are drawn at once


def mean_interval(
    values: ArrayLike,
    generator: np.random.Generator,
    *,
    confidence: float = 0.95,
    n_resamples: int = N_RESAMPLES,
) -> tuple[Float64Array, Float64Array]:
    """Bootstrap interval of the mean over users; of a paired difference where `values` are differences.

    Args:
        values: Finite, `(n_users,)` or `(n_users, n_columns)`.
        generator: Draws the resamples, which all columns share.
        confidence: How often such intervals hold the mean of the population the users come from.
        n_resamples: How often as many users are drawn, with replacement.

    Returns:
        The lower and the upper ends, `(n_columns,)`; NaN for fewer than two users, who say nothing of chance.
    """
    values = _columns(values)
    resampled = resample_means(values, generator, n_resamples)
    return bca_interval(resampled, values.mean(axis=0), values, confidence)


def resample_means(
    values: Float64Array,
    generator: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    weights: Float64Array | None = None,
) -> Float64Array:
    """Means over resamples of the users: as many as there are, drawn with replacement.

    Exact: how often each user is drawn is counted, and counts are multiplied with the values of all columns at once.
    (Independent Poisson weights are quicker to describe than to draw: a Poisson number costs ten times a draw.)
    Costs `n_users * n_resamples` draws and products in float32, of deviations from the mean.

    Args:
        values: `(n_users, n_columns)`.
        generator: Gives each block of resamples the number its draws follow from.
        n_resamples: How many.
        weights: Of each user in the mean, `(n_users,)`; all alike if None.

    Returns:
        `(n_resamples, n_columns)`; resamples are the same for all columns.
    """
    n_users = len(values)
    weights = np.ones(n_users) if weights is None else weights
    centre = np.average(values, axis=0, weights=weights)
    share = weights / weights.mean()
    operand = np.column_stack([(values - centre) * share[:, None], share]).astype(np.float32)

    def draw(key: int, n_rows: int) -> Float64Array:
        counts = np.empty((n_rows, n_users), np.float32)
        bootstrap.draw_counts(key, counts)
        sums = (counts @ operand).astype(np.float64)
        deviations: Float64Array = sums[:, :-1] / sums[:, -1:]
        return deviations

    deviations = np.concatenate(list(_in_blocks(draw, generator, n_users, n_resamples)))
    return np.asarray(centre + deviations)


def bca_interval(
    resampled: Float64Array, observed: Float64Array, influence: Float64Array, confidence: float = 0.95
) -> tuple[Float64Array, Float64Array]:
    """The bias-corrected and accelerated interval (BCa; Efron 1987, "Better bootstrap confidence intervals").

    Preferred to percentiles, because per-user metrics are skewed and users may be few, and because it costs nothing
    more here: the acceleration of a mean follows from the users' deviations. It goes with monotone functions: the
    interval of a root is the root of the interval.

    Args:
        resampled: The statistic on resamples, `(n_resamples, n_columns)`.
        observed: The statistic, `(n_columns,)`.
        influence: What each user adds to it, up to factor and offset, `(n_users, n_columns)`; of a mean, the values.
        confidence: The share of intervals that shall hold the truth.

    Returns:
        The lower and the upper ends, `(n_columns,)`; NaN for fewer than two users.
    """
    if len(influence) < 2:
        unknown = np.full(len(observed), np.nan)
        return unknown, unknown.copy()
    deviations = influence - influence.mean(axis=0)
    squares = np.einsum("uc,uc->c", deviations, deviations)
    cubes = np.einsum("uc,uc,uc->c", deviations, deviations, deviations)
    acceleration = cubes / np.where(squares > 0, 6 * squares**1.5, 1)
    # Resamples that equal the statistic, as those of few hits do, count half below it.
    below = (np.mean(resampled < observed, axis=0) + np.mean(resampled <= observed, axis=0)) / 2
    bias = ndtri(np.clip(below, 0.5 / len(resampled), 1 - 0.5 / len(resampled)))
    ends = []
    for z in ndtri([(1 - confidence) / 2, (1 + confidence) / 2]):
        shifted = bias + z
        level = ndtr(bias + shifted / (1 - acceleration * shifted))
        ends.append(np.array([np.quantile(column, at) for column, at in zip(resampled.T, level, strict=True)]))
    low, high = ends
    return low, high


def p_values(
    differences: ArrayLike,
    generator: np.random.Generator,
    test: Test = "randomisation",
    n_resamples: int = N_RESAMPLES,
) -> Float64Array:
    """Two-sided p of no difference between two models on the same users.

    Args:
        differences: The first model's value less the second's, `(n_users,)` or `(n_users, n_columns)`.
        generator: Draws the signs of the randomisation test.
        test: "randomisation" asks whether the means differ; "wilcoxon" whether one is better by more than it is worse
            in ranks of differences, which for skewed metrics is another question, and may have another answer.
        n_resamples: Of the randomisation test.

    Returns:
        `(n_columns,)`.
    """
    differences = _columns(differences)
    if test == "wilcoxon":
        return wilcoxon(differences)
    return randomisation(differences, generator, n_resamples)


def randomisation(
    differences: Float64Array, generator: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> Float64Array:
    """Paired randomisation test (Fisher's; Smucker, Allan & Carterette 2007 on why for means of metrics).

    If the models did not differ, their labels could be exchanged for each user, which turns the sign of the difference.
    p is how often sums with random signs are as far from 0 as the one there is; where all signs can be gone through in
    `n_resamples`, it is exact, else `(1 + how often) / (1 + n_resamples)`, which is never 0. Signs are shared by
    all columns. Costs `n_users * n_resamples` bits and products in float32; users without any difference cost nothing.

    Returns:
        Two-sided p of each column, `(n_columns,)`; 1 where there is no difference.
    """
    differences = differences[np.any(differences != 0, axis=1)]
    n_users = len(differences)
    if n_users <= np.log2(n_resamples):
        bits = np.arange(2**n_users)[:, None] >> np.arange(n_users) & 1
        return _as_far((2.0 * bits - 1) @ differences, differences) / len(bits)
    operand = differences.astype(np.float32)

    def draw(key: int, n_rows: int) -> Float64Array:
        sums = np.zeros((n_rows, operand.shape[1]), np.float32)
        for tile in range(0, n_users, _TILE):
            users = operand[tile : tile + _TILE]
            signs = np.empty((n_rows, len(users)), np.float32)
            bootstrap.draw_signs(key + tile, signs)
            sums += signs @ users
        return _as_far(sums, differences)

    found = sum(_in_blocks(draw, generator, min(n_users, _TILE), n_resamples))
    return np.asarray((1 + found) / (1 + n_resamples))


def _as_far(sums: NDArray[np.floating], differences: Float64Array) -> Float64Array:
    """How many sums are as far from 0 as that of the differences. Float32 and the order of addition are allowed for."""
    least = np.abs(differences.sum(axis=0)) - 1e-5 * np.sqrt(np.sum(differences**2, axis=0))
    return np.asarray(np.sum(np.abs(sums) >= least, axis=0, dtype=np.float64))


def wilcoxon(differences: Float64Array) -> Float64Array:
    """Wilcoxon's signed-rank test: two-sided p of each column, `(n_columns,)`; 1 where there is no difference.

    Users without a difference are left out, as Wilcoxon did. Exact for up to 50 users without ties, else by the normal
    approximation with ties corrected.
    """
    from scipy.stats import wilcoxon as signed_rank

    found = [column[column != 0] for column in differences.T]
    return np.array([signed_rank(column).pvalue if len(column) else 1.0 for column in found])


def holm(p: ArrayLike) -> Float64Array:
    """p-values of several tests, corrected for their number (Holm 1979), in the order given.

    The chance of one false finding or more among all the tests is then at most the level that the corrected values are
    held against, however the tests depend on each other. The ascending `p_i` become `(n - i + 1) p_i`, and none less
    than the one before it, none above 1.
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def _columns(values: ArrayLike) -> Float64Array:
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("give at least one user, and finite values: leave out users who have none")
    return values


def _in_blocks(
    draw: Callable[[int, int], Float64Array], generator: np.random.Generator, n_users: int, n_resamples: int
) -> Iterator[Float64Array]:
    """What is drawn for blocks of resamples, each from a key of its own."""
    n_rows = max(_ROWS, _CELLS // n_users)
    sizes = [min(n_rows, n_resamples - first) for first in range(0, n_resamples, n_rows)]
    keys = generator.integers(2**62, size=len(sizes)).tolist()
    return map_threads(lambda task: draw(*task), zip(keys, sizes, strict=True))
