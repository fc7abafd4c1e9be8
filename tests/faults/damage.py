"""Damaged files: each kind of file, damaged in each way, under each command that reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl.runs import Run
from tests.faults import checks
from tests.faults.arena import Arena, Done, hashes
from tests.faults.at_writes import Bench
from tests.faults.checks import REFUSED, require
from tests.faults.scenes import run_named, told_of


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flipped(content: bytes) -> bytes:
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


WAYS: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda content: b"",
    "half": _half,
    "short": lambda content: content[:-3],
    "flipped": _flipped,
    "zeros": lambda content: _half(content) + bytes(len(content) - len(content) // 2),
    "web page": lambda content: b"<!DOCTYPE html><html><body>Please log in</body></html>\n",
    "noise": lambda content: random.Random(1).randbytes(max(len(content), 64)),
    "gone": lambda content: None,
}


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        run: Whose: the run's name in the museum.
        file: The path in the run; below `runs/` if `run` is empty.
        readers: Commands; RUN stands for the run.
        unseen: Ways of damage that leave a file that may well be what it should be.
    """

    run: str
    file: str
    readers: tuple[tuple[str, ...], ...]
    unseen: tuple[str, ...] = ()


_EVALUATE = ("evaluate", "RUN", "--on", "test", "--metric", "precision", "--json")
_EXPORT = ("export", "RUN", "--format", "recommendations", "-o", "out", "-k", "3")
_PROMOTE = ("runs", "promote", "RUN", "--as", "good")
_RESUME = ("train", "--resume", "RUN")
_TUNE = ("tune", "--resume", "RUN")
_SHOW = ("runs", "show", "RUN")
_ALL = ("empty", "half", "short", "flipped", "zeros", "web page", "noise", "gone")
# A digit that is another digit: JSON and YAML of people and programs, without a hash of their own.
_TEXT = ("flipped", "short")

TARGETS = [
    Target("subject", "metadata.json", (_SHOW, _EVALUATE, _EXPORT, _PROMOTE), (*_TEXT, "gone")),
    Target("subject", "config.yaml", (_SHOW, _EVALUATE, ("diagnose", "RUN")), _TEXT),
    Target("subject", "metrics.json", (_SHOW, _EVALUATE, ("report", "RUN")), (*_TEXT, "gone")),
    Target("subject", "split.npz", (_EVALUATE, ("report", "RUN"))),
    Target("subject", "per_user.parquet", (_EVALUATE, ("compare", "RUN", "KEEPER"), ("report", "RUN")), _TEXT),
    Target("subject", "models/v1.pkl", (_EVALUATE, _EXPORT, _PROMOTE, ("recommend", "RUN", "1"))),
    Target(
        "subject", "remarks.json", (_SHOW, ("runs", "tag", "RUN", "more"), ("runs", "gc", "--yes")), (*_TEXT, "gone")
    ),
    Target("subject", "log.txt", (_SHOW, _EVALUATE), _ALL),
    Target("subject", "exports/recommendations/manifest.json", (("export", "--verify", "EXPORT"),), (*_TEXT, "gone")),
    Target("subject", "exports/recommendations/recommendations.parquet", (("export", "--verify", "EXPORT"),)),
    Target("broken", "metadata.json", (_SHOW, _RESUME), (*_TEXT, "gone")),
    Target("broken", "config.yaml", (_RESUME,), _TEXT),
    Target("broken", "split.npz", (_RESUME,)),
    Target("broken", "checkpoints/last.pkl", (_SHOW, _RESUME), ("gone",)),
    Target("broken", "checkpoints/best.pkl", (_RESUME,), ("gone",)),
    Target("broken", "history.jsonl", (_SHOW, _RESUME), _ALL),
    Target("halfway", "study.db", (_SHOW, _TUNE), _ALL),
    Target("halfway", "trials.parquet", (_SHOW, _TUNE), _ALL),
    Target("search", "study.db", (_SHOW, (*_TUNE, "--trials", "5")), _ALL),
    Target("search", "trials.parquet", (_SHOW, _TUNE, ("report", "RUN")), ("gone", *_TEXT)),
    Target("search", "best.yaml", (("train", "BEST"), _SHOW), ("gone", *_TEXT)),
    Target("comparison", "comparison.json", (("compare", "RUN"), _SHOW, ("report", "RUN")), ("gone", *_TEXT)),
    Target(
        "",
        ".names/production/000001.json",
        (("runs", "names"), ("runs", "list"), ("recommend", "production", "1")),
        ("gone", *_TEXT),
    ),
]


