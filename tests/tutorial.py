"""Run what a page of the documentation shows, in its order, and compare the output with the page's.

Blocks with a title are files that the reader writes. `python` blocks run in one namespace. In `console` blocks, lines
that begin with `$ ` are commands, and what follows is their output. Run ids and seconds differ from run to run, figures
may differ slightly between machines, and `...` stands for lines that the page leaves out.
"""

from __future__ import annotations

import math
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests import preloaded
from tests.pages import Block

_RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]+-[0-9a-f]{4}\b")
_QUANTITY = re.compile(r"\b[\d.]+ (ms|s|min|kB|MB|GB)\b")
_NUMBER = re.compile(r"-?[\d,]*\.?\d+(?=%?$)")
# Figures of the pages were measured elsewhere.
_RELATIVE_TOLERANCE = 0.05
_ABSOLUTE_TOLERANCE = 0.01


class Tutorial:
    """Runs blocks in the current folder.

    Args:
        recctl: The fixture that runs a command in this process.
        skip: Commands that are not run here, such as `pip install`, by their first words.
        names: What to put in place of words of commands, such as a name that stands for any run.
    """

    def __init__(self, recctl: Any, skip: Iterable[str] = (), names: Mapping[str, str] | None = None) -> None:
        self.recctl = recctl
        self.skip = tuple(skip)
        self.names = dict(names or {})
        self.namespace: dict[str, Any] = {}

    def run(self, blocks: Iterable[Block]) -> None:
        """Run these blocks."""
        for block in blocks:
            if block.title:
                Path(block.title).write_text(block.code, encoding="utf-8")
            elif block.language == "python":
                code = compile("\n" * block.line + block.code, "page", "exec")
                exec(code, self.namespace)
            elif block.language == "console":
                for command, output in split_console(block.code):
                    self._check(command, output)
            elif block.language == "sh":
                for command in split_commands(block.code):
                    self._execute(command)

    def _check(self, command: str, shown: list[str]) -> None:
        shows_error = any(line.startswith("error: ") for line in shown)
        printed = self._execute(command, may_fail=shows_error)
        if printed is None:
            return
        out, err = printed
        rest = compare_lines(shown, [line for line in out.splitlines() if line.strip()], self.names)
        messages = [line for line in err.splitlines() if line.strip()]
        for line in rest:
            matches = [message for message in messages if is_same_line(line, message, self.names)]
            assert matches, f"$ {command}\nprinted no line like this one of the page:\n{line}\nbut:\n{out}\n{err}"

    def _execute(self, command: str, may_fail: bool = False) -> tuple[str, str] | None:
        """Run a command; None if it is not to be run here."""
        if command.startswith(self.skip):
            return None
        for shown, actual in self.names.items():
            command = re.sub(rf"(?<![\w-]){re.escape(shown)}(?![\w-])", actual, command)
        if command.startswith("recctl ") and not re.search(r"[|;&<>]|\$\(", re.sub(r"'[^']*'", "", command)):
            done = self.recctl(*shlex.split(command, comments=True)[1:])
            assert done.code == 0 or may_fail, f"$ {command}\n{done.out}\n{done.err}"
            return done.out, done.err
        if match := re.fullmatch(r"python (\w+\.py)", command):
            runpy.run_path(match[1], run_name="__main__")
            return "", ""
        environment = preloaded.shell_environment(Path.cwd() / ".bin")
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], env=environment, capture_output=True)
        assert done.returncode == 0, f"$ {command}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode(), done.stderr.decode()


def split_commands(code: str) -> list[str]:
    """The commands of a block, without comments; a backslash continues a line."""
    lines = code.replace("\\\n", " ").splitlines()
    commands = [re.sub(r"(^|\s+)#\s.*", "", line).strip() for line in lines]
    return [command for command in commands if command]


def split_console(code: str) -> list[tuple[str, list[str]]]:
    """The commands of a `console` block, each with the lines of its output."""
    commands: list[tuple[str, list[str]]] = []
    for line in code.splitlines():
        if line.startswith("$ "):
            commands.append((re.sub(r"\s{2,}#\s.*", "", line[2:]), []))
        elif line.strip():
            commands[-1][1].append(line)
    return commands


def compare_lines(shown: list[str], printed: list[str], names: dict[str, str]) -> list[str]:
    """Compare the lines of a page with those on stdout, and return the lines of the page that are not among these.

    Every printed line must be shown unless the page has `...` in its place.
    """
    others = []
    skipping = False
    position = 0
    for line in shown:
        if line.strip() == "...":
            skipping = True
            continue
        end = len(printed) if skipping else position + 1
        matches = [n for n in range(position, min(end, len(printed))) if is_same_line(line, printed[n], names)]
        if matches:
            position = matches[0] + 1
            skipping = False
        else:
            others.append(line)
    if not skipping:
        assert position == len(printed), "the page leaves out:\n" + "\n".join(printed[position:])
    return others


def is_same_line(shown: str, printed: str, names: dict[str, str]) -> bool:
    """Whether two lines are equal, up to run ids and small differences of figures; run ids are remembered."""
    shown_ids = _RUN_ID.findall(shown)
    printed_ids = _RUN_ID.findall(printed)
    shown_words = _QUANTITY.sub("QUANTITY", _RUN_ID.sub("RUN", shown)).split()
    printed_words = _QUANTITY.sub("QUANTITY", _RUN_ID.sub("RUN", printed)).split()
    if len(shown_ids) != len(printed_ids) or len(shown_words) != len(printed_words):
        return False
    if not all(is_same_word(*words) for words in zip(shown_words, printed_words, strict=True)):
        return False
    names.update(zip(shown_ids, printed_ids, strict=True))
    return True


def is_same_word(shown: str, printed: str) -> bool:
    """Whether two words are equal or are figures that are about equal."""
    if shown == printed:
        return True
    shown_figure = shown.strip("(),.")
    printed_figure = printed.strip("(),.")
    if not _NUMBER.match(shown_figure) or not _NUMBER.match(printed_figure):
        return False
    values = [figure.rstrip("%").replace(",", "") for figure in (shown_figure, printed_figure)]
    try:
        first, second = (float(value) for value in values)
    except ValueError:
        return False
    return math.isclose(first, second, rel_tol=_RELATIVE_TOLERANCE, abs_tol=_ABSOLUTE_TOLERANCE)
