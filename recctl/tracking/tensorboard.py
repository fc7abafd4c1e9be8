"""Tracking in TensorBoard event files, for `tensorboard --logdir`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from recctl import arguments
from recctl.arguments import validated
from recctl.errors import ConfigError
from recctl.tracking.record import PartStatus, Record, Status
from recctl.tracking.tracker import Tracker


class TensorBoardLogger(Tracker):
    """Writes metrics as scalars, and hyperparameters for the HPARAMS tab.

    A resumed training continues in the same folder; later epochs that a crash left behind are hidden.

    Args:
        folder: Folder of the event files; created if it does not exist.

    Raises:
        ConfigError: TensorBoard is not installed.

    Examples:
        ```python
        from recctl import SVDRecommender, TensorBoardLogger

        SVDRecommender(n_epochs=3).fit(train, callbacks=[TensorBoardLogger("logs")])
        ```
    """

    name = "tensorboard"

    @validated(folder=arguments.path)
    def __init__(self, folder: str | Path) -> None:
        if find_spec("tensorboard") is None:
            raise ConfigError("tracking.tensorboard: TensorBoard is not installed: pip install 'recctl[tensorboard]'")
        super().__init__()
        self.folder = Path(folder)

    def _open(self, record: Record, resumed: bool) -> None:
        self._writer = _EventWriter(self.folder)
        self._may_overlap = resumed
        if not resumed:
            self._writer.add_params(record)

    def _write(self, values: Mapping[str, float], step: int, moment: float) -> None:
        # Results at the end belong to the best epoch: the epochs after it stay visible.
        is_epoch = any(value_name.startswith("epoch/") for value_name in values)
        if self._may_overlap and is_epoch:
            self._writer.hide_later_steps(step, moment)
            self._may_overlap = False
        self._writer.add_scalars(values, step, moment)

    def _nest(
        self, record: Record, values: Sequence[tuple[str, float, int]], status: PartStatus, moment: float
    ) -> None:
        # A folder of its own, which the HPARAMS tab shows as a row.
        folder = re.sub(r"[^\w.-]+", "-", record.title)
        writer = _EventWriter(self.folder / folder)
        writer.add_params(record)
        for value_name, value, step in values:
            writer.add_scalars({value_name: value}, step, moment)
        writer.add_end(moment, is_failed=status == "failed")
        writer.close()

    def _close(self, status: Status, moment: float) -> None:
        # TensorBoard keeps the first status that it reads, and a run that is not complete may be resumed.
        if status == "complete":
            self._writer.add_end(moment)
        self._writer.close()


class _EventWriter:
    """Writes the event files of a folder."""

    def __init__(self, folder: Path) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._writer = EventFileWriter(str(folder))

    def add_params(self, record: Record) -> None:
        """Add the hyperparameters, for the HPARAMS tab."""
        from tensorboard.plugins.hparams import summary_v2

        hyperparameters = {
            parameter_name: value if isinstance(value, bool | int | float | str) else str(value)
            for parameter_name, value in record.params.items()
            if value is not None
        }
        start = summary_v2.hparams_pb(hyperparameters, trial_id=record.title, start_time_secs=record.started)
        self._add(record.started, summary=start)

    def hide_later_steps(self, step: int, moment: float) -> None:
        """Hide the values of this step and later ones in older files."""
        from tensorboard.compat.proto.event_pb2 import SessionLog

        self._add(moment, step, session_log=SessionLog(status=SessionLog.START))

    def add_scalars(self, values: Mapping[str, float], step: int, moment: float) -> None:
        """Add the values of a step."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=scalar_name, simple_value=value) for scalar_name, value in values.items()]
        self._add(moment, step, summary=Summary(value=scalars))
        self._writer.flush()

    def add_end(self, moment: float, is_failed: bool = False) -> None:
        """Add the end and the status, for the HPARAMS tab."""
        # TensorBoard's own function for it needs TensorFlow.
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        status = api_pb2.STATUS_FAILURE if is_failed else api_pb2.STATUS_SUCCESS
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=moment)
        data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
        value = Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(data),
            tensor=metadata.NULL_TENSOR,
        )
        self._add(moment, summary=Summary(value=[value]))

    def close(self) -> None:
        """Write everything to the disk."""
        self._writer.close()

    def _add(self, moment: float, step: int = 0, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=moment, step=step, **content))
