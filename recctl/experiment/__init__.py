"""Experiments: read data, split, fit, evaluate, save. The only package that knows all of these steps."""

from recctl.experiment.all_data import load_settings
from recctl.experiment.api import evaluate, fit, fit_all_data, measure, resume, split, train
from recctl.experiment.comparison.run import compare
from recctl.experiment.config_checks import CHECKS
from recctl.experiment.data import Prepared, prepare, read_dataset
from recctl.experiment.distributed import assist
from recctl.experiment.run_config import load, load_run_config
from recctl.experiment.stages import load_version
from recctl.experiment.titles import run_titles

__all__ = [
    "CHECKS",
    "Prepared",
    "assist",
    "compare",
    "evaluate",
    "fit",
    "fit_all_data",
    "load",
    "load_run_config",
    "load_settings",
    "load_version",
    "measure",
    "prepare",
    "read_dataset",
    "resume",
    "run_titles",
    "split",
    "train",
]
