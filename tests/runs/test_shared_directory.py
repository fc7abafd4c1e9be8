"""A runs directory that a group shares: every file and folder in it belongs to the group, which can change it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from recctl import atomic

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")

CONFIG = """\
seed: 3
data: {source: synthetic, implicit: false, synthetic: {n_users: 40, n_items: 50, n_interactions: 700}}
split: {strategy: random, test_size: 0.2, val_size: 0.1}
MODEL
evaluation: {metrics: [rmse, ndcg], k_values: [5]}
"""
SVD = "{name: svd, params: {n_factors: 2, n_epochs: 2}}"


def other_group() -> int:
    """A group that new files do not belong to by default; that of the process if it may choose no other."""
    if os.geteuid() == 0:
        return 12345
    return next((group for group in os.getgroups() if group != os.getegid()), os.getegid())


@pytest.fixture
def shared(workdir: Path) -> Iterator[Path]:
    """A shared runs directory, as an administrator makes it: `chgrp team runs; chmod g+ws runs; umask 002`."""
    directory = workdir / "runs"
    directory.mkdir()
    os.chown(directory, -1, other_group())
    directory.chmod(0o2775)
    umask = os.umask(0o002)
    yield directory
    os.umask(umask)


def private_paths(directory: Path) -> list[str]:
    """The files and folders that the group can't change, or that belong to another group."""
    private = []
    for path in directory.rglob("*"):
        status = path.stat()
        is_writable = status.st_mode & stat.S_IRGRP and status.st_mode & stat.S_IWGRP
        inherits = not path.is_dir() or status.st_mode & stat.S_ISGID
        if not is_writable or not inherits or status.st_gid != directory.stat().st_gid:
            private.append(f"{path.relative_to(directory)}: {stat.filemode(status.st_mode)} {status.st_gid}")
    return private


def test_whatever_commands_write_is_shared_with_the_group(recctl: Any, workdir: Path, shared: Path) -> None:
    search = f"model: {SVD}\ntuning: {{n_trials: 2, space: {{lr: [0.01, 0.02]}}}}"
    (workdir / "c.yaml").write_text(CONFIG.replace("MODEL", search))
    models = f"models: [{SVD}, {SVD.replace('2, n', '3, n')}]"
    (workdir / "m.yaml").write_text(CONFIG.replace("MODEL", models))
    formats = ["recommendations"]
    formats += [name for name, module in (("safetensors", "safetensors"), ("mlflow", "mlflow")) if find_spec(module)]
    commands = [
        ("train", "c.yaml"),
        ("evaluate", "latest", "--on", "validation"),
        ("runs", "promote", "latest", "--as", "production"),
        ("runs", "tag", "latest", "good"),
        ("report", "latest"),
        *(("export", "latest", "--format", name) for name in formats),
        ("tune", "c.yaml"),
        ("compare", "m.yaml", "--resamples", "100"),
    ]
    for command in commands:
        done = recctl(*command)
        assert done.code == 0, (command, done.err)
        assert private_paths(shared) == [], command


def test_private_umask_is_respected(recctl: Any, workdir: Path, shared: Path) -> None:
    (workdir / "c.yaml").write_text(CONFIG.replace("MODEL", f"model: {SVD}"))
    os.umask(0o077)
    assert recctl("train", "c.yaml").code == 0
    if find_spec("safetensors"):
        assert recctl("export", "latest", "--format", "safetensors").code == 0
    readable = [path for path in shared.rglob("*") if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) & 0o777]
    assert readable == []


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_default_mode_is_that_of_the_umask(tmp_path: Path, shared: Path, umask: int, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    path.chmod(0o600)
    os.umask(umask)
    atomic.set_default_mode(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "work"]
