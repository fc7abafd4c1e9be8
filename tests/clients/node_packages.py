"""Installation of the Node packages of a client, from a folder of `tests/clients/node/` with its lockfile."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import platformdirs

from tests.conftest import skip_without

_FOLDER = Path(__file__).parent / "node"
_SECONDS = 300


def install(client: str) -> Path:
    """Install the packages of a client with `npm ci`, once for each lockfile, outside of the repository.

    The test is skipped if Node is missing or the packages can't be installed.

    Args:
        client: Name of a folder of `tests/clients/node/` with package.json, package-lock.json and scripts.

    Returns:
        A folder with `node_modules`, and with the scripts of the client, which find their packages there.
    """
    skip_without(shutil.which("node") and shutil.which("npm"), "Node: apt-get install nodejs npm")
    source = _FOLDER / client
    digest = hashlib.sha256()
    for path in sorted(source.iterdir()):
        digest.update(path.read_bytes())
    cache = platformdirs.user_cache_path("recctl-tests") / f"{client}-{digest.hexdigest()[:12]}"
    if not cache.is_dir():
        skip_without(_install(source, cache), f"the Node packages of {source}: npm ci")
    return cache


def _install(source: Path, cache: Path) -> Path | None:
    """Install into a folder of its own, which gets its name when it is complete: tests run in parallel."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{cache.name}-", dir=cache.parent))
    shutil.copytree(source, folder, dirs_exist_ok=True)
    # Without scripts of packages: that of onnxruntime-node downloads libraries for graphics processors.
    command = ["npm", "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=folder, check=True, timeout=_SECONDS, capture_output=True)
        os.rename(folder, cache)
    except (OSError, subprocess.SubprocessError):
        shutil.rmtree(folder, ignore_errors=True)
    return cache if cache.is_dir() else None
