"""`recctl models`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import app, register_command
from recctl.cli.settings import settings

if TYPE_CHECKING:
    from recctl.models.base.hyperparameters import Hyperparameter


@register_command(app)
def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this model and its hyperparameters.")] = None,
) -> None:
    """List the models, or show the description and the hyperparameters of one."""
    from recctl.cli import terminal
    from recctl.models.registry import model_class, model_names

    if name is None:
        rows = [[model, _summary(model_class(model))] for model in model_names()]
        terminal.table(["model", "description"], rows)
        terminal.print_json({"models": [{"name": model, "summary": summary} for model, summary in rows]})
        return
    cls = model_class(name)
    if not settings.json:
        terminal.print_text(f"{cls.__name__} ({name})\n\n{inspect.getdoc(cls)}\n")
    rows = [
        [
            key,
            declared.type_name(),
            repr(declared.default),
            format_bounds(declared),
            format_search(declared),
            declared.help,
        ]
        for key, declared in cls.parameters.items()
    ]
    terminal.table(["parameter", "type", "default", "bounds", "search", "meaning"], rows)
    terminal.print_json(
        {
            "name": name,
            "class": cls.__name__,
            "doc": inspect.getdoc(cls),
            "parameters": {key: declared.json_schema() for key, declared in cls.parameters.items()},
        }
    )


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def format_bounds(declared: Hyperparameter) -> str:
    """Format the bounds of a hyperparameter, e.g. `> 0, <= 1`."""
    return ", ".join(f"{_SIGNS.get(name, name)} {bound}" for name, bound in declared.bounds.items())


def format_search(declared: Hyperparameter) -> str:
    """Format the range or the choices that a search of a hyperparameter uses by default."""
    search: Any = declared.search
    if search is None:
        return ""
    if hasattr(search, "values"):
        return ", ".join(map(str, search.values))
    text = f"{search.low:g} to {search.high:g}"
    return f"{text}, log" if search.log else text


def _summary(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
