"""Named random streams."""

import numpy as np
import pytest

from recctl.errors import ConfigError
from recctl.rng import stream


def draw(*arguments):
    return stream(*arguments).integers(0, 2**62, 4).tolist()


def test_equal_names_give_equal_numbers():
    assert draw(42, "split") == draw(42, "split") == draw(np.int64(42), "split")
    # Fixed values: if they change, so do all splits of existing runs.
    assert stream(42, "split").integers(0, 1000, 5).tolist() == [192, 271, 841, 909, 93]


def test_different_names_or_seeds_give_different_numbers():
    names = [(seed, *name) for seed in (0, 1, 42, 2**63) for name in ((), ("a",), ("b",), ("fold", 1), ("fold", 2))]
    assert len({tuple(draw(*name)) for name in names}) == len(names)


def test_streams_are_independent():
    parts = np.array([stream(seed, name).normal(size=10_000) for seed in range(5) for name in ("init", "split")])
    assert abs(np.corrcoef(parts)[np.triu_indices(10, 1)]).max() < 0.05


def test_drawing_from_a_stream_does_not_change_another():
    first, second = stream(1, "a"), stream(1, "b")
    first.normal(size=1000)
    assert second.normal() == stream(1, "b").normal()


def test_global_generator_is_not_seeded():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    stream(5, "x").random()
    assert np.random.random() == expected  # noqa: NPY002


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None])
def test_invalid_seed_is_refused(seed):
    with pytest.raises(ConfigError, match=f"seed={seed!r}: must be a whole number of at least 0"):
        stream(seed, "split")
