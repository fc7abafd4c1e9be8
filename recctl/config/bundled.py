"""The configs that come with recctl, one for each of its models: the folder `configs/` of the repository."""

from __future__ import annotations

from pathlib import Path

# In an installed package, and in a clone of the repository.
_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")


def bundled_config(model: str) -> Path | None:
    """Return the config of a model; None if it has none, as models of plug-ins."""
    # An installed package has the first folder. What is called `configs` beside the package is not its own then.
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])
    path = folder / f"{model.replace('-', '_')}.yaml"
    return path if path.is_file() else None
