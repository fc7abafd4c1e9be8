"""Faults from outside: full disks, folders that can't be written, two at once, damaged sources, lying servers.

Each is a function that takes the bench and a number; `KINDS` says how many there are.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from recctl.runs import Run, RunStore
from tests.data.sources.server import Behavior, serving
from tests.faults import checks
from tests.faults.arena import Arena, Done
from tests.faults.at_writes import Bench
from tests.faults.checks import REFUSED, require
from tests.faults.damage import WAYS, damage
from tests.faults.scenes import SCENES, Scene, command_of, new_runs, run_named, told_of

_BY_NAME = {scene.name: scene for scene in SCENES}
_NOBODY = 65534


# ---- disks


@contextmanager
def _small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """What is in a folder, on a file system of that many kilobytes."""
    kept = folder.with_name("kept")
    shutil.move(folder, kept)
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield
        shutil.rmtree(kept)
        shutil.copytree(folder, kept)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()
        shutil.move(kept, folder)


def can_mount(arena: Arena) -> bool:
    """Whether small disks can be had here."""
    place = arena.folder / "disk"
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
    if done:
        subprocess.run(["umount", str(place)], check=True)
    return done


_HURT_BY_DISKS = ("train-ease", "train-svd", "tune", "compare", "export", "evaluate", "tag", "promote")


def disk_is_full(bench: Bench, number: int) -> None:
    """Runs lie on a disk on which so much is left."""
    scene = _BY_NAME[_HURT_BY_DISKS[number % len(_HURT_BY_DISKS)]]
    left = random.Random(f"{scene.name} {number}").choice((4, 8, 16, 24, 40, 64, 96, 160))
    bench.learn(scene)
    arena = bench.arena
    arena.restore("template")
    runs = arena.path / "runs"
    # A file takes whole pages.
    pages = sum(-(-path.stat().st_size // 4096) for path in runs.rglob("*") if path.is_file())
    with _small_disk(runs, 4 * pages + 4 + left):
        done = arena.run(*command_of(scene, arena))
        checks.calm(done, (0, 4, 5))
        checks.keeper_is_whole(arena, bench.keeper)
        if done.code:
            checks.calm(arena.run("runs", "list"), [0])
    _on_whole_disk(bench, scene, done)


def files_are_limited(bench: Bench, number: int) -> None:
    """No file may grow over a limit of the process, as by `ulimit -f` or a quota."""
    scene = _BY_NAME[_HURT_BY_DISKS[number % len(_HURT_BY_DISKS)]]
    largest = random.Random(f"limit {scene.name} {number}").choice((1200, 1800, 2500, 4000, 6000, 9000, 20_000, 40_000))
    bench.learn(scene)
    bench.arena.restore("template")
    done = bench.arena.run(*command_of(scene, bench.arena), largest=largest)
    checks.calm(done, (0, 4))
    _on_whole_disk(bench, scene, done)


def _on_whole_disk(bench: Bench, scene: Scene, done: Done) -> None:
    checks.keeper_is_whole(bench.arena, bench.keeper)
    checks.folder_is_sound(bench.arena)
    checks.goes_on(bench.arena, scene, done, bench.oracles[scene.name])
    checks.folder_is_sound(bench.arena)


def folder_is_read_only(bench: Bench, number: int) -> None:
    """A user who may read the runs, and no more, runs a command."""
    scene = [s for s in SCENES if s.name != "train-sasrec"][number % (len(SCENES) - 1)]
    bench.learn(scene)
    arena = bench.arena
    arena.restore("template")
    files = [*arena.path.rglob("*"), arena.path]
    if os.getuid() == 0:  # whom permissions don't hold
        for folder in (arena.folder, *arena.folder.parents):
            if folder.stat().st_uid == 0 and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)
    modes = {path: path.stat().st_mode for path in files}
    for path in files:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = arena.run(*command_of(scene, arena), user=_NOBODY if os.getuid() == 0 else None)
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
    checks.calm(done, [4])
    require("ermission denied" in done.err, f"does not say why: {done}")
    _on_whole_disk(bench, scene, done)


# ---- two at once


def two_at_once(bench: Bench, number: int) -> None:
    """The same command twice, the second one a little later."""
    names = ("train-ease", "train-svd", "evaluate", "export", "promote", "tag", "tune", "compare")
    scene = _BY_NAME[names[number % len(names)]]
    bench.learn(scene)
    arena = bench.arena
    arena.restore("template")
    first = arena.start(*command_of(scene, arena))
    time.sleep(random.Random(f"two {number}").random() * bench.seconds[scene.name])
    second = arena.run(*command_of(scene, arena))
    # Of two exports to one place one is there first, and the other says so.
    allowed = (0, 2, 4) if scene.name == "export" else (0,)
    both = [first.wait(), second]
    for done in both:
        checks.calm(done, allowed)
    require(any(done.code == 0 for done in both), f"both failed: {both[0]} {both[1]}")
    checks.folder_is_sound(arena)
    checks.keeper_is_whole(arena, bench.keeper)
    checks.require_equal(scene.told(arena.path), bench.oracles[scene.name])
    if scene.makes:
        told = [told_of(run) for run in new_runs(arena, scene.makes) if run.metadata.get("parent_run") is None]
        require(len(told) == 2, f"{len(told)} runs of two")
        checks.require_equal(told[0], told[1])


def both_go_on(bench: Bench, number: int) -> None:
    """A run that was killed is gone on with by two at once: one does, and the other says that it can't, or need not."""
    scene = _BY_NAME[("train-svd", "tune", "train-ease", "compare")[number % 4]]
    bench.learn(scene)
    arena = bench.arena
    arena.restore("template")
    draw = random.Random(f"both {number}")
    at = draw.randrange(bench.n_points[scene.name] // 4, bench.n_points[scene.name] * 3 // 4)
    arena.run(*command_of(scene, arena), fault={"do": "kill", "at": at})
    runs = new_runs(arena, scene.makes)
    require(len(runs) == 1, f"killed at {at}, before it was a run")
    command = (scene.command[0], "--resume", runs[0].id)
    first = arena.start(*command)
    time.sleep(draw.random() * 0.1)
    both = [arena.run(*command), first.wait()]
    for done in both:
        checks.calm(done, (0, 2))
    require(any(done.code == 0 for done in both), f"nobody went on: {both[0]} {both[1]}")
    checks.folder_is_sound(arena)
    checks.require_equal(scene.told(arena.path), bench.oracles[scene.name])
    checks.keeper_is_whole(arena, bench.keeper)


def figures_added_at_once(bench: Bench, number: int) -> None:
    """Two evaluations of one run, and two tags: both stand there afterwards."""
    arena = bench.arena
    arena.restore("template")
    subject = run_named(arena, "subject").id
    metrics = ("precision", "hit_rate", "mrr", "map")
    chosen = random.Random(number).sample(metrics, 3)
    started = [arena.start("evaluate", subject, "--on", "test", "--metric", metric) for metric in chosen]
    started += [arena.start("runs", "tag", subject, f"tag{n}") for n in range(3)]
    for one in started:
        checks.calm(one.wait(), [0])
    there = run_named(arena, "subject").metrics()["test"]
    require(all(f"{metric}@5" in there for metric in chosen), f"of {chosen} there are {sorted(there)}")
    tags = json.loads((run_named(arena, "subject").path / "remarks.json").read_text())["tags"]
    require(tags == ["tag0", "tag1", "tag2"], f"tags: {tags}")
    checks.folder_is_sound(arena)


def crowd(bench: Bench, number: int) -> None:
    """So many trainings in one folder at once: all are complete, listed, and the same."""
    scene = _BY_NAME["train-ease"]
    bench.learn(scene)
    arena = bench.arena
    arena.restore("template")
    started = [arena.start(*scene.command) for _ in range(number)]
    for one in started:
        checks.calm(one.wait(600), [0])
    listed = arena.run("runs", "list", "--status", "complete", "--json")
    require(len(listed.document["runs"]) == number + 2, f"{len(listed.document['runs'])} runs of {number + 2}")
    for run in new_runs(arena):
        checks.require_equal(told_of(run), bench.oracles[scene.name])
    checks.folder_is_sound(arena)
    checks.keeper_is_whole(arena, bench.keeper)


# ---- sources


def _sources() -> dict[str, Callable[[bytes], bytes]]:
    def parquet(content: bytes) -> bytes:
        sink = io.BytesIO()
        pd.read_csv(io.BytesIO(content)).to_parquet(sink)
        return sink.getvalue()

    def zipped(content: bytes) -> bytes:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("data.csv", content)
        return sink.getvalue()

    def inter(content: bytes) -> bytes:
        lines = content.decode().replace(",", "\t").splitlines()
        return "\n".join(["user_id:token\titem_id:token\trating:float\ttimestamp:float", *lines[1:]]).encode() + b"\n"

    return {
        "csv": lambda content: content,
        "tsv": lambda content: content.replace(b",", b"\t"),
        "inter": inter,
        "parquet": parquet,
        "csv.gz": lambda content: gzip.compress(content, mtime=0),
        "zip": zipped,
    }


def source_is_damaged(bench: Bench, number: int) -> None:
    """The file that interactions are read from is damaged, before a training or before one is gone on with."""
    kinds = _sources()
    kind = list(kinds)[number % len(kinds)]
    way = list(WAYS)[number // len(kinds) % len(WAYS)]
    resumed = number // len(kinds) // len(WAYS) % 2 == 1
    arena = bench.arena
    arena.restore("template")
    source = arena.path / f"data.{kind}"
    source.write_bytes(kinds[kind]((arena.path / "data.csv").read_bytes()))
    config = arena.path / "other.yaml"
    config.write_text((arena.path / "svd.yaml").read_text().replace("data.csv", source.name))
    supported = arena.run("data", "describe", str(source)).code == 0
    command = ["train", "other.yaml"]
    if resumed and supported:
        arena.run(*command, fault={"do": "kill", "at": 60})
        command = ["train", "--resume", new_runs(arena)[-1].id]
    damage(source, WAYS[way])
    done = arena.run(*command)
    # What was cut between two rows is a shorter table; only who knows what it was can tell.
    checks.calm(done, (3,) if resumed and supported else (0, *REFUSED))
    if way in ("empty", "gone", "web page"):
        require(done.code in (2, 3), f"takes {kind} {way}: {done}")
    checks.folder_is_sound(arena)
    checks.keeper_is_whole(arena, bench.keeper)


_RATINGS = "".join(
    f"{user}::{item}::{1 + user * item % 5}::{user + item}\n" for user in range(30) for item in range(20)
)


def _archive() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("ml/ratings.dat", _RATINGS)
    return sink.getvalue()


def server_misbehaves(bench: Bench, number: int) -> None:
    """A data set of the catalog is fetched from a server that stalls, lies, or sends something else."""
    content = _archive()
    draw = random.Random(f"server {number}")
    at = draw.randrange(1, len(content))
    page = b"<html><body>Log in</body></html>"
    flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    behaviors = {
        "stalls for ever": Behavior(content, stall_after=[at] * 9),
        "stalls once": Behavior(content, stall_after=[at]),
        "breaks off once": Behavior(content, stop_after=[at]),
        "breaks off at each try, with no ranges": Behavior(content, stop_after=[at] * 9, ranges=False),
        "says too long": Behavior(content, claim=len(content) + 1000, ranges=False),
        "says too short": Behavior(content, claim=at),
        "web page": Behavior(page, content_type="text/html"),
        "web page that says it is an archive": Behavior(page),
        "another archive": Behavior(flipped),
        "nothing": Behavior(b""),
        "404": Behavior(content, status=404),
        "503": Behavior(content, status=503),
        "wrong range": Behavior(content, stop_after=[at], wrong_range=True),
    }
    name = list(behaviors)[number % len(behaviors)]
    works = name in ("stalls once", "breaks off once")
    arena = bench.arena
    arena.restore("template")
    home = arena.path / "home"
    (arena.path / "fetched.yaml").write_text(
        (arena.path / "ease.yaml").read_text().replace("data.csv", "movielens-100k")
    )
    how = {"environ": {"RECCTL_DATA_HOME": str(home)}}
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with serving(behaviors[name]) as url:
        done = arena.run("train", "fetched.yaml", catalog={"url": url, "md5": md5}, **how)
    checks.calm(done, (0, 3) if works or name == "wrong range" else (3,))
    if works:
        require(done.code == 0, f"gives up at once when the server {name}: {done}")
    require((home / "movielens-100k").exists() == (done.code == 0), f"half a data set stands in the cache: {done}")
    checks.folder_is_sound(arena)
    checks.keeper_is_whole(arena, bench.keeper)
    with serving(Behavior(content)) as url:
        again = arena.run("train", "fetched.yaml", catalog={"url": url, "md5": md5}, **how)
    checks.calm(again, [0])
    sizes = Run.open(new_runs(arena)[-1].path).metadata["data"]
    require(sizes["interactions"] == 600, f"{sizes['interactions']} interactions of 600")


def worker_dies(bench: Bench, number: int) -> None:
    """Of the processes of `tune --jobs 2` one is killed."""
    scene = _BY_NAME["tune"]
    bench.learn(scene)
    arena = bench.arena
    arena.restore("template")
    started = arena.start("tune", "svd.yaml", "--jobs", "2")
    deadline = time.monotonic() + 60
    killed = False
    draw = random.Random(f"worker {number}")
    while not killed and time.monotonic() < deadline:
        time.sleep(draw.random())
        children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        workers = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        if workers and list((arena.path / "runs").glob("*/trials/*")):
            os.kill(int(draw.choice(workers)), 9)
            killed = True
    done = started.wait()
    checks.calm(done, [0])
    checks.folder_is_sound(arena)
    told, oracle = scene.told(arena.path), bench.oracles["tune"]
    checks.require_equal(told["trials"], oracle["trials"])
    checks.require_equal(told["models"], oracle["models"])


KINDS: dict[str, tuple[Callable[[Bench, int], None], int]] = {
    "disk-full": (disk_is_full, 24),
    "file-limit": (files_are_limited, 24),
    "folder-read-only": (folder_is_read_only, 9),
    "two-at-once": (two_at_once, 16),
    "two-resumes": (both_go_on, 8),
    "concurrent-writes": (figures_added_at_once, 6),
    "source": (source_is_damaged, 2 * 6 * len(WAYS)),
    "server": (server_misbehaves, 26),
    "worker-dies": (worker_dies, 4),
}
CROWD = 50


def runs_of(arena: Arena) -> list[Run]:
    """All runs that are there."""
    return RunStore(arena.path / "runs").runs()
