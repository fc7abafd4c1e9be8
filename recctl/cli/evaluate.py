"""`recctl evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import EngineOption, RunArgument, app, verb


class Part(StrEnum):
    """A held-out part."""

    validation = "validation"
    test = "test"


@verb(app)
def evaluate(
    run_id: RunArgument,
    on: Annotated[Part | None, typer.Option("--on", help="Which part; default: validation if there is one.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", help="Take the interactions of this file as relevant, instead of a part."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Measure this instead of the config's metrics. Repeatable."),
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", help="Cutoff instead of the config's k_values. Repeatable.")
    ] = None,
    engine: EngineOption = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            "--assert", metavar="CONDITION", help="End with exit code 6 unless e.g. 'ndcg@10>=0.40'. Repeatable."
        ),
    ] = None,
) -> None:
    """Measure a run's model on a held-out part, after checking that data and split are what they were."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.cli.assertions import parse, require
    from recctl.config import parse_config
    from recctl.errors import ConfigError

    conditions = [parse(text) for text in check or []]
    if data is not None and on is not None:
        raise ConfigError("--data and --on exclude each other")
    common.apply_threads()
    run = common.store().resolve(run_id)
    other = None
    if data is not None:
        config = experiment.load(run.path / "config.yaml").config
        text = f"data: {{source: {str(data.resolve())!r}, implicit: {str(config.data.implicit).lower()}}}"
        other = parse_config(text, str(data), Path())
    with terminal.bars(), common.on_engine(engine):
        part, metrics = experiment.evaluate(run, on.value if on else None, other, metric, k)
    terminal.metrics_table({part: metrics})
    looks = common.say_test_looks(run) if part == "test" else None
    terminal.print_result(f"added to {escape(str(run.path / 'metrics.json'))}")
    terminal.print_json(common.describe(run, on=part, measured=metrics, test_looks=looks))
    require(conditions, metrics, part)
