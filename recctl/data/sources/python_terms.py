"""Messages of the readers in the terms of Python: readers suggest keys of a config, such as `data.id_type: text`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields

import yaml

from recctl import progress
from recctl.data.sources.options import ReadOptions
from recctl.errors import ConfigError, DataError

_OPTIONS = "|".join(option.name for option in fields(ReadOptions))
# A key, and its value if one is suggested: a mapping on one line, quoted text or a word.
_KEY = re.compile(rf"""data\.({_OPTIONS})\b(?::\ (\{{[^}}]*\}}|"[^"]*"|'[^']*'|[^\s;,()]+))?""", re.VERBOSE)


def python_terms() -> AbstractContextManager[None]:
    """Translate the messages of errors and notices of the block to arguments of `ReadOptions`."""
    return translated(to_python)


@contextmanager
def translated(translate: Callable[[str], str]) -> Iterator[None]:
    """Translate the messages of errors and notices of the block."""
    try:
        with progress.listening(_Translator(progress.current_listener(), translate)):
            yield
    except DataError as error:
        raise DataError(translate(str(error))) from error
    except ConfigError as error:
        raise ConfigError(*map(translate, error.problems)) from error


def to_python(message: str) -> str:
    """Replace `data.id_type: text` by `ReadOptions(id_type='text')`, and `data.columns` by `columns`."""
    return _KEY.sub(_replacement, message)


def _replacement(match: re.Match[str]) -> str:
    name, text = match.groups()
    if text is None:
        return str(name)
    # At the beginning, the key is the place of a problem that follows.
    if match.start() == 0:
        return f"{name}: {text}"
    try:
        return f"ReadOptions({name}={yaml.safe_load(text)!r})"
    except yaml.YAMLError:  # a text that only looks like a value
        return f"{name}: {text}"


class _Translator:
    """Passes everything on to a listener, notices translated."""

    def __init__(self, listener: progress.Listener, translate: Callable[[str], str]) -> None:
        self._listener = listener
        self._translate = translate

    def start(self, title: str, total: float | None, unit: str) -> progress.Task:
        return self._listener.start(title, total, unit)

    def finish(self, task: progress.Task) -> None:
        self._listener.finish(task)

    def notice(self, message: str) -> None:
        self._listener.notice(self._translate(message))
