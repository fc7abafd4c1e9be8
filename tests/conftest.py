"""Fixtures that all tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import recctl.models as models_package
from recctl import cli, plugins, progress

# Tests start many processes, each of which would otherwise compile all modules that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Tests run in parallel; torch's threads spin while they wait by default and would block each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Tests kill processes, not the machine: waiting for the disk shows nothing and takes a tenth of the time.
os.fsync = lambda _descriptor: None

# CI sets this variable: nothing is skipped, and hypothesis tries its hundred examples instead of a quarter of them.
TEST_ALL = bool(os.environ.get("RECCTL_TEST_ALL"))
# No deadlines: times vary on shared machines.
settings.register_profile("all", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("all"), max_examples=25)
settings.load_profile("all" if TEST_ALL else "quick")


def n_examples(number: int) -> int:
    """Examples of a hypothesis test that does not take the usual number of them: a quarter of `number` outside CI."""
    return number if TEST_ALL else number // 4


SMALL = """\
seed: 7
data:
  source: synthetic
  synthetic: {n_users: 120, n_items: 60, n_interactions: 2500}
  min_user_interactions: 3
split: {strategy: random, test_size: 0.2, val_size: 0.1}
model: {name: ease, params: {l2_reg: 50.0}}
evaluation: {metrics: [precision, recall, ndcg, hit_rate], k_values: [5, 10]}
"""


# Folders and files whose tests start processes and wait for them, the longest first. They are run first: at the end,
# short tests keep all workers busy (`--dist worksteal`).
WAITING = [
    "blackbox/test_commands.py",
    "faults/test_faults.py",
    "engines/test_ray_engine.py",
    "tuning/test_ray.py",
    "clients/test_ray_state.py",
    "cli/test_torchrun.py",
    "tuning/test_processes.py",
    "reports/test_browser.py",
    "tuning/test_postgres.py",
    "clients/test_optuna_dashboard.py",
    "training/test_checkpoints.py",
    "cli/test_cli.py",
    "experiment/test_estimate.py",
    "models/test_torch_recommender.py",
    "test_reproduce.py",
    "kernels/test_compile.py",
]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tests that wait for processes first, and slow tests only in CI or where they are chosen."""
    chosen = config.option.markexpr or any("::" in argument for argument in config.args)
    if not (TEST_ALL or chosen):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow; CI runs it: set RECCTL_TEST_ALL=1, or choose -m slow"))
    places = {Path(__file__).parent / file: place for place, file in enumerate(WAITING)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(autouse=True)
def _progress_hidden_after_the_test() -> Iterator[None]:
    """Code of the documentation shows progress without hiding it again."""
    yield
    progress.hide()


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test its own data folder, and unset environment variables of the user."""
    for name in ("RECCTL_CONFIG", "RECCTL_RUNS_DIR", "RECCTL_THREADS", "RECCTL_MEMORY", "RECCTL_MODELS_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)  # tests can be started from a notebook
    monkeypatch.setenv("RECCTL_DATA_HOME", str(tmp_path / "data-home"))
    monkeypatch.setattr(models_package, "__path__", list(models_package.__path__))  # some tests add folders


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str, str], None]]:
    """Install a plug-in package: `package(group, name, code, attribute)`."""
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(folder))

    def install(group: str, name: str, code: str, attribute: str) -> None:
        module = f"pack_{name.replace('-', '_')}"
        dist_info = folder / f"{module}-1.0.dist-info"
        dist_info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code + "\n")
        (dist_info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (dist_info / "entry_points.txt").write_text(f"[recctl.{group}]\n{name} = {module}:{attribute}\n")
        invalidate_caches()
        plugins.available.cache_clear()
        plugins._all_entry_points.cache_clear()

    yield install
    plugins.available.cache_clear()
    plugins._all_entry_points.cache_clear()
    for module in folder.glob("*.py"):
        sys.modules.pop(module.stem, None)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a small config, `small.yaml`."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    (folder / "small.yaml").write_text(SMALL)
    return folder


class RecordingListener:
    """A progress listener that records all calls."""

    def __init__(self) -> None:
        self.started: list[tuple[str, float | None, str]] = []
        self.updates: list[tuple[float, dict[str, float | str]]] = []
        self.n_finished = 0
        self.notices: list[str] = []

    def start(self, title: str, total: float | None, unit: str) -> RecordingListener:
        self.started.append((title, total, unit))
        return self

    def update(self, done: float, **values: float | str) -> None:
        self.updates.append((done, values))

    def finish(self, task: RecordingListener) -> None:
        self.n_finished += 1

    def notice(self, message: str) -> None:
        self.notices.append(message)


@pytest.fixture
def listener() -> Iterator[RecordingListener]:
    """A listener that records the progress and the notices during the test."""
    recorder = RecordingListener()
    with progress.listening(recorder):
        yield recorder


class Outcome:
    """Exit code and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def recctl(workdir: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in `workdir`: `recctl("train", "small.yaml")` returns its outcome."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = cli.run(list(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


class Nodes:
    """A Ray cluster of three nodes in another process, which loses and gains nodes on request."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address = self._read_line()

    def _read_line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def _request(self, command: str, answer: str) -> None:
        print(command, file=self.process.stdin, flush=True)
        assert self._read_line() == answer

    def lose_one(self) -> None:
        self._request("lose", "lost one")

    def add_one(self) -> None:
        self._request("add", "added one")


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """A Ray cluster that all tests share."""
    command = [sys.executable, str(Path(__file__).parent / "tuning" / "cluster.py")]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    yield Nodes(process)
    process.communicate(timeout=60)


@pytest.fixture
def restored_nodes(nodes: Nodes) -> Iterator[Nodes]:
    """The Ray cluster; the node that the test loses is replaced afterwards."""
    yield nodes
    nodes.add_one()


def skip_without(requirement: object, how: str) -> None:
    """Skip a test module whose requirement is missing; fail instead if RECCTL_TEST_ALL is set, as in one CI job.

    Args:
        requirement: Name of a module; or the path of a program, None if it was not found.
        how: How to install the requirement.
    """
    if isinstance(requirement, str) and "/" not in requirement:
        is_available = find_spec(requirement) is not None
    else:
        is_available = requirement is not None
    if is_available:
        return
    if os.environ.get("RECCTL_TEST_ALL"):
        pytest.fail(f"RECCTL_TEST_ALL is set, and a requirement is missing: {how}", pytrace=False)
    pytest.skip(f"needs {how}", allow_module_level=True)
