"""Faults at one of the points where a command changes a file, and at random times."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

from tests.faults import checks
from tests.faults.arena import Arena, Done, hashes
from tests.faults.scenes import SCENES, Scene, command_of, new_runs, run_named

# How a fault is called, what the hook does, how it must end, and how many of a scene's points `make faults` takes.
POINTS: dict[str, tuple[dict[str, Any], tuple[int, ...], int]] = {
    "kill": ({"do": "kill"}, (-9,), 30),
    "torn": ({"do": "torn"}, (-9,), 12),
    "full": ({"do": "ENOSPC", "lasting": True}, (0, 4), 8),
    "full-once": ({"do": "ENOSPC"}, (0, 4), 5),
    "error": ({"do": "EIO"}, (0, 4), 8),
    "dead-disk": ({"do": "EIO", "lasting": True}, (0, 4), 4),
    "read-only": ({"do": "EROFS", "lasting": True}, (0, 4), 5),
    "forbidden": ({"do": "EACCES", "lasting": True}, (0, 4), 4),
    "term": ({"do": "SIGTERM"}, (0, 130), 8),
    "int": ({"do": "SIGINT"}, (0, 130), 4),
    "clock": ({"do": "back"}, (0,), 3),
}
TIMES = {
    "kill-any-time": (9, (-9, 0), 6),
    "term-any-time": (15, (-15, 0, 130), 4),
    "int-any-time": (2, (-2, 0, 130), 2),
}
ANEW = 5  # so many kills are in processes that were not forked


class Bench:
    """An arena with what undisturbed commands come to."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.oracles: dict[str, Any] = {}
        self.n_points: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.keeper = hashes(run_named(arena, "keeper").path)
        self.subject = hashes(run_named(arena, "subject").path)

    def learn(self, scene: Scene) -> None:
        """Run a scene undisturbed, once."""
        if scene.name in self.oracles:
            return
        self.arena.restore("template")
        begin = time.monotonic()
        done = self.arena.run(*command_of(scene, self.arena), fault={})
        self.seconds[scene.name] = time.monotonic() - begin
        assert done.code == 0, done
        self.oracles[scene.name] = scene.told(self.arena.path)
        self.n_points[scene.name] = len(self.arena.points())

    def strike(self, kind: str, scene: Scene, at: int) -> str:
        """Hurt a scene, and check everything.

        Args:
            kind: One of POINTS, TIMES, or "fresh-process".
            scene: The scene.
            at: The point; for TIMES the seed of the time.

        Returns:
            What was hit.
        """
        self.learn(scene)
        self.arena.restore("template")
        done = self._hurt(kind, scene, at)
        points = self.arena.points()
        hit = " ".join(points[at]) if kind not in TIMES and at < len(points) else ""
        codes = POINTS[kind][1] if kind in POINTS else TIMES[kind][1] if kind in TIMES else (-9,)
        checks.calm(done, codes)
        checks.keeper_is_whole(self.arena, self.keeper)
        before = {run.id: hashes(run.path) for run in new_runs(self.arena)}
        checks.folder_is_sound(self.arena)
        # Who is kept from cleaning up leaves it to `runs gc`.
        could = done.code not in (-9, -15, -2) and kind not in ("read-only", "forbidden", "dead-disk")
        if could and not hit.startswith(("unlink", "remove")):
            checks.nothing_half_written(self.arena)
        checks.goes_on(self.arena, scene, done, self.oracles[scene.name])
        checks.folder_is_sound(self.arena)
        checks.keeper_is_whole(self.arena, self.keeper)
        for run in new_runs(self.arena):
            checks.nothing_lost_of(before.get(run.id, {}), run)
        return hit

    def _hurt(self, kind: str, scene: Scene, at: int) -> Done:
        command = command_of(scene, self.arena)
        if kind == "fresh-process":
            return self.arena.run_anew(*command, fault={"do": "kill", "at": at})
        if kind in POINTS:
            return self.arena.run(*command, fault={**POINTS[kind][0], "at": at})
        share = random.Random(f"{scene.name} {at}").random()
        started = self.arena.start(*command)
        time.sleep(share * self.seconds[scene.name])
        self.arena.ask(do="kill", pid=started.pid, signal=TIMES[kind][0])
        return started.wait()


def some(n: int, of: int, seed: str) -> list[int]:
    """Up to `n` of the numbers below `of`, the last included, by a seed."""
    draw = random.Random(seed)
    return sorted({of - 1, *draw.sample(range(of), min(n - 1, of))})


def faults(bench: Bench) -> Iterator[tuple[str, Scene, int]]:
    """Those of `make faults`: kind, scene, point."""
    for scene in SCENES:
        bench.learn(scene)
        for kind, (_, _, n) in POINTS.items():
            yield from ((kind, scene, at) for at in some(n, bench.n_points[scene.name], f"{kind} {scene.name}"))
        for kind, (_, _, n) in TIMES.items():
            yield from ((kind, scene, at) for at in range(n))
    first = SCENES[1]
    yield from (("fresh-process", first, at) for at in some(ANEW, bench.n_points[first.name], "fresh-process"))
