"""The order of the pairs in an epoch of BPR."""

from __future__ import annotations

import numpy as np
import pytest

from recctl.kernels import bpr


@pytest.mark.parametrize(("n_pairs", "n_groups"), [(0, 1), (1, 3), (500, 1), (500, 4), (5_000, 8)])
def test_pairs_are_sorted_by_block_and_stay_in_order_within_one(n_pairs: int, n_groups: int) -> None:
    rng = np.random.default_rng(n_pairs)
    rows = rng.integers(0, 40, n_pairs).astype(np.int32)
    columns = rng.integers(0, 30, n_pairs).astype(np.int32)
    order = rng.permutation(np.arange(n_pairs, dtype=np.int32))
    group_of_user = rng.integers(0, n_groups, 40).astype(np.uint8)
    group_of_item = rng.integers(0, n_groups, 30).astype(np.uint8)
    users = np.empty(n_pairs, np.int32)
    items = np.empty(n_pairs, np.int32)
    ends = np.empty(n_groups**2, np.int64)
    bpr.order_by_block(rows, columns, order, group_of_user, group_of_item, n_groups, users, items, ends)
    blocks = group_of_user[rows[order]].astype(int) * n_groups + group_of_item[columns[order]]
    expected = order[np.argsort(blocks, kind="stable")]
    assert users.tolist() == rows[expected].tolist()
    assert items.tolist() == columns[expected].tolist()
    assert ends.tolist() == np.cumsum(np.bincount(blocks, minlength=n_groups**2)).tolist()
