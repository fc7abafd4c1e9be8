"""The command to type next: after an error, or when `recctl` is called without arguments.

A command that the error names is repeated, and a suggestion is put into the command that was typed. Otherwise the
folder decides: without config and runs it needs a config, with a config it can train, with runs it can list them.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from recctl import urls
from recctl.cli.completion.candidates import CommandLine, Completer, runs_in
from recctl.cli.settings import settings
from recctl.errors import ConfigError, DataError, TrainingError
from recctl.suggest import most_similar

# A command in a message: in backticks, or after a colon, up to the end of its clause.
_COMMAND = re.compile(r"`(recctl [a-z][^`]*)`|: (recctl [a-z][^;,()\n]*)")
_SHELL_OPERATORS = re.compile(r"[;&|$\n]")
_SUGGESTION = re.compile(r"did you mean '?([^\s'?]+)'?\?|\(Possible options: (--[\w-]+)", re.IGNORECASE)
# An option that an error suggests, as in `already exists; --force replaces it` and `say where it is: --set
# data.source=FILE`. A value is a placeholder, a setting, a number, or in quotes.
_OPTION = re.compile(r"(?:[;:]|\b(?:with|use|add|or)) (--[a-z-]+)(?: ('[^']+'|[\w.]+=[^\s;,)]+|[A-Z]+\b|[0-9]+\b))?")
_NEEDED_SETTING = re.compile(r"; set ([a-z_.]+): ([\w.]+)$")
_NEEDED_COLUMNS = re.compile(r"; set data\.columns: (\{.*\})$")
_PROBLEM_IN_FILE = re.compile(r"^(\S.*\.ya?ml):\d+: ", re.MULTILINE)
_EXISTING_CONFIG = re.compile(r"^(\S.*\.ya?ml): already exists", re.MULTILINE)
_MISSING_CONFIG = re.compile(r"^(\S.*\.ya?ml): No such file", re.MULTILINE)
_TOP_KEYS_OF_CONFIGS = re.compile(r"^(data|split|models?|evaluation)\s*:", re.MULTILINE)
_SUFFIXES = (".yaml", ".yml")
_FORMS_OF_WRONG_WORDS = (
    "'{}'",
    "No such option: {} ",
    "{}: No such file",
    "{}: neither ",
    "{}: no such alias",
    "user {} (did you mean",
    "item {} (did you mean",
    "{}: no config ",
)
_TAKE_CONFIGS = ("train", "tune", "compare", "split", "estimate", "config show", "config validate")
_MIN_SIMILARITY_OF_OPTIONS = 0.75
# Options by which something is overwritten or deleted: the user decides that, and not a command that is copied.
_CONFIRMATIONS = ("--force", "--yes")
# What lists the names that a command takes.
_LISTS = {
    "models": "recctl models",
    "config init": "recctl models",
    "config copy": "recctl config copy",
    "data fetch": "recctl data list",
    "warmup": "recctl models",
}


class NextStep(NamedTuple):
    """What to do next.

    Attributes:
        command: The command to type.
        is_after_correction: Whether what the error names must be corrected before.
    """

    command: str
    is_after_correction: bool = False

    def __str__(self) -> str:
        return f"next: correct it, then {self.command}" if self.is_after_correction else f"next: {self.command}"


def after_error(error: BaseException, message: str, arguments: Sequence[str]) -> NextStep:
    """Return what to do after an error.

    Args:
        error: The error.
        message: Its message, as it is printed.
        arguments: The arguments of `recctl`.
    """
    line = Completer().read(list(arguments))
    found = (
        _corrected(message, arguments)
        or _named_command(message, line)
        or _with_named_option(message, arguments, line)
        or _with_needed_columns(message, arguments, line)
        or _for_existing_config(message)
    )
    if found is not None:
        return NextStep(found)
    if isinstance(error, DataError | ConfigError) and line.command in _LISTS:
        return NextStep(_LISTS[line.command])
    about_config = _about_config(message, arguments, line)
    if about_config is not None:
        return about_config
    if isinstance(error, ConfigError) and line.command and line.command not in _TAKE_CONFIGS:
        return NextStep(f"recctl {line.command} --help")
    if isinstance(error, ConfigError | DataError | TrainingError | MemoryError | OSError) and line.command:
        # Users, items and files are given after the run.
        if line.command not in _TAKE_CONFIGS and any(f" {word}: " in f" {message}" for word in line.arguments):
            return NextStep(f"recctl {line.command} --help")
        return NextStep(_repeated(message, arguments), is_after_correction=True)
    position = _named_value(message, arguments)
    if position is not None and arguments[position - 1] in ("-o", "--output"):
        return NextStep(_repeated(message, arguments), is_after_correction=True)
    return NextStep(by_folder())


def after_usage_error(message: str, command: str, arguments: Sequence[str]) -> NextStep:
    """Return what to do after an error of usage.

    Args:
        message: The message of Typer.
        command: The command as far as it is known, e.g. `recctl runs`.
        arguments: The arguments of `recctl`.
    """
    corrected = _corrected(message, arguments)
    if corrected is not None:
        return NextStep(corrected)
    # Without a command, or without a run, the folder says more than the help does.
    if command == "recctl" or re.search("Missing argument '[^']*RUN", message):
        return NextStep(by_folder())
    return NextStep(f"{command} --help")


def by_folder() -> str:
    """Return the command that the state of the working directory and of the runs directory suggests."""
    runs_dir = None if settings.runs_dir is None else str(settings.runs_dir)
    if runs_in(runs_dir):
        return _with_arguments("runs list", [] if runs_dir is None else ["--runs-dir", runs_dir])
    config = _config_here()
    if config is None:
        return "recctl config init -o recctl.yaml"
    return _command_for(config)


# ---- what the error says


def _named_command(message: str, line: CommandLine) -> str | None:
    found = _COMMAND.search(message)
    if found is None:
        return None
    command = (found[1] or found[2]).strip().rstrip(".")
    # Messages quote values of configs and names of files, which somebody else may have written.
    if _SHELL_OPERATORS.search(command) or any(option in command for option in _CONFIRMATIONS):
        return None
    # A command that is named alone is meant for the config of this one.
    is_alone = command.removeprefix("recctl ") in _TAKE_CONFIGS
    return " ".join([command, *map(shlex.quote, _configs(line.arguments))]) if is_alone else command


def _corrected(message: str, arguments: Sequence[str]) -> str | None:
    """The command with the suggested word in place of the one that the message quotes."""
    for problem in message.splitlines():
        suggestion = _SUGGESTION.search(problem)
        if suggestion is None:
            continue
        right = suggestion[1] or suggestion[2]
        for position, word in enumerate(arguments):
            # Typer proposes options that have little in common with the wrong one.
            if suggestion[2] and most_similar(word, [right], _MIN_SIMILARITY_OF_OPTIONS) is None:
                continue
            if any(form.format(word) in problem for form in _FORMS_OF_WRONG_WORDS):
                return _shown([*arguments[:position], right, *arguments[position + 1 :]])
    return None


def _with_named_option(message: str, arguments: Sequence[str], line: CommandLine) -> str | None:
    """The command with the option that the error names, unless it is given already or its value is not named."""
    if message.startswith("--"):  # an error of this option
        return None
    for name, value in _OPTION.findall(message):
        option = Completer().option(line.command, name)
        key = value.strip("'").partition("=")[0] if "=" in value else name
        is_given = any(argument.startswith(key) for argument in arguments)
        if name in _CONFIRMATIONS or option is None or is_given or (option["value"] is not None and not value):
            continue
        return " ".join([_shown(arguments), name, value]).strip()
    return None


def _with_needed_columns(message: str, arguments: Sequence[str], line: CommandLine) -> str | None:
    """The command with the columns that an error of a reader proposes; None if the proposal has placeholders."""
    columns = _NEEDED_COLUMNS.search(message)
    reads_source = line.command == "data describe" or line.command in _TAKE_CONFIGS
    if columns is None or not reads_source or _configs(line.arguments):
        return None
    # Imports pandas, which errors of other commands should not wait for.
    from recctl.data.sources.readers.column_suggestions import UNKNOWN

    return None if UNKNOWN in columns[1] else _shown([*arguments, "--set", f"data.columns={columns[1]}"])


def _repeated(message: str, arguments: Sequence[str]) -> str:
    """The command as it was typed, without the option whose value the error is about."""
    position = _named_value(message, arguments)
    if position is None:
        return _shown(arguments)
    return _shown([*arguments[: position - 1], *arguments[position + 1 :]])


def _named_value(message: str, arguments: Sequence[str]) -> int | None:
    """The position of the value of an option that an error is about; None if it is about none."""
    completer = Completer()
    found: dict[int, int] = {}
    for position, word in enumerate(arguments):
        if position == 0 or completer.read(list(arguments[:position])).option is None:
            continue
        key, _, value = urls.hide(word).partition("=")
        places = [_find(text, message) for text in (key, value) if text]
        found |= {place: position for place in places if place is not None}
    # Messages begin with what they are about. What follows, such as a 3, may be in them by chance.
    return found[min(found)] if found else None


def _find(text: str, message: str) -> int | None:
    """Where a message has a text that is not only a part of a longer word; None if nowhere."""
    match = re.search(rf"(?<![\w.-]){re.escape(text)}(?![\w-])", message)
    return match.start() if match else None


def _shown(arguments: Sequence[str]) -> str:
    """A command as it is typed, without the secrets of URLs."""
    return urls.hide(f"recctl {shlex.join(arguments)}")


def _with_arguments(command: str, arguments: Sequence[str]) -> str:
    return _shown([*command.split(), *arguments])


# ---- configs


def _about_config(message: str, arguments: Sequence[str], line: CommandLine) -> NextStep | None:
    """What to do after an error in a config, in `--set`, or in the path of a config; None if it is about none."""
    problem = _PROBLEM_IN_FILE.search(message)
    if problem:
        if problem[1] in [*line.arguments, *_default_configs()] and line.command:
            return NextStep(_repeated(message, arguments), is_after_correction=True)
        return NextStep(_with_arguments("config validate", [problem[1]]), is_after_correction=True)
    missing = _MISSING_CONFIG.search(message)
    # Other commands write it, into a folder that can't be.
    if missing and line.command in ("", *_TAKE_CONFIGS):
        return NextStep(_for_missing_config(line.command, missing[1]))
    if not message.startswith("--set "):
        return None
    if any(word.partition("=")[0] == "--resume" for word in arguments):
        # The config is that of the run.
        return NextStep(_repeated(message, arguments), is_after_correction=True)
    needed = _NEEDED_SETTING.search(message)
    if needed:
        return NextStep(_shown([*arguments, "--set", f"{needed[1]}={needed[2]}"]))
    return NextStep(_with_arguments("config show", _configs(line.arguments)))


def _configs(arguments: Sequence[str]) -> list[str]:
    return [argument for argument in arguments if argument.endswith(_SUFFIXES)][:1]


def _for_existing_config(message: str) -> str | None:
    """The command for a config that could not be written because it exists."""
    existing = _EXISTING_CONFIG.search(message)
    return _command_for(Path(existing[1])) if existing else None


def _for_missing_config(command: str, missing: str) -> str:
    here = _config_here()
    if here is None:
        return _with_arguments("config init", ["-o", missing])
    return _with_arguments(command, [str(here)]) if command else _command_for(here)


def _command_for(config: Path) -> str:
    """The command that fits the model of a config, or its models."""
    command = "train"
    try:
        if re.search(r"^models[ \t]*:[ \t]*(#|\n|\[\s*[^\]\s])", config.read_text(encoding="utf-8"), re.MULTILINE):
            command = "compare"
    except (OSError, ValueError):
        pass
    is_default = str(config) in _default_configs()
    return _with_arguments(command, [] if is_default and command == "train" else [str(config)])


def _default_configs() -> list[str]:
    return [os.environ.get("RECCTL_CONFIG") or "recctl.yaml", "recctl.yaml", "configs/default.yaml"]


def _config_here() -> Path | None:
    """The config that commands use by default, else the newest in the working directory."""
    for name in _default_configs():
        if os.path.isfile(name):  # Path.is_file fails in folders that can't be read
            return Path(name)
    try:
        files = [path for suffix in _SUFFIXES for path in Path().glob(f"*{suffix}") if _looks_like_config(path)]
        return max(files, key=lambda path: path.stat().st_mtime, default=None)
    except OSError:  # the working directory can't be read
        return None


def _looks_like_config(path: Path) -> bool:
    try:
        return _TOP_KEYS_OF_CONFIGS.search(path.read_text(encoding="utf-8")) is not None
    except (OSError, ValueError):
        return False
