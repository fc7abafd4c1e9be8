"""`recctl warmup`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from recctl.cli.app import app, register_command


@register_command(app)
def warmup(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", help="Only what commands call for these models.")
    ] = None,
) -> None:
    """Compile the numerical kernels ahead, for a Docker layer or a CI cache."""
    from recctl.cli import common, terminal
    from recctl.experiment.warmup import warm_up

    common.apply_threads()
    with terminal.bars():
        result = warm_up(models or [])
    n_cached = result.n_kernels - result.n_compiled
    terminal.print_result(
        f"compiled {result.n_compiled} kernels in {result.seconds:.1f} s, {n_cached} were cached: {result.folder}"
    )
    terminal.print_json(asdict(result) | {"folder": str(result.folder)})
