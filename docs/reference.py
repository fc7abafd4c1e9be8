"""Write the reference pages, and the index of what shells complete.

There is a page for each command, and one each for configs, models, metrics and exports.

    python docs/reference.py [FOLDER]

FOLDER is `docs/reference` by default. `make docs` runs this script, and a test checks that the pages in the repository
are up to date.
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
from recctl.cli.completion import build
from recctl.cli.models import format_bounds, format_search, notes
from recctl.config import schema
from recctl.config.descriptions import descriptions
from recctl.data.preprocessing import STEPS
from recctl.evaluation import METRICS
from recctl.export import _id_files, _manifest, _scoring_graph, format_classes
from recctl.models.base import Recommender
from recctl.models.registry import make_model, model_class, model_names
from recctl.ranking import ties

PAGES = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/reference.py. -->\n\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Format a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(_cell(value) for value in line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _code(text: str) -> str:
    """Text in code style, in which brackets and stars mean themselves."""
    return f"`{text}`" if text else ""


def _join(parts: Sequence[str]) -> str:
    """Join the paragraphs of a page."""
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


# ---- commands


def command_pages() -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the page of each command, and of the index."""
    for verb in cli.COMMANDS:
        import_module(f"recctl.cli.{verb}")
    root: Any = typer.main.get_command(app)
    yield "index", _index_page(root)
    for verb in cli.COMMANDS:
        command = root.commands[verb]
        if hasattr(command, "commands"):
            parts = [f"# recctl {verb}\n\n{command.help}\n"]
            for name, subcommand in command.commands.items():
                parts.append(_command_section(f"recctl {verb} {name}", subcommand, "##"))
            yield verb, "\n".join(parts)
        else:
            yield verb, _command_section(f"recctl {verb}", command)


def _index_page(root: Any) -> str:
    rows = [[f"[`recctl {verb}`]({verb}.md)", _first_line(root.commands[verb].help)] for verb in cli.COMMANDS]
    common_options = [_option_row(option) for option in root.commands["train"].params if option.name in COMMON_OPTIONS]
    page = f"# Commands\n\n{table(['command', 'what it does'], rows)}\nEvery command takes:\n\n"
    return page + table(["option", "meaning", "default"], common_options)


def _command_section(name: str, command: Any, level: str = "#") -> str:
    parameters = [parameter for parameter in command.params if parameter.name not in COMMON_OPTIONS]
    arguments = [parameter for parameter in parameters if parameter.param_type_name == "argument"]
    options = [
        parameter for parameter in parameters if parameter.param_type_name == "option" and parameter.name != "help"
    ]
    argument_names = [argument.metavar or argument.name.upper() for argument in arguments]
    usage = " ".join([name, *argument_names])
    if options:
        usage += " [OPTIONS]"
    parts = [f"{level} {name}", inspect.cleandoc(command.help or ""), f"    {usage}"]
    if arguments:
        rows = [
            [f"`{argument_name}`", argument.help or ""]
            for argument_name, argument in zip(argument_names, arguments, strict=True)
        ]
        parts.append(table(["argument", "meaning"], rows))
    if options:
        parts.append(table(["option", "meaning", "default"], [_option_row(option) for option in options]))
    return _join(parts)


def _option_row(option: Any) -> list[str]:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if not option.is_flag:
        names += f" {option.metavar or _placeholder(option.type_descriptor.annotation)}"
    default = ""
    if option.default not in (None, False, ()) and not callable(option.default):
        default = f"`{getattr(option.default, 'value', option.default)}`"
    return [names, option.help or "", default]


