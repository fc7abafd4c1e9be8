"""Aliases of runs, such as `production`, with their history.

An alias is a folder of numbered files in `.names`, one for each move. A move is written as the next free number and
never changed, so that two processes that move an alias at the same time move it one after the other.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import secrets
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from recctl import atomic
from recctl.errors import ArtifactError, ConfigError

RESERVED = ("latest", "best")
_FOLDER = ".names"
_VALID_ALIAS = re.compile(r"[A-Za-z][\w.-]{0,63}")


@dataclass(frozen=True)
class Move:
    """A move of an alias to a run. The names of the attributes are keys of its file.

    Attributes:
        number: Counts from 1.
        action: "promote" or "rollback".
        run: The id of the run.
        previous: The number of the move that a rollback returns to; None if there is none.
        at: The time, ISO 8601.
        by: The user, as user@host.
    """

    number: int
    action: str
    run: str
    previous: int | None
    at: str
    by: str


class RunAliases:
    """The aliases of the runs in a directory.

    Args:
        root: The runs directory.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / _FOLDER

    def all(self) -> list[str]:
        """Return all aliases in alphabetical order."""
        try:
            alias_names = [
                directory_entry.name for directory_entry in os.scandir(self.folder) if directory_entry.is_dir()
            ]
        except OSError:
            return []
        return sorted(alias_name for alias_name in alias_names if self._numbers(alias_name))

    def runs(self) -> dict[str, list[str]]:
        """Return the aliases of each run that has any, by run id."""
        aliases: dict[str, list[str]] = {}
        for alias_name in self.all():
            move = self.current(alias_name)
            if move is not None:
                aliases.setdefault(move.run, []).append(alias_name)
        return aliases

    def current(self, name: str) -> Move | None:
        """Return the last move of an alias; None if there is no such alias."""
        numbers = self._numbers(name)
        return self._read(name, numbers[-1]) if numbers else None

    def previous(self, name: str) -> Move | None:
        """Return the move that a rollback returns to; None if there is none."""
        current = self.current(name)
        if current is None or current.previous is None:
            return None
        return self._read(name, current.previous)

    def history(self, name: str) -> list[Move]:
        """Return all moves of an alias, oldest first."""
        return [self._read(name, number) for number in self._numbers(name)]

    def promote(self, name: str, run_id: str) -> Move:
        """Point an alias to a run; create the alias if it is new. Does nothing if it points to the run already.

        Raises:
            ConfigError: The name is not valid.
        """
        if name in RESERVED or not _VALID_ALIAS.fullmatch(name):
            raise ConfigError(
                f"name {name!r}: must begin with a letter and have at most 64 letters, digits, '_', '.' or '-'; "
                f"{' and '.join(RESERVED)} are reserved"
            )
        while True:  # until no other process moves the alias at the same time
            current = self.current(name)
            if current is not None and current.run == run_id:
                return current
            previous_number = current.number if current else None
            move = self._add_move(name, current, "promote", run_id, previous_number)
            if move is not None:
                return move

    def rollback(self, name: str) -> Move:
        """Point an alias to its previous run; repeated calls go further back.

        Raises:
            ArtifactError: There is no such alias, or no previous run.
        """
        while True:
            current = self.current(name)
            previous = self.previous(name)
            if current is None:
                raise ArtifactError(f"{name}: no such alias; create it with `recctl runs promote RUN --as {name}`")
            if previous is None:
                raise ArtifactError(f"{name}: can't be rolled back: {current.run} is the first run it pointed to")
            move = self._add_move(name, current, "rollback", previous.run, previous.previous)
            if move is not None:
                return move

    def _numbers(self, name: str) -> list[int]:
        try:
            file_names = os.listdir(self.folder / name)
        except OSError:
            return []
        return sorted(
            int(file_name.removesuffix(".json")) for file_name in file_names if re.fullmatch(r"\d+\.json", file_name)
        )

    def _path(self, name: str, number: int) -> Path:
        return self.folder / name / f"{number:06d}.json"

    def _read(self, name: str, number: int) -> Move:
        move_path = self._path(name, number)
        try:
            return Move(**json.loads(move_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactError(f"{move_path}: damaged: {error}; remove it to return to the move before it") from None

    def _add_move(self, name: str, current: Move | None, action: str, run_id: str, previous: int | None) -> Move | None:
        """Write the next move; return None if another process has written one first."""
        number = current.number + 1 if current else 1
        current_time = datetime.now(UTC).isoformat(timespec="seconds")
        move = Move(number, action, run_id, previous, at=current_time, by=f"{_user_name()}@{socket.gethostname()}")
        move_path = self._path(name, number)
        move_path.parent.mkdir(parents=True, exist_ok=True)
        temporary = move_path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with atomic.with_filename(move_path):
                with temporary.open("x", encoding="utf-8") as file:
                    json.dump(asdict(move), file)
                    file.flush()
                    os.fsync(file.fileno())
                # A link, unlike a rename, fails if the file exists.
                os.link(temporary, move_path)
        except FileExistsError:
            return None
        finally:
            with suppress(OSError):  # the move itself has succeeded or failed already
                temporary.unlink(missing_ok=True)
        return move


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # in some containers the user has no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
