"""How the tasks of a map are put together for Ray, with no Ray: a clock that says how long each bundle took."""

from types import SimpleNamespace

import pytest

from recctl.engines.ray_engine import _Map, _Pace

SECONDS = 1 / 128


def bundles(pace: _Pace, n_tasks: int, slots: int) -> list[int]:
    """The sizes of a map's bundles, each timed as soon as it was cut."""
    engine = SimpleNamespace(ray=SimpleNamespace(put=lambda value: value), threads=1)
    one, sizes, left = _Map(engine, abs, range(n_tasks), pace), [], n_tasks
    while left:
        sizes.append(one._size(left, slots))
        left -= sizes[-1]
        pace.seconds += SECONDS * sizes[-1]
        pace.n_tasks += sizes[-1]
    return sizes


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_bundles_hold_every_task_and_become_smaller(slots: int) -> None:
    first, *sizes = bundles(_Pace(), 100, slots)
    assert first == 1  # nothing is known yet
    assert first + sum(sizes) == 100
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == min(51, 99 // (1.5 * slots))  # 0.4 s, or a share of what there is
    assert set(sizes[:-1]) <= set(range(6, 52))  # none below 0.05 s but the last


def test_a_phase_begins_at_the_pace_of_the_one_before() -> None:
    pace = _Pace()
    bundles(pace, 100, 2)
    assert pace.usual == pytest.approx(SECONDS)
    assert bundles(pace, 100, 2)[0] == 33  # a third of what there is: it would be 0.4 s with more
    assert pace.n_tasks == 100  # what was timed in this phase alone
