"""`recctl estimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recctl.cli.app import ConfigArgument, SetOption, app, verb

if TYPE_CHECKING:
    from recctl.experiment.estimate import Estimate


@verb(app)
def estimate(config: ConfigArgument = None, overrides: SetOption = None) -> None:
    """Tell memory, disk and time of a run before anything is trained; a part of the fit is tried."""
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.experiment.api import require_one_model
    from recctl.experiment.estimate import estimate as estimated

    loaded = common.load_config(config, overrides)
    require_one_model(loaded)
    runs_dir = common.store().root
    with terminal.bars():
        found = estimated(loaded, runs_dir)
    terminal.table(["", "takes", "available"], list(_rows(found)))
    for trouble in found.troubles:
        terminal.print_result(f"does not fit: {escape(trouble)}")
    terminal.print_json({"config": loaded.origin, **found.plain()})


def _rows(found: Estimate) -> Any:
    from recctl.engines import format_bytes

    sizes = found.sizes
    how = "read" if found.source == "read" else "known without reading"
    yield ["data", "{users:,} users x {items:,} items, {interactions:,} interactions".format(**sizes), how]
    yield ["memory at the peak", format_bytes(found.memory["peak"]), format_bytes(found.available["memory"])]
    yield ["  of it the fit", format_bytes(found.memory["fit"]), None]
    yield ["disk of the run", format_bytes(found.disk["run"]), format_bytes(found.available["disk"])]
    yield ["  of it models", format_bytes(found.disk["models"]), None]
    if found.disk["checkpoints"]:
        yield ["  of it checkpoints", format_bytes(found.disk["checkpoints"]), None]
    if found.seconds is None:
        if found.fits:
            yield ["time", "nothing to say before the data are here: recctl data fetch", None]
        return
    yield ["time", _duration(found.seconds["total"]), None]
    for stage, seconds in found.seconds.items():
        if stage != "total":
            yield [f"  {stage}", _duration(seconds), None]


def _duration(seconds: float) -> str:
    """A time as people read it."""
    if seconds < 90:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
