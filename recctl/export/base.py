"""What every export format is."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from recctl.models.base import Recommender
from recctl.runs import Run


@dataclass(frozen=True)
class Context:
    """What a format may know beside the model.

    Attributes:
        destination: Where the folder will stand once it is whole; the one that is written to is another.
        run: The run that the model is of, if it is of any.
        entry: What the run's metadata say of the model: `version`, `sha256`, ...
    """

    destination: Path
    run: Run | None = None
    entry: Mapping[str, Any] | None = None


class ExportFormat(BaseModel):
    """A format; its fields are its options, declared once: for Python, for the command line, and for the manifest.

        class Names(ExportFormat):
            '''The items' ids, one a line.'''

            name = "names"
            limit: int = Field(100, ge=1, description="How many.")

            def write(self, model, folder, context): ...

    A module of this package or an entry point of the group `recctl.exports` offers it. The docstring's first line is
    what `recctl export --list` says of it.

    Attributes:
        name: Its name on the command line; that of its module, with `-` for `_`.
        version: Of the files it writes.
        extra: The extra of recctl that installs what it needs.
        needs: Modules that come with the extra.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    extra: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write the files.

        Args:
            model: Fitted.
            folder: Exists and is empty.
            context: What else is known.

        Returns:
            Facts for the manifest: counts, what was measured, in plain JSON values.
        """

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Read the files back; their hashes are checked already.

        Args:
            folder: Where they are.
            manifest: What its manifest says: `options`, `facts`, ...
            model: What was exported, where it is at hand: right after writing.

        Raises:
            ArtifactError: They are not what the manifest says, or not what the model says.
        """

    @classmethod
    def summary(cls) -> str:
        """One line that says what it is."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]
