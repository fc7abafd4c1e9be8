"""All faults by name, so that each can be repeated: `kill:tune:17`, `damage:search/best.yaml:half`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tests.faults import clusters, damage, external_faults, file_operations
from tests.faults.arena import Arena
from tests.faults.file_operations import OPERATION_FAULTS, TIMED_SIGNALS, FaultBench
from tests.faults.scenarios import SCENARIOS, Scenario, prepare

N_DATABASE_FAULTS = 6
N_RAY_FAULTS = 6


class Harness:
    """An arena in which faults are injected by name.

    Args:
        folder: A folder to create for all files.
        scenarios: Those that will be used. Without sasrec, no process loads torch, which makes each of them slower.
    """

    def __init__(self, folder: Path, scenarios: Sequence[Scenario] = SCENARIOS) -> None:
        self.folder = folder
        self._scenarios = scenarios
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.arena = self._stack.enter_context(Arena(self.folder))
        prepare(self.arena, self._scenarios)
        self.bench = FaultBench(self.arena)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def names(self) -> Iterator[str]:
        """Names of all faults of `make faults` that can be injected on this machine."""
        for kind, scenario, number in file_operations.faults(self.bench):
            yield f"{kind}:{scenario.name}:{number}"
        for target, way in damage.faults():
            yield f"damage:{target.run or 'runs'}/{target.file}:{way}"
        for kind, (_, n_faults) in external_faults.KINDS.items():
            if kind != "disk-full" or external_faults.can_mount(self.arena):
                yield from (f"{kind}:{number}" for number in range(n_faults))
        yield f"many-at-once:{external_faults.N_CONCURRENT_TRAININGS}"
        if clusters.has_postgres():
            yield from (f"database:{number}" for number in range(N_DATABASE_FAULTS))
        if clusters.has_ray():
            yield from (f"ray:{number}" for number in range(N_RAY_FAULTS))

    def inject(self, name: str) -> None:
        """Inject a fault by its name, and check everything.

        Raises:
            LossError: A check failed.
        """
        kind, *details = name.split(":")
        if kind in OPERATION_FAULTS or kind in TIMED_SIGNALS or kind == "fresh-process":
            scenario = next(scenario for scenario in SCENARIOS if scenario.name == details[0])
            self.bench.inject(kind, scenario, int(details[1]))
        elif kind == "damage":
            run, _, file = details[0].partition("/")
            target = next(target for target in damage.TARGETS if (target.run or "runs", target.file) == (run, file))
            damage.inject(self.bench, self._undamaged_results, target, details[1])
        else:
            inject = self._external_fault(kind)
            inject(self.bench, int(details[0]))

    def _external_fault(self, kind: str) -> Callable[[FaultBench, int], None]:
        if kind == "database":
            return lambda bench, number: clusters.restart_database(bench, number, self._database)
        if kind == "ray":
            return lambda bench, number: clusters.kill_node_or_worker(bench, number, self._cluster)
        if kind == "many-at-once":
            return external_faults.train_concurrently
        return external_faults.KINDS[kind][0]

    @cached_property
    def _undamaged_results(self) -> dict[str, Any]:
        return damage.build_snapshot(self.arena)

    @cached_property
    def _database(self) -> clusters.Server:
        server = clusters.Server(self.folder / "postgres")
        self._stack.callback(server.stop)
        return server

    @cached_property
    def _cluster(self) -> clusters.Cluster:
        return self._stack.enter_context(clusters.ray_cluster())
