import numpy as np
import pandas as pd

from recctl.models.random import RandomRecommender
from tests.models.suite import ModelSuite, toy


class TestRandom(ModelSuite):
    name = "random"
    personal = False


def everything(model, users):
    return model.recommend(users, k=10**6, exclude_seen=False)


def test_another_seed_yields_another_order():
    first, again, other = (RandomRecommender(seed=seed).fit(toy()).recommend(range(100, 140)) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first.item_id != other.item_id).mean() > 0.8


def test_scores_do_not_depend_on_other_users_in_the_request():
    model = RandomRecommender().fit(toy())
    together = everything(model, range(139, 99, -1))
    alone = pd.concat([everything(model, [user]) for user in range(139, 99, -1)], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone)


def test_scores_are_uniform_and_independent_between_users_and_items():
    scores = RandomRecommender().fit(toy(0, 400, 200)).score_users(np.arange(400, dtype=np.int32))
    assert 0 <= scores.min() < 0.001 < 0.999 < scores.max() < 1
    counts, _ = np.histogram(scores, bins=100, range=(0, 1))
    expected = scores.size / 100
    # Chi squared with 99 degrees of freedom: mean 99, standard deviation 14.
    assert ((counts - expected) ** 2 / expected).sum() < 99 + 5 * 14
    for side in (scores, scores.T):
        correlations = np.corrcoef(side)[np.triu_indices(len(side), 1)]
        assert abs(correlations.mean()) < 0.01
        assert abs(correlations).max() < 6 / np.sqrt(side.shape[1])


def test_consecutive_seeds_are_uncorrelated():
    scores = [RandomRecommender(seed=seed).fit(toy()).score_users(np.arange(40, dtype=np.int32)) for seed in range(20)]
    correlations = np.corrcoef([part.ravel() for part in scores])[np.triu_indices(20, 1)]
    assert abs(correlations).max() < 6 / np.sqrt(scores[0].size)


def test_hash_equals_splitmix64():
    # The first numbers of the reference implementation in C for the seed 1234567.
    from recctl.kernels.counter_rng import splitmix64

    golden, seed = 0x9E3779B97F4A7C15, 1234567
    inverse = pow(golden, -1, 2**64)
    # State number i of the reference is seed + i * golden; the kernel's counter is a multiple of golden.
    counters = [(seed * inverse + i) % 2**64 for i in (1, 2, 3)]
    assert [int(splitmix64(np.uint64(counter))) for counter in counters] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]
