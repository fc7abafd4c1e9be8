"""The base class of export formats."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from recctl.data.titles import ItemTitles
from recctl.experiment import run_titles
from recctl.models.base import Recommender
from recctl.runs import Run


@dataclass(frozen=True)
class Context:
    """What a format may use beside the model.

    Attributes:
        destination: Final path of the export. Files are written to a temporary folder that is moved there at the end.
        run: The run of the model, if it belongs to one.
        entry: The entry of the model in the run's metadata: `version`, `sha256`, ...
        overrides: Where and how the data of the run are read now, such as `data.source=FILE`.
    """

    destination: Path
    run: Run | None = None
    entry: Mapping[str, Any] | None = None
    overrides: Sequence[str] = ()

    @cached_property
    def titles(self) -> ItemTitles:
        """The titles of the items, if the run has any."""
        return ItemTitles.none() if self.run is None else run_titles(self.run)


class ExportFormat(BaseModel):
    """An export format. Its fields are its options, declared once for Python, the command line and the manifest.

        class Names(ExportFormat):
            '''Ids of the items, one a line.'''

            name = "names"
            limit: int = Field(100, ge=1, description="Maximum number of ids.")

            def write(self, model, folder, context): ...

    Formats are modules of this package or entry points of the group `recctl.exports`. `recctl export --list` shows the
    first line of the docstring.

    Attributes:
        name: Name on the command line; the name of its module, with `-` for `_`.
        version: Version of the files that it writes.
        extra: The extra of recctl that installs its dependencies.
        needs_local_folder: Whether the export holds its own path, so that it can't be written to a URL.
        needs: Modules of that extra.
        libraries: Packages whose versions the manifest records, because they wrote the files.
        read_with: For each file or folder that it may write, what reads it; for the manifest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    extra: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    needs_local_folder: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ()
    read_with: ClassVar[Mapping[str, str]] = {}

    @abstractmethod
    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write the files.

        Args:
            model: A fitted model.
            folder: An existing, empty folder.
            context: Destination, run and model entry.

        Returns:
            Facts for the manifest, such as counts and measurements, as plain JSON values.
        """

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Read the files back. Their hashes have been checked before.

        Args:
            folder: The export.
            manifest: Its manifest: `options`, `facts`, ...
            model: The exported model; given right after writing only.

        Raises:
            ArtifactError: The files do not match the manifest or the model.
        """

    @classmethod
    def summary(cls) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]
