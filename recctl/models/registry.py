"""The registry of models: the modules of this package that define one, and the models of installed plug-ins.

The file of a model has its name, such as `item_knn.py` for `item-knn`, so that looking up a model imports only its own
file. The folders in `RECCTL_MODELS_PATH` (separated as in `PATH`) are searched, too. Packages register models as entry
points of the group `recctl.models`.
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
from recctl import arguments, artifacts, plugins
from recctl.arguments import optional, text, validated
from recctl.errors import ArtifactError, ConfigError, RecctlError
from recctl.models.base import Recommender, model_file
from recctl.suggest import did_you_mean

# Modules of this package that are not models: this one, and the old import path of plug-ins.
_NOT_MODELS = frozenset({"registry", "hyperparameters"})


def model_names() -> list[str]:
    """The names of all models, in alphabetical order.

    Examples:
        ```python
        from recctl import model_names

        assert "ease" in model_names()
        ```
    """
    return sorted(_modules().keys() | plugins.available("models").keys())


def model_class(name: str) -> type[Recommender]:
    """The class of a model.

    Raises:
        ConfigError: There is no model of this name (the message suggests a similar one), or its import fails.
    """
    try:
        # Modules before entry points: a plug-in cannot replace a model of recctl unnoticed.
        if name in _modules():
            return _class_in(import_module(f"recctl.models.{_modules()[name]}"), name)
    except RecctlError:
        raise
    except Exception as error:  # the file of a user can raise anything when it is imported
        raise ConfigError(f"model {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    if name in plugins.available("models"):
        loaded: type[Recommender] = plugins.load("models", name)
        return loaded
    raise ConfigError(f"unknown model {name!r}{did_you_mean(name, model_names())}")


def model_classes() -> list[type[Recommender]]:
    """The classes of all models, in the order of their names."""
    return [model_class(name) for name in model_names()]


@validated(name=text)
def make_model(name: str, **hyperparameters: Any) -> Recommender:
    """Create a model by name.

    Raises:
        ConfigError: There is no model of this name, or a hyperparameter is invalid.

    Examples:
        ```python
        from recctl import make_model

        make_model("ease", l2_reg=200.0).fit(train)
        ```
    """
    return model_class(name)(**hyperparameters)


@validated(path=arguments.path, sha256=optional(text))
def load_model(path: str | Path, sha256: str | None = None) -> Recommender:
    """Load a model of any class from a file. No code in the file is executed.

    Args:
        path: A file written by `Recommender.save`.
        sha256: The hash that `save` returned, to check that the file is unchanged.

    Raises:
        ArtifactError: The file does not exist, is damaged, or holds a model that is not installed.

    Examples:
        ```python
        from recctl import EASERecommender, load_model

        EASERecommender().fit(train).save("model.pkl")
        load_model("model.pkl").recommend([1, 2], k=5)
        ```
    """
    path = Path(path)
    content = artifacts.load(path, "model", sha256)
    name = content.get("model")
    # The name comes from the file: it must not be imported unless it is a known model.
    if not isinstance(name, str) or name not in model_names():
        raise ArtifactError(f"{path}: holds a model {name!r}, which is not installed here")
    return model_file.load_into(make_model(name), path, content)


def _modules() -> dict[str, str]:
    """The names of modules by the names of their models. Modules whose name begins with `_` define no model."""
    search_path = os.environ.get("RECCTL_MODELS_PATH", "").split(os.pathsep)
    for folder in filter(None, search_path):
        if not Path(folder).is_dir():
            raise ConfigError(f"RECCTL_MODELS_PATH: no folder {folder}")
        if folder not in recctl.models.__path__:
            recctl.models.__path__.append(folder)
    modules: dict[str, str] = {}
    for folder in recctl.models.__path__:
        for module in _modules_in(folder, os.stat(folder).st_mtime_ns):
            if module not in _NOT_MODELS and not module.startswith("_"):
                modules[module.replace("_", "-")] = module
    return modules


@lru_cache
def _modules_in(folder: str, modified: int) -> list[str]:
    """The modules in a folder, cached until it is modified: a search looks up its model a dozen times per trial."""
    return [module.name for module in pkgutil.iter_modules([folder]) if not module.ispkg]


def _class_in(module: ModuleType, name: str) -> type[Recommender]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Recommender) and value.name == name:
            return value
    raise ConfigError(
        f"{module.__file__}: no subclass of Recommender with name = {name!r}; a model's file is named after it"
    )
