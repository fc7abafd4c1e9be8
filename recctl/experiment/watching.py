"""What training is followed by: early stopping, and the metric it watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recctl.config import Config
from recctl.data.dataset import InteractionDataset
from recctl.evaluation import METRICS, Evaluator
from recctl.models.base import Recommender

if TYPE_CHECKING:
    from recctl.training import EarlyStopping, Validate


def early_stopping(config: Config) -> EarlyStopping | None:
    """As the config wants it."""
    from recctl.training import EarlyStopping

    section = config.training.early_stopping
    if section is None:
        return None
    return EarlyStopping(section.patience, section.min_delta, section.monitor or "ndcg@10")


def measure(config: Config, validation: InteractionDataset) -> Validate:
    """A function that gives the watched metric of a model on validation, and nothing else."""
    stopping = config.training.early_stopping
    name, _, k = (stopping.monitor if stopping and stopping.monitor else "loss").partition("@")
    if name == "loss":
        return lambda model: {}
    section = config.evaluation
    evaluator = Evaluator(
        [name], [int(k or 10)], relevance_threshold=section.relevance_threshold, on_unknown=section.on_unknown
    )

    def measured(model: Recommender) -> dict[str, float]:
        return evaluator.evaluate(model, validation, METRICS[name].task, train_data=validation.history)

    return measured
