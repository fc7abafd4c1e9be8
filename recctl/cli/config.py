"""`recctl config`."""

from __future__ import annotations

import inspect
import shlex
from pathlib import Path
from typing import Annotated

import typer

from recctl.cli.app import ConfigArgument, SetOption, app, group, register_command
from recctl.cli.settings import settings

# The file beside a config that editors check it by.
SCHEMA_FILE = "recctl.schema.json"

config = group("Write, validate and show configs.")
app.add_typer(config, name="config")


@register_command(config, "init")
def init(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model name, as listed by `recctl models`.")] = "ease",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write. Default: stdout.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented config for a model to start from."""
    from recctl import atomic
    from recctl.cli import terminal
    from recctl.errors import ConfigError

    config_text = f"{_modeline(SCHEMA_FILE)}\n"
    config_text += _config_text(model, output or Path(f"{model}.yaml"))
    schema_path = Path(SCHEMA_FILE) if output is None else output.parent / SCHEMA_FILE
    if output is None:
        if not settings.json:
            terminal.print_text(config_text)
        if not schema_path.exists():
            terminal.info(f"for checks in editors: recctl config schema -o {schema_path}")
    else:
        if output.exists() and not force:
            raise ConfigError(f"{output}: already exists; --force replaces it")
        atomic.write_bytes(output, config_text.encode())
        if _is_schema(schema_path) or not schema_path.exists():
            atomic.write_bytes(schema_path, _schema_text().encode())
            terminal.info(f"wrote {schema_path}, with which editors check and complete configs")
        terminal.info(f"wrote {output}; next: recctl train {shlex.quote(str(output))}")
    terminal.print_json({"config": config_text, "path": str(output) if output else None})


def _modeline(schema: str) -> str:
    """The line by which a config names its schema for editors."""
    return f"# yaml-language-server: $schema={schema}"


def _is_schema(path: Path) -> bool:
    """Whether a file is a JSON Schema of configs, of any version of recctl."""
    import json

    try:
        schema = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(schema, dict) and schema.get("title") == "recctl config"


def _schema_text() -> str:
    import json

    from recctl.experiment.json_schema import config_json_schema

    # Indented by one space: the schema is deep, and by two it would be larger by half.
    return json.dumps(config_json_schema(), indent=1) + "\n"


def _config_text(model: str, path: Path) -> str:
    """The config that comes with recctl for a model, as the file at a path; a template for models of plug-ins."""
    from recctl.config.bundled import bundled_config, read_bundled
    from recctl.config.template import template
    from recctl.models.registry import model_class

    model_type = model_class(model)
    bundled = bundled_config(model)
    if bundled is not None:
        first_line, rest = read_bundled(bundled, path).split("\n", 1)
        show = f"recctl config show {shlex.quote(str(path))}"
        hint = f"# More hyperparameters: recctl models {model}; all keys with their defaults: {show}"
        return f"{first_line}\n{hint}\n{rest}"
    # The seed of the experiment, at the top of the config, is that of the model too.
    parameters = {
        parameter_name: (declared.default, declared.help)
        for parameter_name, declared in model_type.parameters.items()
        if parameter_name != "seed"
    }
    return template(
        model,
        parameters,
        implicit=not model_type.needs_ratings,
        in_order=model_type.reads_order,
        in_epochs=model_type.trained_in_epochs,
    )


@register_command(config, "copy")
def copy(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Name of the config. Default: list all configs.")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the configs that come with recctl.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write. Default: NAME.yaml.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a config that comes with recctl, or list these configs.

    There is one for each model, and some for tasks: to compare models, to choose one, to tune one for production.
    """
    from recctl import atomic
    from recctl.cli import terminal
    from recctl.config.bundled import bundled_config, bundled_configs, read_bundled
    from recctl.errors import ConfigError
    from recctl.suggest import did_you_mean

    configs = bundled_configs()
    if listing or name is None:
        terminal.table(["config", "description"], [[config_name, text] for config_name, text in configs.items()])
        records = [{"name": config_name, "description": text} for config_name, text in configs.items()]
        terminal.print_json({"configs": records})
        return
    # `configs/ease.yaml`, as the documentation writes it, means the same.
    config_name = Path(name).name.removesuffix(".yaml").replace("-", "_")
    bundled = bundled_config(config_name)
    if bundled is None:
        raise ConfigError(
            f"{name}: no config of this name comes with recctl{did_you_mean(config_name, list(configs))}; "
            "`recctl config copy` lists them"
        )
    target = output or Path(bundled.name)
    if target.exists() and not force:
        raise ConfigError(f"{target}: already exists; --force replaces it, -o names another file")
    config_text = read_bundled(bundled, target)
    atomic.write_bytes(target, config_text.encode())
    command = config_text.partition("\n")[0].rpartition(":  ")[2]
    terminal.info(f"wrote {target}; next: {command}")
    terminal.print_json({"config": config_text, "path": str(target)})


@register_command(config, "validate")
def validate(source: ConfigArgument = None, overrides: SetOption = None) -> None:
    """Validate a config and report all errors in it."""
    from rich.markup import escape

    from recctl.cli import common, terminal

    loaded = common.load_config(source, overrides)
    terminal.print_result(f"{escape(loaded.origin)}: valid")
    terminal.print_json({"config": loaded.origin, "status": "valid"})


@register_command(config, "show")
def show(source: ConfigArgument = None, overrides: SetOption = None) -> None:
    """Print a config with all defaults and overrides filled in."""
    from recctl import urls
    from recctl.cli import common, terminal
    from recctl.config import to_yaml

    loaded = common.load_config(source, overrides)
    values = loaded.config.model_dump()
    for section in ("data", "split"):
        values[section] = urls.redact_values(values[section])
    if not settings.json:
        terminal.print_text(to_yaml(values))
    terminal.print_json(values)


@register_command(config, "schema")
def schema(
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write. Default: stdout.")] = None,
) -> None:
    """Write the JSON Schema of configs, with which editors check and complete them.

    It lists the models, metrics and strategies that are installed: write it again after an upgrade. The first line of
    a config names the file: # yaml-language-server: $schema=recctl.schema.json
    """
    from recctl import atomic
    from recctl.cli import terminal
    from recctl.errors import ConfigError
    from recctl.experiment.json_schema import config_json_schema

    if output is not None:
        if output.exists() and not _is_schema(output):
            raise ConfigError(f"{output}: already exists, and is no JSON Schema of recctl; choose another file")
        atomic.write_bytes(output, _schema_text().encode())
        terminal.info(f"wrote {output}; name it in the first line of a config: {_modeline(output.name)}")
        terminal.print_json({"path": str(output)})
        return
    if not settings.json:
        terminal.print_text(_schema_text())
    terminal.print_json(config_json_schema())


@register_command(config, "steps")
def steps() -> None:
    """List the preprocessing steps for data.preprocess."""
    from recctl.cli import terminal
    from recctl.data.preprocessing import STEPS

    step_rows = []
    for step_name, step in STEPS.items():
        parameters = list(inspect.signature(step).parameters.values())[1:]  # without the interactions
        parameter_texts = []
        for parameter in parameters:
            if parameter.name == "seed":
                continue
            has_default = parameter.default is not parameter.empty
            parameter_texts.append(f"{parameter.name}={parameter.default!r}" if has_default else parameter.name)
        step_rows.append([step_name, ", ".join(parameter_texts), _summary(step)])
    terminal.table(["step", "parameters", "description"], step_rows)
    column_keys = ("name", "parameters", "summary")
    terminal.print_json({"steps": [dict(zip(column_keys, step_row, strict=True)) for step_row in step_rows]})


@register_command(config, "metrics")
def metrics() -> None:
    """List the metrics for evaluation.metrics."""
    from recctl.cli import terminal
    from recctl.evaluation import METRICS

    metric_rows = []
    for metric_name, metric in METRICS.items():
        cutoff = "@k" if metric.per_k else ""
        better = "higher" if metric.greater_is_better else "lower"
        metric_rows.append([metric_name, metric.task, cutoff, better, metric.definition])
    terminal.table(["metric", "task", "", "better", "definition"], metric_rows)
    column_keys = ("name", "task", "per_k", "better", "definition")
    terminal.print_json({"metrics": [dict(zip(column_keys, metric_row, strict=True)) for metric_row in metric_rows]})


def _summary(function: object) -> str:
    return (inspect.getdoc(function) or "").partition("\n")[0]
