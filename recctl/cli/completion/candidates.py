"""What can follow on a command line."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

_RUN_ID = re.compile(r"\d{8}-\d{6}-.+-[0-9a-f]{4}")
_CUTOFFS = (10, 5, 20, 50, 100)
_CONFIG_SUFFIXES = (".yaml", ".yml")
# The name of the model in a config, without a parser of YAML, whose import would take too long.
_MODEL_NAME = re.compile(
    r"^model:[ \t]*(?:\{.*?\b|(?:#.*)?\n(?:[ \t]+.*\n|\n)*?[ \t]+)name:\s*[\"']?([\w-]+)", re.MULTILINE
)


class Candidate(NamedTuple):
    """A text that may follow, and what it means."""

    text: str
    help: str = ""


class CommandLine:
    """The words before the one that is completed, as the command reads them.

    Attributes:
        command: The command, e.g. `runs list`; empty before it is known.
        arguments: The words that are arguments of the command.
        settings: The values of --set.
        runs_dir: The value of --runs-dir.
        option: The option whose value is completed.
        only_arguments: Whether `--` has ended the options.
    """

    # Not a dataclass: the import of `dataclasses` would take as long as all else.
    def __init__(self) -> None:
        self.command = ""
        self.arguments: list[str] = []
        self.settings: list[str] = []
        self.runs_dir: str | None = None
        self.option: str | None = None
        self.only_arguments = False


class Completer:
    """Completes words of the command line.

    Args:
        index: What `recctl.cli.completion.build` writes; by default the file in this package.
    """

    def __init__(self, index: Mapping[str, Any] | None = None) -> None:
        self._given_index = index

    @cached_property
    def _index(self) -> Mapping[str, Any]:
        if self._given_index is not None:
            return self._given_index
        index: Mapping[str, Any] = json.loads(Path(__file__).with_name("index.json").read_bytes())
        return index

    def complete(self, words: list[str], incomplete: str) -> list[Candidate]:
        """Return what the incomplete word can become, in the order in which shells show it.

        Args:
            words: The words between `recctl` and the incomplete one.
            incomplete: What has been typed of the word, possibly nothing.
        """
        line = self.read(words)
        candidates = self._candidates(line, incomplete)
        return [candidate for candidate in candidates if candidate.text.startswith(incomplete)]

    # ---- reading the words

    def read(self, words: list[str]) -> CommandLine:
        """Read words as the command does: its name, its arguments, and what else completion depends on."""
        line = CommandLine()
        for word in words:
            if line.option is not None:
                self._set_option(line, line.option, word)
                line.option = None
            elif word == "--" and not line.only_arguments:
                line.only_arguments = True
            elif word.startswith("-") and len(word) > 1 and not line.only_arguments:
                self._read_option(line, word)
            elif self._subcommand(line, word) is not None and not line.arguments:
                line.command = f"{line.command} {word}".strip()
            else:
                line.arguments.append(word)
        return line

    def _read_option(self, line: CommandLine, word: str) -> None:
        name, equals, value = word.partition("=")
        option = self.option(line.command, name)
        if option is None or option["value"] is None:
            return
        if equals:
            self._set_option(line, name, value)
        else:
            line.option = name

    def _set_option(self, line: CommandLine, name: str, value: str) -> None:
        if name == "--runs-dir":
            line.runs_dir = value
        elif name in ("--set", "-s"):
            line.settings.append(value)

    def _subcommand(self, line: CommandLine, word: str) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self._index["commands"].get(f"{line.command} {word}".strip())
        return found

    def option(self, command: str, name: str) -> Mapping[str, Any] | None:
        """Return an option of a command, of which `value` is None if it is a flag; None if the command has no such."""
        for option in self._index["commands"].get(command, {}).get("options", []):
            if name in option["names"]:
                found: Mapping[str, Any] = option
                return found
        return None

    # ---- candidates

    def _candidates(self, line: CommandLine, incomplete: str) -> Iterable[Candidate]:
        if line.option is not None:
            return self._option_values(line, line.option, incomplete)
        if incomplete.startswith("-") and not line.only_arguments:
            name, equals, value = incomplete.partition("=")
            if not equals:
                return self._options(line.command)
            return [Candidate(f"{name}={text}", meaning) for text, meaning in self._option_values(line, name, value)]
        subcommands = list(self._subcommands(line.command))
        if subcommands:
            return subcommands
        return self._arguments(line, incomplete)

    def _subcommands(self, command: str) -> Iterator[Candidate]:
        for name, described in self._index["commands"].items():
            outer, _, last = name.rpartition(" ")
            if name and outer == command:
                yield Candidate(last, described["help"])

    def _options(self, command: str) -> Iterator[Candidate]:
        for option in self._index["commands"].get(command, {}).get("options", []):
            for name in option["names"]:
                yield Candidate(name, option["help"])

    def _option_values(self, line: CommandLine, name: str, incomplete: str) -> Iterable[Candidate]:
        option = self.option(line.command, name)
        return self._values(option["value"], line, incomplete) if option else []

    def _arguments(self, line: CommandLine, incomplete: str) -> Iterable[Candidate]:
        arguments = self._index["commands"].get(line.command, {}).get("arguments", [])
        position = len(line.arguments)
        if not arguments or (position >= len(arguments) and not arguments[-1]["repeats"]):
            return []
        argument = arguments[min(position, len(arguments) - 1)]
        values = self._values(argument["value"], line, incomplete)
        if not argument["repeats"]:
            return values
        return [candidate for candidate in values if candidate.text not in line.arguments]

    def _values(self, value: str | list[str] | None, line: CommandLine, incomplete: str) -> Iterable[Candidate]:
        """The values of an option or argument: a list of them, or one of several kinds, separated by `|`."""
        if isinstance(value, list):
            return [Candidate(choice) for choice in value]
        candidates: list[Candidate] = []
        for kind in (value or "").split("|"):
            candidates += self._values_of_kind(kind, line, incomplete)
        return candidates

    def _values_of_kind(self, kind: str, line: CommandLine, incomplete: str) -> Iterable[Candidate]:
        if kind == "run":
            return _runs(line.runs_dir)
        if kind == "alias":
            return _aliases(_runs_folder(line.runs_dir))
        if kind == "config":
            return _config_files(incomplete)
        if kind == "monitor":
            return self._monitors(incomplete)
        if kind in ("setting", "data-setting"):
            return self._settings(line, incomplete, only_data=kind == "data-setting")
        return self._named(kind)

    def _named(self, kind: str) -> Iterator[Candidate]:
        """Models, metrics, data sets, strategies and formats: those of recctl, then those of plug-ins."""
        for name, meaning in self._index["values"].get(kind, {}).items():
            yield Candidate(name, meaning)
        for name in _plug_ins(kind):
            yield Candidate(name, "plug-in")

    def _monitors(self, incomplete: str) -> Iterator[Candidate]:
        for name, meaning in self._named("metrics"):
            if name in self._index["without_cutoff"]:
                yield Candidate(name, meaning)
                continue
            for cutoff in _CUTOFFS:
                yield Candidate(f"{name}@{cutoff}", meaning)

    # ---- settings

    def _settings(self, line: CommandLine, incomplete: str, *, only_data: bool) -> Iterator[Candidate]:
        key, equals, value = incomplete.partition("=")
        if equals:
            for text, meaning in self._setting_values(line, key, value):
                yield Candidate(f"{key}={text}", meaning)
            return
        for name, setting in self._index["settings"].items():
            if name.startswith("data.") or not only_data:
                yield Candidate(f"{name}=", setting["help"])
        if not only_data:
            parameters = self._parameters(line)
            for section in ("model.params", "tuning.space"):
                for name, parameter in parameters.items():
                    yield Candidate(f"{section}.{name}=", parameter["help"])

    def _setting_values(self, line: CommandLine, key: str, incomplete: str) -> Iterable[Candidate]:
        if key.startswith("model.params."):
            setting = self._parameters(line).get(key.removeprefix("model.params."))
        else:
            setting = self._index["settings"].get(key)
        return [] if setting is None else self._values(setting["value"], line, incomplete)

    def _parameters(self, line: CommandLine) -> Mapping[str, Any]:
        """The hyperparameters of the model that the line or its config names; else those of all models."""
        by_model: Mapping[str, Mapping[str, Any]] = self._index["parameters"]
        model = _model_of(line)
        if model is not None:
            return by_model.get(model, {})
        return {name: parameter for parameters in by_model.values() for name, parameter in parameters.items()}


def _model_of(line: CommandLine) -> str | None:
    for setting in reversed(line.settings):
        key, _, value = setting.partition("=")
        if key == "model.name":
            return value
    given = [argument for argument in line.arguments if argument.endswith(_CONFIG_SUFFIXES)]
    defaults = [os.environ.get("RECCTL_CONFIG", ""), "recctl.yaml", "configs/default.yaml"]
    path = next((path for path in [*given, *defaults] if path and os.path.isfile(path)), None)
    if path is None:
        return None
    try:
        found = _MODEL_NAME.search(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found[1] if found else None


# ---- runs


def _runs_folder(runs_dir: str | None) -> Path:
    return Path(runs_dir or os.environ.get("RECCTL_RUNS_DIR") or "runs")


def runs_in(runs_dir: str | None) -> list[str]:
    """The run ids in a runs directory, the newest first; by default that of `$RECCTL_RUNS_DIR`, or `./runs`."""
    names = _folders_in(_runs_folder(runs_dir))
    return sorted((name for name in names if _RUN_ID.fullmatch(name)), reverse=True)


def _runs(runs_dir: str | None) -> Iterator[Candidate]:
    """Aliases, `latest` and `best`, then run ids, the newest first."""
    run_ids = runs_in(runs_dir)
    folder = _runs_folder(runs_dir)
    yield from _aliases(folder)
    if run_ids:
        yield Candidate("latest", "the newest run with a model")
        yield Candidate("best", "the best run by the monitored metric")
    for run_id in run_ids:
        yield Candidate(run_id)


def _aliases(folder: Path) -> Iterator[Candidate]:
    """Aliases, the latest moved first, each with its run."""
    moved = []
    for name in _folders_in(folder / ".names"):
        files = [path for path in (folder / ".names" / name).glob("*.json") if path.stem.isdecimal()]
        if files:
            last = max(files, key=lambda path: int(path.stem))
            with suppress(OSError):  # it was deleted meanwhile
                moved.append((last.stat().st_mtime, name, last))
    for _, name, last in sorted(moved, reverse=True):
        yield Candidate(name, _run_of(last))


def _run_of(move: Path) -> str:
    try:
        return str(json.loads(move.read_bytes()).get("run", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _folders_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except OSError:
        return []


# ---- files and plug-ins


def _config_files(incomplete: str) -> Iterator[Candidate]:
    """Files of YAML, and folders, which may hold some."""
    folder, _ = os.path.split(incomplete)
    prefix = incomplete[: len(incomplete) - len(os.path.basename(incomplete))]
    try:
        with os.scandir(os.path.expanduser(folder) or ".") as entries:
            found = sorted(entries, key=lambda entry: (entry.is_dir(), entry.name))
    except OSError:
        return
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield Candidate(f"{prefix}{entry.name}/")
        elif entry.name.endswith(_CONFIG_SUFFIXES):
            yield Candidate(prefix + entry.name)


def _plug_ins(kind: str) -> list[str]:
    """The names that installed packages register; `importlib.metadata` would take longer than all the rest."""
    names = _models_of_folders() if kind == "models" else []
    heading = f"[recctl.{kind}]"
    for folder in sys.path:
        for file in Path(folder or ".").glob("*.dist-info/entry_points.txt"):
            names += _entry_points(file, heading)
    return list(dict.fromkeys(names))


def _entry_points(file: Path, heading: str) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    if heading not in text:
        return
    for line in text.partition(heading)[2].splitlines():
        if line.startswith("["):
            return
        name, equals, _ = line.partition("=")
        if equals:
            yield name.strip()


def _models_of_folders() -> list[str]:
    names = []
    for folder in os.environ.get("RECCTL_MODELS_PATH", "").split(os.pathsep):
        if folder:
            files = sorted(Path(folder).glob("*.py"))
            names += [file.stem.replace("_", "-") for file in files if not file.stem.startswith("_")]
    return names
