"""Where work runs: on this machine's threads. The one place that sets thread counts."""

from recctl.engines.local import map_threads, set_threads, threads
from recctl.engines.memory import available_memory, in_words

__all__ = ["available_memory", "in_words", "map_threads", "set_threads", "threads"]
