"""Batches of tasks for Ray, without Ray: the time of each batch is simulated."""

from types import SimpleNamespace

import pytest

from recctl.engines.ray_engine import _MapRun, _Pace

SECONDS_PER_TASK = 1 / 128


def batch_sizes(pace: _Pace, n_tasks: int, slots: int) -> list[int]:
    """The sizes of the batches of a map; each batch finishes before the next one is cut."""
    ray = SimpleNamespace(put=lambda value: value)
    engine = SimpleNamespace(ray=ray, threads=1, compute_batch=lambda name: None)
    run = _MapRun(engine, abs, range(n_tasks), "abs", pace)
    sizes = []
    n_remaining = n_tasks
    while n_remaining:
        size = run._batch_size(n_remaining, slots)
        sizes.append(size)
        n_remaining -= size
        pace.seconds += SECONDS_PER_TASK * size
        pace.n_tasks += size
    return sizes


@pytest.mark.parametrize("slots", [1, 2, 7])
def test_batches_cover_all_tasks_and_become_smaller(slots: int) -> None:
    first, *sizes = batch_sizes(_Pace(), 100, slots)
    assert first == 1  # the time of a task is not known yet
    assert first + sum(sizes) == 100
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == min(51, 99 // (1.5 * slots))  # 0.4 s, or the share of a slot
    assert set(sizes[:-1]) <= set(range(6, 52))  # only the last one may take less than 0.05 s


def test_phase_starts_at_the_pace_of_the_previous_phase() -> None:
    pace = _Pace()
    batch_sizes(pace, 100, 2)
    assert pace.seconds_per_task == pytest.approx(SECONDS_PER_TASK)
    assert batch_sizes(pace, 100, 2)[0] == 33  # the share of a slot, which takes less than 0.4 s
    assert pace.n_tasks == 100  # of this phase only
