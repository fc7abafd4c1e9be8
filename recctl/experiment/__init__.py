"""Experiments: read data, split, fit, evaluate, save. The only package that knows all of these steps.

Public names are imported when they are first used (PEP 562): recommending imports nothing of what training needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# The module of each public name.
_MODULES = {
    "CHECKS": "config_checks",
    "Prepared": "data",
    "assist": "distributed",
    "compare": "comparison.run",
    "comparison_result": "comparison.run",
    "evaluate": "api",
    "fit": "api",
    "fit_all_data": "api",
    "load": "run_config",
    "load_run_config": "run_config",
    "load_settings": "all_data",
    "load_version": "stored_models",
    "measure": "api",
    "prepare": "data",
    "read_dataset": "data",
    "resume": "api",
    "run_titles": "titles",
    "split": "api",
    "train": "api",
}

if TYPE_CHECKING:
    from recctl.experiment.all_data import load_settings as load_settings
    from recctl.experiment.api import evaluate as evaluate
    from recctl.experiment.api import fit as fit
    from recctl.experiment.api import fit_all_data as fit_all_data
    from recctl.experiment.api import measure as measure
    from recctl.experiment.api import resume as resume
    from recctl.experiment.api import split as split
    from recctl.experiment.api import train as train
    from recctl.experiment.comparison.run import compare as compare
    from recctl.experiment.comparison.run import comparison_result as comparison_result
    from recctl.experiment.config_checks import CHECKS as CHECKS
    from recctl.experiment.data import Prepared as Prepared
    from recctl.experiment.data import prepare as prepare
    from recctl.experiment.data import read_dataset as read_dataset
    from recctl.experiment.distributed import assist as assist
    from recctl.experiment.run_config import load as load
    from recctl.experiment.run_config import load_run_config as load_run_config
    from recctl.experiment.stored_models import load_version as load_version
    from recctl.experiment.titles import run_titles as run_titles


def __getattr__(name: str) -> Any:
    if name == "__all__":  # `from recctl.experiment import *` reads it
        return __dir__()
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value  # the next use finds it directly
    return value


def __dir__() -> list[str]:
    return sorted(_MODULES)
