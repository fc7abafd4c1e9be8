"""All faults by their names, so that each can be done again: `kill:tune:17`, `damage:search/best.yaml:half`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tests.faults import at_writes, clusters, damage, others
from tests.faults.arena import Arena
from tests.faults.at_writes import POINTS, TIMES, Bench
from tests.faults.scenes import SCENES, prepare

N_DATABASE, N_RAY = 6, 6


class Harness:
    """An arena in which faults are done by name.

    Args:
        folder: For all it needs; made by it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.arena = self._stack.enter_context(Arena(self.folder))
        prepare(self.arena)
        self.bench = Bench(self.arena)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def names(self) -> Iterator[str]:
        """Every fault of `make faults` that can be done here."""
        for kind, scene, at in at_writes.faults(self.bench):
            yield f"{kind}:{scene.name}:{at}"
        for target, way in damage.faults():
            yield f"damage:{target.run or 'runs'}/{target.file}:{way}"
        for kind, (_, n) in others.KINDS.items():
            if kind != "disk-full" or others.can_mount(self.arena):
                yield from (f"{kind}:{number}" for number in range(n))
        yield f"many-at-once:{others.CROWD}"
        if clusters.have_postgres():
            yield from (f"database:{number}" for number in range(N_DATABASE))
        if clusters.have_ray():
            yield from (f"ray:{number}" for number in range(N_RAY))

    def do(self, name: str) -> None:
        """Do a fault, and check everything.

        Raises:
            LossError: Something does not hold.
        """
        kind, *where = name.split(":")
        if kind in POINTS or kind in TIMES or kind == "fresh-process":
            scene = next(scene for scene in SCENES if scene.name == where[0])
            self.bench.strike(kind, scene, int(where[1]))
        elif kind == "damage":
            run, _, file = where[0].partition("/")
            target = next(t for t in damage.TARGETS if (t.run or "runs", t.file) == (run, file))
            damage.strike(self.bench, self._told, target, where[1])
        else:
            self._other(kind)(self.bench, int(where[0]))

    def _other(self, kind: str) -> Callable[[Bench, int], None]:
        if kind == "database":
            return lambda bench, number: clusters.database_restarts(bench, number, self._server)
        if kind == "ray":
            return lambda bench, number: clusters.node_or_worker_dies(bench, number, self._cluster)
        return others.crowd if kind == "many-at-once" else others.KINDS[kind][0]

    @cached_property
    def _told(self) -> dict[str, Any]:
        return damage.build(self.arena)

    @cached_property
    def _server(self) -> clusters.Server:
        server = clusters.Server(self.folder / "postgres")
        self._stack.callback(server.stop)
        return server

    @cached_property
    def _cluster(self) -> clusters.Cluster:
        return self._stack.enter_context(clusters.ray_cluster())
