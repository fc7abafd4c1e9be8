"""The file `index.json`: what can be typed on the command line, from the declarations of commands and configs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import typer

from recctl import cli
from recctl.cli.app import COMMON_OPTIONS, app
from recctl.config.bundled import bundled_configs
from recctl.data.sources.catalog.datasets import catalog
from recctl.experiment.json_schema import config_json_schema, config_keys
from recctl.export import format_classes
from recctl.metrics import METRICS
from recctl.models.registry import model_classes
from recctl.tuning.strategies import STRATEGIES

PATH = Path(__file__).with_name("index.json")
_MAX_HELP = 70

# What the values of options and arguments are, by the text that stands for them in the help ...
_KINDS = {
    "CONFIG": "config",
    "RUN": "run",
    "RUN...": "run",
    "RUN RUN...": "run",
    "CONFIG|RUN": "config|run",
    "CONFIG|RUN...": "config|run",
    "MODEL": "models",
    "[MODEL]...": "models",
    "KEY=VALUE": "setting",
    "NAME...": "sources",
    "SOURCE|CONFIG": "sources|config",
}
# ... and by command and name.
_KINDS_OF_COMMANDS: dict[tuple[str, str], str | list[str]] = {
    ("compare", "metric"): "monitor",
    ("config copy", "name"): "configs",
    ("config init", "model"): "models",
    ("evaluate", "check"): "monitor",
    ("evaluate", "metric"): "metrics",
    ("export", "format_name"): "exports",
    ("export", "more"): "",
    ("models", "name"): "models",
    ("report", "metric"): "monitor",
    ("runs list", "data"): "sources",
    ("runs list", "kind"): ["train", "tune", "compare", "fit", "split"],
    ("runs list", "model"): "models",
    ("runs list", "sort"): "sort_keys|monitor",
    ("runs names", "name"): "alias",
    ("runs promote", "name"): "alias",
    ("runs rollback", "name"): "alias",
    ("tune", "allocation"): ["equal", "adaptive"],
    ("tune", "monitor"): "monitor",
    ("tune", "strategy"): "strategies",
}
_ENGINES = ["local", "ray"]
# Commands whose --set says where and how the data of a run are read now.
_SETTINGS_OF_DATA = ("evaluate", "export", "report")


def build() -> dict[str, Any]:
    """Return the content of the file."""
    models = model_classes()
    return {
        "commands": _commands(),
        "values": {
            "models": {model.name: _brief((model.__doc__ or "").partition(" (")[0]) for model in models},
            "metrics": {name: _brief(metric.definition) for name, metric in METRICS.items()},
            "sources": {dataset.name: "" for dataset in catalog()} | {"synthetic": "generated data"},
            "strategies": dict.fromkeys(STRATEGIES, ""),
            "configs": {name: _brief(about) for name, about in bundled_configs().items()},
            "sort_keys": {"created": "time of the run", "fit": "seconds of the fit"},
            "losses": {"loss": "training loss"},
            "exports": {format_class.name: _brief(format_class.__doc__) for format_class in format_classes()},
        },
        "without_cutoff": [name for name, metric in METRICS.items() if not metric.per_k],
        "settings": _settings(),
        "parameters": {
            model.name: {
                name: {"help": _brief(declared.help), "value": _values(declared.json_schema())}
                for name, declared in model.parameters.items()
            }
            for model in models
        },
    }


def write(path: Path = PATH) -> None:
    """Write the file."""
    path.write_text(json.dumps(build(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _brief(text: str | None) -> str:
    """The first sentence of a text, as far as it fits beside a word."""
    paragraph = " ".join((text or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<!e\.g)\. |; ", paragraph)[0].rstrip(".")
    if len(sentence) <= _MAX_HELP:
        return sentence
    return f"{sentence[: _MAX_HELP - 3].rsplit(' ', 1)[0]}..."


# ---- commands


def _commands() -> dict[str, Any]:
    for verb in cli.COMMANDS:
        import_module(f"recctl.cli.{verb}")
    root: Any = typer.main.get_command(app)
    commands = {"": _describe("", root)}
    for verb in cli.COMMANDS:
        command = root.commands[verb]
        commands[verb] = _describe(verb, command)
        for name, subcommand in getattr(command, "commands", {}).items():
            commands[f"{verb} {name}"] = _describe(f"{verb} {name}", subcommand)
    return commands


def _describe(name: str, command: Any) -> dict[str, Any]:
    options = []
    arguments = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            arguments.append({"value": _kind(name, parameter), "repeats": parameter.nargs == -1})
        else:
            value = None if parameter.is_flag else _kind(name, parameter)
            names = [option for option in parameter.opts if option.startswith("-")]
            options.append({"names": names, "help": _brief(parameter.help), "value": value})
    return {"help": _brief(command.help), "options": options, "arguments": arguments}


def _kind(command: str, parameter: Any) -> str | list[str]:
    """What the values of an option or argument are; empty if nothing is known of them but that they are files."""
    if (command, parameter.name) in _KINDS_OF_COMMANDS:
        return _KINDS_OF_COMMANDS[command, parameter.name]
    if parameter.name == "engine":
        return _ENGINES
    metavar = parameter.metavar or ""
    if metavar == "KEY=VALUE" and command in _SETTINGS_OF_DATA:
        return "data-setting"
    if metavar in _KINDS and parameter.name not in COMMON_OPTIONS:
        return _KINDS[metavar]
    return _choices(parameter)


def _choices(parameter: Any) -> str | list[str]:
    annotation = parameter.type_descriptor.annotation
    for part in (annotation, *get_args(annotation)):
        if isinstance(part, type) and issubclass(part, Enum):
            return [str(member.value) for member in part]
    return ""


# ---- settings


def _settings() -> dict[str, Any]:
    document = config_json_schema()
    special = {
        "model.name": "models",
        "data.source": "sources",
        "evaluation.monitor": "monitor",
        "training.early_stopping.monitor": "losses|monitor",
        "training.warm_start": "run",
        "tuning.monitor": "monitor",
        "tuning.strategy": "strategies",
    }
    keys = dict(config_keys(document))
    sections = {path[:-1] for path in keys} - {("data", "source")}
    settings = {}
    for path, schema in keys.items():
        if path in sections or schema.get("deprecated"):
            continue
        key = ".".join(path)
        value = special.get(key) or _values(schema)
        settings[key] = {"help": _brief(schema.get("description")), "value": value}
    return settings


def _values(schema: Mapping[str, Any]) -> list[str]:
    """The values of a schema that can be listed, as YAML writes them."""
    values: list[Any] = []
    for alternative in (schema, *schema.get("anyOf", [])):
        if alternative.get("type") == "boolean":
            values += [True, False]
        values += alternative.get("enum", alternative.get("examples", []))
        values += [alternative["const"]] if "const" in alternative else []
    return [value if isinstance(value, str) else json.dumps(value) for value in values]
