"""What training is followed by: early stopping, checkpoints, and the metric they watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recctl import progress
from recctl.config import Config
from recctl.data.dataset import InteractionDataset
from recctl.errors import TrainingError
from recctl.evaluation import Evaluator
from recctl.experiment.monitors import training_monitor
from recctl.metrics import MetricKey
from recctl.models.base import Recommender
from recctl.runs import Run

if TYPE_CHECKING:
    from recctl.training import EarlyStopping


def early_stopping(config: Config) -> EarlyStopping | None:
    """As the config wants it."""
    from recctl.training import EarlyStopping

    section = config.training.early_stopping
    if section is None:
        return None
    return EarlyStopping(section.patience, section.min_delta, section.monitor or "ndcg@10")


def follow(run: Run, config: Config, stopping: EarlyStopping | None, has_validation: bool) -> list[Any]:
    """What follows the training of a run: all that is kept is in its directory."""
    from recctl.training import ModelCheckpoint, ResumableTraining

    folder = run.path / "checkpoints"
    least = stopping.min_delta if stopping else 0.0
    best = ModelCheckpoint(folder / "best.pkl", training_monitor(config, has_validation), min_delta=least)
    followed = [best] if stopping is None else [best, stopping]
    every = config.training.checkpoint_every
    return [*followed, ResumableTraining(folder / "last.pkl", run.path / "history.jsonl", followed, every)]


def follow_refit(run: Run, config: Config, n_epochs: int) -> list[Any]:
    """What follows the training on train and validation, which ends after the epochs that were chosen."""
    from recctl.training import ResumableTraining, StopAfter

    # Not fewer epochs by the hyperparameter: the learning rate must fall as it did when they were chosen.
    stop = StopAfter(n_epochs)
    last, history = run.path / "checkpoints" / "refit.pkl", run.path / "history-refit.jsonl"
    return [stop, ResumableTraining(last, history, [stop], config.training.checkpoint_every)]


@contextmanager
def telling_of_the_best(run: Run) -> Iterator[None]:
    """When training fails in the block, tells where the best model is."""
    try:
        yield
    except TrainingError:
        best = run.path / "checkpoints" / "best.pkl"
        if best.exists():
            progress.notice(f"the model of the best epoch is kept: {best}")
        raise


@dataclass
class ValidationMetrics:
    """Gives the watched metrics of a model on validation, and nothing else.

    Attributes:
        config: Names the metric of early stopping, and says when to measure.
        validation: What is measured on.
        also: Keys of other metrics.
    """

    config: Config
    validation: InteractionDataset
    also: Sequence[str] = ()

    @property
    def every(self) -> int:
        """After how many epochs."""
        return self.config.training.validate_every

    def __call__(self, model: Recommender) -> dict[str, float]:
        """The metrics by their keys."""
        found: dict[str, float] = {}
        wanted = [training_monitor(self.config, has_validation=True), *self.also]
        keys = [MetricKey.parse(key) for key in dict.fromkeys(wanted) if key != "loss"]
        section = self.config.evaluation
        for task in ("ranking", "rating_prediction"):
            of_task = [key for key in keys if key.metric.task == task]
            if not of_task:
                continue
            evaluator = Evaluator(
                [key.name for key in of_task],
                sorted({key.k or 10 for key in of_task}),
                relevance_threshold=section.relevance_threshold,
                on_unknown=section.on_unknown,
            )
            found |= evaluator.evaluate(model, self.validation, task, train_data=self.validation.history)
        return {str(key): found[str(key)] for key in keys}
