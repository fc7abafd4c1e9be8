"""Where work is computed: on this machine's threads, or on a cluster. The only place that sets thread counts."""

from recctl.engines.engine import current, opened, using
from recctl.engines.interface import Engine, Shared, WorkerPool
from recctl.engines.local import (
    blas_threads,
    limit_torch_after_fork,
    map_threads,
    set_threads,
    threads,
    torch_threads,
)
from recctl.engines.memory import (
    available_disk,
    available_memory,
    format_bytes,
    peak_memory,
    require_disk,
    require_memory,
)

__all__ = [
    "Engine",
    "Shared",
    "WorkerPool",
    "available_disk",
    "available_memory",
    "blas_threads",
    "current",
    "format_bytes",
    "limit_torch_after_fork",
    "map_threads",
    "opened",
    "peak_memory",
    "require_disk",
    "require_memory",
    "set_threads",
    "threads",
    "torch_threads",
    "using",
]
