"""Intervals and tests against SciPy, enumeration, and their nominal error rates on simulated data."""

from __future__ import annotations

from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from recctl import engines
from recctl.evaluation.significance import (
    bca_interval,
    holm,
    mean_interval,
    p_values,
    randomization_test,
    resample_means,
    wilcoxon_test,
)


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def skewed(n_users: int, seed: int = 1) -> np.ndarray:
    """Values distributed like NDCG: many zeros and a long tail."""
    generator = rng(seed)
    return np.where(generator.random(n_users) < 0.5, 0, generator.beta(1, 3, n_users))


# ---- intervals


def test_bca_interval_equals_scipy() -> None:
    values = rng().exponential(size=25)
    resampled = resample_means(values[:, None], rng(2), 2000)
    actual = bca_interval(resampled, np.array([values.mean()]), values[:, None], 0.9)
    expected = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=0,
        confidence_level=0.9,
        bootstrap_result=SimpleNamespace(bootstrap_distribution=resampled[:, 0]),
    ).confidence_interval
    assert np.concatenate(actual) == pytest.approx([expected.low, expected.high], rel=1e-6)


def test_resampled_means_have_distribution_of_scipy() -> None:
    values = skewed(40)
    actual = resample_means(values[:, None], rng(3), 20_000)[:, 0]
    expected = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=rng(4)).bootstrap_distribution
    assert scipy.stats.ks_2samp(actual, expected).pvalue > 0.01
    assert actual.std() == pytest.approx(values.std() / np.sqrt(40), rel=0.02)


@pytest.mark.parametrize("n_users", [2, 3, 64, 65, 1000])
def test_resamples_draw_n_users_uniformly(n_users: int) -> None:
    shares = resample_means(np.eye(n_users), rng(), 4000)
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-4)
    assert np.allclose(shares * n_users, np.round(shares * n_users), atol=1e-2)
    assert np.abs(shares.mean(axis=0) - 1 / n_users).max() < 5.5 * np.sqrt(1 / n_users**2 / 4000)


def test_intervals_have_nominal_coverage() -> None:
    truth, n_trials = 0.5 / 4, 600
    n_covered = 0
    for trial in range(n_trials):
        low, high = mean_interval(skewed(80, seed=trial), rng(trial), n_resamples=1000)
        n_covered += low[0] <= truth <= high[0]
    assert 0.92 <= n_covered / n_trials <= 0.975


def test_interval_of_skewed_metric_is_asymmetric() -> None:
    values = rng(5).exponential(size=30) ** 2
    low, high = mean_interval(values, rng())
    assert high[0] - values.mean() > 1.1 * (values.mean() - low[0])


def test_columns_share_resamples() -> None:
    values = skewed(200)
    resampled = resample_means(np.column_stack([values + 0.1, values, values + 0.01 * rng().normal(size=200)]), rng())
    assert np.allclose(resampled[:, 0] - resampled[:, 1], 0.1, atol=1e-6)
    assert (resampled[:, 1] - resampled[:, 2]).std() < 0.1 * resampled[:, 1].std()


def test_weighted_mean_equals_scipy() -> None:
    values, weights = rng().random(50), rng(2).integers(1, 9, 50).astype(float)
    actual = resample_means(values[:, None], rng(3), 5000, weights)[:, 0]

    def weighted(values: np.ndarray, weights: np.ndarray, axis: int = -1) -> np.ndarray:
        return (values * weights).sum(axis) / weights.sum(axis)

    expected = scipy.stats.bootstrap((values, weights), weighted, n_resamples=5000, paired=True, rng=rng(4))
    assert actual.mean() == pytest.approx(np.average(values, weights=weights), rel=0.01)
    assert actual.std() == pytest.approx(expected.standard_error, rel=0.05)


def test_constant_values_have_zero_width_and_one_user_has_nan() -> None:
    assert [float(end[0]) for end in mean_interval(np.full(9, 0.25), rng())] == [0.25, 0.25]
    assert np.isnan(mean_interval([0.5], rng())).all()


@pytest.mark.parametrize("bad", [[], [0.5, float("nan")], [float("inf")]])
def test_users_without_value_are_rejected(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        mean_interval(bad, rng())
    with pytest.raises(ValueError, match="finite"):
        p_values(bad, rng())


def test_results_do_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.column_stack([skewed(5000), skewed(5000, 2)])
    results = []
    for count in (1, 3):
        monkeypatch.setattr(engines.local, "_threads", count)
        results.append([*mean_interval(values, rng()), p_values(values - values.mean(0) * 0.97, rng())])
    assert np.array_equal(results[0], results[1])


# ---- tests


def test_randomization_of_few_users_is_exact_as_in_scipy() -> None:
    a, b = skewed(10, 3), skewed(10, 4)
    expected = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=10_000
    )
    assert randomization_test((a - b)[:, None], rng())[0] == pytest.approx(expected.pvalue)


