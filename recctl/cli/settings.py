"""The values of the options that every command accepts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass
class Settings:
    """The values of the common options for the current command."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    threads: int | None = None
    runs_dir: Path | None = None

    def reset(self) -> None:
        """Set every option to its default."""
        self.__dict__.update(Settings().__dict__)


settings = Settings()
