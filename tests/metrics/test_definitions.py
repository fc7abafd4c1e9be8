"""Metric definitions, compared with values computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from recctl.data.matrix import InteractionMatrix
from recctl.metrics import METRICS, Catalog, Lists
from recctl.metrics.definitions import auc, coverage, gini, mae, rmse

# Items 0, 1, 2 and 3 have 4, 2, 1 and 1 of the 4 users.
SEEN = InteractionMatrix.from_rows([np.array(row, np.int32) for row in ([0, 1, 2], [0, 1], [0, 3], [0])], 4)


def lists_of(items: list[int], hits: list[int], n_relevant: int) -> Lists:
    return Lists(np.array([items], np.int32), np.array([hits], np.float64), np.array([n_relevant]), Catalog(SEEN))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("precision", [0, 1 / 2, 1 / 3, 2 / 4]),
        ("recall", [0, 1 / 3, 1 / 3, 2 / 3]),
        ("hit_rate", [0, 1, 1, 1]),
        # Discounts: 1, 0.6309, 0.5, 0.4307; the ideal DCG of three relevant items is 1, 1.6309, 2.1309, 2.1309.
        ("ndcg", [0, 0.3868528, 0.2960819, 0.4981893]),
        ("map", [0, (1 / 2) / 2, (1 / 2) / 3, (1 / 2 + 2 / 4) / 3]),
        ("mrr", [0, 1 / 2, 1 / 2, 1 / 2]),
        ("novelty", [2, (2 + 0) / 2, (2 + 0 + 1) / 3, (2 + 0 + 1 + 2) / 4]),
        ("popularity", [1, 5 / 2, 7 / 3, 8 / 4]),
        # Items 2 and 0 have 1 and 4 users and share one: cosine 1/2. 2 and 1: 1/sqrt(2). 0 and 1: 2/sqrt(8).
        ("diversity", [0, 1 / 2, (3 - 1 / 2 - 2 / 2**0.5) / 3, (6 - 1 / 2 - 2 / 2**0.5 - 1 / 2) / 6]),
    ],
)
def test_metric_of_one_list_equals_hand_computed_value_at_every_cutoff(name: str, expected: list[float]) -> None:
    lists = lists_of([2, 0, 1, 3], [0, 1, 0, 1], 3)
    assert METRICS[name].compute(lists)[0].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.of == "lists"])
def test_empty_positions_of_a_short_list_add_no_hits(name: str) -> None:
    values = METRICS[name].compute(lists_of([2, -1, -1], [1, 0, 0], 2))[0]
    at_every_cutoff = {"hit_rate": 1, "mrr": 1, "novelty": 2, "popularity": 1, "diversity": 0, "recall": 1 / 2}
    by_cutoff = {"precision": [1, 1 / 2, 1 / 3], "map": [1, 1 / 2, 1 / 2], "ndcg": [1, 0.6131472, 0.6131472]}
    expected = [at_every_cutoff[name]] * 3 if name in at_every_cutoff else by_cutoff[name]
    assert values.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.of == "lists"])
def test_empty_list_counts_as_zero(name: str) -> None:
    assert METRICS[name].compute(lists_of([-1, -1], [0, 0], 2)).tolist() == [[0, 0]]


@pytest.mark.parametrize("name", ["ndcg", "map", "precision", "mrr", "hit_rate"])
@pytest.mark.parametrize("k", [1, 3, 100])
def test_ideal_list_scores_exactly_one(name: str, k: int) -> None:
    lists = lists_of(list(range(4)) * k, [1] * 4 * k, 4 * k)
    assert (METRICS[name].compute(lists) == 1).all()


def test_lists_of_several_users_are_evaluated_independently() -> None:
    lists = Lists(np.array([[0, 1], [1, 0]], np.int32), np.array([[1.0, 0], [0, 0]]), np.array([1, 2]), Catalog(SEEN))
    assert METRICS["ndcg"].compute(lists).tolist() == [[1, 1], [0, 0]]
    assert METRICS["diversity"].compute(lists)[:, 1].tolist() == pytest.approx([1 - 2 / 8**0.5] * 2)


def test_auc_counts_unknown_items_as_lost_pairs_and_no_pairs_as_half() -> None:
    # Three of four pairs are ordered; two of four, as an unknown relevant item loses two; and there are no pairs.
    values = auc(np.array([3.0, 2.0, 0.0]), np.array([2, 2, 5]), np.array([2, 2, 0]))
    assert values.tolist() == [0.75, 0.5, 0.5]


def test_coverage_and_gini_of_recommendation_counts() -> None:
    assert coverage(np.array([0, 3, 0, 1])) == 0.5
    assert gini(np.array([5, 5, 5])) == 0
    assert gini(np.array([0, 0, 0, 8])) == 0.75
    assert gini(np.array([3, 1])) == gini(np.array([1, 3])) == 0.25
    assert gini(np.array([0, 0])) == 0


def test_rmse_and_mae_are_computed_per_group() -> None:
    errors, starts = np.array([1.0, -1.0, 3.0, 4.0, -2.0]), np.array([0, 2, 4, 5])
    assert rmse(errors, starts).tolist() == pytest.approx([1, 12.5**0.5, 2])
    assert mae(errors, starts).tolist() == pytest.approx([1, 3.5, 2])
