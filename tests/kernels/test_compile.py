"""When kernels are compiled, the notice about it, and the cache that makes it rare."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recctl.kernels import csr
from recctl.kernels.compile import _interrupt_deferred

_CALL = """
from types import SimpleNamespace
import numpy as np
from recctl import progress
from recctl.kernels import csr
with progress.listening(SimpleNamespace(notice=print)):
    csr.row_starts(np.zeros(3, np.int32), np.empty(3, np.int64))
"""

_MODULE = """
from recctl.kernels.compile import I64, INT, kernel

@kernel(INT, INT)
def square(value):
    return value * value

@kernel(INT, I64)
def sum_of_squares(values):
    total = 0
    for value in values:
        total += square(value)
    return total
"""

# Half of the threads call the outer kernel, whose compilation needs the inner one; the others call the inner one.
_CALL_IN_THREADS = """
import threading
from types import SimpleNamespace
import numpy as np
from recctl import progress
import own_kernels

barrier = threading.Barrier(8)
results = []

def call(kernel, argument):
    barrier.wait()
    with progress.listening(SimpleNamespace(notice=print)):  # each thread has its own
        results.append(kernel(argument))

calls = 4 * [(own_kernels.sum_of_squares, np.arange(4)), (own_kernels.square, 14)]
threads = [threading.Thread(target=call, args=arguments, daemon=True) for arguments in calls]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(timeout=100)
print(sorted(results))
"""


def _run(code: str, folder: Path) -> str:
    environment = {**os.environ, "RECCTL_KERNELS_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_kernels_does_not_import_numba(tmp_path: Path) -> None:
    _run("import sys; from recctl.kernels import csr; assert 'numba' not in sys.modules", tmp_path)


def test_first_call_compiles_with_notice_unless_cached(tmp_path: Path) -> None:
    assert _run(_CALL, tmp_path).splitlines() == [
        "compiling numerical kernels (once for this version of recctl and this processor)"
    ]
    assert _run(_CALL, tmp_path) == ""


def test_simultaneous_first_calls_from_threads_return_and_print_one_notice(tmp_path: Path) -> None:
    (tmp_path / "own_kernels.py").write_text(_MODULE)
    notice, results = _run(_CALL_IN_THREADS, tmp_path).splitlines()
    assert notice.startswith("compiling")
    assert results == "[14, 14, 14, 14, 196, 196, 196, 196]"


def test_kernels_are_pickled_by_name() -> None:
    assert pickle.loads(pickle.dumps(csr.row_starts)) is csr.row_starts


def test_interrupt_during_the_import_of_numba_is_raised_after_it() -> None:
    steps = []
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, shells let it be ignored

    def load() -> None:
        with _interrupt_deferred():
            signal.raise_signal(signal.SIGINT)
            steps.append("imported")

    try:
        with pytest.raises(KeyboardInterrupt):
            load()
        assert steps == ["imported"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)
