"""Stochastic gradient descent against the steps of the paper."""

from itertools import pairwise

import numpy as np
import pytest

from recctl.kernels import sgd


def ratings(rng, n_users, n_items, share):
    """Row starts, columns and values of random ratings; some users may have none."""
    is_rated = rng.random((n_users, n_items)) < share
    starts = np.concatenate(([0], np.cumsum(is_rated.sum(axis=1))))
    columns = np.nonzero(is_rated)[1].astype(np.int32)
    return starts, columns, rng.integers(1, 6, is_rated.sum()).astype(np.float32)


def initial_weights(rng, n_users, n_items, n_factors):
    shapes = [n_users], [n_items], [n_users, n_factors], [n_items, n_factors], [n_items, n_factors]
    return [rng.normal(0, 0.1, shape).astype(np.float32) for shape in shapes]


def naive(order, starts, columns, values, history_starts, history_items, weights, mean, lr, reg, implicit):
    """The steps of Koren (2008), equation 15, with the sum over N(u) recomputed for each rating."""
    b_u, b_i, p, q, y = weights
    loss = 0.0
    for u in order:
        N = history_items[history_starts[u] : history_starts[u + 1]]
        for at in range(starts[u], starts[u + 1]):
            i = columns[at]
            z = y[N].sum(axis=0) / np.sqrt(len(N)) if implicit else 0
            q_old, p_old = q[i].copy(), p[u].copy()
            e = values[at] - mean - b_u[u] - b_i[i] - q_old @ (p_old + z)
            loss += e * e
            b_u[u] += lr * (e - reg * b_u[u])
            b_i[i] += lr * (e - reg * b_i[i])
            p[u] += lr * (e * q_old - reg * p_old)
            q[i] += lr * (e * (p_old + z) - reg * q_old)
            if implicit:
                y[N] += lr * (e * q_old / np.sqrt(len(N)) - reg * y[N])
    return loss


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("n_factors", [1, 7, 20, 33])
@pytest.mark.parametrize("longer_history", [False, True])
def test_epoch_equals_the_steps_of_the_paper(implicit, n_factors, longer_history):
    rng = np.random.default_rng(n_factors)
    data = ratings(rng, 30, 25, 0.3)
    # A history may have more items than the user has ratings in this epoch.
    history = ratings(np.random.default_rng(9), 30, 25, 0.5)[:2] if longer_history else data[:2]
    weights = initial_weights(rng, 30, 25, n_factors)
    expected = [array.astype(np.float64) for array in weights]
    for _ in range(8):
        order = rng.permutation(30).astype(np.int32)
        loss = sgd.epoch(order, data, history, tuple(weights), 3.1, 0.02, 0.1, 1.0, implicit)
        expected_loss = naive(order, *data, *history, expected, 3.1, 0.02, 0.1, implicit)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
    for result, array in zip(weights, expected, strict=True):
        np.testing.assert_allclose(result, array, rtol=1e-4, atol=1e-5)


def rescaled(weights, scale):
    """Biases and factors for ratings divided by `scale`: products of factors shrink as the biases do."""
    return [array / (scale if array.ndim == 1 else np.sqrt(scale)) for array in weights]


@pytest.mark.parametrize("scale", [0.25, 25.0, 250.0])
@pytest.mark.parametrize("implicit", [True, False])
def test_epoch_with_a_scale_equals_the_steps_for_divided_ratings(scale, implicit):
    rng = np.random.default_rng(3)
    starts, columns, values = ratings(rng, 30, 25, 0.3)
    weights = rescaled(initial_weights(rng, 30, 25, 7), 1 / scale)
    weights = [array.astype(np.float32) for array in weights]
    expected = rescaled([array.astype(np.float64) for array in weights], scale)
    data = (starts, columns, np.float32(scale) * values)
    for _ in range(5):
        order = rng.permutation(30).astype(np.int32)
        loss = sgd.epoch(order, data, data[:2], tuple(weights), 3.1 * scale, 0.02, 0.1, scale, implicit)
        expected_loss = naive(order, starts, columns, values, starts, columns, expected, 3.1, 0.02, 0.1, implicit)
        assert loss == pytest.approx(scale**2 * expected_loss, rel=1e-5)
    for result, array in zip(rescaled(weights, scale), expected, strict=True):
        np.testing.assert_allclose(result, array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.25, 250.0])
