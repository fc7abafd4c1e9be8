"""Faults from outside: full disks, read-only folders, concurrent processes, damaged sources, faulty servers.

Each is a function of a bench and a number, which varies the fault; `KINDS` has the number of faults of each kind.
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

from recctl.runs import Run
from tests.data.sources.server import Behavior, serving
from tests.faults import checks
from tests.faults.arena import Arena, CommandResult
from tests.faults.checks import ERROR_CODES, require
from tests.faults.damage import WAYS, damage
from tests.faults.file_operations import FaultBench
from tests.faults.scenarios import SCENARIOS, Scenario, command_of, named_run, new_runs, run_results

N_CONCURRENT_TRAININGS = 50
_SCENARIO_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
_NOBODY_USER_ID = 65534
_PAGE_BYTES = 4096


# ---- disks


@contextmanager
def _small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """Move a folder to a file system of this size; afterwards, move it back."""
    original = folder.with_name("kept")
    shutil.move(folder, original)
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    subprocess.run(mount, check=True, capture_output=True)
    try:
        shutil.copytree(original, folder, dirs_exist_ok=True)
        yield
        shutil.rmtree(original)
        shutil.copytree(folder, original)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()
        shutil.move(original, folder)


def can_mount(arena: Arena) -> bool:
    """Whether this process may mount file systems."""
    folder = arena.folder / "disk"
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        is_mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
    if is_mounted:
        subprocess.run(["umount", str(folder)], check=True)
    return is_mounted


_DISK_SCENARIOS = ("train-ease", "train-svd", "tune", "compare", "export", "evaluate", "tag", "promote")


def fill_disk(bench: FaultBench, number: int) -> None:
    """The runs folder is on a disk with 4 to 160 kB of free space."""
    scenario = _SCENARIO_BY_NAME[_DISK_SCENARIOS[number % len(_DISK_SCENARIOS)]]
    free_kilobytes = random.Random(f"{scenario.name} {number}").choice((4, 8, 16, 24, 40, 64, 96, 160))
    bench.run_undisturbed(scenario)
    arena = bench.arena
    arena.restore("template")
    runs = arena.path / "runs"
    # A file occupies whole pages; rounds up.
    n_pages = sum(-(-path.stat().st_size // _PAGE_BYTES) for path in runs.rglob("*") if path.is_file())
    with _small_disk(runs, 4 * n_pages + 4 + free_kilobytes):
        result = arena.run(*command_of(scenario, arena))
        checks.require_clean_exit(result, (0, 4, 5))
        checks.require_keeper_unchanged(arena, bench.keeper_hashes)
        if result.code:
            checks.require_clean_exit(arena.run("runs", "list"), [0])
    _require_recovery_without_fault(bench, scenario, result)


def limit_file_size(bench: FaultBench, number: int) -> None:
    """The size of files is limited for the process, as by `ulimit -f` or a quota."""
    scenario = _SCENARIO_BY_NAME[_DISK_SCENARIOS[number % len(_DISK_SCENARIOS)]]
    generator = random.Random(f"limit {scenario.name} {number}")
    max_bytes = generator.choice((1200, 1800, 2500, 4000, 6000, 9000, 20_000, 40_000))
    bench.run_undisturbed(scenario)
    bench.arena.restore("template")
    result = bench.arena.run(*command_of(scenario, bench.arena), largest=max_bytes)
    checks.require_clean_exit(result, (0, 4))
    _require_recovery_without_fault(bench, scenario, result)


def _require_recovery_without_fault(bench: FaultBench, scenario: Scenario, result: CommandResult) -> None:
    checks.require_keeper_unchanged(bench.arena, bench.keeper_hashes)
    checks.require_consistent_runs_folder(bench.arena)
    checks.require_recovery(bench.arena, scenario, result, bench.expected_results[scenario.name])
    checks.require_consistent_runs_folder(bench.arena)


def make_folder_read_only(bench: FaultBench, number: int) -> None:
    """A command is run by a user with read permission only."""
    scenarios = [scenario for scenario in SCENARIOS if scenario.name != "train-sasrec"]
    scenario = scenarios[number % len(scenarios)]
    bench.run_undisturbed(scenario)
    arena = bench.arena
    arena.restore("template")
    # Permissions don't apply to root, so the command runs as another user, who must be able to enter the folder.
    is_root = os.getuid() == 0
    if is_root:
        for folder in (arena.folder, *arena.folder.parents):
            if folder.stat().st_uid == 0 and folder != Path("/"):
                folder.chmod(folder.stat().st_mode | 0o055)
    paths = [*arena.path.rglob("*"), arena.path]
    original_modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        result = arena.run(*command_of(scenario, arena), user=_NOBODY_USER_ID if is_root else None)
    finally:
        for path, mode in original_modes.items():
            path.chmod(mode)
    checks.require_clean_exit(result, [4])
    require("ermission denied" in result.err, f"does not give the reason: {result}")
    _require_recovery_without_fault(bench, scenario, result)


# ---- concurrent processes


def run_twice_at_once(bench: FaultBench, number: int) -> None:
    """The same command is started twice, the second time a little later."""
    names = ("train-ease", "train-svd", "evaluate", "export", "promote", "tag", "tune", "compare")
    scenario = _SCENARIO_BY_NAME[names[number % len(names)]]
    bench.run_undisturbed(scenario)
    arena = bench.arena
    arena.restore("template")
    first = arena.start(*command_of(scenario, arena))
    time.sleep(random.Random(f"two {number}").random() * bench.seconds[scenario.name])
    second_result = arena.run(*command_of(scenario, arena))
    results = [first.wait(), second_result]
    # Of two exports to one folder, the later one reports that the folder exists.
    exit_codes = (0, 2, 4) if scenario.name == "export" else (0,)
    for result in results:
        checks.require_clean_exit(result, exit_codes)
    require(any(result.code == 0 for result in results), f"both failed: {results[0]} {results[1]}")
    checks.require_consistent_runs_folder(arena)
    checks.require_keeper_unchanged(arena, bench.keeper_hashes)
    checks.require_equal(scenario.collect_results(arena.path), bench.expected_results[scenario.name])
    if scenario.run_kind:
        runs = [run for run in new_runs(arena, scenario.run_kind) if run.metadata.get("parent_run") is None]
        require(len(runs) == 2, f"{len(runs)} runs instead of 2")
        checks.require_equal(run_results(runs[0]), run_results(runs[1]))


def resume_twice_at_once(bench: FaultBench, number: int) -> None:
    """Two processes resume a killed run: one continues it, the other one is refused or finds it complete."""
    scenario = _SCENARIO_BY_NAME[("train-svd", "tune", "train-ease", "compare")[number % 4]]
    bench.run_undisturbed(scenario)
    arena = bench.arena
    arena.restore("template")
    generator = random.Random(f"both {number}")
    n_operations = bench.n_operations[scenario.name]
    operation = generator.randrange(n_operations // 4, n_operations * 3 // 4)
    arena.run(*command_of(scenario, arena), fault={"do": "kill", "at": operation})
    runs = new_runs(arena, scenario.run_kind)
    require(len(runs) == 1, f"killed at {operation}, before the run was created")
    command = (scenario.command[0], "--resume", runs[0].id)
    first = arena.start(*command)
    time.sleep(generator.random() * 0.1)
    results = [arena.run(*command), first.wait()]
    for result in results:
        checks.require_clean_exit(result, (0, 2))
    require(any(result.code == 0 for result in results), f"neither resumed the run: {results[0]} {results[1]}")
    checks.require_consistent_runs_folder(arena)
    checks.require_equal(scenario.collect_results(arena.path), bench.expected_results[scenario.name])
    checks.require_keeper_unchanged(arena, bench.keeper_hashes)


def evaluate_and_tag_concurrently(bench: FaultBench, number: int) -> None:
    """Three evaluations and three tags of one run at the same time: all are recorded."""
    arena = bench.arena
    arena.restore("template")
    subject = named_run(arena, "subject").id
    metrics = random.Random(number).sample(("precision", "hit_rate", "mrr", "map"), 3)
    commands = [arena.start("evaluate", subject, "--on", "test", "--metric", metric) for metric in metrics]
    commands += [arena.start("runs", "tag", subject, f"tag{number}") for number in range(3)]
    for command in commands:
        checks.require_clean_exit(command.wait(), [0])
    recorded = named_run(arena, "subject").metrics()["test"]
    require(all(f"{metric}@5" in recorded for metric in metrics), f"of {metrics} only {sorted(recorded)} are recorded")
    tags = json.loads((named_run(arena, "subject").path / "remarks.json").read_text())["tags"]
    require(tags == ["tag0", "tag1", "tag2"], f"tags: {tags}")
    checks.require_consistent_runs_folder(arena)


def train_concurrently(bench: FaultBench, number: int) -> None:
    """This number of trainings in one folder at the same time: all are complete, listed, and equal."""
    scenario = _SCENARIO_BY_NAME["train-ease"]
    bench.run_undisturbed(scenario)
    arena = bench.arena
    arena.restore("template")
    commands = [arena.start(*scenario.command) for _ in range(number)]
    for command in commands:
        checks.require_clean_exit(command.wait(600), [0])
    complete_runs = arena.run("runs", "list", "--status", "complete", "--json").json["runs"]
    # With the three runs of the template.
    require(len(complete_runs) == number + 3, f"{len(complete_runs)} runs instead of {number + 3}")
    for run in new_runs(arena):
        checks.require_equal(run_results(run), bench.expected_results[scenario.name])
    checks.require_consistent_runs_folder(arena)
    checks.require_keeper_unchanged(arena, bench.keeper_hashes)


# ---- sources


def _to_parquet(content: bytes) -> bytes:
    sink = io.BytesIO()
    pd.read_csv(io.BytesIO(content)).to_parquet(sink)
    return sink.getvalue()


def _to_zip(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.csv", content)
    return sink.getvalue()


def _to_inter(content: bytes) -> bytes:
    lines = content.decode().replace(",", "\t").splitlines()
    lines[0] = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    return "\n".join(lines).encode() + b"\n"


# Functions that convert a CSV file, by file extension.
_CONVERTERS: dict[str, Callable[[bytes], bytes]] = {
    "csv": lambda content: content,
    "tsv": lambda content: content.replace(b",", b"\t"),
    "inter": _to_inter,
    "parquet": _to_parquet,
    "csv.gz": lambda content: gzip.compress(content, mtime=0),
    "zip": _to_zip,
}


def damage_source(bench: FaultBench, number: int) -> None:
    """The source file is damaged before a training, or before a training is resumed."""
    extensions = list(_CONVERTERS)
    ways = list(WAYS)
    extension = extensions[number % len(extensions)]
    way = ways[number // len(extensions) % len(ways)]
    resumes = number // len(extensions) // len(ways) % 2 == 1
    arena = bench.arena
    arena.restore("template")
    source = arena.path / f"data.{extension}"
    source.write_bytes(_CONVERTERS[extension]((arena.path / "data.csv").read_bytes()))
    config = arena.path / "other.yaml"
    config.write_text((arena.path / "svd.yaml").read_text().replace("data.csv", source.name))
    can_be_read = arena.run("data", "describe", str(source)).code == 0
    command = ["train", "other.yaml"]
    exit_codes: tuple[int, ...] = (0, *ERROR_CODES)
    if resumes and can_be_read:
        arena.run(*command, fault={"do": "kill", "at": 60})
        command = ["train", "--resume", new_runs(arena)[-1].id]
        # A file that is cut between two rows is a valid shorter one: only the hash in the run shows the damage.
        exit_codes = (3,)
    damage(source, WAYS[way])
    result = arena.run(*command)
    checks.require_clean_exit(result, exit_codes)
    if way in ("empty", "gone", "web page"):
        require(result.code in (2, 3), f"accepts {extension} {way}: {result}")
    checks.require_consistent_runs_folder(arena)
    checks.require_keeper_unchanged(arena, bench.keeper_hashes)


# ---- servers

_N_RATINGS = 600
_RATINGS = "".join(
    f"{user}::{item}::{1 + user * item % 5}::{user + item}\n" for user in range(30) for item in range(20)
)


def _rating_archive() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("ml/ratings.dat", _RATINGS)
    return sink.getvalue()


def _server_behaviors(content: bytes, position: int) -> dict[str, Behavior]:
    """Behaviors of a server that serves an archive; those with a fault in the archive have it at this byte."""
    page = b"<html><body>Log in</body></html>"
    changed_content = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
    return {
        "always stalls": Behavior(content, stall_after=[position] * 9),
        "stalls once": Behavior(content, stall_after=[position]),
        "disconnects once": Behavior(content, stop_after=[position]),
        "always disconnects, without ranges": Behavior(content, stop_after=[position] * 9, ranges=False),
        "announces too many bytes": Behavior(content, claim=len(content) + 1000, ranges=False),
        "announces too few bytes": Behavior(content, claim=position),
        "sends a web page": Behavior(page, content_type="text/html"),
        "sends a web page as an archive": Behavior(page),
        "sends another archive": Behavior(changed_content),
        "sends nothing": Behavior(b""),
        "sends status 404": Behavior(content, status=404),
        "sends status 503": Behavior(content, status=503),
        "sends a wrong range": Behavior(content, stop_after=[position], wrong_range=True),
    }


def misbehave_as_server(bench: FaultBench, number: int) -> None:
    """A dataset of the catalog is downloaded from a faulty server, then from a correct one."""
    content = _rating_archive()
    position = random.Random(f"server {number}").randrange(1, len(content))
    behaviors = _server_behaviors(content, position)
    name = list(behaviors)[number % len(behaviors)]
    must_succeed = name in ("stalls once", "disconnects once")
    exit_codes = (0, 3) if must_succeed or name == "sends a wrong range" else (3,)
    arena = bench.arena
    arena.restore("template")
    config = (arena.path / "ease.yaml").read_text().replace("data.csv", "movielens-100k")
    (arena.path / "fetched.yaml").write_text(config)
    cache = arena.path / "home"
    environ = {"RECCTL_DATA_HOME": str(cache)}
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    with serving(behaviors[name]) as url:
        result = arena.run("train", "fetched.yaml", catalog={"url": url, "md5": md5}, environ=environ)
    checks.require_clean_exit(result, exit_codes)
    if must_succeed:
        require(result.code == 0, f"does not retry when the server {name}: {result}")
    is_cached = (cache / "movielens-100k").exists()
    require(is_cached == (result.code == 0), f"an incomplete dataset is in the cache: {result}")
    checks.require_consistent_runs_folder(arena)
    checks.require_keeper_unchanged(arena, bench.keeper_hashes)
    with serving(Behavior(content)) as url:
        second_result = arena.run("train", "fetched.yaml", catalog={"url": url, "md5": md5}, environ=environ)
    checks.require_clean_exit(second_result, [0])
    n_interactions = Run.open(new_runs(arena)[-1].path).metadata["data"]["interactions"]
    require(n_interactions == _N_RATINGS, f"{n_interactions} interactions instead of {_N_RATINGS}")


# ---- worker processes


def kill_worker(bench: FaultBench, number: int) -> None:
    """A worker process of `tune --jobs 2` is killed."""
    scenario = _SCENARIO_BY_NAME["tune"]
    bench.run_undisturbed(scenario)
    arena = bench.arena
    arena.restore("template")
    running = arena.start("tune", "svd.yaml", "--jobs", "2")
    deadline = time.monotonic() + 60
    is_killed = False
    generator = random.Random(f"worker {number}")
    while not is_killed and time.monotonic() < deadline:
        time.sleep(generator.random())
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        workers = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        if workers and list((arena.path / "runs").glob("*/trials/*")):
            os.kill(int(generator.choice(workers)), 9)
            is_killed = True
    result = running.wait()
    checks.require_clean_exit(result, [0])
    checks.require_consistent_runs_folder(arena)
    results = scenario.collect_results(arena.path)
    expected = bench.expected_results["tune"]
    checks.require_equal(results["trials"], expected["trials"])
    checks.require_equal(results["models"], expected["models"])


# For each kind: the function that injects it, and the number of faults of `make faults`.
KINDS: dict[str, tuple[Callable[[FaultBench, int], None], int]] = {
    "disk-full": (fill_disk, 24),
    "file-limit": (limit_file_size, 24),
    "folder-read-only": (make_folder_read_only, len(SCENARIOS) - 1),
    "two-at-once": (run_twice_at_once, 16),
    "two-resumes": (resume_twice_at_once, 8),
    "concurrent-writes": (evaluate_and_tag_concurrently, 6),
    "source": (damage_source, 2 * 6 * len(WAYS)),
    "server": (misbehave_as_server, 26),
    "worker-dies": (kill_worker, 4),
}