def build(arena: Arena) -> dict[str, Any]:
    """The museum: complete runs of each kind, and two that were broken off. What undisturbed commands come to."""
    arena.restore("template")
    told: dict[str, Any] = {}
    subject = run_named(arena, "subject").id
    for command in (("export", subject, "--format", "recommendations", "-k", "3"), ("runs", "tag", subject, "good")):
        checks.calm(arena.run(*command), [0])
    for name, command in (
        ("search", ("tune", "svd.yaml")),
        ("comparison", ("compare", "ease.yaml", "popularity.yaml")),
    ):
        done = arena.run(*command, "--json", "-q")
        checks.calm(done, [0])
        (arena.path / name).write_text(done.document["run_id"])
    for name, command, file in (
        ("broken", ("train", "svd.yaml"), "checkpoints/last.pkl"),
        ("halfway", ("tune", "svd.yaml"), "trials/2"),
    ):
        told[name] = _break_off(arena, name, command, file)
    arena.keep("museum")
    told["evaluate"] = arena.run(*_words(arena, "subject", _EVALUATE)).document["metrics"]["test"]["precision@5"]
    checks.calm(arena.run(*_words(arena, "subject", _EXPORT)), [0])
    told["export"] = json.loads((arena.path / "out" / "manifest.json").read_text())["files"]
    return told


def _break_off(arena: Arena, name: str, command: tuple[str, ...], file: str) -> Any:
    """Kill a command when it has come to the third change of a file; what it comes to undisturbed."""
    before = {path.name for path in (arena.path / "runs").iterdir()}
    arena.log.unlink(missing_ok=True)
    done = arena.run(*command, "--json", "-q", fault={})
    checks.calm(done, [0])
    points = [at for at, (_, path) in enumerate(arena.points()) if file in path]
    whole = Run.open(Path(arena.path / done.document["path"]))
    told = told_of(whole)
    checks.calm(arena.run("runs", "rm", whole.id, "--yes"), [0])
    checks.calm(arena.run(*command, fault={"do": "kill", "at": points[2]}), [-9])
    broken = {path.name for path in (arena.path / "runs").iterdir()} - before
    (arena.path / name).write_text(broken.pop())
    if name == "halfway":  # SQLite's own way of going on from a crash, once: then all is in the one file
        (arena.path / "runs" / (arena.path / name).read_text() / "trials.parquet").write_bytes(b"PAR1")
    return told


def _words(arena: Arena, run: str, command: tuple[str, ...]) -> tuple[str, ...]:
    names = {"KEEPER": (arena.path / "keeper").read_text()}
    if run:
        names["RUN"] = (arena.path / run).read_text()
        names["EXPORT"] = f"runs/{names['RUN']}/exports/recommendations"
        names["BEST"] = f"runs/{names['RUN']}/best.yaml"
    return tuple(names.get(word, word) for word in command)


def strike(bench: Bench, told: dict[str, Any], target: Target, way: str) -> None:
    """Damage a file, look at it with every command, and check what they say."""
    arena = bench.arena
    for reader in (("runs", "list"), ("runs", "verify"), *target.readers):
        arena.restore("museum")
        folder = arena.path / "runs" / ((arena.path / target.run).read_text() if target.run else "")
        damage(folder / target.file, WAYS[way])
        done = arena.run(*_words(arena, target.run, reader))
        if reader == ("runs", "verify"):
            _verified(target, way, done)
        else:
            checks.calm(done, (0, *REFUSED))
            if reader == ("runs", "list"):
                require(done.code == 0, f"the others can't be listed: {done}")
        if done.code == 0 and way not in target.unseen:
            _as_undisturbed(arena, told, target, reader, done)
        checks.keeper_is_whole(arena, bench.keeper)


def damage(path: Path, how: Callable[[bytes], bytes | None]) -> None:
    """Damage a file."""
    content = how(path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


def _verified(target: Target, way: str, done: Done) -> None:
    checks.calm(done, (0, 4))
    if way not in target.unseen:
        require(done.code == 4, f"not found: {target.file} {way}: {done.out}")
        name = target.file.split("/")[-1] if target.run else ""
        require(name in done.out or "exports" in target.file, f"not named: {target.file} {way}: {done.out}")


def _as_undisturbed(arena: Arena, told: dict[str, Any], target: Target, reader: tuple[str, ...], done: Done) -> None:
    """What a command makes of a damaged file, if it does not refuse it, is what it makes of a whole one."""
    if reader == _EVALUATE:
        require(done.document["metrics"]["test"]["precision@5"] == told["evaluate"], f"other figures: {done}")
    elif reader == _EXPORT:
        found = json.loads((arena.path / "out" / "manifest.json").read_text())["files"]
        require(found == told["export"], f"another export: {done}")
    elif reader in (_RESUME, _TUNE) and target.run in told:
        run = Run.open(arena.path / "runs" / (arena.path / target.run).read_text())
        checks.require_equal(told_of(run), told[target.run])
    elif target.file.endswith(("split.npz", ".pkl")):
        require(reader[0] in ("runs", "report"), f"takes a damaged file: {done}")


def faults() -> Iterator[tuple[Target, str]]:
    """Every kind of file in every way."""
    yield from ((target, way) for target in TARGETS for way in WAYS)


__all__ = ["TARGETS", "WAYS", "build", "damage", "faults", "hashes", "strike"]
