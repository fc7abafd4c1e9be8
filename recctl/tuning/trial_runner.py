"""Running one trial: fit the model of its config on train, measure it on validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from recctl import progress
from recctl.config import Config, LoadedConfig
from recctl.data.dataset import InteractionDataset
from recctl.errors import RecctlError
from recctl.experiment import prepare, stages
from recctl.experiment.callbacks import ValidationMetrics, early_stopping
from recctl.metrics import MetricKey
from recctl.models.base import Recommender
from recctl.models.linear.gram import reused
from recctl.training import Epoch, ResumableTraining
from recctl.tuning.storage import FAILURES
from recctl.tuning.study import Outcome

Report = Callable[[int, float], bool]
"""Takes an epoch and its value; answers whether to give the trial up."""


@dataclass(frozen=True)
class Task:
    """A trial as it is handed to whoever runs it.

    Attributes:
        number: The trial's.
        loaded: The config with its values.
        folder: Where its checkpoints, and its model, are kept.
        to_beat: The score so far, higher being better; a model that does not beat it is not kept.
    """

    number: int
    loaded: LoadedConfig
    folder: Path
    to_beat: float | None


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """Train and validation, read once, on which trials are run one after another.

    Attributes:
        base: The config of the search.
        train: Its train part.
        validation: Its validation part.
        monitors: Keys of the metrics that are sought.
        sign: 1 if higher values of the first are better, else -1.
    """

    base: Config
    train: InteractionDataset
    validation: InteractionDataset
    monitors: Sequence[str]
    sign: float

    def run(self, task: Task, report: Report) -> Outcome:
        """Run a trial. What its own values make impossible is an outcome, and no error."""
        start = perf_counter()
        try:
            with reused():
                return self._run(task, report)
        except (OSError, *FAILURES):  # a full disk is no fault of the trial's; it is run again when that is mended
            raise
        except RecctlError as error:
            if isinstance(error.__cause__, OSError):
                raise
            return Outcome("failed", error=str(error), fit_seconds=perf_counter() - start)
        except MemoryError:
            return Outcome("failed", error="out of memory", fit_seconds=perf_counter() - start)
        except Exception as error:  # one trial's misfortune is not the search's, in whichever process it runs
            return Outcome("failed", error=f"{type(error).__name__}: {error}", fit_seconds=perf_counter() - start)

    def _run(self, task: Task, report: Report) -> Outcome:
        config = task.loaded.config
        train, validation = self._parts(task.loaded)
        model = stages.build_model(config)
        start = perf_counter()
        watched = nullcontext() if model.trained_in_epochs else progress.silence()
        followed, reporting = self._follow(task, config, model, report)
        with watched:
            model.fit(train, validation=self._measure(config, model, validation), callbacks=followed)
        fitted = perf_counter()
        chosen = getattr(model, "chosen_epoch", None)
        if reporting.given_up:
            return Outcome("pruned", fit_seconds=fitted - start, chosen_epoch=chosen)
        with progress.silence():
            measured = stages.evaluate_model(model, validation, validation.history, config)
        evaluated = perf_counter()
        values = [measured.metrics[key] for key in self.monitors]
        kept = None
        if task.to_beat is None or self.sign * values[0] > task.to_beat:
            kept = task.folder / "model.pkl"
            model.save(kept)
        return Outcome(
            "complete",
            values,
            measured.metrics,
            fitted - start,
            evaluated - fitted,
            chosen,
            None if kept is None else str(kept),
        )

    def _parts(self, loaded: LoadedConfig) -> tuple[InteractionDataset, InteractionDataset]:
        """Train and validation as a config has them: those that are here, unless it changes what they follow from."""
        config = loaded.config
        if (config.data, config.split, config.seed) == (self.base.data, self.base.split, self.base.seed):
            return self.train, self.validation
        with progress.silence():
            prepared = prepare(loaded)
        return prepared.split.train(prepared.dataset), prepared.split.validation(prepared.dataset)

    def _measure(self, config: Config, model: Recommender, validation: InteractionDataset) -> ValidationMetrics | None:
        return ValidationMetrics(config, validation, [self._reported]) if model.trained_in_epochs else None

    @property
    def _reported(self) -> str:
        """What is measured of an epoch: the first metric, among all items even if the trial draws candidates."""
        return str(MetricKey.parse(self.monitors[0]).unsampled())

    def _follow(self, task: Task, config: Config, model: Recommender, report: Report) -> tuple[list[Any], _Reporting]:
        reporting = _Reporting(report if len(self.monitors) == 1 else None, self._reported)
        if not model.trained_in_epochs:
            return [], reporting
        stopping = early_stopping(config)
        followed = [] if stopping is None else [stopping]
        every = config.training.checkpoint_every
        last = ResumableTraining(task.folder / "last.pkl", task.folder / "history.jsonl", followed, every)
        return [*followed, last, reporting], reporting


class _Reporting:
    """A callback that tells of each epoch that was measured, and gives up when it is told to."""

    def __init__(self, report: Report | None, key: str) -> None:
        self.report, self.key = report, key
        self.given_up = False

    def before_training(self, model: Any) -> None:
        pass

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        if self.report is not None and epoch.validated:
            self.given_up = self.report(epoch.number, epoch.metrics[self.key])
        return self.given_up

    def after_training(self, model: Any) -> None:
        pass
