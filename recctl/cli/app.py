"""The application that verbs register with, and the options all of them take."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer


@dataclass
class Settings:
    """What the common options say."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    threads: int | None = None
    runs_dir: Path | None = None


settings = Settings()


_PANEL = "For every command"
_COMMON: dict[str, Any] = {
    "json": Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.", rich_help_panel=_PANEL)],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notices.", rich_help_panel=_PANEL)],
    "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="Tell of each step.", rich_help_panel=_PANEL)],
    "debug": Annotated[bool, typer.Option("--debug", help="Show an error's traceback.", rich_help_panel=_PANEL)],
    "threads": Annotated[
        int | None, typer.Option("--threads", min=1, metavar="N", help="Compute on N threads.", rich_help_panel=_PANEL)
    ],
    "runs_dir": Annotated[
        Path | None,
        typer.Option("--runs-dir", metavar="DIR", help="Where runs are kept; ./runs.", rich_help_panel=_PANEL),
    ],
}


def verb(parent: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function as a command that takes the common options after its own.

    The options are added to the signature that Typer reads and kept in `settings`; the function stays what it was.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True)

        def command(**values: Any) -> None:
            for option in _COMMON:
                setattr(settings, option, values.pop(option))
            from recctl.cli import terminal

            with terminal.plain_progress():
                function(**values)

        defaults = {option: None if option in ("threads", "runs_dir") else False for option in _COMMON}
        common = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=defaults[option], annotation=kind)
            for option, kind in _COMMON.items()
        ]
        kept = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own.parameters.values()]
        # Typer reads these; `functools.wraps` would let it find the function's own signature.
        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        command.__module__ = function.__module__
        command.__signature__ = own.replace(parameters=[*kept, *common])  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in [*kept, *common]}
        parent.command(name)(command)
        return function

    return register


def group(help_text: str) -> typer.Typer:
    """A group of commands, as `recctl runs`."""
    return typer.Typer(help=help_text, no_args_is_help=True, pretty_exceptions_enable=False)


app = typer.Typer(
    help="Run recommender experiments from YAML: split, fit, evaluate, and keep every run trustworthy and repeatable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from recctl.version import __version__

        typer.echo(f"recctl {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


# Arguments and options that several verbs take, said once.
ConfigArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML config. Else $RECCTL_CONFIG, ./recctl.yaml, configs/default.yaml, or recctl's own default.",
        show_default=False,
    ),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's id, a unique beginning of it, a name it was promoted to, latest, or best."
    ),
]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar="NAME", help="What to compute on: local, ray, or ray=ADDRESS of a cluster: engine."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="KEY=VALUE", help="Override a value, e.g. model.params.l2_reg=250. Repeatable."
    ),
]
