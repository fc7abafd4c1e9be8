"""`recctl evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import DataSetOption, EngineOption, RunArgument, app, register_command


class Part(StrEnum):
    """Part of the split to evaluate on."""

    validation = "validation"
    test = "test"


@register_command(app)
def evaluate(
    run_id: RunArgument,
    on: Annotated[
        Part | None,
        typer.Option("--on", help="Part to evaluate on. Default: validation if the split has it, else test."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE", help="Evaluate on the interactions of this file instead of a part of the split."
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Metric to compute instead of evaluation.metrics. Repeatable."),
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option("-k", help="Cutoff to use instead of evaluation.k_values. Repeatable.")
    ] = None,
    overrides: DataSetOption = None,
    engine: EngineOption = None,
    check: Annotated[
        list[str] | None,
        typer.Option(
            "--assert",
            metavar="CONDITION",
            help="Exit with code 6 unless the condition holds, e.g. 'ndcg@10>=0.40'. Repeatable.",
        ),
    ] = None,
) -> None:
    """Evaluate the model of a run, after verifying that data and split are unchanged."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.cli.assertions import require, require_meaningful
    from recctl.errors import ConfigError
    from recctl.metrics.condition import parse_condition

    # Parsed first: a typo must not be found after minutes of evaluation.
    conditions = [parse_condition(condition_text) for condition_text in check or []]
    if data is not None and on is not None:
        raise ConfigError("--data and --on cannot be used together")
    common.apply_threads()
    run = common.store().resolve_model(run_id)
    require_meaningful(conditions, run)
    with terminal.bars(), common.on_engine(engine):
        # No part given: experiment.measure chooses validation where there is one, to spare the test set.
        record = experiment.measure(run, on.value if on else None, data, metric, k, overrides or [])
    if conditions:
        common.notice_new_protocol()
    label = record.data.label
    # Its name, too: the label of a file is its hash.
    heading = label if data is None else f"{data.name} ({label})"
    terminal.metrics_table({heading: record.metrics})
    test_evaluations = common.print_test_evaluations(run) if label == "test" else None
    terminal.print_result(f"added to {escape(str(run.path / 'evaluations.json'))}")
    terminal.print_json(
        common.describe(
            run, on=label, measured=record.metrics, evaluation=record.to_json(), test_looks=test_evaluations
        )
    )
    # Last, so that the metrics are stored and printed even if an assertion fails.
    require(conditions, record.metrics, label)
