"""Which models there are: every module of this package that holds one, and those of installed plugins.

A model's file is named after it, `item_knn.py` for `item-knn`, so that asking for one imports no other. Folders listed
in `RECCTL_MODELS_PATH` (separated as in `PATH`) are searched too; an installed package offers models by entry points of
the group `recctl.models`.
"""

from __future__ import annotations

import os
import pkgutil
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import recctl.models
from recctl import artifacts, plugins
from recctl.errors import ArtifactError, ConfigError, RecctlError
from recctl.models.base import Recommender, model_file
from recctl.suggest import did_you_mean

# Modules beside the models: this one, and the old import path of plug-ins.
_NOT_MODELS = frozenset({"registry", "hyperparameters"})


def model_names() -> list[str]:
    """Names of all models, in alphabetical order."""
    return sorted({*_modules(), *plugins.available("models")})


def model_class(name: str) -> type[Recommender]:
    """The class of a model.

    Raises:
        ConfigError: No model has this name (suggests one that has), or its file can't be imported.
    """
    try:
        if name in _modules():
            return _class_in(import_module(f"recctl.models.{_modules()[name]}"), name)
    except RecctlError:
        raise
    except Exception as error:  # whatever someone else's file does when it is imported
        raise ConfigError(f"model {name!r} can't be imported: {type(error).__name__}: {error}") from error
    if name in plugins.available("models"):
        loaded: type[Recommender] = plugins.load("models", name)
        return loaded
    raise ConfigError(f"unknown model {name!r}{did_you_mean(name, model_names())}")


def model_classes() -> list[type[Recommender]]:
    """The classes of all models, in the order of their names."""
    return [model_class(name) for name in model_names()]


def make_model(name: str, **hyperparameters: Any) -> Recommender:
    """A model by name."""
    return model_class(name)(**hyperparameters)


def load_model(path: str | Path, sha256: str | None = None) -> Recommender:
    """The model of a file, whichever it is. Nothing in the file is run.

    Args:
        path: What `save` wrote.
        sha256: The hash `save` returned, where the file must be that very one.

    Raises:
        ArtifactError: No such file, a damaged one, or a model this recctl does not have.
    """
    path = Path(path)
    content = artifacts.load(path, "model", sha256)
    name = content.get("model")
    if not isinstance(name, str) or name not in model_names():
        raise ArtifactError(f"{path}: holds a model {name!r}, which is not installed here")
    return model_file.load_into(make_model(name), path, content)


def _modules() -> dict[str, str]:
    """Module names by model name. Modules that start with `_` hold no model; those of the machinery hold none."""
    for folder in filter(None, os.environ.get("RECCTL_MODELS_PATH", "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise ConfigError(f"RECCTL_MODELS_PATH: no folder {folder}")
        if folder not in recctl.models.__path__:
            recctl.models.__path__.append(folder)
    found = (name for folder in recctl.models.__path__ for name in _modules_in(folder, os.stat(folder).st_mtime_ns))
    return {name.replace("_", "-"): name for name in found if name not in _NOT_MODELS and not name.startswith("_")}


@lru_cache
def _modules_in(folder: str, changed: int) -> list[str]:
    """Modules in a folder as it is since it was last changed: a search asks for its model a dozen times a trial."""
    return [module.name for module in pkgutil.iter_modules([folder]) if not module.ispkg]


def _class_in(module: ModuleType, name: str) -> type[Recommender]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Recommender) and value.name == name:
            return value
    raise ConfigError(
        f"{module.__file__}: no subclass of Recommender with name = {name!r}; a model's file is named after it"
    )
