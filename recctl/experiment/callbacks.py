"""Callbacks of a training: early stopping, checkpoints, and the metrics that they monitor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recctl import progress
from recctl.config import Config
from recctl.data.dataset import InteractionDataset
from recctl.errors import TrainingError
from recctl.evaluation import Evaluator
from recctl.experiment.monitors import training_monitor
from recctl.metrics import MetricKey
from recctl.models.base import Recommender
from recctl.runs import Run, layout

if TYPE_CHECKING:
    from recctl.training import EarlyStopping

# Metrics without a cutoff need none of the evaluator's; it requires at least one.
_ANY_CUTOFF = 10


def early_stopping(config: Config) -> EarlyStopping | None:
    """Make the early stopping of a config; None if it has none."""
    from recctl.training import EarlyStopping

    section = config.training.early_stopping
    if section is None:
        return None
    return EarlyStopping(section.patience, section.min_delta, training_monitor(config, has_validation=True))


def training_callbacks(run: Run, config: Config, stopping: EarlyStopping | None, has_validation: bool) -> list[Any]:
    """Make the callbacks that keep the best and the last epoch in the run's directory, and stop the training early."""
    from recctl.training import ModelCheckpoint, ResumableTraining

    folder = run.path / layout.CHECKPOINTS
    # With the same min_delta, the checkpoint and early stopping agree on the best epoch.
    min_delta = stopping.min_delta if stopping else 0.0
    monitor = training_monitor(config, has_validation)
    best_checkpoint = ModelCheckpoint(folder / layout.BEST_CHECKPOINT, monitor, min_delta=min_delta)
    callbacks: list[Any] = [best_checkpoint]
    if stopping is not None:
        callbacks.append(stopping)
    # It stores the state of the other callbacks with each checkpoint, and restores it when the training is resumed.
    resumable = ResumableTraining(
        folder / layout.LAST_CHECKPOINT, run.path / layout.HISTORY, list(callbacks), config.training.checkpoint_every
    )
    callbacks.append(resumable)
    return callbacks


def refit_callbacks(run: Run, config: Config, n_epochs: int) -> list[Any]:
    """Make the callbacks of a refit on train + validation, which ends after `n_epochs`, the best epoch on validation.

    The number of epochs among the hyperparameters stays the same: the learning rate must follow the schedule with which
    the best epoch was found.
    """
    checkpoint = run.path / layout.CHECKPOINTS / layout.REFIT_CHECKPOINT
    return _fixed_epochs_callbacks(n_epochs, checkpoint, run.path / "history-refit.jsonl", config)


def all_data_callbacks(
    run: Run, config: Config, stopping: EarlyStopping | None, n_epochs: int | None = None
) -> list[Any]:
    """Make the callbacks of a fit on all data, which ends after `n_epochs`; None: as the config says, by the loss."""
    if n_epochs is None:
        return training_callbacks(run, config, stopping, has_validation=False)
    checkpoint = run.path / layout.CHECKPOINTS / layout.LAST_CHECKPOINT
    return _fixed_epochs_callbacks(n_epochs, checkpoint, run.path / layout.HISTORY, config)


def _fixed_epochs_callbacks(n_epochs: int, checkpoint: Path, history: Path, config: Config) -> list[Any]:
    from recctl.training import ResumableTraining, StopAfter

    stop_after = StopAfter(n_epochs)
    return [stop_after, ResumableTraining(checkpoint, history, [stop_after], config.training.checkpoint_every)]


@contextmanager
def report_best_checkpoint(run: Run) -> Iterator[None]:
    """If the training in the block fails, point to the checkpoint of its best epoch."""
    try:
        yield
    except TrainingError:
        checkpoint = run.path / layout.CHECKPOINTS / layout.BEST_CHECKPOINT
        if checkpoint.exists():
            progress.notice(f"the model of the best epoch was saved as {checkpoint}")
        raise


@dataclass
class ValidationMetrics:
    """Evaluates the monitored metrics of a model on the validation part during training.

    Attributes:
        config: Gives the monitored metric, and how often to evaluate.
        validation: The validation part.
        extra_keys: Keys of other metrics to evaluate.
    """

    config: Config
    validation: InteractionDataset
    extra_keys: Sequence[str] = ()

    @property
    def every(self) -> int:
        """The number of epochs between evaluations."""
        return self.config.training.validate_every

    def __call__(self, model: Recommender) -> dict[str, float]:
        """Return the metrics by key."""
        metric_names = [training_monitor(self.config, has_validation=True), *self.extra_keys]
        metric_keys = [
            MetricKey.parse(metric_name) for metric_name in dict.fromkeys(metric_names) if metric_name != "loss"
        ]
        section = self.config.evaluation
        metrics: dict[str, float] = {}
        for task in ("ranking", "rating_prediction"):
            keys_of_task = [metric_key for metric_key in metric_keys if metric_key.metric.task == task]
            if not keys_of_task:
                continue
            evaluator = Evaluator(
                [metric_key.name for metric_key in keys_of_task],
                sorted({metric_key.k or _ANY_CUTOFF for metric_key in keys_of_task}),
                # All items are candidates, whatever n_candidates is: sampled metrics choose other epochs (Krichene &
                # Rendle, 2020).
                relevance_threshold=section.relevance_threshold,
                on_unknown=section.on_unknown,
                exclude=section.exclude,
                gain=section.gain,
            )
            metrics |= evaluator.evaluate(model, self.validation, task, train_data=self.validation.history)
        return {str(metric_key): metrics[str(metric_key)] for metric_key in metric_keys}
