"""The whole flow: read, prepare, split, fit, evaluate, save. The only package that knows all of it."""

from recctl.experiment.assisting import assist
from recctl.experiment.checks import CHECKS, load
from recctl.experiment.comparison import compare
from recctl.experiment.fitting import load_version
from recctl.experiment.flow import evaluate, fit, resume, split, train
from recctl.experiment.preparation import Prepared, prepare, read_dataset

__all__ = [
    "CHECKS",
    "Prepared",
    "assist",
    "compare",
    "evaluate",
    "fit",
    "load",
    "load_version",
    "prepare",
    "read_dataset",
    "resume",
    "split",
    "train",
]
