"""Where work runs: on this machine's threads. The one place that sets thread counts."""

from recctl.engines.local import blas_threads, crew, map_threads, set_threads, threads, torch_threads
from recctl.engines.memory import available_disk, available_memory, in_words, peak_memory, require_disk, require_memory

__all__ = [
    "available_disk",
    "available_memory",
    "blas_threads",
    "crew",
    "in_words",
    "map_threads",
    "peak_memory",
    "require_disk",
    "require_memory",
    "set_threads",
    "threads",
    "torch_threads",
]