def _placeholder(annotation: Any) -> str:
    kind = (get_args(annotation) or (annotation,))[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "\\|".join(member.value for member in kind)
    return {"int": "N", "float": "NUMBER", "Path": "PATH"}.get(kind.__name__, "TEXT")


# ---- config keys


def config_page() -> str:
    """Every key of a config, with type and default."""
    parts = [
        "# Configs",
        "Every key, its type and its default. `recctl config init MODEL` writes a file with comments.",
        "A key may also be written with its sections, as in messages and in `--set`:",
        "    data.id_type: text  # at the top level of the file: the key id_type of data",
        "Numbers are written as in JSON; `007`, `+5` and `0x10` are text, as they are in data.",
    ]
    for name, field in schema.Config.model_fields.items():
        parts += _section_parts(name, field)
    steps = [[f"`{name}`", _signature(step), _first_line(inspect.getdoc(step))] for name, step in STEPS.items()]
    parts += [
        "## Preprocessing steps",
        "Names for `data.preprocess`.",
        table(["step", "parameters", "what it does"], steps),
        _EVENTS,
    ]
    return _join(parts)


def _section_parts(name: str, field: FieldInfo) -> Iterator[str]:
    """Yield the paragraphs of a section: heading, description, table of keys, and nested sections."""
    sections = list(_section_models(field.annotation))
    if not sections:
        yield f"## `{name}`"
        yield f"{_type_name(field.annotation)}; default `{_default_text(field)}`. {descriptions(schema.Config)[name]}"
        return
    list_suffix = "[]" if get_origin(field.annotation) is list else ""
    for section in sections:
        yield f"## `{name}{list_suffix}`{_strategy_suffix(section)}"
        yield inspect.cleandoc(section.__doc__ or "")
        texts = descriptions(section)
        rows = [
            [f"`{key}`", _type_name(nested.annotation), f"`{_default_text(nested)}`", texts[key]]
            for key, nested in section.model_fields.items()
        ]
        yield table(["key", "type", "default", "meaning"], rows)
        for key, nested in section.model_fields.items():
            for nested_section in _section_models(nested.annotation):
                if nested_section is not section:
                    yield from _section_parts(f"{name}.{key}", nested)


def _strategy_suffix(section: type[BaseModel]) -> str:
    strategy = section.model_fields.get("strategy")
    if strategy and get_origin(strategy.annotation) is Literal:
        return f", strategy `{get_args(strategy.annotation)[0]}`"
    return ""


def _section_models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the section classes in an annotation; mappings have none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is not dict:
        for argument in get_args(annotation):
            yield from _section_models(argument)


def _type_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join("null" if argument is type(None) else _type_name(argument) for argument in arguments)
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return "mapping"
    if hasattr(annotation, "__metadata__"):
        return _type_name(arguments[0])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    return names.get(getattr(annotation, "__name__", ""), "any")


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def _signature(step: Any) -> str:
    """The parameters of a preprocessing step, without its first, the data."""
    texts = []
    for parameter in list(inspect.signature(step).parameters.values())[1:]:
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        texts.append(f"`{parameter.name}{default}`")
    return ", ".join(texts)


_EVENTS = """\
`select_rows` and `weight_events` use any column of the source: its name in the file or, if the file has no header, its
position from 0. The names user_id, item_id, rating and timestamp mean the columns with these roles.

```yaml
data:
  source: events.csv
  preprocess:
    - select_rows: {column: event, values: [view, cart, purchase]}
    - weight_events: {column: event, weights: {view: 1, cart: 3, purchase: 5}}
    - drop_duplicates: {keep: sum}
```

Weights are the ratings of implicit feedback. After `weight_events`, `data.implicit` is false by default, and models
that use weights do so; `recctl models NAME` says which they are. Steps run in the order in which they are listed."""


# ---- models and metrics


def models_page() -> str:
    """Every model, with its docstring and its hyperparameters."""
    parts = [
        "# Models",
        "Objective, cost, deviations from the paper and hyperparameters of each model, as in `recctl models NAME`.",
    ]
    for name in model_names():
        model = model_class(name)
        rows = [
            [
                f"`{key}`",
                parameter.type_name(),
                f"`{parameter.default!r}`",
                _code(format_bounds(parameter)),
                format_search(parameter),
                parameter.help,
            ]
            for key, parameter in model.parameters.items()
        ]
        parts += [f"## {name}", f"`recctl.{model.__name__}`", _markdown(inspect.getdoc(model) or "")]
        parts.append(notes(model))
        if rows:
            parts.append(table(["parameter", "type", "default", "bounds", "search", "meaning"], rows))
    return _join(parts)


def metrics_page() -> str:
    """Every metric, with its definition."""
    parts = [
        "# Metrics",
        "The metrics of `evaluation.metrics`. Those with `@k` have one value for each cutoff of `evaluation.k_values`.",
    ]
    for name, metric in METRICS.items():
        cutoff = "@k" if metric.per_k else ""
        direction = "higher is better" if metric.greater_is_better else "lower is better"
        parts += [
            f"## {name}{cutoff}",
            f"{metric.kind}, {direction}.",
            _markdown(inspect.getdoc(metric.compute) or ""),
        ]
    parts += ["## Ties in scores", _markdown(inspect.getdoc(ties) or "")]
    return _join(parts)


def exports_page() -> str:
    """The layout of each export format of recctl."""
    parts = ["# Layouts of exports", *_EXPORTS.strip().split("\n\n"), _support_of_models()]
    parts += ["## The manifest", inspect.getdoc(_manifest) or "", "## Ids and codes", inspect.getdoc(_id_files) or ""]
    for export_format in format_classes():
        if not export_format.__module__.startswith("recctl."):
            continue
        parts += [f"## {export_format.name}", inspect.getdoc(export_format) or ""]
        if export_format.read_with:
            files = [[f"`{path}`", reader] for path, reader in export_format.read_with.items()]
            parts.append(table(["file", "read with"], files))
        fields = export_format.model_fields.items()
        options = [[f"`{name}`", f"`{field.default!r}`", field.description] for name, field in fields]
        if options:
            parts.append(table(["option", "default", "meaning"], options))
    return _join(parts)


def _support_of_models() -> str:
    """A table of what each model can be exported as."""
    rows = []
    for name in model_names():
        model = make_model(name)
        inputs = ", ".join(f"`{given}`" for given in _scoring_graph.supported_inputs(model))
        has_embeddings = type(model).embeddings is not Recommender.embeddings
        rows.append([f"`{name}`", inputs, _VECTORS.get(name, "yes" if has_embeddings else "no")])
    return table(["model", "`onnx`: inputs, the default first", "`embeddings`, `ann`"], rows)


_EXPORTS = """
An export is a folder of files in open formats, with a manifest. [Serving exports](../guides/exports.md) shows how to
read them without recctl. Options are given as `recctl export RUN --format NAME --option KEY=VALUE`, or as keywords of
`recctl.export_model(model, name, path)`.

All models can be exported as `recommendations`, `similar-items`, `safetensors` (with the
[tensors of each model](tensors.md)) and `mlflow`. For the other formats, models have these inputs and vectors. ALS with
`implicit: false` takes no sequences, because it needs ratings.
"""

# Vectors that depend on a parameter.
_VECTORS = {"ncf": "with `variant: gmf`"}


def _markdown(docstring: str) -> str:
    """A docstring as Markdown: formulas stay indented, headings of Google style become bold."""
    docstring = re.sub(
        r"(?<=^Examples:\n)(?: {4}.*\n?|\n)+",
        lambda example: textwrap.dedent(example[0]),
        docstring,
        flags=re.MULTILINE,
    )
    text = re.sub(r"^(Args|Attributes|Returns|Raises|Note|Example)s?:$", r"**\1**\n", docstring, flags=re.MULTILINE)
    if "`" in text:
        return text
    return textwrap.dedent(text).replace("<", "&lt;")


def main(folder: Path) -> None:
    """Write all pages into a folder."""
    pages = {"config": config_page(), "models": models_page(), "metrics": metrics_page(), "exports": exports_page()}
    for name, text in command_pages():
        pages[f"commands/{name}"] = text
    for name, text in pages.items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(NOTE + text, encoding="utf-8")
    if folder == PAGES:
        # What shells complete comes from the same declarations.
        build.write()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PAGES)
