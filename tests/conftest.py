"""What tests share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import recctl.models as package_of_models
from recctl import cli, plugins, progress

# Tests run side by side: torch's threads, which spin while they wait, would then make each other wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shared machine is slow at times; how slow is no property of the code.
settings.register_profile("recctl", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("recctl")

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


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write runs, caches and files of their own, and see no settings of the machine."""
    for name in ("RECCTL_CONFIG", "RECCTL_RUNS_DIR", "RECCTL_THREADS", "RECCTL_MEMORY", "RECCTL_MODELS_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RECCTL_DATA_HOME", str(tmp_path / "data-home"))
    monkeypatch.setattr(package_of_models, "__path__", list(package_of_models.__path__))  # gets folders of models


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str, str], None]]:
    """Install a package that offers something: `package(group, name, its code, the object in it)`."""
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(folder))

    def install(group: str, name: str, code: str, what: str) -> None:
        module = f"pack_{name.replace('-', '_')}"
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code + "\n")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[recctl.{group}]\n{name} = {module}:{what}\n")
        invalidate_caches()
        plugins.offered.cache_clear()

    yield install
    plugins.offered.cache_clear()
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


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.started: list[tuple[str, float | None, str]] = []
        self.updates: list[tuple[float, dict[str, float | str]]] = []
        self.n_finished = 0
        self.notices: list[str] = []

    def start(self, title: str, total: float | None, unit: str) -> Heard:
        self.started.append((title, total, unit))
        return self

    def update(self, done: float, **values: float | str) -> None:
        self.updates.append((done, values))

    def finish(self, task: Heard) -> None:
        self.n_finished += 1

    def notice(self, message: str) -> None:
        self.notices.append(message)


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What long work tells during the test."""
    listener = Heard()
    with progress.listening(listener):
        yield listener


class Outcome:
    """What a call of the command line came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def recctl(workdir: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = cli.run(list(arguments))
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def wanted(what: object, how: str) -> None:
    """Skip what needs something that is not here; with RECCTL_TEST_ALL it fails, so that it runs somewhere.

    Args:
        what: A module's name, or what was found, None if nothing was.
        how: The way to have it.
    """
    there = find_spec(what) is not None if isinstance(what, str) and "/" not in what else what is not None
    if not there and os.environ.get("RECCTL_TEST_ALL"):
        pytest.fail(f"RECCTL_TEST_ALL is set, and there is missing: {how}", pytrace=False)
    if not there:
        pytest.skip(f"needs {how}", allow_module_level=True)  # not in .ci/run, which has all of it
