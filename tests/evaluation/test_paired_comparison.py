"""Paired comparison of models: pairing of users, intervals against SciPy, corrections."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from recctl.errors import ConfigError, DataError
from recctl.evaluation.paired_comparison import compare_paired


def table(n_users: int = 400, seed: int = 1, gain: float = 0.0) -> pd.DataFrame:
    """Make values by user: an effect of the user that all models share, and noise of the model."""
    user_effect = np.random.default_rng(0).beta(1, 2, n_users)
    model_noise = np.random.default_rng(seed).normal(gain, 0.05, n_users)
    ndcg = np.clip(user_effect + model_noise, 0, 1)
    return pd.DataFrame(
        {"user_id": np.arange(n_users), "ndcg@10": ndcg, "hit_rate@10": (ndcg > 0.2).astype(float), "n_relevant": 3}
    )


def test_values_are_means_and_differences_are_paired() -> None:
    tables = {"a": table(seed=1), "b": table(seed=2, gain=0.03)}
    result = compare_paired(tables, "b", n_resamples=2000)
    a, b = (result.estimates["ndcg@10"][label] for label in "ab")
    assert a.value == pytest.approx(tables["a"]["ndcg@10"].mean())
    assert a.difference == pytest.approx(a.value - b.value)
    expected = scipy.stats.bootstrap(
        (tables["a"]["ndcg@10"] - tables["b"]["ndcg@10"],), np.mean, n_resamples=9999, rng=np.random.default_rng(1)
    ).confidence_interval
    assert [a.difference_low, a.difference_high] == pytest.approx([expected.low, expected.high], abs=0.001)
    assert a.difference_high - a.difference_low < 0.5 * (a.high - a.low), "user effects cancel in pairs"
    assert a.p == a.p_holm < 0.001
    assert (b.difference, b.p, b.p_holm) == (None, None, None)
    assert list(result.estimates) == ["ndcg@10", "hit_rate@10"]


def test_similar_models_do_not_differ_significantly_and_equal_ones_have_p_1() -> None:
    result = compare_paired({"a": table(seed=1), "b": table(seed=2), "c": table(seed=1)}, "a", n_resamples=2000)
    b, c = (result.estimates["ndcg@10"][label] for label in "bc")
    assert b.p_holm > 0.05
    assert b.difference_low < 0 < b.difference_high
    assert (c.difference, c.difference_low, c.difference_high, c.p) == (0, 0, 0, 1)


def test_holm_corrects_for_number_of_models_per_metric() -> None:
    tables = {"best": table(seed=1)} | {f"m{n}": table(seed=n, gain=-0.008) for n in range(2, 6)}
    estimates = compare_paired(tables, "best", ["ndcg@10"], n_resamples=2000).estimates["ndcg@10"]
    p = {label: estimate.p for label, estimate in estimates.items() if estimate.p is not None}
    smallest = min(p, key=lambda label: p[label])
    assert estimates[smallest].p_holm == pytest.approx(min(1, 4 * p[smallest]))


def test_users_missing_for_one_model_are_excluded_and_counted() -> None:
    whole, part = table(100), table(100, seed=2).iloc[20:].sample(frac=1, random_state=1)
    part = pd.concat([part, part.tail(1).assign(user_id=999)])
    result = compare_paired({"whole": whole, "part": part}, "whole", n_resamples=200)
    assert result.n_users == 80
    assert result.left_out == {"whole": 20, "part": 1}
    assert result.estimates["ndcg@10"]["whole"].value == pytest.approx(whole["ndcg@10"].iloc[20:].mean())


def test_order_of_rows_does_not_matter() -> None:
    a, b = table(seed=1), table(seed=2)
    mixed = b.sample(frac=1, random_state=3)
    assert compare_paired({"a": a, "b": b}, "a", n_resamples=200) == compare_paired(
        {"a": a, "b": mixed}, "a", n_resamples=200
    )


def ratings(model: int, n_users: int = 300) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return errors by user, and the user and the error of each rating."""
    users = np.repeat(np.arange(n_users), np.random.default_rng(0).integers(1, 20, n_users))
    errors = np.random.default_rng(5).normal(0, 1, len(users)) * (1 + 0.05 * model)
    by_user = pd.Series(errors).groupby(users)
    frame = pd.DataFrame(
        {
            "user_id": np.arange(n_users),
            "rmse": np.sqrt(by_user.apply(lambda e: (e**2).mean())),
            "mae": by_user.apply(lambda e: e.abs().mean()),
            "n_relevant": by_user.size(),
        }
    )
    return frame, users, errors


