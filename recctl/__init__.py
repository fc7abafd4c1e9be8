"""recctl: run recommender experiments from YAML files, or use the same parts as a library.

    from recctl import EASERecommender, Evaluator, InteractionDataset, load_movielens

Public names are imported when they are first used (PEP 562): importing recctl does not import numpy, pandas or torch.
"""

from __future__ import annotations

import os
from importlib import import_module

from recctl.version import __version__ as __version__

# Type checkers take it for true. Importing `typing` would delay the command line, which then handles Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# OpenBLAS reads this when NumPy or SciPy is imported. Its idle threads then spin for 2^16 cycles before they sleep, not
# for the default 2^26 (about 20 ms), in which they would take a processor from the threads of `engines.map_threads`.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")

# The module of each public name. Model classes come from the registry, so that a new model is public at once.
_MODULES = {
    "Config": "recctl.config",
    "EarlyStopping": "recctl.training",
    "Evaluator": "recctl.evaluation",
    "InteractionDataset": "recctl.data.dataset",
    "MLflowLogger": "recctl.tracking",
    "ModelCheckpoint": "recctl.training",
    "Recommender": "recctl.models.base",
    "RecctlError": "recctl.errors",
    "Run": "recctl.runs",
    "RunStore": "recctl.runs",
    "TensorBoardLogger": "recctl.tracking",
    "compare": "recctl.experiment",
    "export_model": "recctl.export",
    "export_run": "recctl.export",
    "load_model": "recctl.models.registry",
    "load_movielens": "recctl.data.sources",
    "make_model": "recctl.models.registry",
    "model_names": "recctl.models.registry",
    "verify_export": "recctl.export",
    "write_report": "recctl.reports.report",
}

# Packages that work without an import of their own, as in scipy: `recctl.progress.show()`.
_SUBMODULES = (
    "config",
    "data",
    "engines",
    "errors",
    "evaluation",
    "experiment",
    "export",
    "metrics",
    "models",
    "progress",
    "reports",
    "runs",
    "tracking",
    "training",
    "tuning",
)

if TYPE_CHECKING:
    from recctl import config as config
    from recctl import data as data
    from recctl import engines as engines
    from recctl import errors as errors
    from recctl import evaluation as evaluation
    from recctl import experiment as experiment
    from recctl import export as export
    from recctl import metrics as metrics
    from recctl import models as models
    from recctl import progress as progress
    from recctl import reports as reports
    from recctl import runs as runs
    from recctl import tracking as tracking
    from recctl import training as training
    from recctl import tuning as tuning
    from recctl.config import Config as Config
    from recctl.data.dataset import InteractionDataset as InteractionDataset
    from recctl.data.sources import load_movielens as load_movielens
    from recctl.errors import RecctlError as RecctlError
    from recctl.evaluation import Evaluator as Evaluator
    from recctl.experiment import compare as compare
    from recctl.export import export_model as export_model
    from recctl.export import export_run as export_run
    from recctl.export import verify_export as verify_export
    from recctl.models.als import ALSRecommender as ALSRecommender
    from recctl.models.base import Recommender as Recommender
    from recctl.models.bpr import BPRRecommender as BPRRecommender
    from recctl.models.ease import EASERecommender as EASERecommender
    from recctl.models.item_knn import ItemKNNRecommender as ItemKNNRecommender
    from recctl.models.lightgcn import LightGCNRecommender as LightGCNRecommender
    from recctl.models.mult_vae import MultVAERecommender as MultVAERecommender
    from recctl.models.ncf import NCFRecommender as NCFRecommender
    from recctl.models.popularity import PopularityRecommender as PopularityRecommender
    from recctl.models.random import RandomRecommender as RandomRecommender
    from recctl.models.registry import load_model as load_model
    from recctl.models.registry import make_model as make_model
    from recctl.models.registry import model_names as model_names
    from recctl.models.rp3beta import RP3betaRecommender as RP3betaRecommender
    from recctl.models.sansa import SANSARecommender as SANSARecommender
    from recctl.models.sasrec import SASRecRecommender as SASRecRecommender
    from recctl.models.slim import SLIMRecommender as SLIMRecommender
    from recctl.models.svd import SVDRecommender as SVDRecommender
    from recctl.models.svdpp import SVDPlusPlusRecommender as SVDPlusPlusRecommender
    from recctl.models.user_knn import UserKNNRecommender as UserKNNRecommender
    from recctl.reports.report import write_report as write_report
    from recctl.runs import Run as Run
    from recctl.runs import RunStore as RunStore
    from recctl.tracking import MLflowLogger as MLflowLogger
    from recctl.tracking import TensorBoardLogger as TensorBoardLogger
    from recctl.training import EarlyStopping as EarlyStopping
    from recctl.training import ModelCheckpoint as ModelCheckpoint


def __getattr__(name: str) -> Any:
    if name == "__all__":  # `from recctl import *` reads it and then includes the models
        return _public_names()
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in _SUBMODULES:
        return import_module(f"recctl.{name}")
    if name.endswith("Recommender"):
        from recctl.models.registry import model_classes

        for model in model_classes():
            if model.__name__ == name:
                return model
    raise AttributeError(f"module 'recctl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_public_names(), *_SUBMODULES])


def _public_names() -> list[str]:
    from recctl.models.registry import model_classes

    return sorted(["__version__", *_MODULES, *(model.__name__ for model in model_classes())])
