"""`recctl estimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recctl.cli.app import ConfigArgument, SetOption, TestSinceOption, app, register_command

if TYPE_CHECKING:
    from recctl.experiment.estimate import Estimate


@register_command(app)
def estimate(config: ConfigArgument = None, overrides: SetOption = None, test_since: TestSinceOption = None) -> None:
    """Estimate memory, disk space and time of a run from its config, timing a small part of the fit."""
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.experiment.api import require_one_model
    from recctl.experiment.estimate import estimate as estimate_run

    loaded = common.load_config(config, overrides)
    require_one_model(loaded)
    runs_dir = common.store().root
    earlier_run = None if test_since is None else common.store().resolve_model(test_since)
    with terminal.bars():
        result = estimate_run(loaded, runs_dir, earlier_run)
    terminal.table(["", "needed", "available"], list(_rows(result)))
    for trouble in result.troubles:
        terminal.print_result(f"does not fit: {escape(trouble)}")
    terminal.print_json({"config": loaded.origin, **result.plain()})


def _rows(result: Estimate) -> Any:
    from recctl.engines import format_bytes

    data_sizes = result.sizes
    origin = "read" if result.source == "read" else "from the catalog, without reading it"
    yield ["data", "{users:,} users x {items:,} items, {interactions:,} interactions".format(**data_sizes), origin]
    yield ["peak memory", format_bytes(result.memory["peak"]), format_bytes(result.available["memory"])]
    yield ["  of which fit", format_bytes(result.memory["fit"]), None]
    yield ["disk space of the run", format_bytes(result.disk["run"]), format_bytes(result.available["disk"])]
    yield ["  of which models", format_bytes(result.disk["models"]), None]
    if result.disk["checkpoints"]:
        yield ["  of which checkpoints", format_bytes(result.disk["checkpoints"]), None]
    if result.backtest is not None:
        disk = format_bytes(int(result.backtest["disk"] or 0))
        yield [f"disk space of {result.backtest['n_windows']} windows (compare)", f"<= {disk}", None]
    if result.seconds is None:
        # Otherwise the time is irrelevant, and "does not fit" follows.
        if result.fits:
            yield ["time", "unknown until the data is downloaded: recctl data fetch", None]
        return
    yield ["time", _format_duration(result.seconds["total"]), None]
    for stage, seconds in result.seconds.items():
        if stage != "total":
            yield [f"  {stage}", _format_duration(seconds), None]
    if result.backtest is not None and result.backtest["seconds"] is not None:
        n_windows = result.backtest["n_windows"]
        yield [f"time of {n_windows} windows (compare)", f"<= {_format_duration(result.backtest['seconds'])}", None]


def _format_duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
