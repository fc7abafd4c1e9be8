"""Damaged files: every kind of file of a run, damaged in every way, then read by every command that reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl.runs import Run
from tests.faults import checks
from tests.faults.arena import Arena, CommandResult
from tests.faults.checks import ERROR_CODES, require
from tests.faults.file_operations import FaultBench
from tests.faults.scenarios import named_run, run_results


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]


# Functions of a file's content; None deletes the file.
WAYS: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda content: b"",
    "half": _half,
    "short": lambda content: content[:-3],
    "flipped": _flip_bit,
    "zeros": lambda content: _half(content) + bytes(len(content) - len(content) // 2),
    "web page": lambda content: b"<!DOCTYPE html><html><body>Please log in</body></html>\n",
    "noise": lambda content: random.Random(1).randbytes(max(len(content), 64)),
    "gone": lambda content: None,
}


@dataclass(frozen=True)
class Target:
    """A kind of file to damage.

    Attributes:
        run: Name of the run in the snapshot "damage"; empty for a file of the runs folder itself.
        file: Path in the run, or in the runs folder.
        readers: Commands that read the file; RUN, KEEPER, EXPORT and BEST are replaced by ids and paths.
        undetectable: Ways of damage that may leave a valid file.
    """

    run: str
    file: str
    readers: tuple[tuple[str, ...], ...]
    undetectable: tuple[str, ...] = ()


_EVALUATE = ("evaluate", "RUN", "--on", "test", "--metric", "precision", "--json")
_EXPORT = ("export", "RUN", "--format", "recommendations", "-o", "out", "-k", "3")
_PROMOTE = ("runs", "promote", "RUN", "--as", "good")
_RESUME_TRAIN = ("train", "--resume", "RUN")
_RESUME_TUNE = ("tune", "--resume", "RUN")
_SHOW = ("runs", "show", "RUN")
# JSON and YAML without a hash: a changed digit is another valid value.
_TEXT = ("flipped", "short")
_TEXT_OR_DELETED = ("flipped", "short", "gone")
_ALL = tuple(WAYS)

TARGETS = [
    Target("subject", "metadata.json", (_SHOW, _EVALUATE, _EXPORT, _PROMOTE), _TEXT),
    Target("subject", "config.yaml", (_SHOW, _EVALUATE, ("diagnose", "RUN")), _TEXT),
    Target("subject", "evaluations.json", (_SHOW, _EVALUATE, ("report", "RUN")), _TEXT),
    # A view for scripts, which the next evaluation writes again.
    Target("subject", "metrics.json", (_SHOW, _EVALUATE), _ALL),
    Target("subject", "split.npz", (_EVALUATE, ("report", "RUN"))),
    Target("subject", "per_user.parquet", (_EVALUATE, ("compare", "RUN", "KEEPER"), ("report", "RUN")), _TEXT),
    Target("subject", "models/v1.pkl", (_EVALUATE, _EXPORT, _PROMOTE, ("recommend", "RUN", "1"))),
    Target(
        "subject", "remarks.json", (_SHOW, ("runs", "tag", "RUN", "more"), ("runs", "gc", "--yes")), _TEXT_OR_DELETED
    ),
    Target("subject", "log.txt", (_SHOW, _EVALUATE), _ALL),
    Target("subject", "exports/recommendations/manifest.json", (("export", "--verify", "EXPORT"),), _TEXT),
    Target("subject", "exports/recommendations/recommendations.parquet", (("export", "--verify", "EXPORT"),)),
    Target("broken", "metadata.json", (_SHOW, _RESUME_TRAIN), _TEXT),
    Target("broken", "config.yaml", (_RESUME_TRAIN,), _TEXT),
    Target("broken", "split.npz", (_RESUME_TRAIN,)),
    Target("broken", "checkpoints/last.pkl", (_SHOW, _RESUME_TRAIN), ("gone",)),
    Target("broken", "checkpoints/best.pkl", (_RESUME_TRAIN,), ("gone",)),
    Target("broken", "history.jsonl", (_SHOW, _RESUME_TRAIN), _ALL),
    Target("halfway", "study.db", (_SHOW, _RESUME_TUNE), _ALL),
    Target("halfway", "trials.parquet", (_SHOW, _RESUME_TUNE), _ALL),
    Target("search", "study.db", (_SHOW, (*_RESUME_TUNE, "--trials", "5")), _ALL),
    Target("search", "trials.parquet", (_SHOW, _RESUME_TUNE, ("report", "RUN")), _TEXT_OR_DELETED),
    Target("search", "best.yaml", (("train", "BEST"), _SHOW), _TEXT_OR_DELETED),
    Target("comparison", "comparison.json", (("compare", "RUN"), _SHOW, ("report", "RUN")), _TEXT_OR_DELETED),
    Target(
        "",
        ".names/production/000001.json",
        (("runs", "names"), ("runs", "list"), ("recommend", "production", "1")),
        _TEXT_OR_DELETED,
    ),
]


def build_snapshot(arena: Arena) -> dict[str, Any]:
    """Make the snapshot "damage": complete runs of each kind, and two interrupted ones.

    Returns:
        Results without damage: of the two interrupted runs after resuming, of `evaluate`, and of `export`.
    """
    arena.restore("template")
    expected: dict[str, Any] = {}
    subject = named_run(arena, "subject").id
    for command in (("export", subject, "--format", "recommendations", "-k", "3"), ("runs", "tag", subject, "good")):
        checks.require_clean_exit(arena.run(*command), [0])
    for name, command in (
        ("search", ("tune", "svd.yaml")),
        ("comparison", ("compare", "ease.yaml", "popularity.yaml")),
    ):
        result = arena.run(*command, "--json", "-q")
        checks.require_clean_exit(result, [0])
        (arena.path / name).write_text(result.json["run_id"])
    for name, command, file in (
        ("broken", ("train", "svd.yaml"), "checkpoints/last.pkl"),
        ("halfway", ("tune", "svd.yaml"), "trials/2"),
    ):
        expected[name] = _make_interrupted_run(arena, name, command, file)
    arena.save_snapshot("damage")
    evaluation = arena.run(*_fill_in(arena, "subject", _EVALUATE)).json
    expected["evaluate"] = evaluation["metrics"]["test"]["precision@5"]
    checks.require_clean_exit(arena.run(*_fill_in(arena, "subject", _EXPORT)), [0])
    expected["export"] = _exported_files(arena)
    return expected


def _make_interrupted_run(arena: Arena, name: str, command: tuple[str, ...], file: str) -> Any:
    """Kill a command at its third operation on a file; return its results without the kill."""
    earlier_runs = _run_folders(arena)
    arena.log.unlink(missing_ok=True)
    result = arena.run(*command, "--json", "-q", fault={})
    checks.require_clean_exit(result, [0])
    operations = [number for number, (_, path) in enumerate(arena.operations()) if file in path]
    complete_run = Run.open(Path(arena.path / result.json["path"]))
    expected = run_results(complete_run)
    checks.require_clean_exit(arena.run("runs", "rm", complete_run.id, "--yes"), [0])
    checks.require_clean_exit(arena.run(*command, fault={"do": "kill", "at": operations[2]}), [-9])
    (run_id,) = _run_folders(arena) - earlier_runs
    (arena.path / name).write_text(run_id)
    if name == "halfway":
        # The interrupted search has not written its table yet; targets need a file to damage.
        (arena.path / "runs" / run_id / "trials.parquet").write_bytes(b"PAR1")
    return expected


def _run_folders(arena: Arena) -> set[str]:
    return {path.name for path in (arena.path / "runs").iterdir() if path.is_dir()}


def _fill_in(arena: Arena, run: str, command: tuple[str, ...]) -> tuple[str, ...]:
    replacements = {"KEEPER": (arena.path / "keeper").read_text()}
    if run:
        run_id = (arena.path / run).read_text()
        replacements["RUN"] = run_id
        replacements["EXPORT"] = f"runs/{run_id}/exports/recommendations"
        replacements["BEST"] = f"runs/{run_id}/best.yaml"
    return tuple(replacements.get(word, word) for word in command)


def _exported_files(arena: Arena) -> Any:
    return json.loads((arena.path / "out" / "manifest.json").read_text())["files"]


def inject(bench: FaultBench, expected: dict[str, Any], target: Target, way: str) -> None:
    """Damage a file, read it by every command, and check the results.

    Args:
        bench: The bench.
        expected: The results without damage, from `build_snapshot`.
        target: The file.
        way: A key of `WAYS`.
    """
    arena = bench.arena
    for reader in (("runs", "list"), ("runs", "verify"), *target.readers):
        arena.restore("damage")
        folder = arena.path / "runs"
        if target.run:
            folder /= (arena.path / target.run).read_text()
        damage(folder / target.file, WAYS[way])
        result = arena.run(*_fill_in(arena, target.run, reader))
        if reader == ("runs", "verify"):
            _require_detected(target, way, result)
        else:
            checks.require_clean_exit(result, (0, *ERROR_CODES))
            if reader == ("runs", "list"):
                require(result.code == 0, f"the other runs can't be listed: {result}")
        if result.code == 0 and way not in target.undetectable:
            _require_undamaged_result(arena, expected, target, reader, result)
        checks.require_keeper_unchanged(arena, bench.keeper_hashes)


def damage(path: Path, way: Callable[[bytes], bytes | None]) -> None:
    """Damage or delete a file."""
    content = way(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def _require_detected(target: Target, way: str, result: CommandResult) -> None:
    """`runs verify` reports the damaged file by name."""
    checks.require_clean_exit(result, (0, 4))
    if way not in target.undetectable:
        require(result.code == 4, f"not detected: {target.file} {way}: {result.out}")
        name = target.file.split("/")[-1] if target.run else ""
        is_named = name in result.out or "exports" in target.file
        require(is_named, f"the file is not named: {target.file} {way}: {result.out}")


def _require_undamaged_result(
    arena: Arena, expected: dict[str, Any], target: Target, reader: tuple[str, ...], result: CommandResult
) -> None:
    """A command that succeeds with a damaged file has the same result as with an undamaged one."""
    if reader == _EVALUATE:
        metrics = result.json["metrics"]["test"]
        require(metrics["precision@5"] == expected["evaluate"], f"different metrics: {result}")
    elif reader == _EXPORT:
        require(_exported_files(arena) == expected["export"], f"a different export: {result}")
    elif reader in (_RESUME_TRAIN, _RESUME_TUNE) and target.run in expected:
        run = Run.open(arena.path / "runs" / (arena.path / target.run).read_text())
        checks.require_equal(run_results(run), expected[target.run])
    elif target.file.endswith(("split.npz", ".pkl")):
        require(reader[0] in ("runs", "report"), f"accepts a damaged file: {result}")


def faults() -> Iterator[tuple[Target, str]]:
    """Every target with every way of damage."""
    for target in TARGETS:
        for way in WAYS:
            yield target, way
