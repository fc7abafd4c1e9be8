import numpy as np
import pandas as pd
import pytest

from recctl import InteractionDataset, rng
from recctl.kernels import bpr
from recctl.models.bpr import BPRRecommender
from tests.models.suite import ModelSuite, checkerboard, toy

SMALL = {"n_factors": 8, "epochs": 30}


class TestBPR(ModelSuite):
    name = "bpr"
    hyperparameters = SMALL
    history_based = False


def large(seed: int = 0) -> InteractionDataset:
    """Interactions with enough items for eight groups."""
    return InteractionDataset(toy(seed, n_users=300, n_items=1100))


def splitmix64(counter: int) -> int:
    mask = 2**64 - 1
    z = counter * 0x9E3779B97F4A7C15 & mask
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
    return z ^ z >> 31


def sampled_item(state: int, candidates: np.ndarray, owned: set[int]) -> int | None:
    for _ in range(100):
        item = int(candidates[int((state >> 11) * 2.0**-53 * len(candidates))])
        if item not in owned:
            return item
        state = splitmix64(state)
    return None


def trained_in_float64(model: BPRRecommender, dataset: InteractionDataset, pairs, key: int):
    """The steps of section 4.3.1 of the paper, one after another, in float64."""
    P = model.user_factors.astype(np.float64)
    Q = model.item_factors.astype(np.float64)
    b = model.item_biases.astype(np.float64)
    owned = [set(row.indices.tolist()) for row in dataset.csr]
    losses = []
    for number, (u, i) in enumerate(pairs):
        j = sampled_item(splitmix64(key ^ splitmix64(number)), np.arange(dataset.n_items), owned[u])
        if j is None:
            continue
        difference = b[i] - b[j] + P[u] @ (Q[i] - Q[j])
        losses.append(-np.log(1 / (1 + np.exp(-difference))))
        e = 1 / (1 + np.exp(difference))
        p = P[u].copy()
        gradients = {"u": e * (Q[i] - Q[j]) - model.reg * p, "i": e * p - model.reg * Q[i]}
        negative = -e * p - model.reg * Q[j]
        P[u] += model.learning_rate * gradients["u"]
        Q[i] += model.learning_rate * gradients["i"]
        Q[j] += model.learning_rate * negative
        b[i] += model.learning_rate * (e - model.reg * b[i])
        b[j] += model.learning_rate * (-e - model.reg * b[j])
    return P, Q, b, float(np.mean(losses))


@pytest.mark.parametrize("reg", [0.0, 0.03])
@pytest.mark.parametrize("n_factors", [1, 8, 33])
def test_epochs_equal_the_steps_of_the_paper_in_float64(n_factors: int, reg: float) -> None:
    dataset = InteractionDataset(toy())
    model = BPRRecommender(n_factors=n_factors, epochs=1, reg=reg).fit(dataset)
    for epoch in (1, 2):
        draws = rng.stream(model.seed, "order", epoch)
        draws.permutation(dataset.n_users)  # one group of users, and one of items
        draws.permutation(dataset.n_items)
        order = draws.permutation(len(dataset))
        pairs = list(zip(model.seen.rows[order], model.seen.columns[order], strict=True))
        expected = trained_in_float64(model, dataset, pairs, rng.key(model.seed, "negatives", epoch))
        loss = model.train_epoch(dataset)
        found = (model.user_factors, model.item_factors, model.item_biases, loss)
        for left, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = large()
    models = []
    for threads in ("1", "2", "5"):
        monkeypatch.setenv("RECCTL_THREADS", threads)
        models.append(BPRRecommender(n_factors=16, epochs=3).fit(dataset))
    for other in models[1:]:
        for name in ("user_factors", "item_factors", "item_biases"):
            np.testing.assert_array_equal(getattr(models[0], name), getattr(other, name))


def recorded_epochs(monkeypatch: pytest.MonkeyPatch, dataset: InteractionDataset, n_epochs: int):
    """Users, items and candidates of every call of the kernel, by epoch."""
    calls: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    kernel = bpr.train

    def record(users, items, first, key, seen, candidates, *rest):
        calls.append((users.copy(), items.copy(), candidates))
        kernel(users, items, first, key, seen, candidates, *rest)

    monkeypatch.setattr(bpr, "train", record)
    model = BPRRecommender(n_factors=4, epochs=1)
    model._initialize(dataset)
    epochs = []
    for _ in range(n_epochs):
        calls.clear()
        model.train_epoch(dataset)
        epochs.append(list(calls))
    return epochs


def test_each_epoch_visits_every_interaction_once_in_blocks_that_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECCTL_THREADS", "1")
    dataset = large()
    expected = np.sort(dataset.matrix.rows.astype(np.int64) * dataset.n_items + dataset.matrix.columns)
    for calls in recorded_epochs(monkeypatch, dataset, 2):
        visited = np.concatenate([users.astype(np.int64) * dataset.n_items + items for users, items, _ in calls])
        np.testing.assert_array_equal(np.sort(visited), expected)
        assert len(calls) == 64
        for first in range(0, 64, 8):
            users, items, candidates = (
                np.concatenate([np.unique(call[part]) for call in calls[first : first + 8]]) for part in range(3)
            )
            assert len(users) == len(np.unique(users))
            assert len(candidates) == len(np.unique(candidates)) == dataset.n_items
            assert len(items) == len(np.unique(items))
        for _, items, candidates in calls:
            assert np.isin(items, candidates).all()


def test_every_pair_of_items_shares_a_group_equally_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECCTL_THREADS", "1")
    dataset = large()
    n_epochs = 60
    together = np.zeros((dataset.n_items, dataset.n_items), np.int32)
    for calls in recorded_epochs(monkeypatch, dataset, n_epochs):
        for _, _, candidates in calls[:8]:
            together[np.ix_(candidates, candidates)] += 1
    others = together[~np.eye(dataset.n_items, dtype=bool)]
    # A pair shares one of eight groups with a probability of 137 / 1099.
    share = 137 / 1099
    assert others.mean() / n_epochs == pytest.approx(share, rel=0.01)
    assert others.var() == pytest.approx(n_epochs * share * (1 - share), rel=0.05)


def test_users_with_every_item_and_single_items_leave_finite_factors() -> None:
    rows = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [1, 2, 1]})
    model = BPRRecommender(n_factors=4, epochs=5).fit(rows)
    initial = BPRRecommender(n_factors=4, epochs=5)._initial_factors("users", 2)
    # User 1 has both items: there is no item to prefer them to.
    np.testing.assert_array_equal(model.user_factors[0], initial[0])
    assert (model.user_factors[1] != initial[1]).all()


def test_history_of_a_known_user_yields_scores_like_those_of_that_user() -> None:
    rows = checkerboard()
    model = BPRRecommender(**SMALL).fit(rows)
    best = model.recommend_for_history([[0, 2, 4], [1, 3, 5]], k=5)
    assert (best.item_id % 2).tolist() == [0] * 5 + [1] * 5
    # The random numbers depend on the items, not on the other users of the call.
    alone = model.recommend_for_history([[1, 3, 5]], k=5)
    np.testing.assert_allclose(alone.score, best.score[5:], rtol=1e-5)


def test_ratings_and_repeats_change_nothing() -> None:
    rows = toy()
    model = BPRRecommender(**SMALL)
    factors = model.fit(rows).item_factors.copy()
    repeated = pd.concat([rows, rows.iloc[::3]]).assign(rating=1.0)
    np.testing.assert_array_equal(model.fit(repeated).item_factors, factors)
