"""Tracking in TensorBoard event files, for `tensorboard --logdir`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from time import time
from typing import Any

from recctl import arguments
from recctl.arguments import validated
from recctl.errors import ConfigError
from recctl.tracking.tracker import Status, Tracker


class TensorBoardLogger(Tracker):
    """Writes metrics as scalars, and hyperparameters for the HPARAMS tab.

    A resumed training continues in the same folder; later epochs that a crash left behind are hidden.

    Args:
        folder: Folder of the event files; created if it does not exist.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    name = "tensorboard"

    @validated(folder=arguments.path)
    def __init__(self, folder: str | Path) -> None:
        if find_spec("tensorboard") is None:
            raise ConfigError("tracking.tensorboard: TensorBoard is not installed: pip install 'recctl[tensorboard]'")
        super().__init__()
        self.folder = Path(folder)

    def _open(self, title: str, params: Mapping[str, Any], tags: Mapping[str, str], resumed: bool) -> None:
        from tensorboard.plugins.hparams import summary_v2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(self.folder))
        self._may_overlap = resumed
        if not resumed:
            hyperparameters = {
                parameter_name: value if isinstance(value, bool | int | float | str) else str(value)
                for parameter_name, value in params.items()
            }
            self._add(summary=summary_v2.hparams_pb(hyperparameters, trial_id=title))

    def _write(self, values: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._may_overlap:  # this event hides steps from here on in older files
            self._add(step, session_log=SessionLog(status=SessionLog.START))
            self._may_overlap = False
        scalars = [Summary.Value(tag=scalar_name, simple_value=value) for scalar_name, value in values.items()]
        self._add(step, summary=Summary(value=scalars))
        self._writer.flush()

    def _close(self, status: Status) -> None:
        self._writer.close()

    def _add(self, step: int = 0, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time(), step=step, **content))