def test_rmse_is_mean_over_ratings_with_users_resampled() -> None:
    tables, users, errors = zip(*(ratings(model) for model in range(2)), strict=True)
    result = compare_paired(dict(zip("ab", tables, strict=True)), "a", n_resamples=4000)
    rmse = [float(np.sqrt((error**2).mean())) for error in errors]
    estimates = result.estimates["rmse"]
    assert [estimates["a"].value, estimates["b"].value] == pytest.approx(rmse)
    assert estimates["b"].difference == pytest.approx(rmse[1] - rmse[0])
    assert result.estimates["mae"]["a"].value == pytest.approx(np.abs(errors[0]).mean())

    sse = [pd.Series(error**2).groupby(users[0]).sum().to_numpy() for error in errors]
    n = tables[0]["n_relevant"].to_numpy()

    def difference(n: np.ndarray, a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.sqrt(b.sum(axis) / n.sum(axis)) - np.sqrt(a.sum(axis) / n.sum(axis))

    expected = scipy.stats.bootstrap(
        (n, *sse), difference, paired=True, n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    width = expected.high - expected.low
    assert [estimates["b"].difference_low, estimates["b"].difference_high] == pytest.approx(
        [expected.low, expected.high], abs=0.1 * width
    )


def test_errors_beside_rankings_need_number_of_ratings() -> None:
    errors = ratings(0, 50)[0]
    mixed = table(50).merge(errors[["user_id", "rmse"]], on="user_id")
    assert compare_paired({"a": mixed, "b": mixed}, "a", n_resamples=100).without_user_values == ["rmse"]
    counted = mixed.assign(n_rated=errors["n_relevant"])
    assert compare_paired({"a": counted, "b": counted}, "a", n_resamples=100).without_user_values == []


def test_users_without_value_are_excluded_from_that_metric_only() -> None:
    errors = ratings(0, 50)[0].rename(columns={"n_relevant": "n_rated"})
    mixed = table(60).merge(errors, on="user_id", how="left")
    estimates = compare_paired({"a": mixed, "b": mixed}, "a", n_resamples=100).estimates
    assert (estimates["ndcg@10"]["a"].n_users, estimates["rmse"]["a"].n_users) == (60, 50)


def test_invalid_comparisons_are_rejected_with_reason() -> None:
    with pytest.raises(ConfigError, match="reference='c': is none of a, b"):
        compare_paired({"a": table(), "b": table()}, "c")
    with pytest.raises(ConfigError, match="ndgc@10"):
        compare_paired({"a": table(), "b": table()}, "a", ["ndgc@10"])
    with pytest.raises(DataError, match="a, b: have no user in common"):
        compare_paired({"a": table(), "b": table().assign(user_id=lambda t: t["user_id"] + 1000)}, "a")
    with pytest.raises(DataError, match="b: its user ids are"):
        compare_paired({"a": table(), "b": table().assign(user_id=lambda t: t["user_id"].astype(str))}, "a")
    with pytest.raises(DataError, match="b: the table has several rows for user 7"):
        compare_paired({"a": table(), "b": table().assign(user_id=7)}, "a")
    assert compare_paired({"a": table(), "b": table()}, "a", ["coverage@10"], n_resamples=10).without_user_values == [
        "coverage@10"
    ]


def test_single_user_has_value_but_no_interval() -> None:
    estimate = compare_paired({"a": table(1), "b": table(1)}, "a", n_resamples=10).estimates["ndcg@10"]["b"]
    assert np.isfinite(estimate.value)
    assert np.isnan(estimate.low)
