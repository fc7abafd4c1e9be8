"""Conditions that must hold after every fault."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from typing import Any

from recctl.runs import Run
from tests.faults.arena import Arena, CommandResult, file_hashes
from tests.faults.scenarios import Scenario, command_of, named_run, new_runs

# Exit codes of expected errors: usage, data, run, training. Code 1 means an unexpected error and is always a loss.
ERROR_CODES = (2, 3, 4, 5)


class LossError(AssertionError):
    """A fault lost or corrupted something, or recctl did not handle it."""


def require(condition: object, message: object) -> None:
    """Raise a LossError with this message unless the condition holds."""
    if not condition:
        raise LossError(str(message))


def require_clean_exit(result: CommandResult, codes: Collection[int]) -> None:
    """The command ended with one of these exit codes, and errors are reported in one to four readable lines."""
    require(result.code is not None, f"hangs: {result}")
    require("Traceback" not in result.err, f"traceback: {result}")
    require("unexpected error" not in result.err, f"unexpected error: {result}")
    require(result.code in codes, f"wrong exit code (not one of {sorted(codes)}): {result}")
    if result.code in ERROR_CODES:
        errors = [line for line in result.err.splitlines() if line.startswith("error: ") and len(line) > 20]
        require(1 <= len(errors) <= 4, f"{len(errors)} errors: {result}")
    if result.code == 130:
        require("interrupted" in result.err, f"the interruption is not reported: {result}")


def require_keeper_unchanged(arena: Arena, expected: dict[str, str]) -> None:
    """All files of the run that was finished before the fault are unchanged."""
    hashes = file_hashes(named_run(arena, "keeper").path)
    changed = {name for name in expected.keys() | hashes.keys() if expected.get(name) != hashes.get(name)}
    require(not changed, f"a finished run was changed: {sorted(changed)}")


def require_consistent_runs_folder(arena: Arena) -> None:
    """Runs can be listed, none is listed as running, and `runs verify` finds nothing."""
    result = arena.run("runs", "list", "--json")
    require_clean_exit(result, [0])
    listing = result.json
    require(not listing["damaged"], f"damaged runs: {listing['damaged']}")
    statuses = {run["run_id"]: run["status"] for run in listing["runs"]}
    require(statuses[named_run(arena, "keeper").id] == "complete", f"the finished run is not complete: {statuses}")
    require("running" not in statuses.values(), f"a run without a process is listed as running: {statuses}")
    require_clean_exit(arena.run("runs", "verify"), [0])


def require_no_temporary_files(arena: Arena) -> None:
    """The command deleted its temporary files."""
    paths = [str(path.relative_to(arena.path)) for path in arena.path.rglob(".*.tmp")]
    require(not paths, f"temporary files were not deleted: {paths}")


def _suggested_command(message: str) -> tuple[str, ...] | None:
    commands = re.findall(r"resume with: recctl (.*)", message)
    return tuple(shlex.split(commands[-1])) if commands else None


def _recovery_command(arena: Arena, scenario: Scenario, result: CommandResult) -> tuple[str, ...]:
    """The command that recctl suggests, the command itself if no run was created, or nothing if a run is complete."""
    command = _suggested_command(result.err)
    if command:
        return command
    if scenario.run_kind and new_runs(arena, scenario.run_kind):
        run = new_runs(arena, scenario.run_kind)[-1]
        if run.status == "complete":
            return ()
        details = arena.run("runs", "show", run.id)
        require_clean_exit(details, [0])
        command = _suggested_command(details.err)
        require(command, f"`runs show` does not suggest how to resume {run.id} ({run.status}): {details}")
        assert command is not None
        return command
    return command_of(scenario, arena)


def require_recovery(arena: Arena, scenario: Scenario, result: CommandResult, expected: Any) -> None:
    """After recovery as suggested, the results are the same as without a fault."""
    if result.code != 0:
        command = _recovery_command(arena, scenario, result)
        if command:
            recovered = arena.run(*command)
            # The fault may have come after the effect: the export exists already, or the run is deleted already.
            code_if_already_done = {"export": 2, "rm": 4}.get(scenario.name, 0)
            require_clean_exit(recovered, {0, code_if_already_done})
    if scenario.name == "rm":
        require_clean_exit(arena.run("runs", "gc", "--yes"), [0])
    require_equal(scenario.collect_results(arena.path), expected)


def require_equal(results: Any, expected: Any) -> None:
    """Results are equal to those without a fault."""
    if isinstance(results, dict) and isinstance(expected, dict):
        keys = [key for key in expected if results.get(key) != expected[key]]
        require(not keys, f"differs from an undisturbed run in {keys}: {[results.get(key) for key in keys]}")
    require(results == expected, f"differs from an undisturbed run: {results}, not {expected}")


def require_models_unchanged(run: Run, expected: dict[str, str]) -> None:
    """Models that the run had before still exist and are unchanged."""
    hashes = file_hashes(run.path)
    changed = [name for name, sha in expected.items() if name.startswith("models/") and hashes.get(name) != sha]
    require(not changed, f"{run.id}: lost or changed: {changed}")
