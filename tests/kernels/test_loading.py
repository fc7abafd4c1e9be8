"""Kernels that several processes compile."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

_LOAD = """
import json
import sys
from recctl.engines import set_threads
from recctl.kernels import loading
from recctl.kernels.compile import find_kernels

set_threads(int(sys.argv[1]))
if sys.argv[2]:
    loading._HELPER = sys.argv[2]
loading._MIN_KERNELS_PER_PROCESS = 2
names = loading.all_kernels()[-4:]  # those that are compiled quickly
n_compiled = loading.load(names)
kernels = find_kernels(names)
from_cache = [sum(kernel.dispatcher.stats.cache_hits.values()) for kernel in kernels]
print(json.dumps({"kernels": len(kernels), "compiled": n_compiled, "from_cache": sum(from_cache)}))
"""


def _load(folder: Path, n_threads: int, helper: str = "", current: Path | None = None) -> dict[str, Any]:
    environment = {**os.environ, "RECCTL_KERNELS_DIR": str(folder)}
    result = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", _LOAD, str(n_threads), helper],
        env=environment,
        cwd=current,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_helper_compiles_kernels_that_this_process_reads(tmp_path: Path) -> None:
    first = _load(tmp_path, n_threads=2)
    assert first["compiled"] == first["kernels"] == 4
    assert first["from_cache"] > 0
    assert _load(tmp_path, n_threads=2) == {"kernels": 4, "compiled": 0, "from_cache": 4}


def test_helper_imports_no_modules_of_the_current_folder(tmp_path: Path) -> None:
    for name in ("random", "queue", "json"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w').close(); raise ImportError\n")
    assert _load(tmp_path / "kernels", n_threads=2, current=tmp_path)["from_cache"] > 0
    assert not (tmp_path / "imported").exists()


def test_one_thread_compiles_in_this_process(tmp_path: Path) -> None:
    assert _load(tmp_path, n_threads=1)["from_cache"] == 0


def test_kernels_of_a_helper_that_dies_are_compiled_here(tmp_path: Path) -> None:
    result = _load(tmp_path, n_threads=2, helper="import sys; sys.stdin.readline(); sys.exit(1)")
    assert result == {"kernels": 4, "compiled": 4, "from_cache": 0}
