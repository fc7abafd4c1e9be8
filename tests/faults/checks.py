"""What must hold after a fault, whatever it was."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from typing import Any

from recctl.runs import Run
from tests.faults.arena import Arena, Done, hashes
from tests.faults.scenes import Scene, command_of, new_runs, run_named

# Bad usage, data, run, training, an assertion; 1 is for what nobody foresaw, and never right.
REFUSED = (2, 3, 4, 5)


class LossError(AssertionError):
    """Something is lost, half of something passes as whole, or the program is at a loss itself."""


def require(holds: object, what: object) -> None:
    """Raise a LossError that says what, unless it holds."""
    if not holds:
        raise LossError(str(what))


def calm(done: Done, codes: Collection[int]) -> None:
    """A command ended as it should: with one of these codes, and if that is an error with one that can be read."""
    require(done.code is not None, f"hangs: {done}")
    require("Traceback" not in done.err, f"traceback: {done}")
    require("unexpected error" not in done.err, f"unexpected error: {done}")
    require(done.code in codes, f"wrong exit code (not of {sorted(codes)}): {done}")
    if done.code in REFUSED:
        errors = [line for line in done.err.splitlines() if line.startswith("error: ") and len(line) > 20]
        require(1 <= len(errors) <= 4, f"{len(errors)} errors: {done}")
    if done.code == 130:
        require("interrupted" in done.err, f"does not say it was interrupted: {done}")


def keeper_is_whole(arena: Arena, before: dict[str, str]) -> None:
    """The run that was finished before is there, byte for byte."""
    after = hashes(run_named(arena, "keeper").path)
    differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    require(not differing, f"a finished run was changed: {sorted(differing)}")


def folder_is_sound(arena: Arena) -> None:
    """Runs can be listed, none is said to be running, and those that say complete are."""
    listed = arena.run("runs", "list", "--json")
    calm(listed, [0])
    require(not listed.document["damaged"], f"damaged runs: {listed.document['damaged']}")
    statuses = {run["run_id"]: run["status"] for run in listed.document["runs"]}
    require(statuses[run_named(arena, "keeper").id] == "complete", f"the finished run is not listed so: {statuses}")
    require("running" not in statuses.values(), f"a run that nobody works on is running: {statuses}")
    calm(arena.run("runs", "verify"), [0])


def nothing_half_written(arena: Arena) -> None:
    """A process that could clean up behind itself has."""
    left = [str(path.relative_to(arena.path)) for path in arena.path.rglob(".*.tmp")]
    require(not left, f"left behind: {left}")


def _resuming(arena: Arena, scene: Scene, done: Done) -> tuple[str, ...]:
    """What the program says goes on; the command itself if it had not begun anything."""
    told = re.findall(r"resume with: recctl (.*)", done.err)
    if told:
        return tuple(shlex.split(told[-1]))
    if scene.makes and new_runs(arena, scene.makes):
        run = new_runs(arena, scene.makes)[-1]
        if run.status == "complete":
            return ()
        shown = arena.run("runs", "show", run.id)
        calm(shown, [0])
        told = re.findall(r"resume with: recctl (.*)", shown.err)
        require(told, f"does not say how to go on with {run.id} ({run.status}): {shown}")
        return tuple(shlex.split(told[-1]))
    return command_of(scene, arena)


def goes_on(arena: Arena, scene: Scene, done: Done, oracle: Any) -> None:
    """Going on as the program says ends as if nothing had happened."""
    if done.code != 0:
        command = _resuming(arena, scene, done)
        if command:
            again = arena.run(*command)
            # What had its effect before the fault can't have it again.
            over = {"export": 2, "rm": 4}.get(scene.name, 0)
            calm(again, {0, over})
    if scene.name == "rm":
        calm(arena.run("runs", "gc", "--yes"), [0])
    require_equal(scene.told(arena.path), oracle)


def require_equal(told: Any, oracle: Any) -> None:
    """What was told is what an undisturbed run tells."""
    if isinstance(told, dict) and isinstance(oracle, dict):
        differing = [key for key in oracle if told.get(key) != oracle[key]]
        require(not differing, f"differs from an undisturbed run in {differing}: {[told.get(k) for k in differing]}")
    require(told == oracle, f"differs from an undisturbed run: {told}, not {oracle}")


def nothing_lost_of(before: dict[str, str], run: Run) -> None:
    """Models that stood in a run still stand there, unchanged."""
    after = hashes(run.path)
    changed = [name for name, sha in before.items() if name.startswith("models/") and after.get(name) != sha]
    require(not changed, f"{run.id}: lost or changed: {changed}")
