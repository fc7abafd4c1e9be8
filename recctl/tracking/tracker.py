"""The base class of trackers: a callback that writes on a thread of its own, so that training never waits for it."""

from __future__ import annotations

import math
import queue
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, ClassVar, Literal, Self

from recctl import progress
from recctl.training import Epoch

Status = Literal["complete", "failed", "interrupted"]

# A tracker without progress for this many seconds is disabled. Creating MLflow's tables takes several seconds; a server
# that does not answer is detected earlier, by its own time-outs.
_STALL_SECONDS = 10.0
# At the end, a slow tracker is waited for at most this long.
_MAX_FLUSH_SECONDS = 30.0
_THIRD_PARTY_MODULES = r"(mlflow|sqlalchemy|alembic|tensorboard|google)(\.|$)"


class Tracker(ABC):
    """Reports a training to another program.

    Use it as a callback, `model.fit(train, callbacks=[TensorBoardLogger("logs")])`, or in a `with` block, which also
    records a failed training as such:

        with MLflowLogger(experiment="books") as logger:
            model.fit(train, validation=val, callbacks=[logger])

    The first error becomes a notice, and training continues without the tracker. All writing happens on a separate
    thread; only the end waits for it, as long as it makes progress.

    Subclasses implement `_open`, `_write` and `_close`, which may raise any exception.

    Attributes:
        name: Name in notices.
    """

    name: ClassVar[str] = ""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._disabled = False
        self._in_context = False
        self._ends_with_training = False
        self._last_progress = 0.0

    # ---- implemented by subclasses; called on the tracker's thread, in order

    @abstractmethod
    def _open(self, title: str, params: Mapping[str, Any], tags: Mapping[str, str], resumed: bool) -> None:
        """Start the record of a training, or continue the one with the same tags."""

    @abstractmethod
    def _write(self, values: Mapping[str, float], step: int) -> None:
        """Write finite values of a step."""

    @abstractmethod
    def _close(self, status: Status) -> None:
        """Finish the record."""

    # ---- called by runs

    def begin(
        self, title: str, params: Mapping[str, Any], tags: Mapping[str, str] | None = None, *, resumed: bool = False
    ) -> None:
        """Start the record of a training.

        Args:
            title: Name of the record.
            params: Hyperparameters and other settings, flat.
            tags: Identify the record.
            resumed: Whether to continue a record with the same tags, if there is one.
        """
        self._jobs = queue.Queue()
        self._error = None
        self._disabled = False
        self._last_progress = monotonic()
        # A daemon thread, so that the process can end although a server never answers.
        self._thread = threading.Thread(
            target=self._worker_loop, args=(self._jobs,), name=f"recctl-{self.name}", daemon=True
        )
        self._thread.start()
        self._submit(lambda: self._open(title, dict(params), dict(tags or {}), resumed))

    def log(self, values: Mapping[str, float | None], step: int) -> None:
        """Write the values of a step; values that are not finite are skipped."""
        finite = {
            value_name: float(value)
            for value_name, value in values.items()
            if value is not None and math.isfinite(value)
        }
        self._submit(lambda: self._write(finite, step))

    def end(self, status: Status = "complete") -> None:
        """Finish the record: wait until everything is written, unless the tracker is disabled."""
        thread = self._thread
        self._thread = None
        if thread is None:
            return
        self._jobs.put(lambda: self._close(status))
        self._jobs.put(None)
        start_time = monotonic()
        while thread.is_alive() and not self._disabled:
            thread.join(0.05)
            now = monotonic()
            if now - self._last_progress > _STALL_SECONDS or now - start_time > _MAX_FLUSH_SECONDS:
                self._disable(TimeoutError("it is too slow, or does not answer"))
        self._report_error()

    def __enter__(self) -> Self:
        self._in_context = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.end("complete")
        elif issubclass(kind, KeyboardInterrupt):
            self.end("interrupted")
        else:
            self.end("failed")
        self._in_context = False

    # ---- training callback

    def before_training(self, model: Any) -> None:
        """Start the record, unless a run has started it."""
        if self._thread is None:
            self.begin(model.name, model.hyperparameters(), {"model": model.name})
            self._ends_with_training = not self._in_context
        else:
            self._ends_with_training = False

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Write the loss, learning rate, seconds and metrics of an epoch."""
        values = {"loss": epoch.loss, "learning_rate": epoch.learning_rate, "seconds": epoch.seconds}
        values |= epoch.metrics
        self.log({f"epoch/{value_name}": value for value_name, value in values.items()}, epoch.number)
        return False

    def after_training(self, model: Any) -> None:
        """Finish the record, unless a run will."""
        if self._ends_with_training:
            self.end()

    # ---- internals

    def _submit(self, job: Callable[[], None]) -> None:
        if self._thread is not None and not self._disabled:
            self._jobs.put(job)
        self._report_error()

    def _worker_loop(self, jobs: queue.Queue[Callable[[], None] | None]) -> None:
        # Warnings of third-party packages; their real problems raise exceptions.
        warnings.filterwarnings("ignore", module=_THIRD_PARTY_MODULES)
        while (job := jobs.get()) is not None:
            if self._disabled:
                continue
            self._last_progress = monotonic()
            try:
                job()
            except BaseException as error:
                self._disable(error)
            self._last_progress = monotonic()

    def _disable(self, error: BaseException) -> None:
        self._error = error
        self._disabled = True

    def _report_error(self) -> None:
        """Report the error once, as a notice from the training thread."""
        error = self._error
        self._error = None
        if error is not None:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            progress.notice(f"{self.name}: {reason}; training continues without it")
