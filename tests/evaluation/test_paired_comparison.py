"""Models side by side: who is paired with whom, what figures mean, and what words would say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from recctl.errors import ConfigError, DataError
from recctl.evaluation.paired_comparison import compare_paired


def table(n_users: int = 400, seed: int = 1, gain: float = 0.0) -> pd.DataFrame:
    """Per-user values: what a user is like is the same for all models, what a model gets of it is its own."""
    user = np.random.default_rng(0).beta(1, 2, n_users)
    own = np.random.default_rng(seed).normal(gain, 0.05, n_users)
    ndcg = np.clip(user + own, 0, 1)
    return pd.DataFrame(
        {"user_id": np.arange(n_users), "ndcg@10": ndcg, "hit_rate@10": (ndcg > 0.2).astype(float), "n_relevant": 3}
    )


def test_figures_are_means_and_differences_are_paired() -> None:
    tables = {"a": table(seed=1), "b": table(seed=2, gain=0.03)}
    found = compare_paired(tables, "b", n_resamples=2000)
    a, b = (found.figures["ndcg@10"][label] for label in "ab")
    assert a.value == pytest.approx(tables["a"]["ndcg@10"].mean())
    assert a.difference == pytest.approx(a.value - b.value)
    theirs = scipy.stats.bootstrap(
        (tables["a"]["ndcg@10"] - tables["b"]["ndcg@10"],), np.mean, n_resamples=9999, rng=np.random.default_rng(1)
    ).confidence_interval
    assert [a.difference_low, a.difference_high] == pytest.approx([theirs.low, theirs.high], abs=0.001)
    assert a.difference_high - a.difference_low < 0.5 * (a.high - a.low), "what users are like cancels in pairs"
    assert a.p == a.p_holm < 0.001
    assert (b.difference, b.p, b.p_holm) == (None, None, None)
    assert list(found.figures) == ["ndcg@10", "hit_rate@10"]


def test_models_that_are_alike_are_not_told_apart_and_equal_ones_never() -> None:
    found = compare_paired({"a": table(seed=1), "b": table(seed=2), "c": table(seed=1)}, "a", n_resamples=2000)
    b, c = (found.figures["ndcg@10"][label] for label in "bc")
    assert b.p_holm > 0.05
    assert b.difference_low < 0 < b.difference_high
    assert (c.difference, c.difference_low, c.difference_high, c.p) == (0, 0, 0, 1)


def test_p_is_corrected_for_the_number_of_models_of_one_metric() -> None:
    tables = {"best": table(seed=1)} | {f"m{n}": table(seed=n, gain=-0.008) for n in range(2, 6)}
    found = compare_paired(tables, "best", ["ndcg@10"], n_resamples=2000).figures["ndcg@10"]
    p = {label: figure.p for label, figure in found.items() if figure.p is not None}
    smallest = min(p, key=lambda label: p[label])
    assert found[smallest].p_holm == pytest.approx(min(1, 4 * p[smallest]))


def test_users_of_one_model_only_are_counted_not_dropped_silently() -> None:
    whole, part = table(100), table(100, seed=2).iloc[20:].sample(frac=1, random_state=1)
    part = pd.concat([part, part.tail(1).assign(user_id=999)])
    found = compare_paired({"whole": whole, "part": part}, "whole", n_resamples=200)
    assert found.n_users == 80
    assert found.left_out == {"whole": 20, "part": 1}
    assert found.figures["ndcg@10"]["whole"].value == pytest.approx(whole["ndcg@10"].iloc[20:].mean())


def test_order_of_users_does_not_matter() -> None:
    a, b = table(seed=1), table(seed=2)
    mixed = b.sample(frac=1, random_state=3)
    assert compare_paired({"a": a, "b": b}, "a", n_resamples=200) == compare_paired(
        {"a": a, "b": mixed}, "a", n_resamples=200
    )


def ratings(model: int, n_users: int = 300) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Per-user errors of ratings, and every error with its user."""
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


def test_rmse_is_of_all_ratings_and_its_interval_of_users() -> None:
    tables, users, errors = zip(*(ratings(model) for model in range(2)), strict=True)
    found = compare_paired(dict(zip("ab", tables, strict=True)), "a", n_resamples=4000)
    rmse = [float(np.sqrt((error**2).mean())) for error in errors]
    figures = found.figures["rmse"]
    assert [figures["a"].value, figures["b"].value] == pytest.approx(rmse)
    assert figures["b"].difference == pytest.approx(rmse[1] - rmse[0])
    assert found.figures["mae"]["a"].value == pytest.approx(np.abs(errors[0]).mean())

    sse = [pd.Series(error**2).groupby(users[0]).sum().to_numpy() for error in errors]
    n = tables[0]["n_relevant"].to_numpy()

    def difference(n: np.ndarray, a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.sqrt(b.sum(axis) / n.sum(axis)) - np.sqrt(a.sum(axis) / n.sum(axis))

    theirs = scipy.stats.bootstrap(
        (n, *sse), difference, paired=True, n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert [figures["b"].difference_low, figures["b"].difference_high] == pytest.approx(
        [theirs.low, theirs.high], abs=0.1 * width
    )


def test_errors_in_a_table_of_rankings_have_figures_only_where_their_number_is_known() -> None:
    errors = ratings(0, 50)[0]
    mixed = table(50).merge(errors[["user_id", "rmse"]], on="user_id")
    assert compare_paired({"a": mixed, "b": mixed}, "a", n_resamples=100).without == ["rmse"]
    counted = mixed.assign(n_rated=errors["n_relevant"])
    assert compare_paired({"a": counted, "b": counted}, "a", n_resamples=100).without == []


def test_users_without_a_value_of_a_metric_are_left_out_of_that_metric() -> None:
    errors = ratings(0, 50)[0].rename(columns={"n_relevant": "n_rated"})
    mixed = table(60).merge(errors, on="user_id", how="left")
    figures = compare_paired({"a": mixed, "b": mixed}, "a", n_resamples=100).figures
    assert (figures["ndcg@10"]["a"].n_users, figures["rmse"]["a"].n_users) == (60, 50)


def test_what_can_not_be_compared_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="reference='c': is none of a, b"):
        compare_paired({"a": table(), "b": table()}, "c")
    with pytest.raises(ConfigError, match="ndgc@10"):
        compare_paired({"a": table(), "b": table()}, "a", ["ndgc@10"])
    with pytest.raises(DataError, match="share no user"):
        compare_paired({"a": table(), "b": table().assign(user_id=lambda t: t["user_id"] + 1000)}, "a")
    with pytest.raises(DataError, match="b: its user ids are"):
        compare_paired({"a": table(), "b": table().assign(user_id=lambda t: t["user_id"].astype(str))}, "a")
    with pytest.raises(DataError, match="user 7 is there twice"):
        compare_paired({"a": table(), "b": table().assign(user_id=7)}, "a")
    assert compare_paired({"a": table(), "b": table()}, "a", ["coverage@10"], n_resamples=10).without == ["coverage@10"]


def test_one_user_has_a_value_and_no_interval() -> None:
    figure = compare_paired({"a": table(1), "b": table(1)}, "a", n_resamples=10).figures["ndcg@10"]["b"]
    assert np.isfinite(figure.value)
    assert np.isnan(figure.low)
