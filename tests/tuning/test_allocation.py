"""How the budget of a search is divided among models."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.tuning.allocation import Share, Standing, n_rungs, plan_share, ranked, surviving


@pytest.mark.parametrize(("n_models", "expected"), [(2, 1), (3, 2), (4, 2), (6, 3), (8, 3), (9, 4)])
def test_number_of_rungs_leaves_one_model(n_models: int, expected: int) -> None:
    assert n_rungs(n_models) == expected
    for _ in range(expected):
        n_models = math.ceil(n_models / 2)
    assert n_models == 1


def test_six_models_in_thirty_minutes_share_them_as_documented() -> None:
    total = Share(None, 1800.0)
    seconds = []
    spent = 0.0
    for n_left in (6, 3, 2, 1):
        share = plan_share(6, n_left, total, Share(0, spent))
        assert share is not None
        assert share.trials is None
        assert share.seconds is not None
        seconds.append(share.seconds)
        spent += n_left * share.seconds
    assert seconds == [75.0, 150.0, 225.0, 450.0]
    assert spent == 1800.0


@given(st.integers(2, 20), st.integers(0, 300))
def test_trials_never_exceed_the_budget_and_the_last_model_gets_the_rest(n_models: int, more: int) -> None:
    total = Share(n_models + more, None)
    spent = 0
    n_left = n_models
    while True:
        share = plan_share(n_models, n_left, total, Share(spent, 0.0))
        if share is None:
            assert n_models + more - spent < n_left, "every model could have had another trial"
            break
        assert share.trials is not None
        assert share.trials >= 1
        spent += n_left * share.trials
        assert spent <= n_models + more
        if n_left == 1:
            assert spent == n_models + more
            break
        n_left = math.ceil(n_left / 2)


def test_better_half_stays_and_the_faster_of_equal_models() -> None:
    standings = [
        Standing("slow", 0.4, 9.0, 3),
        Standing("fast", 0.4, 1.0, 3),
        Standing("best", 0.5, 20.0, 3),
        Standing("failed", None, 0.1, 3),
        Standing("worst", 0.1, 0.1, 3),
    ]
    assert ranked(standings) == ["best", "fast", "slow", "worst"]
    assert surviving(standings) == ["best", "fast", "slow"]
    assert surviving(standings[:3]) == ["best", "fast"]
    assert surviving([Standing("failed", None, 0.1, 1), Standing("worst", 0.1, 0.1, 1)]) == ["worst"]
    assert surviving([Standing("failed", None, 0.1, 1), Standing("other", None, 0.1, 1)]) == []