def test_folding_epoch_with_a_scale_equals_that_of_divided_ratings(scale):
    rng = np.random.default_rng(4)
    starts, columns, values = ratings(rng, 12, 15, 0.4)
    plain = initial_weights(rng, 12, 15, 6)
    z = plain.pop()[:12]
    scaled = [array.astype(np.float32) for array in rescaled(plain, 1 / scale)]
    scaled_z = (z * np.sqrt(scale)).astype(np.float32)
    trainable = (rng.random(15) < 0.3).astype(np.uint8)
    data = (starts, columns, np.float32(scale) * values)
    for _ in range(4):
        sgd.folding_epoch((starts, columns, values), trainable, tuple(plain), z, 3.0, 0.03, 0.1, 1.0)
        sgd.folding_epoch(data, trainable, tuple(scaled), scaled_z, 3.0 * scale, 0.03, 0.1, scale)
    for result, array in zip(rescaled(scaled, scale), plain, strict=True):
        np.testing.assert_allclose(result, array, rtol=1e-4, atol=1e-5)


def test_only_users_in_the_order_are_visited():
    rng = np.random.default_rng(0)
    data, weights = ratings(rng, 10, 8, 0.5), initial_weights(rng, 10, 8, 4)
    before = [array.copy() for array in weights]
    sgd.epoch(np.array([3], np.int32), data, data[:2], tuple(weights), 3.0, 0.02, 0.1, 1.0, True)
    touched = (weights[2] != before[2]).any(axis=1)
    assert np.flatnonzero(touched).tolist() == [3]
    assert np.flatnonzero((weights[4] != before[4]).any(axis=1)).tolist() == data[1][data[0][3] : data[0][4]].tolist()


def test_divergence_shows_in_the_loss():
    rng = np.random.default_rng(0)
    data, weights = ratings(rng, 30, 25, 0.5), initial_weights(rng, 30, 25, 4)
    with np.errstate(all="ignore"):
        losses = [sgd.epoch(np.arange(30, dtype=np.int32), data, data[:2], tuple(weights), 3.0, 5.0, 0.1, 1.0, True)]
        losses.append(
            sgd.epoch(np.arange(30, dtype=np.int32), data, data[:2], tuple(weights), 3.0, 5.0, 0.1, 1.0, True)
        )
    assert not np.isfinite(losses[-1])


def test_add_history_adds_the_normalized_sum():
    rng = np.random.default_rng(1)
    starts, items, _ = ratings(rng, 9, 12, 0.3)
    y, out = rng.normal(size=(12, 5)).astype(np.float32), rng.normal(size=(9, 5)).astype(np.float32)
    rows = [items[a:b] for a, b in pairwise(starts)]
    expected = out + [y[row].sum(axis=0) / np.sqrt(max(1, len(row))) for row in rows]
    sgd.add_history(starts, items, y, out)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, None])
def test_folding_epoch_trains_users_and_trainable_items_only(share):
    rng = np.random.default_rng(2)
    starts, columns, values = ratings(rng, 12, 15, 0.4)
    weights = initial_weights(rng, 12, 15, 6)[:4]
    z = rng.normal(0, 0.1, (12, 6)).astype(np.float32)
    trainable = np.empty(0, np.uint8) if share is None else (rng.random(15) < share).astype(np.uint8)
    b_u, b_i, p, q = expected = [array.astype(np.float64) for array in weights]
    for epoch in range(6):
        lr, loss = 0.05 * 0.9**epoch, 0.0
        for u in range(12):
            for at in range(starts[u], starts[u + 1]):
                i, q_i = columns[at], q[columns[at]].copy()
                e = values[at] - 3.0 - b_u[u] - b_i[i] - q_i @ (p[u] + z[u])
                loss += e * e
                if len(trainable) and trainable[i]:
                    b_i[i] += lr * (e - 0.1 * b_i[i])
                    q[i] += lr * (e * (p[u] + z[u]) - 0.1 * q_i)
                b_u[u] += lr * (e - 0.1 * b_u[u])
                p[u] += lr * (e * q_i - 0.1 * p[u])
        result = sgd.folding_epoch((starts, columns, values), trainable, tuple(weights), z, 3.0, lr, 0.1, 1.0)
        assert result == pytest.approx(loss, rel=1e-5)
    for result, array in zip(weights, expected, strict=True):
        np.testing.assert_allclose(result, array, rtol=1e-4, atol=1e-5)
