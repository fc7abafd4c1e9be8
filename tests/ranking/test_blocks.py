"""Ranking in blocks of rows, and scores of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data.id_hashes import hash_ids
from recctl.data.matrix import InteractionMatrix
from recctl.ranking import TieBreaker, blocks, cut, map_blocks, rank
from recctl.ranking.pairs import score_pairs
from tests.ranking.ties import key_of_id, ranking


@given(n_rows=st.integers(0, 5000), n_columns=st.integers(0, 3_000_000))
def test_cut_covers_all_rows_in_blocks_of_limited_size(n_rows: int, n_columns: int) -> None:
    parts = cut(n_rows, n_columns)
    assert [row for part in parts for row in part.tolist()] == list(range(n_rows))
    assert all(1 <= len(part) <= 1024 for part in parts)
    assert all(len(part) == 1 or len(part) * n_columns <= 1 << 20 for part in parts)


def test_map_blocks_returns_results_in_order_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MAX_ROWS", 3)
    for threads in "125":
        monkeypatch.setenv("RECCTL_THREADS", threads)
        assert [part.tolist() for part in map_blocks(lambda rows: rows, 7, 10)] == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("k", [1, 4, 9, 30])
@pytest.mark.parametrize("masking", [True, False])
def test_rank_equals_sorting_the_unmasked_items_of_each_row(
    k: int, masking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "_MAX_ROWS", 4)
    rng = np.random.default_rng(k)
    table = rng.integers(0, 5, (11, 9)).astype(np.float32)
    hidden = rng.random(table.shape) < 0.4 if masking else np.zeros(table.shape, bool)
    masked = InteractionMatrix.from_rows([np.flatnonzero(row).astype(np.int32) for row in hidden], 9)
    ties = TieBreaker.of_ids(hash_ids(np.arange(11)), hash_ids(np.arange(9)))
    items, scores = rank(lambda rows: table[rows], 11, 9, k, masked if masking else None, ties)
    assert items.shape == scores.shape == (11, min(k, 9))
    for row in range(11):
        shown = {j: table[row, j] for j in range(9) if not hidden[row, j]}
        expected = ranking(shown, key_of_id(row))[:k]
        n_empty = items.shape[1] - len(expected)
        assert items[row].tolist() == expected + [-1] * n_empty
        assert scores[row].tolist() == [shown[j] for j in expected] + [-np.inf] * n_empty


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=20))
def test_score_pairs_equals_the_scores_of_whole_rows(pairs: list[tuple[int, int]]) -> None:
    table = np.arange(24, dtype=np.float32).reshape(6, 4)
    rows, columns = np.array(pairs, np.int32).reshape(-1, 2).T
    assert score_pairs(lambda some: table[some], rows, columns, 4).tolist() == [table[pair] for pair in pairs]
