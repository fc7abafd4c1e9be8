"""`recctl models`."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import app, register_command
from recctl.cli.settings import settings

if TYPE_CHECKING:
    from recctl.models.base import Recommender
    from recctl.models.base.hyperparameters import Hyperparameter


@register_command(app)
def models(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this model and its hyperparameters.")] = None,
) -> None:
    """List the models, or show the description and the hyperparameters of one."""
    from recctl.cli import terminal
    from recctl.models.registry import model_class, model_names

    if name is None:
        model_rows = [[model_name, _summary(model_class(model_name))] for model_name in model_names()]
        terminal.table(["model", "description"], model_rows)
        terminal.print_json(
            {"models": [{"name": model_name, "summary": summary} for model_name, summary in model_rows]}
        )
        return
    model_type = model_class(name)
    # Printed verbatim: formulas in docstrings contain brackets, which Rich would read as markup.
    if not settings.json:
        # The fences of examples are for the documentation.
        docstring = re.sub(r"^ *```.*\n?", "", inspect.getdoc(model_type) or "", flags=re.MULTILINE)
        description = f"{docstring.rstrip()}\n\n{notes(model_type)}"
        terminal.print_text(f"{model_type.__name__} ({name})\n\n{description}\n")
    parameter_rows = [
        [
            parameter_name,
            declared.type_name(),
            repr(declared.default),
            format_bounds(declared),
            format_search(declared),
            declared.help,
        ]
        for parameter_name, declared in model_type.parameters.items()
    ]
    terminal.table(["parameter", "type", "default", "bounds", "search", "meaning"], parameter_rows)
    terminal.print_json(
        {
            "name": name,
            "class": model_type.__name__,
            "doc": inspect.getdoc(model_type),
            "uses_weights": model_type.uses_weights,
            "warm_start_parameters": model_type.warm_start_parameters,
            "predicts_ratings": model_type.predicts_ratings,
            "parameters": {
                parameter_name: declared.json_schema() for parameter_name, declared in model_type.parameters.items()
            },
        }
    )


def notes(model_type: type[Recommender]) -> str:
    """Say what a model does with weights of interactions, and what it can begin from."""
    sentences = [weights_sentence(model_type)]
    if model_type.warm_start_parameters is not None:
        names = ", ".join(model_type.warm_start_parameters)
        sentences.append(f"It can begin from a fitted model (--warm-start) with the same {names}.")
    return "\n".join(sentences)


def weights_sentence(model_type: type[Recommender]) -> str:
    """Say whether a model uses weights of interactions."""
    if model_type.needs_ratings:
        return "Weights of interactions (the step weight_events) are the ratings that it learns."
    verb = "are used" if model_type.uses_weights else "are ignored"
    return f"Weights of interactions (the step weight_events) {verb}."


_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def format_bounds(declared: Hyperparameter) -> str:
    """Format the bounds of a hyperparameter, e.g. `> 0, <= 1`, or `min_length 1, each >= 1`."""
    bounds = [
        f"{_SIGNS.get(bound_name, bound_name)} {bound_value}" for bound_name, bound_value in declared.bounds.items()
    ]
    if declared.element_bounds:
        bounds.append(f"each {declared.element_bounds}")
    return ", ".join(bounds)


def format_search(declared: Hyperparameter) -> str:
    """Format the range or the choices that a search of a hyperparameter uses by default, and its conditions."""
    search: Any = declared.search
    if search is None:
        return ""
    if hasattr(search, "values"):
        text = ", ".join(map(str, search.values))
    else:
        text = f"{search.low:g} to {search.high:g}"
        if search.log:
            text += ", log"
        if search.step is not None:
            text += f", step {search.step:g}"
    conditions = [f"{name} is {' or '.join(map(str, values))}" for name, values in declared.when.items()]
    return f"{text}; if {' and '.join(conditions)}" if conditions else text


def _summary(cls: type) -> str:
    return " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
