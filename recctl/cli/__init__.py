"""The command line: one module a verb, each thin over an importable function.

Importing this package imports neither numpy nor anything else that is slow: verbs import what they need when they run.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

from recctl.errors import RecctlError

# Each module registers its command with the application; in the order of the help.
_VERBS = (
    "train",
    "split",
    "fit",
    "evaluate",
    "tune",
    "compare",
    "export",
    "recommend",
    "report",
    "diagnose",
    "estimate",
    "runs",
    "models",
    "data",
    "config",
)

_INTERRUPTED = 130
# Imports of `tune` make some 200,000 objects that stay. To look for garbage every 700 takes a twelfth of their time.
_OBJECTS_BETWEEN_COLLECTIONS = 100_000


def main() -> NoReturn:
    """Run the command line; ends the process with the exit code of the design."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line with these arguments.

    Returns:
        0 done, 1 unforeseen, 2 usage or config, 3 data, 4 run or model, 5 training, 6 an assertion, 130 interrupted.
    """
    try:
        signal.signal(signal.SIGTERM, _interrupt)
        for verb in _VERBS:
            import_module(f"recctl.cli.{verb}")
        from recctl.cli.app import Settings, settings

        settings.__dict__.update(Settings().__dict__)
        code = int(_called(arguments) or 0)
        return _interrupted() if code == _INTERRUPTED else code  # Typer makes of an interruption its code
    except RecctlError as error:
        return _failed(error, error.exit_code, str(error))
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # the reader of our output has gone; so it is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _failed(error, 5, "out of memory; use less data, a smaller model, or a machine with more")
    except OSError as error:
        return _failed(error, 4, _of_the_system(error))
    except Exception as error:
        import typer

        if isinstance(error, typer.Abort):  # a prompt was answered with no
            return _INTERRUPTED
        if isinstance(error, _usage_error_class()):
            return _usage_failed(error)
        return _failed(error, 1, f"unforeseen: {type(error).__name__}: {error}; --debug shows where")


def _called(arguments: list[str]) -> Any:
    from recctl.cli.app import app

    def call() -> Any:
        return app(arguments, prog_name="recctl", standalone_mode=False)

    if "WORLD_SIZE" not in os.environ:  # as torchrun sets it
        return call()
    from recctl.cli.distributed import called

    return called(arguments, call)


def _usage_error_class() -> type[Exception]:
    """The public base class of usage errors: Typer's own; Click's in versions of Typer that are built on Click."""
    import typer

    own: type[Exception] | None = getattr(typer, "TyperException", None)
    if own is not None:
        return own
    import click

    return click.ClickException


def _usage_failed(error: Any) -> int:
    """Report a usage error and where the command's help is."""
    message = error.format_message()
    if not message:  # the help was printed because there were no arguments
        return int(error.exit_code)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "recctl"
    return _failed(error, int(error.exit_code), f"{message}\nsee {command} --help")


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _interrupted() -> int:
    sys.stderr.write("interrupted\n")
    return _INTERRUPTED


def _of_the_system(error: OSError) -> str:
    """What the system refused, and what helps."""
    where = f"{error.filename}: " if error.filename else ""
    helps = {
        errno.ENOSPC: "make room, or choose another place with --runs-dir",
        errno.EDQUOT: "make room, or choose another place with --runs-dir",
        errno.EROFS: "choose another place with --runs-dir",
        errno.EACCES: "change who may, or choose another place with --runs-dir",
        errno.EIO: "look at the disk and what the system's log says of it",
    }
    help_ = helps.get(error.errno or 0)
    return f"{where}{error.strerror or error}" + (f"; {help_}" if help_ else "")


def _failed(error: BaseException, code: int, message: str) -> int:
    from recctl.cli import terminal
    from recctl.cli.app import settings

    if settings.debug:
        import traceback

        traceback.print_exception(error)
    terminal.print_json({"status": "error", "exit_code": code, "errors": message.splitlines()})
    terminal.error(message)
    return code
