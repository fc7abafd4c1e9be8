"""What all trackers are: a callback that hands what happens to a thread of its own, and is never waited for long."""

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

# A tracker that has not done one thing in so many seconds is given up. Making MLflow's tables takes some of them; a
# server that does not answer is noticed before, by its own time-outs.
_PATIENCE = 10.0
# And one that is only slow is not waited for longer than this at the end.
_LONGEST_END = 30.0
_FOREIGN = r"(mlflow|sqlalchemy|alembic|tensorboard|google)(\.|$)"


class Tracker(ABC):
    """Tells another program how a training goes.

    A callback, `model.fit(train, callbacks=[TensorBoardLogger("logs")])`; around it `with`, so that a training that
    fails is told of as such:

        with MLflowLogger(experiment="books") as logger:
            model.fit(train, validation=val, callbacks=[logger])

    Whatever goes wrong becomes one notice, and the training goes on without it. Work is done on a thread of its own:
    nothing but the end waits, and that only while there is progress.

    Subclasses fill in `_open`, `_write` and `_close`, which may raise what they like.

    Attributes:
        name: What notices call it.
    """

    name: ClassVar[str] = ""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._trouble: BaseException | None = None
        self._given_up = self._outlives_training = self._ends_itself = False
        self._last_sign = 0.0

    # ---- what a tracker fills in; called on its thread, one after another

    @abstractmethod
    def _open(self, title: str, params: Mapping[str, Any], tags: Mapping[str, str], resumed: bool) -> None:
        """Begin the account of a training, or go on with the one of the same tags."""

    @abstractmethod
    def _write(self, values: Mapping[str, float], step: int) -> None:
        """Add figures, all of them finite."""

    @abstractmethod
    def _close(self, status: Status) -> None:
        """Nothing follows."""

    # ---- what a run tells it

    def begin(
        self, title: str, params: Mapping[str, Any], tags: Mapping[str, str] | None = None, *, resumed: bool = False
    ) -> None:
        """Begin the account of a training.

        Args:
            title: What it is called.
            params: Hyperparameters and the like, flat.
            tags: What tells it from others.
            resumed: Whether to go on with the account of the same tags, if there is one.
        """
        self._jobs, self._trouble, self._given_up = queue.Queue(), None, False
        self._last_sign = monotonic()
        # A daemon: where a server never answers, the process must be able to end.
        self._thread = threading.Thread(target=self._work, args=(self._jobs,), name=f"recctl-{self.name}", daemon=True)
        self._thread.start()
        self._do(lambda: self._open(title, dict(params), dict(tags or {}), resumed))

    def log(self, values: Mapping[str, float | None], step: int) -> None:
        """Add figures; those that are not finite are left out."""
        finite = {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
        self._do(lambda: self._write(finite, step))

    def end(self, status: Status = "complete") -> None:
        """Nothing follows: wait until all is written, if it is not given up."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._jobs.put(lambda: self._close(status))
        self._jobs.put(None)
        asked = monotonic()
        while thread.is_alive() and not self._given_up:
            thread.join(0.05)
            if monotonic() - self._last_sign > _PATIENCE or monotonic() - asked > _LONGEST_END:
                self._give_up(TimeoutError("it does not keep up, or does not answer"))
        self._tell_trouble()

    def __enter__(self) -> Self:
        self._outlives_training = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self.end("complete" if kind is None else "interrupted" if interrupted else "failed")
        self._outlives_training = False

    # ---- as a callback

    def before_training(self, model: Any) -> None:
        """Begin, unless a run has."""
        if self._thread is None:
            self.begin(model.name, model.hyperparameters(), {"model": model.name})
            self._ends_itself = not self._outlives_training
        else:
            self._ends_itself = False

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Add the figures of an epoch."""
        known = {"loss": epoch.loss, "learning_rate": epoch.learning_rate, "seconds": epoch.seconds}
        self.log({f"epoch/{name}": value for name, value in {**known, **epoch.metrics}.items()}, epoch.number)
        return False

    def after_training(self, model: Any) -> None:
        """End, unless a run will."""
        if self._ends_itself:
            self.end()

    # ---- internals

    def _do(self, job: Callable[[], None]) -> None:
        if self._thread is not None and not self._given_up:
            self._jobs.put(job)
        self._tell_trouble()

    def _work(self, jobs: queue.Queue[Callable[[], None] | None]) -> None:
        # Of packages that are not ours; what matters of it comes as an exception.
        warnings.filterwarnings("ignore", module=_FOREIGN)
        while (job := jobs.get()) is not None:
            if not self._given_up:
                self._last_sign = monotonic()
                try:
                    job()
                except BaseException as error:
                    self._give_up(error)
                self._last_sign = monotonic()

    def _give_up(self, error: BaseException) -> None:
        self._trouble, self._given_up = error, True

    def _tell_trouble(self) -> None:
        """Say what went wrong, once, from the thread that trains."""
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            reason = (str(trouble).strip() or type(trouble).__name__).splitlines()[0][:200]
            progress.notice(f"{self.name}: {reason}; the training goes on without it")