def test_randomization_of_few_hits_equals_enumeration() -> None:
    # 4 users gained a hit, 1 lost one: |sum| is 3 or more for the 5 + 1 patterns of at most one dissenter, twice.
    differences = np.array([1.0, 1, 1, 1, -1, 0, 0])[:, None]
    enumerated = np.mean([abs(sum(signs)) >= 3 for signs in product([-1, 1], repeat=5)])
    assert enumerated == 12 / 32
    assert randomization_test(differences, rng())[0] == enumerated
    assert randomization_test(differences, rng(), 20)[0] == pytest.approx(enumerated, abs=0.35), (
        "sampled, not enumerated"
    )


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_randomization_of_many_users_agrees_with_scipy(shift: float) -> None:
    differences = rng(6).normal(shift, 0.2, 150)
    expected = scipy.stats.permutation_test(
        (differences,),
        lambda d, axis: d.mean(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        rng=rng(7),
    )
    assert randomization_test(differences[:, None], rng(8), 20_000)[0] == pytest.approx(
        expected.pvalue, abs=0.015, rel=0.05
    )


def test_randomization_of_hits_agrees_with_sign_test() -> None:
    # Differences of hit rates: the p of a sign test, whose ties carry most of the probability.
    differences = np.repeat([1.0, -1.0, 0.0], [60, 44, 5000])[:, None]
    exact = scipy.stats.binomtest(60, 104).pvalue
    assert randomization_test(differences, rng(), 20_000)[0] == pytest.approx(exact, abs=0.015)


def test_false_positive_rate_equals_level() -> None:
    generator = rng(9)
    a, b = generator.beta(1, 3, (2, 120, 500))
    p = p_values(a - b, rng(10), n_resamples=2000)
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.025)
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("test", ["randomisation", "wilcoxon"])
def test_real_difference_is_significant(test: str) -> None:
    base = skewed(1000)
    better = base + rng(2).normal(0.01, 0.05, 1000)
    p = p_values(np.column_stack([better - base, base - base]), rng(), test)  # type: ignore[arg-type]
    assert p[0] < 0.001
    assert p[1] == 1


def test_p_value_is_never_zero() -> None:
    assert randomization_test(np.ones((500, 1)), rng(), 999)[0] == 1 / 1000


def test_wilcoxon_of_few_users_equals_enumeration() -> None:
    differences = np.array([0.3, -0.1, 0.7, 0.2, 0.0, 0.9, -0.4])
    kept = differences[differences != 0]
    ranks = scipy.stats.rankdata(np.abs(kept))
    sums = np.array([np.dot(signs, ranks) for signs in product([-1, 1], repeat=len(kept))])
    exact = np.mean(np.abs(sums) >= abs(np.dot(np.sign(kept), ranks)))
    assert wilcoxon_test(differences[:, None])[0] == pytest.approx(exact)


def test_wilcoxon_and_randomization_can_disagree() -> None:
    # Nine in ten lose a little, one in ten gains much: the mean rises, the ranks fall.
    differences = np.where(np.arange(400) % 10 == 0, 0.5, -0.01)
    assert differences.mean() > 0
    assert p_values(differences, rng())[0] < 0.001
    ranks = scipy.stats.rankdata(np.abs(differences)) * np.sign(differences)
    assert ranks.sum() < 0
    assert p_values(differences, rng(), "wilcoxon")[0] < 0.001


# ---- Holm


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04], [0.02, 0.04]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 * 0.005, 3 * 0.01, 2 * 0.03, and not below that
        ([0.5, 0.6, 0.7], [1, 1, 1]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
    ],
)
def test_holm_corrects_known_p_values(p: list[float], adjusted: list[float]) -> None:
    assert holm(p) == pytest.approx(adjusted)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_equals_step_down_procedure(p: list[float]) -> None:
    adjusted = holm(p)
    order = np.argsort(p, kind="stable")
    assert all(adjusted[i] <= adjusted[j] for i, j in pairwise(order))
    level, rejected = 0.05, set()
    for place, at in enumerate(order):
        if p[at] * (len(p) - place) > level:
            break
        rejected.add(int(at))
    assert set(np.flatnonzero(adjusted <= level).tolist()) == rejected
