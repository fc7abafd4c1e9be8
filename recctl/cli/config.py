"""`recctl config`."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import ConfigArgument, SetOption, app, group, settings, verb

config = group("Write, check and explain configs.")
app.add_typer(config, name="config")


@verb(config, "init")
def init(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name of `recctl models`.")] = "ease",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write here instead of to stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented config for a model."""
    from recctl import atomic
    from recctl.cli import terminal
    from recctl.config.template import template
    from recctl.errors import ConfigError
    from recctl.models.registry import model_class

    parameters = {n: (p.default, p.help) for n, p in model_class(model).parameters.items() if n != "seed"}
    text = template(model, parameters, implicit=not model_class(model).needs_ratings)
    if output is None:
        if not settings.json:
            terminal.print_text(text)
    else:
        if output.exists() and not force:
            raise ConfigError(f"{output}: is there already; --force replaces it")
        atomic.write_bytes(output, text.encode())
        terminal.info(f"wrote {output}; next: recctl train {output}")
    terminal.print_json({"config": text, "path": str(output) if output else None})


@verb(config, "validate")
def validate(source: ConfigArgument = None, overrides: SetOption = None) -> None:
    """Check a config whole, and tell every error in it."""
    from rich.markup import escape

    from recctl.cli import common, terminal

    loaded = common.load_config(source, overrides)
    terminal.print_result(f"{escape(loaded.origin)}: valid")
    terminal.print_json({"config": loaded.origin, "status": "valid"})


@verb(config, "show")
def show(source: ConfigArgument = None, overrides: SetOption = None) -> None:
    """Print a config with every default and override filled in."""
    from recctl.cli import common, terminal
    from recctl.config import to_yaml

    loaded = common.load_config(source, overrides)
    values = loaded.config.model_dump()
    if not settings.json:
        terminal.print_text(to_yaml(values))
    terminal.print_json(values)


@verb(config, "schema")
def schema() -> None:
    """Print the JSON Schema of configs, for editors."""
    import json

    from recctl.cli import terminal
    from recctl.config import config_schema
    from recctl.models.registry import model_class, model_names

    models = {
        name: {key: declared.json_schema() for key, declared in model_class(name).parameters.items()}
        for name in model_names()
    }
    terminal.print_text(json.dumps(config_schema(models), indent=2))


@verb(config, "steps")
def steps() -> None:
    """List the preprocessing steps that data.preprocess may name."""
    from recctl.cli import terminal
    from recctl.data.preprocessing import STEPS

    rows = []
    for name, step in STEPS.items():
        parameters = list(inspect.signature(step).parameters.values())[1:]
        told = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in parameters if p.name != "seed"]
        rows.append([name, ", ".join(told), _summary(step)])
    terminal.table(["step", "parameters", "what it does"], rows)
    terminal.print_json({"steps": [dict(zip(("name", "parameters", "summary"), row, strict=True)) for row in rows]})


@verb(config, "metrics")
def metrics() -> None:
    """List the metrics that evaluation.metrics may name."""
    from recctl.cli import terminal
    from recctl.evaluation import METRICS

    rows = [
        [
            name,
            metric.task,
            "@k" if metric.per_k else "",
            "higher" if metric.greater_is_better else "lower",
            metric.definition,
        ]
        for name, metric in METRICS.items()
    ]
    terminal.table(["metric", "task", "", "better", "definition"], rows)
    terminal.print_json(
        {"metrics": [dict(zip(("name", "task", "per_k", "better", "definition"), r, strict=True)) for r in rows]}
    )


def _summary(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]
