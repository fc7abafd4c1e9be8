"""Scores of a network on its device, in batches. Imports torch, so `torch_recommender` imports it only on a GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from recctl.data.matrix import Float32Array
from recctl.errors import TrainingError
from recctl.models.nn import batches, devices
from recctl.models.nn.torch_settings import usual_settings

# Larger batches keep no GPU busier.
_MAX_ROWS = 8192


class DeviceScorer:
    """Scores rows of users by a network on its device.

    Blocks of several threads are scored one after another: while one thread waits for the device, the others rank.

    Args:
        network: The network, on the device: `scoring_tables()` returns what all rows need, and
            `scores(tables, *inputs)` the scores of some rows.
        device: The device.
        bytes_per_row: Estimated memory of a row, to choose the size of the first batch.

    Attributes:
        max_rows: Rows that are scored together: fewer after running out of memory.
    """

    def __init__(self, network: Any, device: torch.device, bytes_per_row: int) -> None:
        self.network = network.eval()
        self.device = device
        self._lock = threading.Lock()
        with self._settings():
            self._tables = network.scoring_tables()
        # Half of the free memory: the estimate is rough, and other processes may use the device.
        self.max_rows = max(1, min(_MAX_ROWS, devices.free_memory(device) // 2 // bytes_per_row))

    def scores(self, n_rows: int, n_items: int, inputs: Callable[[slice], tuple[Any, ...]]) -> Float32Array:
        """Scores of every item, a new array `(n_rows, n_items)`.

        Args:
            n_rows: Number of rows.
            n_items: Number of items.
            inputs: What the network needs to score some of the rows, on the CPU.

        Raises:
            TrainingError: The device runs out of memory with a single row.
        """
        # Copies from the device to pinned memory are faster.
        scores = torch.empty((n_rows, n_items), dtype=torch.float32, pin_memory=self.device.type == "cuda")
        begin = 0
        while begin < n_rows:
            rows = slice(begin, min(begin + self.max_rows, n_rows))
            batch = inputs(rows)
            try:
                with self._lock, self._settings():
                    on_device = batches.to_device(batch, self.device)
                    scores[rows].copy_(self.network.scores(self._tables, *on_device))
            except (RuntimeError, MemoryError) as error:
                self._shrink_batch(rows.stop - begin, error)
            else:
                begin = rows.stop
        result: Float32Array = scores.numpy()
        return result

    @contextmanager
    def _settings(self) -> Iterator[None]:
        """A context in which torch computes as it does by default, without gradients."""
        with usual_settings(self.device.type), torch.no_grad():
            yield

    def _shrink_batch(self, n_rows: int, error: BaseException) -> None:
        """Halve the batch after running out of memory; other errors are raised again."""
        if not devices.is_out_of_memory(error):
            raise error
        if n_rows == 1:
            raise TrainingError(
                f"{self.device}: out of memory with the scores of one user; use device='cpu'"
            ) from error
        self.max_rows = max(1, n_rows // 2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
