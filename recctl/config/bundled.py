"""The configs that come with recctl, one for each model and some for tasks: the folder `configs/` of the source.

The first line of each is a comment with a description and the command that runs it, two spaces apart.
"""

from __future__ import annotations

import shlex
from pathlib import Path

# In an installed package, and in a clone of the repository.
_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def bundled_config(name: str) -> Path | None:
    """Return the config of a name, which may be a model; None if there is none, as for models of plug-ins."""
    path = _folder() / f"{name.replace('-', '_')}.yaml"
    return path if path.is_file() else None


def bundled_configs() -> dict[str, str]:
    """Return the description of each bundled config by its name."""
    return {path.stem: _describe(path) for path in sorted(_folder().glob("*.yaml"))}


def read_bundled(bundled: Path, target: Path) -> str:
    """Return the text of a bundled config as the file `target`, whose path stands in the command of the first line."""
    first_line, rest = bundled.read_text(encoding="utf-8").split("\n", 1)
    return first_line.replace(f"configs/{bundled.name}", shlex.quote(str(target))) + "\n" + rest


def _folder() -> Path:
    # An installed package has the first folder. What is called `configs` beside the package is not its own then.
    return next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])


def _describe(path: Path) -> str:
    first_line = path.read_text(encoding="utf-8").partition("\n")[0]
    return first_line.removeprefix("# ").rpartition(":  ")[0]
