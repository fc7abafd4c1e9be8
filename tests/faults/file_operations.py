"""Faults at one of the file operations of a command, and at random times."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.faults import checks
from tests.faults.arena import Arena, CommandResult, file_hashes
from tests.faults.scenarios import SCENARIOS, Scenario, command_of, named_run, new_runs


class OperationFault(NamedTuple):
    """A fault at a file operation: arguments of the hook, allowed exit codes, and operations per scenario."""

    hook_arguments: dict[str, Any]
    exit_codes: tuple[int, ...]
    n_operations: int


class TimedSignal(NamedTuple):
    """A signal at a random time: its number, allowed exit codes, and repetitions per scenario."""

    signal: int
    exit_codes: tuple[int, ...]
    n_times: int


OPERATION_FAULTS = {
    "kill": OperationFault({"do": "kill"}, (-9,), 30),
    "torn": OperationFault({"do": "torn"}, (-9,), 12),
    "full": OperationFault({"do": "ENOSPC", "lasting": True}, (0, 4), 8),
    "full-once": OperationFault({"do": "ENOSPC"}, (0, 4), 5),
    "error": OperationFault({"do": "EIO"}, (0, 4), 8),
    "dead-disk": OperationFault({"do": "EIO", "lasting": True}, (0, 4), 4),
    "read-only": OperationFault({"do": "EROFS", "lasting": True}, (0, 4), 5),
    "forbidden": OperationFault({"do": "EACCES", "lasting": True}, (0, 4), 4),
    "term": OperationFault({"do": "SIGTERM"}, (0, 130), 8),
    "int": OperationFault({"do": "SIGINT"}, (0, 130), 4),
    "clock": OperationFault({"do": "back"}, (0,), 3),
}
TIMED_SIGNALS = {
    "kill-any-time": TimedSignal(9, (-9, 0), 6),
    "term-any-time": TimedSignal(15, (-15, 0, 130), 4),
    "int-any-time": TimedSignal(2, (-2, 0, 130), 2),
}
_FRESH_PROCESS_EXIT_CODES = (-9,)
_N_FRESH_PROCESS_FAULTS = 5
# After these faults a process can't delete its temporary files; `runs gc` does.
_FAULTS_WITHOUT_CLEANUP = ("read-only", "forbidden", "dead-disk")


class FaultBench:
    """An arena, and the results of commands without faults.

    Attributes:
        arena: Where commands run.
        expected_results: Results of each scenario without a fault.
        n_operations: Number of file operations of each scenario.
        seconds: Duration of each scenario.
        keeper_hashes: File hashes of the run that no command may change.
    """

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.expected_results: dict[str, Any] = {}
        self.n_operations: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.keeper_hashes = file_hashes(named_run(arena, "keeper").path)

    def run_undisturbed(self, scenario: Scenario) -> None:
        """Run a scenario without a fault and record its results, unless this was done before."""
        if scenario.name in self.expected_results:
            return
        self.arena.restore("template")
        begin = time.monotonic()
        result = self.arena.run(*command_of(scenario, self.arena), fault={})
        self.seconds[scenario.name] = time.monotonic() - begin
        assert result.code == 0, result
        self.expected_results[scenario.name] = scenario.collect_results(self.arena.path)
        self.n_operations[scenario.name] = len(self.arena.operations())

    def inject(self, kind: str, scenario: Scenario, number: int) -> str:
        """Run a scenario with a fault, and check everything afterwards.

        Args:
            kind: A key of `OPERATION_FAULTS` or `TIMED_SIGNALS`, or "fresh-process".
            scenario: The scenario.
            number: The number of the file operation, from 0; the seed of the time for `TIMED_SIGNALS`.

        Returns:
            The file operation at which the fault was injected.
        """
        self.run_undisturbed(scenario)
        self.arena.restore("template")
        result = self._run_with_fault(kind, scenario, number)
        operations = self.arena.operations()
        operation = ""
        if kind not in TIMED_SIGNALS and number < len(operations):
            operation = " ".join(operations[number])
        checks.require_clean_exit(result, _exit_codes(kind))
        checks.require_keeper_unchanged(self.arena, self.keeper_hashes)
        hashes_after_fault = {run.id: file_hashes(run.path) for run in new_runs(self.arena)}
        checks.require_consistent_runs_folder(self.arena)
        can_clean_up = result.code not in (-9, -15, -2) and kind not in _FAULTS_WITHOUT_CLEANUP
        if can_clean_up and not operation.startswith(("unlink", "remove")):
            checks.require_no_temporary_files(self.arena)
        checks.require_recovery(self.arena, scenario, result, self.expected_results[scenario.name])
        checks.require_consistent_runs_folder(self.arena)
        checks.require_keeper_unchanged(self.arena, self.keeper_hashes)
        for run in new_runs(self.arena):
            checks.require_models_unchanged(run, hashes_after_fault.get(run.id, {}))
        return operation

    def _run_with_fault(self, kind: str, scenario: Scenario, number: int) -> CommandResult:
        command = command_of(scenario, self.arena)
        if kind == "fresh-process":
            return self.arena.run_in_new_process(*command, fault={"do": "kill", "at": number})
        if kind in OPERATION_FAULTS:
            return self.arena.run(*command, fault=OPERATION_FAULTS[kind].hook_arguments | {"at": number})
        fraction = random.Random(f"{scenario.name} {number}").random()
        running = self.arena.start(*command)
        time.sleep(fraction * self.seconds[scenario.name])
        self.arena.send_request(do="kill", pid=running.pid, signal=TIMED_SIGNALS[kind].signal)
        return running.wait()


def _exit_codes(kind: str) -> tuple[int, ...]:
    if kind in OPERATION_FAULTS:
        return OPERATION_FAULTS[kind].exit_codes
    if kind in TIMED_SIGNALS:
        return TIMED_SIGNALS[kind].exit_codes
    return _FRESH_PROCESS_EXIT_CODES


def sample_operations(n: int, n_operations: int, seed: str) -> list[int]:
    """Up to `n` distinct numbers below `n_operations`, in order; always with the last one."""
    generator = random.Random(seed)
    return sorted({n_operations - 1, *generator.sample(range(n_operations), min(n - 1, n_operations))})


def faults(bench: FaultBench) -> Iterator[tuple[str, Scenario, int]]:
    """The faults of `make faults`: (kind, scenario, number)."""
    for scenario in SCENARIOS:
        bench.run_undisturbed(scenario)
        n_operations = bench.n_operations[scenario.name]
        for kind, fault in OPERATION_FAULTS.items():
            for number in sample_operations(fault.n_operations, n_operations, f"{kind} {scenario.name}"):
                yield kind, scenario, number
        for kind, timed_signal in TIMED_SIGNALS.items():
            for number in range(timed_signal.n_times):
                yield kind, scenario, number
    scenario = SCENARIOS[1]
    n_operations = bench.n_operations[scenario.name]
    for number in sample_operations(_N_FRESH_PROCESS_FAULTS, n_operations, "fresh-process"):
        yield "fresh-process", scenario, number
