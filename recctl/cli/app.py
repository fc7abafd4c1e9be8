"""The Typer application that the commands register with, and the options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from recctl.cli import document, interruption
from recctl.cli.settings import settings

_PANEL = "Options of every command"
COMMON_OPTIONS: dict[str, Any] = {
    "json": Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.", rich_help_panel=_PANEL)],
    "quiet": Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no progress and no notices.", rich_help_panel=_PANEL)
    ],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="Print each step.", rich_help_panel=_PANEL)],
    "debug": Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.", rich_help_panel=_PANEL)],
    "threads": Annotated[
        int | None,
        typer.Option("--threads", min=1, metavar="N", help="Number of threads to use.", rich_help_panel=_PANEL),
    ],
    "runs_dir": Annotated[
        Path | None,
        typer.Option(
            "--runs-dir", metavar="DIR", help="Directory of the runs. Default: ./runs.", rich_help_panel=_PANEL
        ),
    ],
}


def register_command(
    parent: typer.Typer, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command that also accepts the common options.

    The common options are added to the signature that Typer reads, and their values are stored in `settings`. The
    function itself is returned unchanged.

    Args:
        parent: The application or the group of commands.
        name: Name of the command; None for the name of the function.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)

        def command(**values: Any) -> None:
            for option in COMMON_OPTIONS:
                # In one global object: every function that prints needs them, and passing them along would touch every
                # signature.
                setattr(settings, option, values.pop(option))
            from recctl.cli import terminal  # imports Rich, which `recctl --version` does not need

            with interruption.Running(), document.reserved_stdout(), terminal.plain_progress():
                function(**values)

        parameters = [
            # Keyword-only, because `command` accepts nothing else, and the common options can follow in any case.
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in signature.parameters.values()
        ]
        parameters += _common_parameters()
        # `functools.wraps` would make Typer read the signature of the function, which lacks the common options.
        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        command.__module__ = function.__module__
        command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        parent.command(name)(command)
        return function

    return register


def _common_parameters() -> list[inspect.Parameter]:
    defaults = type(settings)()
    return [
        inspect.Parameter(
            option, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, option), annotation=annotation
        )
        for option, annotation in COMMON_OPTIONS.items()
    ]


def group(help_text: str) -> typer.Typer:
    """Create a group of commands such as `recctl runs`."""
    return typer.Typer(help=help_text, no_args_is_help=True, pretty_exceptions_enable=False)


app = typer.Typer(
    help="Run recommender experiments from YAML: split, fit, evaluate, and keep every run trustworthy and repeatable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        from recctl.version import __version__

        typer.echo(f"recctl {__version__}")
        # `is_eager` runs this before the missing command is noticed.
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# Arguments and options that several commands share.
ConfigArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG",
        help="YAML config file. Default: $RECCTL_CONFIG, ./recctl.yaml, configs/default.yaml or the default that "
        "comes with recctl, whichever exists first.",
        show_default=False,
    ),
]
_RUN_HELP = "Run id, unique prefix of a run id, alias of a run, latest (the newest with a model), or best."
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help=_RUN_HELP)]
OptionalRunArgument = Annotated[str | None, typer.Argument(metavar="RUN", help=_RUN_HELP, show_default=False)]
INCLUDE_SEEN_HELP = "Also recommend items that the user has interacted with."
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar="NAME", help="Where to compute: local, ray, or ray=ADDRESS of a cluster. Sets engine."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="Override a config value, e.g. model.params.l2_reg=250. Repeatable."
    ),
]
TestSinceOption = Annotated[
    str | None,
    typer.Option(
        "--test-since",
        metavar="RUN",
        help="Test on everything after the last moment that RUN was fitted on, instead of the config's test part.",
    ),
]
WarmStartOption = Annotated[
    str | None,
    typer.Option(
        "--warm-start",
        metavar="RUN",
        help="Begin from the model of RUN, matched by ids: als, lightgcn, ncf, sasrec. Sets training.warm_start.",
    ),
]
DataSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-s",
        metavar="KEY=VALUE",
        help="Where and how the data of the run are read now, e.g. data.source=FILE; the run keeps its config. "
        "Repeatable.",
    ),
]
