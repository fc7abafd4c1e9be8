"""Names for runs that jobs and servers agree on, such as `production`; where each pointed before stays known.

A name is a folder of numbered files below `.names`, one for each time it was moved. They are made with their number
as the next free one and never changed, so that two who move a name at once both have moved it, one after the other.
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


@dataclass(frozen=True)
class Move:
    """One time that a name was moved.

    Attributes:
        number: From 1.
        action: "promote" or "rollback".
        run: The run it points to since.
        previous: The number of the move that a rollback goes back to; None if there is none.
        at: When.
        by: Who, as user@host.
    """

    number: int
    action: str
    run: str
    previous: int | None
    at: str
    by: str


class RunAliases:
    """The names in a directory of runs.

    Args:
        root: The directory.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / _FOLDER

    def all(self) -> list[str]:
        """Every name, in alphabetical order."""
        try:
            found = [entry.name for entry in os.scandir(self.folder) if entry.is_dir()]
        except OSError:
            return []
        return sorted(name for name in found if self._numbers(name))

    def runs(self) -> dict[str, list[str]]:
        """The names of each run that has some."""
        found: dict[str, list[str]] = {}
        for name in self.all():
            if (now := self.current(name)) is not None:
                found.setdefault(now.run, []).append(name)
        return found

    def current(self, name: str) -> Move | None:
        """Where a name points; None if there is no such name."""
        numbers = self._numbers(name)
        return self._read(name, numbers[-1]) if numbers else None

    def previous(self, name: str) -> Move | None:
        """Where a rollback would take a name; None if nowhere."""
        now = self.current(name)
        return None if now is None or now.previous is None else self._read(name, now.previous)

    def history(self, name: str) -> list[Move]:
        """Every move of a name, oldest first."""
        return [self._read(name, number) for number in self._numbers(name)]

    def promote(self, name: str, run: str) -> Move:
        """Point a name to a run; it is made if it is new. Nothing happens if it points there already.

        Raises:
            ConfigError: It can't be a name.
        """
        if name in RESERVED or not re.fullmatch(r"[A-Za-z][\w.-]{0,63}", name):
            raise ConfigError(
                f"name {name!r}: must begin with a letter, go on with letters, digits, '_', '.' or '-', and be none of "
                f"{', '.join(RESERVED)}"
            )
        while True:
            now = self.current(name)
            if now is not None and now.run == run:
                return now
            if made := self._add(name, now, "promote", run, now.number if now else None):
                return made

    def rollback(self, name: str) -> Move:
        """Point a name to where it pointed before; again, to where it pointed before that.

        Raises:
            ArtifactError: There is no such name, or nothing before.
        """
        while True:
            now, before = self.current(name), self.previous(name)
            if now is None:
                raise ArtifactError(f"{name}: no such name; make it with `recctl runs promote RUN --as {name}`")
            if before is None:
                raise ArtifactError(f"{name}: pointed nowhere before {now.run}: there is nothing to go back to")
            if made := self._add(name, now, "rollback", before.run, before.previous):
                return made

    def _numbers(self, name: str) -> list[int]:
        try:
            files = os.listdir(self.folder / name)
        except OSError:
            return []
        return sorted(int(file[:-5]) for file in files if re.fullmatch(r"\d+\.json", file))

    def _read(self, name: str, number: int) -> Move:
        path = self.folder / name / f"{number:06d}.json"
        try:
            return Move(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ArtifactError(f"{path}: damaged: {error}; remove it to go by the move before") from None

    def _add(self, name: str, now: Move | None, action: str, run: str, previous: int | None) -> Move | None:
        """Write the next move; None if somebody else was quicker."""
        number = now.number + 1 if now else 1
        who = f"{_user()}@{socket.gethostname()}"
        move = Move(number, action, run, previous, datetime.now(UTC).isoformat(timespec="seconds"), who)
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{secrets.token_hex(8)}.tmp"
        target = folder / f"{number:06d}.json"
        try:
            with atomic.with_filename(target):
                with beside.open("x", encoding="utf-8") as file:
                    json.dump(asdict(move), file)
                    file.flush()
                    os.fsync(file.fileno())
                # Unlike a rename, a link never replaces what is there.
                os.link(beside, target)
        except FileExistsError:
            return None
        finally:
            with suppress(OSError):  # whether the name was moved is what counts
                beside.unlink(missing_ok=True)
        return move


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
