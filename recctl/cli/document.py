"""The JSON document of `--json`: one for each command, however the command ends.

A command sets the document when it has its result; `recctl.cli.run` adds errors and writes it, once, at the end. A
command that prints its result and then fails, as `evaluate --assert` does, therefore still prints one document.
"""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from recctl.cli.settings import settings


@dataclass
class _Document:
    values: dict[str, Any] | None = None
    is_taken: bool = False
    has_begun: bool = False


_document = _Document()


def begin(arguments: Sequence[str]) -> None:
    """Begin the document of a command, if one is requested; discard that of a previous command of this process.

    The options of a command are parsed after its name: errors before that must be JSON, too.
    """
    settings.json = is_given("--json", arguments)
    _document.values = None
    _document.is_taken = False
    _document.has_begun = True


def has_begun() -> bool:
    """Whether the command line has begun to read its arguments."""
    return _document.has_begun


def is_given(option: str, arguments: Sequence[str]) -> bool:
    """Whether a flag is among the arguments; what follows `--` are values."""
    arguments = list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return option in arguments[:end]


def set_values(values: Mapping[str, Any]) -> None:
    """Set what the command found; it is written when the command ends."""
    _document.values = dict(values)


def set_failure(status: str, exit_code: int, messages: Sequence[str], next_command: str | None = None) -> None:
    """Add to the document that the command failed, why, and the command to type next."""
    failure = {"status": status, "exit_code": exit_code, "errors": list(messages)}
    if next_command is not None:
        failure["next"] = next_command
    _document.values = (_document.values or {}) | failure


def take_text() -> str:
    """The document as JSON, once: empty without --json, without a document, and at the second call."""
    if not settings.json or _document.values is None or _document.is_taken:
        return ""
    # Set before the document is written: Ctrl-C meanwhile must not begin another one.
    _document.is_taken = True
    # NaN and infinity aren't JSON. `default` covers paths and dates.
    return json.dumps(_without_nan(_document.values), indent=2, default=_plain, allow_nan=False) + "\n"


@contextmanager
def captured_stdout() -> Iterator[None]:
    """Make what the block prints the document if --json is set, but not what commands print: their help."""
    if not settings.json:
        yield
        return
    printed = io.StringIO()
    with redirect_stdout(printed):
        yield
    if not settings.json:  # it was the value of an option
        sys.stdout.write(printed.getvalue())
    elif _document.values is None and printed.getvalue():
        set_values({"text": printed.getvalue()})


@contextmanager
def reserved_stdout() -> Iterator[None]:
    """Send what the block prints to stderr if --json is set, so that stdout gets nothing but the document.

    Plug-ins and other packages print, too.
    """
    if not settings.json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays and scalars of NumPy
        return _without_nan(value.tolist())
    return str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
