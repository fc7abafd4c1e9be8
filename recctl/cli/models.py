"""`recctl models`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import app, settings, verb

if TYPE_CHECKING:
    from recctl.models.base.hyperparameters import Hyperparameter


@verb(app)
def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A model, to see all of it.")] = None,
) -> None:
    """List the models, or show one: what it is, and its hyperparameters."""
    from recctl.cli import terminal
    from recctl.models.registry import model_class, model_names

    if name is None:
        found = [(each, _summary(model_class(each))) for each in model_names()]
        terminal.table(["model", "what it is"], found)
        terminal.print_json({"models": [{"name": each, "summary": summary} for each, summary in found]})
        return
    cls = model_class(name)
    if not settings.json:
        terminal.print_text(f"{cls.__name__} ({name})\n\n{inspect.getdoc(cls)}\n")
    rows = [
        [key, declared.type_name(), repr(declared.default), _bounds(declared), _search(declared), declared.help]
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


def _bounds(declared: Hyperparameter) -> str:
    return ", ".join(f"{_SIGNS.get(name, name)} {bound}" for name, bound in declared.bounds.items())


def _search(declared: Hyperparameter) -> str:
    search: Any = declared.search
    if search is None:
        return ""
    if hasattr(search, "values"):
        return ", ".join(map(str, search.values))
    return f"{search.low:g} to {search.high:g}{', log' if search.log else ''}"


def _summary(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
