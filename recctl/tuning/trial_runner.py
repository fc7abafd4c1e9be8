"""Running one trial: fit the model of its config on train, and evaluate it on validation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from recctl import progress
from recctl.config import Config, LoadedConfig
from recctl.data.dataset import InteractionDataset
from recctl.errors import RecctlError, TrainingError
from recctl.experiment import prepare, stages
from recctl.experiment.callbacks import ValidationMetrics, early_stopping
from recctl.kernels.compile import load_kernels
from recctl.metrics import MetricKey
from recctl.models.base import Recommender
from recctl.models.base.epoch_recommender import EpochRecommender
from recctl.models.linear.gram import reused
from recctl.runs import layout
from recctl.training import Epoch, ResumableTraining
from recctl.tuning.storage import STORAGE_ERRORS
from recctl.tuning.study import Outcome

ReportEpoch = Callable[[int, float], bool]
"""Receives an epoch and its metric; returns whether to prune the trial."""


@dataclass(frozen=True)
class Task:
    """A trial as an executor receives it.

    Attributes:
        number: Number of the trial.
        loaded: The config with the trial's values.
        folder: Folder of its checkpoints and its model.
        best_scores: `TrialRunner.scores` of the best trial so far; the model is only saved if it beats them.
    """

    number: int
    loaded: LoadedConfig
    folder: Path
    best_scores: tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """Runs trials one after another on train and validation data that are read once.

    Attributes:
        base: Config of the search.
        train: Training part of the base config.
        validation: Validation part of the base config.
        monitors: Keys of the monitored metrics; the first one decides, the next ones break ties.
    """

    base: Config
    train: InteractionDataset
    validation: InteractionDataset
    monitors: Sequence[str]

    def run(self, task: Task, report: ReportEpoch) -> Outcome:
        """Run a trial.

        Returns:
            Its outcome; "failed" for any error that the trial's own values can cause.

        Raises:
            OSError: A full disk, for example. The trial is not to blame; it runs again when the search is resumed.
            RecctlError: With an OSError as its cause; the same.
        """
        start_time = perf_counter()
        try:
            with reused():
                return self._run(task, report)
        except (OSError, *STORAGE_ERRORS):
            raise
        except RecctlError as error:
            if isinstance(error.__cause__, OSError):
                raise
            message = str(error)
        except MemoryError:
            message = "out of memory"
        except Exception as error:  # a failed trial must not end the search, in whichever process it runs
            message = f"{type(error).__name__}: {error}"
        return Outcome("failed", error=message, fit_seconds=perf_counter() - start_time)

    def _run(self, task: Task, report: ReportEpoch) -> Outcome:
        config = task.loaded.config
        train, validation = self._parts(task.loaded)
        model = stages.build_model(config)
        load_kernels()
        start_time = perf_counter()
        reporter = _EpochReporter(report if len(self.monitors) == 1 else None, self._epoch_metric)
        callbacks: list[Any] = []
        measure: ValidationMetrics | None = None
        if model.trained_in_epochs:
            measure = ValidationMetrics(config, validation, [self._epoch_metric])
            callbacks = [*self._training_callbacks(task, config), reporter]
        with nullcontext() if model.trained_in_epochs else progress.silence():
            model.fit(train, validation=measure, callbacks=callbacks)
        if isinstance(model, EpochRecommender):
            model.drop_training_state()
        fit_seconds = perf_counter() - start_time
        best_epoch = getattr(model, "best_epoch", None)
        if reporter.pruned:
            return Outcome("pruned", fit_seconds=fit_seconds, best_epoch=best_epoch)
        start_time = perf_counter()
        with progress.silence():
            evaluation = stages.evaluate_model(model, validation, validation.history, config)
        evaluate_seconds = perf_counter() - start_time
        values = [evaluation.metrics[metric_key] for metric_key in self.monitors]
        for metric_key, value in zip(self.monitors, values, strict=True):
            if math.isnan(value):
                # No order has a place for it, so the trial can be neither the best nor on the Pareto front.
                raise TrainingError(f"{metric_key} is undefined (NaN) on validation: no user or pair could be measured")
        return Outcome(
            state="complete",
            values=values,
            metrics=evaluation.metrics,
            fit_seconds=fit_seconds,
            evaluate_seconds=evaluate_seconds,
            best_epoch=best_epoch,
            model=self._save_if_best(task, model, values),
        )

    def _save_if_best(self, task: Task, model: Recommender, values: Sequence[float]) -> str | None:
        """Save the model if it is the best so far; returns its path."""
        if task.best_scores is not None and self.scores(values) <= task.best_scores:
            return None
        model_path = task.folder / "model.pkl"
        model.save(model_path)
        return str(model_path)

    def scores(self, values: Sequence[float]) -> tuple[float, ...]:
        """The values of the monitored metrics, with higher always better."""
        signs = [MetricKey.parse(monitor).sign for monitor in self.monitors]
        return tuple(sign * value for sign, value in zip(signs, values, strict=True))

    def _parts(self, loaded: LoadedConfig) -> tuple[InteractionDataset, InteractionDataset]:
        """Train and validation of a config: those in memory, unless the trial changes the data, split or seed."""
        config = loaded.config
        if (config.data, config.split, config.seed) == (self.base.data, self.base.split, self.base.seed):
            return self.train, self.validation
        with progress.silence():
            prepared = prepare(loaded)
        return prepared.split.train(prepared.dataset), prepared.split.validation(prepared.dataset)

    @property
    def _epoch_metric(self) -> str:
        """Metric evaluated after each epoch: the first one, over all items even if the trial samples candidates."""
        return str(MetricKey.parse(self.monitors[0]).unsampled())

    def _training_callbacks(self, task: Task, config: Config) -> list[Any]:
        stopping = early_stopping(config)
        stoppers = [] if stopping is None else [stopping]
        checkpoint = ResumableTraining(
            task.folder / layout.LAST_CHECKPOINT,
            task.folder / layout.HISTORY,
            stoppers,
            config.training.checkpoint_every,
        )
        return [*stoppers, checkpoint]


class _EpochReporter:
    """A training callback that reports each evaluated epoch and stops the training if the trial is pruned."""

    def __init__(self, report: ReportEpoch | None, metric: str) -> None:
        self.report = report
        self.metric = metric
        self.pruned = False

    def before_training(self, model: Any) -> None:
        pass

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        if self.report is not None and epoch.validated:
            self.pruned = self.report(epoch.number, epoch.metrics[self.metric])
        return self.pruned

    def after_training(self, model: Any) -> None:
        pass
