"""The base class of trackers: a callback that writes on a thread of its own, so that training never waits for it."""

from __future__ import annotations

import math
import queue
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, time
from typing import Any, ClassVar, Self

from recctl import progress, urls
from recctl.tracking.record import PartStatus, Record, Status
from recctl.training import Epoch

# At the end, a tracker without progress for this many seconds is disabled. Its preparation, in which MLflow creates its
# tables, has no deadline.
_STALL_SECONDS = 60.0
# At the end, a slow tracker is waited for at most this long; after the first of these seconds, progress is displayed.
_MAX_FLUSH_SECONDS = 300.0
_QUIET_SECONDS = 1.0
_THIRD_PARTY_MODULES = r"(mlflow|sqlalchemy|alembic|tensorboard|google)(\.|$)"


class Tracker(ABC):
    """Reports a training to another program.

    Use it as a callback, `model.fit(train, callbacks=[TensorBoardLogger("logs")])`, or in a `with` block, which also
    records a failed training as such:

        with MLflowLogger(experiment="books") as logger:
            model.fit(train, validation=val, callbacks=[logger])

    The first error becomes a notice, and training continues without the tracker. All writing happens on a separate
    thread; only the end waits for it, as long as it makes progress.

    Subclasses implement `_open`, `_write` and `_close`, and what else they can show; all of them may raise any
    exception. Times (`moment`) are seconds since 1970: a slow tracker records when something happened, not when it was
    written.

    Attributes:
        name: Name in notices.
    """

    name: ClassVar[str] = ""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._on_failure: Callable[[str], None] | None = None
        self._disabled = False
        self._is_preparing = False
        self._opened = threading.Event()
        self._in_context = False
        self._ends_with_training = False
        self._last_progress = 0.0

    # ---- implemented by subclasses; called on the tracker's thread, in order

    def _prepare(self) -> None:  # noqa: B027 - optional, as are those below without a body
        """Do what may take arbitrarily long and must not be cut short, such as creating a database."""

    @abstractmethod
    def _open(self, record: Record, resumed: bool) -> None:
        """Start the record of a training, or continue the one with the same tags."""

    @abstractmethod
    def _write(self, values: Mapping[str, float], step: int, moment: float) -> None:
        """Write finite values of a step."""

    @abstractmethod
    def _close(self, status: Status, moment: float) -> None:
        """Finish the record."""

    def _write_file(self, path: Path, folder: str) -> None:  # noqa: B027
        """Store a file with the record."""

    def _add_properties(self, properties: Mapping[str, str]) -> None:  # noqa: B027
        """Add facts to the record, or replace them."""

    def _nest(  # noqa: B027
        self, record: Record, values: Sequence[tuple[str, float, int]], status: PartStatus, moment: float
    ) -> None:
        """Write the whole record of a part of the run, such as a trial: values with their names and steps."""

    # ---- called by runs

    @property
    def location(self) -> dict[str, str]:
        """Where the record is, as plain values; empty if there is none, or nothing to say."""
        return {}

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
        self.begin_record(Record(title, dict(params), dict(tags or {})), resumed=resumed)

    def begin_record(
        self, record: Record, *, resumed: bool = False, on_failure: Callable[[str], None] | None = None
    ) -> None:
        """Start a record.

        Args:
            record: What is known at the start.
            resumed: Whether to continue a record with the same tags, if there is one.
            on_failure: Receives the message if the tracker fails, beside the notice.
        """
        self._jobs = queue.Queue()
        self._error = None
        self._on_failure = on_failure
        self._disabled = False
        self._is_preparing = True
        self._opened = threading.Event()
        self._last_progress = monotonic()
        # A daemon thread, so that the process can end although a server never answers.
        self._thread = threading.Thread(
            target=self._worker_loop, args=(self._jobs,), name=f"recctl-{self.name}", daemon=True
        )
        self._thread.start()
        self._submit(lambda: self._begin(record, resumed))

    def _begin(self, record: Record, resumed: bool) -> None:
        try:
            self._prepare()
            if record.parent is not None:
                # Its id is recorded with this one.
                record.parent._opened.wait()
        finally:
            self._last_progress = monotonic()
            self._is_preparing = False
        self._open(record, resumed)
        self._opened.set()

    def log(self, values: Mapping[str, float | None], step: int) -> None:
        """Write the values of a step; values that are not finite are skipped."""
        finite = {
            value_name: float(value)
            for value_name, value in values.items()
            if value is not None and math.isfinite(value)
        }
        moment = time()
        self._submit(lambda: self._write(finite, step, moment))

    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a file with the record, if the tracker stores files.

        Args:
            path: The file; it must stay unchanged until the end.
            folder: The folder that it is stored in.
        """
        self._submit(lambda: self._write_file(path, folder))

    def add_properties(self, properties: Mapping[str, str]) -> None:
        """Add facts that were not known at the start, or replace them."""
        self._submit(lambda: self._add_properties(properties))

    def log_part(
        self, record: Record, values: Sequence[tuple[str, float | None, int]], status: PartStatus, ended: float
    ) -> None:
        """Write the record of a finished part of the run, such as a trial, below that of the run.

        Args:
            record: The part.
            values: Its values, each with name and step; those that are not finite are skipped.
            status: How it ended.
            ended: When it ended, in seconds since 1970.
        """
        finite = [
            (value_name, float(value), step)
            for value_name, value, step in values
            if value is not None and math.isfinite(value)
        ]
        self._submit(lambda: self._nest(record, finite, status, ended))

    def end(self, status: Status = "complete") -> None:
        """Finish the record: wait until everything is written, unless the tracker is disabled."""
        thread = self._thread
        self._thread = None
        if thread is None:
            return
        moment = time()
        self._jobs.put(lambda: self._close(status, moment))
        self._jobs.put(None)
        thread.join(_QUIET_SECONDS)
        if thread.is_alive() and not self._disabled:
            with progress.task(f"Waiting for {self.name}"):
                self._wait_for(thread)
        self._report_error()

    def _wait_for(self, thread: threading.Thread) -> None:
        deadline = monotonic() + _MAX_FLUSH_SECONDS
        while thread.is_alive() and not self._disabled:
            thread.join(0.05)
            if self._is_preparing:
                deadline = monotonic() + _MAX_FLUSH_SECONDS
            elif monotonic() > min(deadline, self._last_progress + _STALL_SECONDS):
                self._disable(TimeoutError("it is too slow, or does not answer"))

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
        self.log(epoch_values(epoch.loss, epoch.learning_rate, epoch.seconds, epoch.metrics), epoch.number)
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
        # The records of its parts don't wait for it any more.
        self._opened.set()

    def _report_error(self) -> None:
        """Report the error once, as a notice from the training thread, and with all of its text to `on_failure`."""
        error = self._error
        self._error = None
        if error is None:
            return
        # A server's URL may hold a password.
        message = urls.hide(str(error).strip() or type(error).__name__)
        progress.notice(f"{self.name}: {message.splitlines()[0][:300]}; training continues without it")
        if self._on_failure is not None:
            self._on_failure(f"tracking failed: {self.name}: {message}")


def epoch_values(
    loss: float | None, learning_rate: float | None, seconds: float | None, metrics: Mapping[str, float]
) -> dict[str, float | None]:
    """The values of an epoch by the names that trackers record them with."""
    values = {"loss": loss, "learning_rate": learning_rate, "seconds": seconds, **metrics}
    return {f"epoch/{value_name}": value for value_name, value in values.items()}
