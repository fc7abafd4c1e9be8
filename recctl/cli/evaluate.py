"""`recctl evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import DataSetOption, EngineOption, app, register_command

if TYPE_CHECKING:
    from recctl.config import LoadedConfig
    from recctl.runs import Run


class Part(StrEnum):
    """Part of the split to evaluate on."""

    validation = "validation"
    test = "test"


@register_command(app)
def evaluate(
    run_id: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Run id, unique prefix of a run id, alias of a run, latest (the newest with a model), or best. With "
            "--recommendations: a config or a run, whose data, split and metrics are used.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        Part | None,
        typer.Option(
            "--on",
            help="Part to evaluate on. Default: validation if the split has it, else test; test with "
            "--recommendations.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Evaluate on the interactions of this file or URL instead of a part of the split.",
        ),
    ] = None,
    recommendations: Annotated[
        str | None,
        typer.Option(
            "--recommendations",
            metavar="FILE",
            help="Evaluate recommendation lists that were made elsewhere: a file or URL with a table of user_id, "
            "item_id, and rank or score.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="ROLE=NAME",
            help="With --recommendations: the column of user_id, item_id, rank or score, e.g. rank=position. "
            "Repeatable.",
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
            help="Exit with code 6 unless the condition holds, e.g. 'ndcg@10>=0.40', or 'ndcg@10[new_users]>=0.05' for "
            "a segment. Repeatable.",
        ),
    ] = None,
) -> None:
    """Evaluate the model of a run, after verifying that data and split are unchanged."""
    from rich.markup import escape

    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.cli.assertions import require, require_meaningful, require_segments
    from recctl.config.schema import source_name
    from recctl.errors import ConfigError
    from recctl.experiment.api import config_to_evaluate
    from recctl.metrics.condition import parse_condition

    # Parsed first: a typo must not be found after minutes of evaluation.
    conditions = [parse_condition(condition_text, of_segments=True) for condition_text in check or []]
    if data is not None and on is not None:
        raise ConfigError("--data and --on cannot be used together")
    if columns and recommendations is None:
        raise ConfigError("--column names the columns of --recommendations FILE; add it")
    common.apply_threads()
    if recommendations is not None:
        if data is not None:
            raise ConfigError("--recommendations and --data cannot be used together: lists are measured on the split")
        part = on.value if on else "test"
        run = _evaluate_lists(
            recommendations, run_id, part, columns or [], metric, k, overrides or [], engine, conditions
        )
        _print_lists(run, part, conditions)
        return
    if run_id is None:
        raise ConfigError("give the run to evaluate: recctl evaluate RUN; see recctl evaluate --help")
    run = common.store().resolve_model(run_id)
    require_meaningful(conditions, run)
    if any(condition.segment is not None for condition in conditions):
        require_segments(conditions, config_to_evaluate(run, data, overrides or []).config)
    with terminal.bars(), common.on_engine(engine):
        # No part given: experiment.measure chooses validation where there is one, to spare the test set.
        record = experiment.measure(run, on.value if on else None, data, metric, k, overrides or [])
    if conditions:
        common.notice_new_protocol()
    label = record.data.label
    # Its name, too: the label of a file is its hash.
    heading = label if data is None else f"{source_name(data)} ({label})"
    terminal.metrics_table({heading: record.metrics})
    common.print_segments({heading: record.segments}, run)
    test_evaluations = common.print_test_evaluations(run) if label == "test" else None
    terminal.print_result(f"added to {escape(str(run.path / 'evaluations.json'))}")
    terminal.print_json(
        common.describe(
            run, on=label, measured=record.metrics, evaluation=record.to_json(), test_looks=test_evaluations
        )
    )
    # Last, so that the metrics are stored and printed even if an assertion fails.
    require(conditions, record)


def _evaluate_lists(
    file: str,
    source: str | None,
    part: Any,
    columns: list[str],
    metrics: list[str] | None,
    k_values: list[int] | None,
    overrides: list[str],
    engine: str | None,
    conditions: list[Any],
) -> Run:
    from recctl import urls
    from recctl.cli import common, terminal
    from recctl.cli.assertions import require_segments
    from recctl.experiment.lifecycle import prepare_for
    from recctl.experiment.recommendation_lists import evaluate_recommendations

    # Relative to the working directory, not to the config.
    location = file if urls.is_url(file) else str(Path(file).expanduser().resolve())
    entry: dict[str, Any] = {"recommendations": location, "columns": _parse_columns(columns)}
    evaluation: dict[str, Any] = {"metrics": metrics, "k_values": k_values}
    with terminal.bars(), common.on_engine(engine):
        split_run, loaded = _load_source(source, overrides)
        only_lists = _with_lists(loaded, entry, {key: value for key, value in evaluation.items() if value})
        require_segments(conditions, only_lists.config)
        prepared, seconds = prepare_for(only_lists, split_run)
        return evaluate_recommendations(only_lists, prepared, seconds, common.store(), part)


def _load_source(source: str | None, overrides: list[str]) -> tuple[Run | None, LoadedConfig]:
    """The config that says how lists are measured, and the run whose split is used; None for a new split."""
    from recctl.cli import common
    from recctl.experiment.run_config import load_run_config

    if source is None or Path(source).suffix in common.CONFIG_SUFFIXES:
        return None, common.load_config(None if source is None else Path(source), overrides)
    run = common.store().resolve_model(source)
    settings = [override for override in overrides if override.startswith("evaluation.")]
    return run, load_run_config(run, [override for override in overrides if override not in settings], settings)


def _with_lists(loaded: LoadedConfig, entry: dict[str, Any], evaluation: dict[str, Any]) -> LoadedConfig:
    """A config with a file of lists in place of its model."""
    from dataclasses import replace

    from recctl.config.loading import with_values
    from recctl.experiment.config_checks import CHECKS

    of_models = ("model", "models", "tuning")
    given = {section: values for section, values in loaded.given.items() if section not in of_models}
    # Early stopping and the like are checked for a model, which lists do not have.
    given["training"] = {"refit": loaded.config.training.refit}
    values: dict[tuple[str | int, ...], Any] = {("models",): [entry]}
    values |= {("evaluation", key): value for key, value in evaluation.items()}
    return with_values(replace(loaded, given=given), values, CHECKS)


def _parse_columns(columns: list[str]) -> dict[str, str | int]:
    from recctl.errors import ConfigError

    parsed: dict[str, str | int] = {}
    for column in columns:
        role, equals, name = column.partition("=")
        if not equals or not name:
            raise ConfigError(f"--column {column!r}: must be ROLE=NAME, e.g. --column rank=position")
        parsed[role] = int(name) if name.isdecimal() else name
    return parsed


def _print_lists(run: Run, part: str, conditions: list[Any]) -> None:
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.cli.assertions import require

    record = run.evaluation(part)
    assert record is not None  # the run was just measured on it
    lists = run.metadata["lists"]
    heading = f"{lists['name']} ({part})"
    terminal.metrics_table({heading: record.metrics})
    common.print_segments({heading: record.segments}, run)
    test_evaluations = common.print_test_evaluations(run) if part == "test" else None
    terminal.print_result(f"run: [bold]{escape(str(run.path))}[/bold]")
    terminal.info(f"next: recctl compare RUN {run.id}")
    terminal.print_json(
        common.describe(
            run, on=part, measured=record.metrics, evaluation=record.to_json(), lists=lists, test_looks=test_evaluations
        )
    )
    require(conditions, record)
