"""The command line: one module per command, each a thin layer over an importable function.

Importing this package imports neither numpy nor any other slow library: commands import what they need when they run.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
from functools import cache
from importlib import import_module
from io import TextIOWrapper

from recctl.errors import RecctlError

# Type checkers take it for true. Importing `typing` would delay the handling of Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from recctl.cli.next_step import NextStep

# Each module registers its command with the application. The help lists them in this order.
COMMANDS = (
    "train",
    "split",
    "fit",
    "evaluate",
    "tune",
    "compare",
    "export",
    "recommend",
    "similar",
    "report",
    "diagnose",
    "estimate",
    "runs",
    "models",
    "data",
    "config",
    "warmup",
)

# The imports of `tune` create some 200,000 permanent objects. Collecting garbage every 700 objects, Python's default,
# would take a twelfth of their time.
_GC_THRESHOLD = 100_000


def main() -> NoReturn:
    """Run the command line and exit with its exit code."""
    text = _completion(sys.argv[1:])
    if text is not None:
        # Names of files need not be UTF-8.
        sys.stdout.buffer.write(os.fsencode(text))
        sys.exit(0)
    from recctl.cli import interruption

    interruption.install()
    gc.set_threshold(_GC_THRESHOLD)
    escape_unencodable(sys.stdout)
    exit_code = run(sys.argv[1:])
    _unregister_colorama()
    sys.exit(exit_code)


def escape_unencodable(stream: object) -> None:
    r"""Write characters that the encoding of a stream does not have as `\u044e`, as Python does on stderr.

    On Windows, the output of a command that goes to a file or another program has an encoding of 256 characters. An id
    or a title with another character would be an error.
    """
    if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


def _unregister_colorama() -> None:
    """Keep colorama, which numba imports if it is installed, from writing an escape code to stdout at exit."""
    module = sys.modules.get("colorama.initialise")
    if module is not None:
        atexit.unregister(module.reset_all)


def _completion(arguments: list[str]) -> str | None:
    """The answer to a shell that completes a line, or to who installs the completion; None for all other commands."""
    is_asked_by_shell = "_RECCTL_COMPLETE" in os.environ
    if not is_asked_by_shell and arguments[:1] not in (["--install-completion"], ["--show-completion"]):
        return None
    from recctl.cli import completion

    if is_asked_by_shell:
        return completion.answer(os.environ["_RECCTL_COMPLETE"])
    try:
        return completion.install_or_show(arguments)
    except OSError as error:  # the home directory can't be written
        sys.stderr.write(f"error: {error.filename}: {error.strerror}\nnext: recctl --show-completion\n")
        sys.exit(4)


def run(arguments: list[str]) -> int:
    """Run the command line with these arguments.

    Returns:
        The exit code: 0 success, 1 unexpected error, 2 usage or config, 3 data, 4 run or model, 5 training, 6 failed
        assertion, 130 interrupted.
    """
    from recctl.cli import document
    from recctl.cli.settings import settings

    settings.reset()
    document.begin(arguments)
    settings.debug = document.is_given("--debug", arguments)
    try:
        with document.captured_stdout():
            exit_code = _run_and_report(arguments)
        sys.stdout.write(document.take_text())
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of stdout has exited, as `head` does: not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return exit_code


def _run_and_report(arguments: list[str]) -> int:
    """Run the command, report how it failed, and return its exit code."""
    from recctl.cli import interruption

    try:
        for command in COMMANDS:
            import_module(f"recctl.cli.{command}")
        exit_code = int(_invoke(arguments) or 0)
    except KeyboardInterrupt:
        return _report_interruption()
    except BrokenPipeError:
        raise
    except Exception as error:
        # C code may have turned the interruption into this exception.
        return _report_interruption() if interruption.is_requested() else _report_failure(error, arguments)
    except SystemExit:  # raised by Ray's handler of signals, which replaces recctl's while Ray starts
        if interruption.was_signalled():
            return _report_interruption()
        raise
    # Typer turns an interruption into this exit code.
    if exit_code == interruption.EXIT_CODE or interruption.is_requested():
        return _report_interruption()
    return exit_code


def _report_failure(error: Exception, arguments: list[str]) -> int:
    """Print what went wrong and what to do, and return the exit code."""
    import typer

    if isinstance(error, RecctlError):
        return _report_error(error, error.exit_code, str(error), arguments)
    if isinstance(error, MemoryError):
        message = "out of memory; use less data, a smaller model, or a machine with more memory"
        return _report_error(error, 5, message, arguments)
    if isinstance(error, OSError):
        return _report_error(error, 4, _os_error_message(error), arguments)
    if isinstance(error, typer.Abort):  # the user answered a prompt with no
        return _report_interruption("not confirmed")
    if isinstance(error, _usage_error_class()):
        return _report_usage_error(error, arguments)
    message = f"unexpected error: {type(error).__name__}: {error}; --debug prints the traceback"
    return _report_error(error, 1, message, arguments)


@cache
def _command() -> Any:
    """Build the command with all subcommands, which takes 40 ms: too long for programs that run hundreds of them."""
    from typer.main import get_command

    from recctl.cli.app import app

    return get_command(app)


def _invoke(arguments: list[str]) -> Any:
    def call() -> Any:
        return _command()(arguments, prog_name="recctl", standalone_mode=False)

    if "WORLD_SIZE" not in os.environ:  # torchrun sets it
        return call()
    from recctl.cli.distributed import run_distributed

    return run_distributed(arguments, call)


def _usage_error_class() -> type[Exception]:
    """Return the public base class of usage errors: Typer's, or Click's in versions of Typer that build on Click."""
    import typer

    typer_class: type[Exception] | None = getattr(typer, "TyperException", None)
    if typer_class is not None:
        return typer_class
    import click

    return click.ClickException


def _report_usage_error(error: Any, arguments: list[str]) -> int:
    """Print a usage error and how to get the help of the command."""
    from recctl.cli import next_step

    message = error.format_message()
    if not message:  # the help was printed because there were no arguments
        if not arguments:
            sys.stdout.flush()
            sys.stderr.write(f"next: {next_step.by_folder()}\n")
        return int(error.exit_code)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "recctl"
    following = next_step.after_usage_error(message, command, arguments)
    return _print_error(error, int(error.exit_code), f"{message}\nsee {command} --help", following)


def _report_interruption(reason: str = "interrupted") -> int:
    from recctl.cli import document, interruption

    document.set_failure("interrupted", interruption.EXIT_CODE, [reason])
    sys.stderr.write(f"{reason}\n")
    return interruption.EXIT_CODE


def _os_error_message(error: OSError) -> str:
    """Describe an error of the operating system, with a hint."""
    hints = {
        errno.ENOSPC: "free disk space, or choose another directory with --runs-dir",
        errno.EDQUOT: "free disk space, or choose another directory with --runs-dir",
        errno.EROFS: "choose another directory with --runs-dir",
        errno.EACCES: "change the permissions, or choose another directory with --runs-dir",
        errno.EIO: "check the disk and the system log",
    }
    message = error.strerror or str(error)
    if error.filename:
        message = f"{error.filename}: {message}"
    hint = hints.get(error.errno or 0)
    return f"{message}; {hint}" if hint else message


def _report_error(error: BaseException, code: int, message: str, arguments: list[str]) -> int:
    from recctl import urls
    from recctl.cli import next_step

    message = urls.hide(message)
    return _print_error(error, code, message, next_step.after_error(error, message, arguments))


def _print_error(error: BaseException, code: int, message: str, following: NextStep) -> int:
    from recctl import urls
    from recctl.cli import document, terminal
    from recctl.cli.settings import settings

    if settings.debug:
        import traceback

        sys.stderr.write(urls.hide("".join(traceback.format_exception(error))))
    document.set_failure("error", code, message.splitlines(), following.command)
    terminal.error(message)
    sys.stderr.write(f"{following}\n")
    return code
