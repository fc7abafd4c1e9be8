"""Running one trial: fit the model of its config on train, and evaluate it on validation, in each window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from recctl import progress
from recctl.config import Config, LoadedConfig
from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import Split, split_windows
from recctl.errors import RecctlError, TrainingError
from recctl.experiment import prepare, stages
from recctl.experiment.callbacks import ValidationMetrics, early_stopping
from recctl.kernels import loading
from recctl.metrics import MetricKey
from recctl.models.base import Recommender
from recctl.models.base.epoch_recommender import EpochRecommender
from recctl.models.linear.gram import reused
from recctl.runs import layout
from recctl.training import Epoch, ResumableTraining
from recctl.tuning.outcomes import Outcome
from recctl.tuning.storage import STORAGE_ERRORS

MODEL_FILE = "model.pkl"
"""The model of a trial, in its folder."""

ReportEpoch = Callable[[int, float], bool]
"""Receives an epoch (or a window) and the metric; returns whether to prune the trial."""


class WindowData(NamedTuple):
    """The data of a window of a rolling split, or all data of any other split.

    Attributes:
        train: The training part.
        validation: The validation part.
    """

    train: InteractionDataset
    validation: InteractionDataset


def cut_windows(dataset: InteractionDataset, split: Split, config: Config) -> list[WindowData]:
    """Cut the parts of each window of a rolling split, the oldest first; of any other split, one window."""
    splits = [split]
    if config.split.strategy == "rolling":
        splits = split_windows(dataset, **config.split.model_dump(exclude={"strategy"}))
    return [WindowData(each.train(dataset), each.validation(dataset)) for each in splits]


@dataclass(frozen=True)
class Task:
    """A trial as an executor receives it.

    Attributes:
        number: Number of the trial.
        loaded: The config with the trial's values.
        folder: Folder of its checkpoints and its model.
        best_scores: `TrialRunner.scores` of the best trial so far; the model is only saved if it beats them.
        title: The trial and its run, as the tools of a cluster show it.
    """

    number: int
    loaded: LoadedConfig
    folder: Path
    best_scores: tuple[float, ...] | None
    title: str = "trial"


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """Runs trials one after another on train and validation data that are read once.

    Of several windows, the values of a trial are means over them.

    Attributes:
        base: Config of the search.
        windows: The parts of each window of the base config, the oldest first.
        monitors: Keys of the monitored metrics; the first one decides, the next ones break ties.
    """

    base: Config
    windows: Sequence[WindowData]
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
        windows = self._windows(task.loaded)
        fits: list[_WindowFit] = []
        for position, window in enumerate(windows):
            is_newest = position == len(windows) - 1
            # The model and the history of the newest window are those that the run keeps.
            folder = task.folder if is_newest else task.folder / f"window-{position + 1}"
            report_epoch = report if len(windows) == 1 else None
            fit = self._run_window(task.loaded.config, window, folder, report_epoch)
            fits.append(fit)
            should_prune = fit.pruned
            if not is_newest and len(self.monitors) == 1:
                should_prune = report(position, float(np.mean([each.metrics[self.monitors[0]] for each in fits])))
            if should_prune:
                return Outcome("pruned", fit_seconds=sum(each.fit_seconds for each in fits), best_epoch=fit.best_epoch)
        newest = fits[-1]
        metrics = {
            metric_key: float(np.mean([each.metrics[metric_key] for each in fits])) for metric_key in newest.metrics
        }
        values = [metrics[metric_key] for metric_key in self.monitors]
        self._save_if_best(task, newest.model, values)
        return Outcome(
            state="complete",
            values=values,
            metrics=metrics,
            fit_seconds=sum(each.fit_seconds for each in fits),
            evaluate_seconds=sum(each.evaluate_seconds for each in fits),
            best_epoch=newest.best_epoch,
            windows=[each.metrics for each in fits] if len(fits) > 1 else None,
        )

    def _run_window(self, config: Config, window: WindowData, folder: Path, report: ReportEpoch | None) -> _WindowFit:
        """Fit and evaluate the model in one window.

        Raises:
            TrainingError: A monitored metric is undefined.
        """
        folder.mkdir(parents=True, exist_ok=True)
        model = stages.build_model(config)
        loading.load(loading.kernels_of_training([model.name]))
        start_time = perf_counter()
        reporter = _EpochReporter(report if len(self.monitors) == 1 else None, self._epoch_metric)
        callbacks: list[Any] = []
        measure: ValidationMetrics | None = None
        if model.trained_in_epochs:
            measure = ValidationMetrics(config, window.validation, [self._epoch_metric])
            callbacks = [*self._training_callbacks(folder, config), reporter]
        with nullcontext() if model.trained_in_epochs else progress.silence():
            model.fit(window.train, validation=measure, callbacks=callbacks)
        if isinstance(model, EpochRecommender):
            model.drop_training_state()
        fit_seconds = perf_counter() - start_time
        best_epoch: int | None = getattr(model, "best_epoch", None)
        if reporter.pruned:
            return _WindowFit(model, {}, fit_seconds, 0.0, best_epoch, pruned=True)
        start_time = perf_counter()
        with progress.silence():
            evaluation = stages.evaluate_model(model, window.validation, window.validation.history, config)
        evaluate_seconds = perf_counter() - start_time
        for metric_key in self.monitors:
            if math.isnan(evaluation.metrics[metric_key]):
                # No order has a place for it, so the trial can be neither the best nor on the Pareto front.
                raise TrainingError(f"{metric_key} is undefined (NaN) on validation: no user or pair could be measured")
        return _WindowFit(model, evaluation.metrics, fit_seconds, evaluate_seconds, best_epoch, pruned=False)

    def _save_if_best(self, task: Task, model: Recommender, values: Sequence[float]) -> None:
        """Save the model if it is the best so far."""
        if task.best_scores is None or self.scores(values) > task.best_scores:
            model.save(task.folder / MODEL_FILE)

    def scores(self, values: Sequence[float]) -> tuple[float, ...]:
        """The values of the monitored metrics, with higher always better."""
        signs = [MetricKey.parse(monitor).sign for monitor in self.monitors]
        return tuple(sign * value for sign, value in zip(signs, values, strict=True))

    def _windows(self, loaded: LoadedConfig) -> Sequence[WindowData]:
        """The windows of a config: those in memory, unless the trial changes the data, split or seed."""
        config = loaded.config
        if (config.data, config.split, config.seed) == (self.base.data, self.base.split, self.base.seed):
            return self.windows
        with progress.silence():
            prepared = prepare(loaded)
        return cut_windows(prepared.dataset, prepared.split, config)

    @property
    def _epoch_metric(self) -> str:
        """Metric evaluated after each epoch: the first one, over all items even if the trial samples candidates."""
        return str(MetricKey.parse(self.monitors[0]).unsampled())

    def _training_callbacks(self, folder: Path, config: Config) -> list[Any]:
        stopping = early_stopping(config)
        stoppers = [] if stopping is None else [stopping]
        checkpoint = ResumableTraining(
            folder / layout.LAST_CHECKPOINT,
            folder / layout.HISTORY,
            stoppers,
            config.training.checkpoint_every,
        )
        return [*stoppers, checkpoint]


@dataclass(frozen=True, eq=False)
class _WindowFit:
    """A model that was fitted in a window, and its metrics on validation."""

    model: Recommender
    metrics: dict[str, float]
    fit_seconds: float
    evaluate_seconds: float
    best_epoch: int | None
    pruned: bool


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
