"""Write the reference pages: a page for each command from the command line itself, and pages of what configs may say.

    python docs/reference.py [FOLDER]

`make docs` runs it; a test compares the pages with what it would write.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from enum import Enum
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from recctl import cli
from recctl.cli.app import COMMON_OPTIONS, app
from recctl.cli.models import format_bounds, format_search
from recctl.config import schema
from recctl.data.preprocessing import STEPS
from recctl.evaluation import METRICS
from recctl.models.registry import model_class, model_names

NOTE = "<!-- Written by docs/reference.py. -->\n\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


# ---- commands


def commands() -> Iterator[tuple[str, str]]:
    """Pages by name."""
    for register_command in cli.COMMANDS:
        import_module(f"recctl.cli.{register_command}")
    root: Any = typer.main.get_command(app)
    listed = [(register_command, _first(root.commands[register_command].help)) for register_command in cli.COMMANDS]
    rows = [[f"[`recctl {register_command}`]({register_command}.md)", summary] for register_command, summary in listed]
    every = [_row(option) for option in root.commands["train"].params if option.name in COMMON_OPTIONS]
    index = f"# Commands\n\n{table(['command', 'what it does'], rows)}\nEvery command takes:\n\n"
    yield "index", index + table(["option", "meaning", "default"], every)
    for register_command in cli.COMMANDS:
        command = root.commands[register_command]
        parts = (
            [_command(f"recctl {register_command}", command)]
            if not hasattr(command, "commands")
            else [
                f"# recctl {register_command}\n\n{command.help}\n",
                *(_command(f"recctl {register_command} {name}", each, "##") for name, each in command.commands.items()),
            ]
        )
        yield register_command, "\n".join(parts)


def _command(name: str, command: Any, level: str = "#") -> str:
    own = [parameter for parameter in command.params if parameter.name not in COMMON_OPTIONS]
    arguments = [p for p in own if p.param_type_name == "argument"]
    options = [p for p in own if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join([name, *(p.metavar or p.name.upper() for p in arguments), *(["[OPTIONS]"] if options else [])])
    parts = [f"{level} {name}", inspect.cleandoc(command.help or ""), f"    {usage}"]
    if arguments:
        parts.append(
            table(["argument", "meaning"], [[f"`{p.metavar or p.name.upper()}`", p.help or ""] for p in arguments])
        )
    if options:
        parts.append(table(["option", "meaning", "default"], [_row(option) for option in options]))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _row(option: Any) -> list[str]:
    names = ", ".join(f"`{name}`" for name in option.opts)
    values = f" {option.metavar or _values(option.type_descriptor.annotation)}" if not option.is_flag else ""
    shown = option.default not in (None, False, ()) and not callable(option.default)
    default = getattr(option.default, "value", option.default) if shown else ""
    return [f"{names}{values}", option.help or "", f"`{default}`" if shown else ""]


def _values(annotation: Any) -> str:
    kind = (get_args(annotation) or (annotation,))[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "\\|".join(member.value for member in kind)
    return {"int": "N", "float": "NUMBER", "Path": "PATH"}.get(kind.__name__, "TEXT")


def _first(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


# ---- what configs may say


def config() -> str:
    """Every key of a config."""
    parts = [
        "# Configs",
        "Every key, its type and its default. `recctl config init MODEL` writes a file with comments.",
    ]
    parts += [text for name, field in schema.Config.model_fields.items() for text in _section(name, field)]
    steps = [[f"`{name}`", _signature(step), _first(inspect.getdoc(step))] for name, step in STEPS.items()]
    parts += [
        "## Preprocessing steps",
        "Names for `data.preprocess`.",
        table(["step", "parameters", "what it does"], steps),
    ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _section(name: str, field: FieldInfo) -> Iterator[str]:
    sections = list(_sections(field.annotation))
    if not sections:
        yield f"## `{name}`"
        yield f"{_type(field.annotation)}; default `{_default(field)}`. {field.description or ''}"
        return
    for section in sections:
        strategy = section.model_fields.get("strategy")
        kinds = get_args(strategy.annotation) if strategy and get_origin(strategy.annotation) is Literal else ()
        many = "[]" if get_origin(field.annotation) is list else ""
        yield f"## `{name}{many}`" + (f", strategy `{kinds[0]}`" if kinds else "")
        yield inspect.cleandoc(section.__doc__ or "")
        rows = [
            [f"`{key}`", _type(inner.annotation), f"`{_default(inner)}`", inner.description or ""]
            for key, inner in section.model_fields.items()
        ]
        yield table(["key", "type", "default", "meaning"], rows)
        for key, inner in section.model_fields.items():
            for nested in _sections(inner.annotation):
                if nested is not section:
                    yield from _section(f"{name}.{key}", inner)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not dict:
        for inner in get_args(annotation):
            yield from _sections(inner)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join("null" if each is type(None) else _type(each) for each in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "mapping"
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
        getattr(annotation, "__name__", ""), "any"
    )


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _signature(step: Any) -> str:
    parameters = list(inspect.signature(step).parameters.values())[1:]
    return ", ".join(f"`{p.name}`" if p.default is p.empty else f"`{p.name}={p.default!r}`" for p in parameters)


# ---- models and metrics


def models() -> str:
    """Every model, with its docstring and its hyperparameters."""
    parts = [
        "# Models",
        "Objective, cost, deviations from the paper and hyperparameters of each model, as in `recctl models NAME`.",
    ]
    for name in model_names():
        cls = model_class(name)
        rows = [
            [
                f"`{key}`",
                declared.type_name(),
                f"`{declared.default!r}`",
                format_bounds(declared),
                format_search(declared),
                declared.help,
            ]
            for key, declared in cls.parameters.items()
        ]
        parts += [f"## {name}", f"`recctl.{cls.__name__}`", _prose(inspect.getdoc(cls) or "")]
        if rows:
            parts.append(table(["parameter", "type", "default", "bounds", "search", "meaning"], rows))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def metrics() -> str:
    """Every metric, with its definition."""
    parts = [
        "# Metrics",
        "The metrics of `evaluation.metrics`. Those with `@k` have one value for each cutoff of `evaluation.k_values`.",
    ]
    for name, metric in METRICS.items():
        better = "higher is better" if metric.greater_is_better else "lower is better"
        parts += [
            f"## {name}{'@k' if metric.per_k else ''}",
            f"{metric.kind}, {better}.",
            _prose(inspect.getdoc(metric.compute) or ""),
        ]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _prose(text: str) -> str:
    """A docstring as Markdown: formulas stay indented, headings of arguments become bold."""
    text = re.sub(r"^(Args|Attributes|Returns|Raises|Note|Example)s?:$", r"**\1**\n", text, flags=re.MULTILINE)
    return textwrap.dedent(text).replace("<", "&lt;") if "`" not in text else text


def main(folder: Path) -> None:
    """Write all pages."""
    pages = {"config": config(), "models": models(), "metrics": metrics()}
    pages |= {f"commands/{name}": text for name, text in commands()}
    for name, text in pages.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOTE + text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
