"""TensorBoard: event files that `tensorboard --logdir` shows."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any

from recctl.errors import ConfigError
from recctl.tracking.tracker import Status, Tracker


class TensorBoardLogger(Tracker):
    """Writes figures as scalars and hyperparameters for the HPARAMS tab.

    A training that is resumed goes on in the same folder; what a crash left of later epochs is not shown any more.

    Args:
        folder: Where event files go; made if missing.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    name = "tensorboard"

    def __init__(self, folder: str | Path) -> None:
        if find_spec("tensorboard") is None:
            raise ConfigError("tracking.tensorboard: is not installed: pip install 'recctl[tensorboard]'")
        super().__init__()
        self.folder = Path(folder)

    def _open(self, title: str, params: Mapping[str, Any], tags: Mapping[str, str], resumed: bool) -> None:
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(self.folder))
        self._may_overlap = resumed
        if not resumed:
            plain = {name: v if isinstance(v, bool | int | float | str) else str(v) for name, v in params.items()}
            self._add(summary=summary_v2.hparams_pb(plain, trial_id=title))

    def _write(self, values: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._may_overlap:  # steps from this one on that are in older files don't count
            self._add(step, session_log=SessionLog(status=SessionLog.START))
            self._may_overlap = False
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=Summary(value=scalars))
        self._writer.flush()

    def _close(self, status: Status) -> None:
        self._writer.close()

    def _add(self, step: int = 0, **what: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time(), step=step, **what))
