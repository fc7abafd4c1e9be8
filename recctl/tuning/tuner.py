"""The search loop: one process claims trials, runs them on an executor, and records their outcomes."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

import optuna
from optuna.storages import RDBStorage

from recctl import arguments, engines, progress
from recctl.arguments import of_type, optional, text, validated
from recctl.config import Config, LoadedConfig
from recctl.config.schema import TuningConfig, as_list
from recctl.engines.ray_engine import RayEngine
from recctl.errors import AssertionFailedError, ConfigError, RecctlError, TrainingError
from recctl.experiment import Prepared, stages
from recctl.experiment.api import require_one_model
from recctl.experiment.comparison.backtest import plan_windows
from recctl.experiment.lifecycle import begin, prepare_for, recording
from recctl.experiment.monitors import selection_metric
from recctl.experiment.run_config import load_run_config, refuse_overrides_of_complete
from recctl.experiment.trackers import require_trackers
from recctl.experiment.warm_start import refuse_warm_start
from recctl.metrics import metric_keys
from recctl.metrics.condition import parse_condition
from recctl.models.base.search_space import Dimension, Point, Space
from recctl.models.registry import load_model
from recctl.reports.search_figures import write_search_figures
from recctl.runs import Run, RunStore, layout
from recctl.runs.checks import a_run, a_store
from recctl.runs.store import run_hashes
from recctl.tracking import Tracker
from recctl.training.monitor import direction
from recctl.tuning import results, resumption, spaces, stored_space
from recctl.tuning.executors import InProcessExecutor, ProcessExecutor, TrialExecutor
from recctl.tuning.outcomes import Outcome, outcome_of
from recctl.tuning.samplers import StrategySampler
from recctl.tuning.storage import (
    ANOTHER_NAME,
    close_own_storage,
    closing_storage,
    describe_study,
    open_storage,
    open_study,
    own_storage,
    require_same_study,
    stored_identity,
    translate_storage_errors,
)
from recctl.tuning.strategies import STRATEGIES, Strategy
from recctl.tuning.study import Study, Trial
from recctl.tuning.tracked_trials import tracked_trial
from recctl.tuning.trial_runner import MODEL_FILE, Task, TrialRunner, cut_windows

_HEARTBEAT_SECONDS = 30.0
# How often the time of running trials is checked, if it is limited.
_LIMIT_CHECK_SECONDS = 0.2
# Trials of the Pareto front in the message that none satisfies the conditions.
_MAX_MEMBERS = 20
# Reasons in the message of a search whose trials have all failed.
_MAX_ERRORS = 3
ONLY_BASELINE = "no trial in the search space has run: trial 0 measures the config's own values, which lie outside it"
# The median of fewer trials says little about what is a good value in an epoch.
_MIN_TRIALS_FOR_PRUNING = 5


@validated(
    loaded=of_type(LoadedConfig, "a config, as recctl.experiment.load('recctl.yaml') returns"),
    store=optional(a_store),
    storage=optional(text),
    study=optional(text),
)
def tune(
    loaded: LoadedConfig, store: RunStore | None = None, storage: str | None = None, study: str | None = None
) -> Run:
    """Search hyperparameters.

    Trial 0 evaluates the values of the config. Trials are compared on validation; the test set is used once, with the
    best model.

    Args:
        loaded: The config; its `tuning` section configures the search.
        store: Store for the run.
        storage: URL of a database that several searches share; by default `study.db` in the run's directory.
        study: Name of the study in a shared database; by default the run's id.

    Returns:
        A run with all trials, the best config, and the best model with its metrics.

    Raises:
        RecctlError: The search cannot start or continue. Failed trials raise nothing unless all trials fail.
    """
    if loaded.config.models:
        # Imported here: it runs a search of this module for each model.
        from recctl.tuning.model_search import tune_models

        return tune_models(loaded, store or RunStore(), storage, study)
    section = loaded.config.tuning or TuningConfig()
    require_one_model(loaded)
    require_trackers(loaded.config)
    refuse_warm_start(loaded, "recctl tune")
    spaces.search_space(loaded.config, section)
    if not loaded.config.has_validation:
        key, value = loaded.config.validation_setting
        raise ConfigError(f"{key}: a search compares trials on validation data; set {key}: {value}")
    shared_storage = open_storage(storage) if storage else None
    with closing_storage(shared_storage), engines.opened(loaded.config.engine):
        prepared, seconds = prepare_for(loaded)
        if shared_storage is not None and study is not None:
            # Before a run is created, which would be left behind as failed.
            with translate_storage_errors(location_of(None)):
                require_same_study_of(shared_storage, study, loaded.config, prepared)
        study_facts = {
            "shared": storage is not None,
            "study": study if storage else None,
            "planned": section.n_trials,
        }
        run = begin(store or RunStore(), loaded, "tune", prepared, seconds, tuning=study_facts)
        record_study_name(run)
        with (
            recording(run, loaded.config) as trackers,
            translate_storage_errors(location_of(None if shared_storage else run)),
        ):
            _run_search(Search(run, loaded, prepared, shared_storage, resumed=False), trackers)
    return run


@validated(run=a_run, storage=optional(text), more=arguments.overrides, overrides=arguments.overrides)
def resume(run: Run, storage: str | None = None, more: Sequence[str] = (), overrides: Sequence[str] = ()) -> bool:
    """Continue an interrupted search, or a complete one with more trials.

    Everything is checked before anything is written: if it is refused, the run and its study are as they were.

    Args:
        run: The search.
        storage: URL of its database, if the trials are not in the run's directory.
        more: Overrides of `tuning` and `engine`, such as `tuning.n_trials=100`; they are stored in the run's config.
        overrides: Where and how its data are read now, such as `data.source=FILE`; see `load_run_config`.

    Returns:
        False if the search is complete and nothing is overridden.

    Raises:
        ConfigError: Another process is running the search, its storage is not given, or another strategy, other
            metrics or too few trials are requested.
        DataError: The data or the split differ from those of the run.
        ArtifactError: Its study is missing or damaged.
        TrainingError: All of its trials have failed, and no more are requested.
        AssertionFailedError: No trial satisfies the conditions of `tuning.pick`, and no more are requested.
    """
    run.require_idle()
    if run.status == "complete" and not more:
        refuse_overrides_of_complete(run, overrides)
        return False
    if is_model_search(run):
        from recctl.tuning.model_search import resume_models

        return resume_models(run, storage, more, overrides)
    # Another trial of a finished search is chosen without running more of them.
    only_picks = run.status == "complete" and all(override.startswith("tuning.pick=") for override in more)
    loaded = load_run_config(run, overrides, more)
    _require_same_search(run, load_run_config(run, overrides).config, loaded.config)
    shared_storage = shared_storage_of(run, storage)
    location = location_of(run if shared_storage is None else None)
    with closing_storage(shared_storage), engines.opened(loaded.config.engine):
        search: Search | None = None
        with translate_storage_errors(location):
            # Before the data are read, which may take minutes.
            has_study = resumption.has_study(run, shared_storage, study_name(run))
            prepared, _ = prepare_for(loaded, run)
            if has_study:
                search = Search(run, loaded, prepared, shared_storage, resumed=True)
                search.runs_trials = not only_picks
                search.require_resumable(more)
        run.begin()
        with recording(run, loaded.config, resumed=True) as trackers, translate_storage_errors(location):
            search = search or Search(run, loaded, prepared, shared_storage, resumed=True)
            if more:
                resumption.write_back(run, loaded, search.strategy)
            _run_search(search, trackers)
    return True


def shared_storage_of(run: Run, storage: str | None) -> RDBStorage | None:
    """Open the shared database of a search that is resumed; None if its trials are in its own directory.

    Raises:
        ConfigError: Its URL is not given, or it cannot be opened.
    """
    if run.metadata["tuning"]["shared"]:
        if storage is None:
            raise ConfigError(f"{run.id}: the trials are in a shared database; pass its URL with --storage")
        return open_storage(storage)
    if storage is not None:
        # It may come from RECCTL_STORAGE, which is meant for other searches.
        progress.notice(f"--storage is not used: the trials of {run.id} are in its own {layout.STUDY}")
    return None


def require_same_study_of(
    storage: RDBStorage, name: str, config: Config, prepared: Prepared, *, may_be_empty: bool = False
) -> None:
    """Check that a study, if it exists, is that of a search with this config and these data.

    Args:
        storage: Storage of the study; it is only read.
        name: Name of the study.
        config: The config.
        prepared: The data.
        may_be_empty: Whether the model may have nothing to search, as one of several models.
    """
    section = config.tuning or TuningConfig()
    stored = stored_identity(storage, name).get("space")
    space = _space(config, section, stored, resumed=False, may_be_empty=may_be_empty)
    data_hash = prepared.record["data"]["hash"]
    split_hash = prepared.record["split"]["hash"]
    monitors = monitors_of(config, section)
    require_same_study(storage, name, _identity(config, monitors, data_hash, split_hash, space, stored))


def _require_same_search(run: Run, stored: Config, requested: Config) -> None:
    stored_section = stored.tuning or TuningConfig()
    section = requested.tuning or TuningConfig()
    resumption.require_same_search(
        run,
        (stored_section.strategy, section.strategy),
        (monitors_of(stored, stored_section), monitors_of(requested, section)),
    )


def study_name(run: Run) -> str:
    """The name of a search's study in its storage."""
    return run.metadata["tuning"]["study"] or run.id


def record_study_name(run: Run) -> None:
    """Record the name of a new search's study: by default the run's id, which changes when its folder is renamed."""
    run.metadata["tuning"]["study"] = study_name(run)
    run.save_metadata()


def is_model_search(run: Run) -> bool:
    """Whether a search is one over several models."""
    return "allocation" in run.metadata.get("tuning", {})


def study_of_model(study: str, label: str) -> str:
    """The name of the study of one of several models."""
    return f"{study}/{label}"


def folder_name(label: str) -> str:
    """A label as the name of a folder on every system."""
    digest = hashlib.sha256(label.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', label)[:40]}-{digest}"


def location_of(run: Run | None) -> str:
    """Where trials are stored, for error messages; None: in a database, whose URL may hold a password."""
    return "the database of the trials" if run is None else str(run.path / layout.STUDY)


def _run_search(search: Search, trackers: Sequence[Tracker]) -> None:
    run = search.run
    search.trackers = trackers
    try:
        try:
            if search.runs_trials:
                with run.timed("search"):
                    search.run_trials()
        except BaseException:
            with suppress(Exception):  # the original error matters more
                results.write(run, search.study, search.loaded, search.monitors)
            raise
        results.write(run, search.study, search.loaded, search.monitors)
        search.finish()
    finally:
        close_own_storage(search.storage)


class Search:
    """A search with its run, data, space, strategy and study."""

    def __init__(
        self,
        run: Run,
        loaded: LoadedConfig,
        prepared: Prepared,
        shared_storage: RDBStorage | None,
        *,
        resumed: bool,
        label: str | None = None,
        storage: optuna.storages.BaseStorage | None = None,
    ) -> None:
        config = loaded.config
        self.run = run
        self.loaded = loaded
        self.prepared = prepared
        self.section = config.tuning or TuningConfig()
        self.monitors = monitors_of(config, self.section)
        self.label = label
        self.folder = run.path / "trials"
        self.study_name = study_name(run)
        if label is not None:
            # One of several models: each has a study and folders of its own.
            self.study_name = study_of_model(self.study_name, label)
            self.folder /= folder_name(label)
        self.storage = storage or shared_storage or own_storage(run.path / layout.STUDY)
        stored = stored_identity(self.storage, self.study_name).get("space")
        # One of several models may have no hyperparameters to search.
        self.space = _space(config, self.section, stored, resumed=resumed, may_be_empty=label is not None)
        # Trial 0 is the config itself, the baseline, wherever it lies.
        first_point = self.space.point(spaces.config_values(config, self.space))
        outside: list[Dimension] = []
        if stored is None or not stored_space.is_extended(stored):
            outside = spaces.baseline_outside(config, self.section, self.space)
        make_strategy = STRATEGIES[self.section.strategy]
        self.strategy: Strategy = make_strategy(self._planned_section(), self.space, first_point, config.seed)
        self.runs_trials = True
        # Each finished trial is reported to them.
        self.trackers: Sequence[Tracker] = ()
        # What a caller that shares a budget among several searches may spend here; None: no limit.
        self.seconds_left: Callable[[], float] | None = None
        self.trial_seconds: float | None = None
        # When all running trials are stopped, by `monotonic()`.
        self.stop_at: float | None = None
        # Number of the first trial of the part of the search that `tuning.patience` ends.
        self.patience_begins = 0
        self._deadline: float | None = None
        self.study = self._open_study(stored, first_point, is_outside=bool(outside), shared=shared_storage is not None)
        self.n_requested = self.section.n_trials or self.strategy.n_trials
        self.n_trials = self._n_possible_trials()
        self._note_space(first_point, outside)

    def _n_possible_trials(self) -> int:
        """The number of trials, at most one for each point of a finite space, and one for a baseline outside it."""
        limits = [self.n_requested]
        if self.strategy.max_trials is not None:
            limits.append(self.strategy.max_trials)
        if self.space.size is not None:
            limits.append(self.space.size + int(self.study.is_baseline_outside))
        return min(limits)

    def _note_space(self, first_point: Point, outside: Sequence[Dimension]) -> None:
        for note in spaces.notes(self.loaded.config, self.section):
            progress.notice(note)
        if any(dimension.name.startswith("data.") for dimension in self.space.dimensions):
            progress.notice("the search varies data options: trials that differ in them have different validation sets")
        if outside:
            values = ", ".join(
                f"{dimension.name}={first_point.get(dimension.name)} is not in {dimension.describe()}"
                for dimension in outside
            )
            progress.notice(
                f"the config's own values lie outside the search space ({values}): trial 0 measures them as a "
                "baseline, which is never chosen as the best"
            )

    def _open_study(self, stored: Sequence[Any] | None, first_point: Point, *, is_outside: bool, shared: bool) -> Study:
        config = self.loaded.config
        identity = _identity(config, self.monitors, *run_hashes(self.run), self.space, stored)
        optuna_study = open_study(
            self.storage,
            self.study_name,
            [direction(monitor) for monitor in self.monitors],
            identity,
            _pruner(self.section, config),
            ANOTHER_NAME if shared else f"start a new search: recctl tune {self.run.path / layout.CONFIG}",
        )
        baseline = first_point if is_outside else None
        conditions = [parse_condition(text, "tuning.pick") for text in as_list(self.section.pick)]
        study = Study(
            optuna_study, self.storage, self.space, self.run.id, shared=shared, baseline=baseline, conditions=conditions
        )
        optuna_study.sampler = StrategySampler(
            self.strategy,
            self.space,
            first_point,
            self.section.sampler,
            config.seed,
            self._is_parallel(),
            study.finished,
            study.taken,
        )
        return study

    def _is_parallel(self) -> bool:
        return isinstance(engines.current(), RayEngine) or (self.section.jobs or 1) > 1

    def _planned_section(self) -> TuningConfig:
        """The tuning section with the original number of trials, so that adding trials does not change the rounds."""
        return self.section.model_copy(update={"n_trials": self.run.metadata["tuning"]["planned"]})

    def require_resumable(self, more: Sequence[str]) -> None:
        """Check that resuming can lead to something new. Nothing is written.

        Raises:
            ConfigError: The search has more trials than are requested.
            TrainingError: All trials have failed, and there is none left to run.
        """
        if any(override.startswith("tuning.n_trials=") for override in more):
            resumption.require_more_trials(self.run, self.section, len(self.study.finished_trials()))
        if not self._has_budget() and self.study.best() is None:
            raise self._no_best_error()

    # ---- trials

    def run_trials(self) -> None:
        """Run trials until the budget is used up."""
        executor = self._executor()
        try:
            self.run_on(executor)
        finally:
            executor.close()
            shutil.rmtree(self.run.path / "shared", ignore_errors=True)

    def run_on(self, executor: TrialExecutor) -> None:
        """Run trials on an executor until the budget is used up."""
        describe_study(self.study.study, self.run.id, self.monitors)
        if self.section.timeout_minutes and self.seconds_left is None:
            # From the start of this call: a resumed search gets the whole time again.
            self._deadline = monotonic() + 60 * self.section.timeout_minutes
        with progress.task(f"Tuning {self.label or self.loaded.config.model.name}", self.n_trials, "trials") as task:
            self._show_progress(task)
            while True:
                must_wait = self._start_trials(executor)
                if executor.running:
                    for number, outcome in executor.wait(self._wait_seconds()):
                        self._record(number, outcome)
                        self._show_progress(task)
                    self._stop_overdue(executor)
                elif must_wait:  # for trials of other searches in the same study
                    sleep(1)
                else:
                    self.study.release()
                    self._note_exhaustion()
                    break
                # Also while a trial runs: `wait` returns after at most _HEARTBEAT_SECONDS.
                self.study.heartbeat()

    def _wait_seconds(self) -> float:
        is_limited = self.trial_seconds is not None or self.stop_at is not None
        return _LIMIT_CHECK_SECONDS if is_limited else _HEARTBEAT_SECONDS

    def _stop_overdue(self, executor: TrialExecutor) -> None:
        """Stop the trials that have run for longer than a trial may, and record them as failed."""
        for number in executor.running:
            seconds = executor.seconds_of(number)
            if self.trial_seconds is not None and seconds > self.trial_seconds:
                subject = "its default configuration" if number == 0 else "it"
                reason = f"{subject} exceeds the share of time, {self.trial_seconds:.1f} s"
            elif self.stop_at is not None and monotonic() > self.stop_at:
                reason = "the time of the whole search is used up"
            else:
                continue
            executor.stop(number)
            error = f"stopped after {seconds:.1f} s: {reason}"
            self._record(number, Outcome("failed", error=error, fit_seconds=seconds))

    def limit_trials(self, n_trials: int) -> None:
        """Run trials until there are this many."""
        self.n_requested = n_trials
        self.n_trials = self._n_possible_trials()

    def _note_exhaustion(self) -> None:
        """Say that the search ended before its budget, because there is nothing left to measure."""
        if self.label is not None:  # the rest of its budget goes to other models
            return
        if self.n_trials < self.n_requested and self.study.next_number() >= self.n_trials:
            message = (
                f"every point of the search space is measured: the search ends after {self.n_trials} of "
                f"{self.n_requested} trials"
            )
            self.run.log(message)
            progress.notice(message)

    def _executor(self) -> TrialExecutor:
        config = self.loaded.config
        windows = cut_windows(self.prepared.dataset, self.prepared.split, config)
        runner = TrialRunner(config, windows, self.monitors)
        engine = engines.current()
        if isinstance(engine, RayEngine):
            from recctl.tuning.ray_executor import RayExecutor

            return RayExecutor(runner, engine, self.section.jobs, self.study.report)
        if self.section.jobs is None or not self._is_parallel():
            return InProcessExecutor(runner, self.study.report)
        return ProcessExecutor(runner, self.section.jobs, self.study.report, self.run.path / "shared")

    def _start_trials(self, executor: TrialExecutor) -> bool:
        """Start as many trials as the executor, the budget and the strategy allow.

        Returns:
            Whether the next trial has to wait for trials that are still running.
        """
        while executor.free and self._has_budget():
            if not self._can_propose(self.study.next_number()):
                return True
            number = self.study.claim()
            if number >= self.n_trials:  # another search claimed the last trial first
                self.study.release()
                break
            if not self._can_propose(number):  # another search claimed the next trial; this one is of a later round
                return True
            self._start(executor, self.study.begin(number))
        return self.study.next_number() >= self.n_trials and self.study.has_unclaimed()

    def _can_propose(self, number: int) -> bool:
        if self.space.size is not None and not self.study.have_points(number):
            return False
        finished = {trial.number for trial in self.study.finished_trials()}
        # All earlier trials, not a number of them: a later one may have finished first.
        return finished.issuperset(range(self.strategy.waits_for(number)))

    def _has_budget(self) -> bool:
        if not self.runs_trials or self.study.next_number() >= self.n_trials:
            return False
        if self._deadline is not None and monotonic() > self._deadline:
            return False
        if self.seconds_left is not None and self.seconds_left() <= 0:
            return False
        patience = self.section.patience
        return patience is None or self._n_trials_since_gain() < patience

    def _start(self, executor: TrialExecutor, trial: Trial) -> None:
        folder = self.folder / str(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        self.run.log(f"{self._name_of(trial.number)}: {trial.point}")
        best_trial = self.study.best()
        best_scores = None if best_trial is None else self.study.scores(best_trial)
        try:
            loaded = results.with_point(self.loaded, self.space, trial.point)
        except ConfigError as error:
            self._record(trial.number, Outcome("failed", error=str(error)))
            return
        # With the best scores so far, so that a worker saves only models that may be kept.
        title = f"{self._name_of(trial.number)} of {self.run.id}"
        executor.start(Task(trial.number, loaded, folder, best_scores, title))

    def _record(self, number: int, outcome: Outcome) -> None:
        """Record an outcome, and delete the folders of all finished trials except the best one's."""
        self.study.tell(number, outcome)
        if self.trackers:
            self._track(number)
        if outcome.state == "failed":
            self.run.log(f"{self._name_of(number)} failed: {outcome.error}")
            progress.notice(f"{self._name_of(number)} failed: {outcome.error}")
        obsolete = {str(trial.number) for trial in self.study.finished_trials()}
        best_trial = self.study.best()
        if best_trial is not None:
            # Its model becomes the run's; those of all others would fill the disk.
            obsolete.discard(str(best_trial.number))
        for folder in self.folder.iterdir():
            if folder.name in obsolete:
                shutil.rmtree(folder, ignore_errors=True)

    def _track(self, number: int) -> None:
        """Report a finished trial, before its folder with the history of its epochs is deleted."""
        trial = next(trial for trial in self.study.finished_trials() if trial.number == number)
        record, values, status, ended = tracked_trial(
            self.run, self.loaded, self.space, self.study, trial, self.folder / str(number), self.label
        )
        for tracker in self.trackers:
            tracker.log_part(record, values, status, ended)

    def _name_of(self, number: int) -> str:
        return f"trial {number}" if self.label is None else f"{self.label}, trial {number}"

    def _n_trials_since_gain(self) -> int:
        last_gain = self.study.last_gain()
        if last_gain is None:
            return 0
        first_number = max(last_gain + 1, self.patience_begins)
        # Failed and pruned trials count, too: they did not improve anything.
        return sum(trial.number >= first_number for trial in self.study.finished_trials())

    def _show_progress(self, task: progress.Task) -> None:
        best_trial = self.study.best()
        values: dict[str, float | str] = {}
        if best_trial is not None:
            values = {f"best {self.monitors[0]}": round(best_trial.values[0], 5), "in trial": str(best_trial.number)}
        task.update(len(self.study.finished_trials()), **values)

    # ---- the best trial

    def finish(self) -> None:
        """Save the best trial's model, evaluate it, and draw the search.

        Raises:
            TrainingError: Every trial failed.
        """
        best_trial = self.study.best()
        if best_trial is None:
            has_values = bool(self.study.scored_trials())
            self.run.metadata["tuning"]["all_failed"] = bool(self.study.finished_trials()) and not has_values
            self.run.metadata["tuning"]["none_picked"] = has_values
            raise self._no_best_error()
        for reason in ("all_failed", "none_picked"):
            self.run.metadata["tuning"].pop(reason, None)
        self.run.metadata["tuning"] |= {
            "strategy": self.section.strategy,
            "monitors": self.monitors,
            "n_trials": len(self.study.finished_trials()),
            "best_trial": best_trial.number,
            "best_values": best_trial.values,
            "best_point": self.study.point_of(best_trial),
            "pareto": self.study.pareto(),
            "pick": as_list(self.section.pick),
            "importances": results.importances(self.study, self.monitors),
        }
        self._record_baseline(best_trial)
        self.record_windows(best_trial)
        self.run.save_metadata()
        with self.run.timed("figures"), progress.task("Drawing the search"):
            write_search_figures(self.run)
        self.keep_model(best_trial, best_trial.number)
        shutil.rmtree(self.run.path / "trials", ignore_errors=True)

    def _no_best_error(self) -> RecctlError:
        if self.study.scored_trials():
            return AssertionFailedError(self._none_picked_message())
        return TrainingError(self._no_value_message())

    def _none_picked_message(self) -> str:
        """Say that no trial of the Pareto front satisfies the conditions, and what there is to choose from."""
        on_front = set(self.study.pareto())
        members = [trial for trial in self.study.scored_trials() if trial.number in on_front]
        members.sort(key=self.study.scores, reverse=True)
        conditions = self.study.conditions
        keys = list(dict.fromkeys([*self.monitors, *(condition.metric for condition in conditions)]))
        lines = []
        for trial in members[:_MAX_MEMBERS]:
            metrics = outcome_of(trial).metrics
            values = ", ".join(f"{metric_key} = {metrics[metric_key]:.6g}" for metric_key in keys)
            lines.append(f"  trial {trial.number}: {values}")
        if len(members) > _MAX_MEMBERS:
            lines.append(f"  and {len(members) - _MAX_MEMBERS} more in {self.run.path / layout.TRIALS}")
        # The bound of the last condition that the trial closest to it satisfies.
        condition = conditions[-1]
        choose = max if condition.comparison.startswith(">") else min
        bound = choose(outcome_of(trial).metrics[condition.metric] for trial in members)
        example = f"{condition.metric}{'>=' if choose is max else '<='}{bound:.6g}"
        return "\n".join(
            [
                f"no trial on the Pareto front satisfies {' and '.join(map(str, conditions))}; the front:",
                *lines,
                f"choose one of them, e.g.: recctl tune --resume {self.run.id} --pick '{example}'",
            ]
        )

    def _no_value_message(self) -> str:
        """Say why no trial has a value, and what to do."""
        finished = self.study.finished_trials()
        if not finished:
            return f"no trial was run within tuning.timeout_minutes={self.section.timeout_minutes:g}; raise it"
        baseline = self.study.finished_baseline()
        if baseline is not None and len(finished) == 1:
            return f"{ONLY_BASELINE}; raise tuning.n_trials or tuning.timeout_minutes"
        outcomes = [outcome_of(trial) for trial in finished if trial is not baseline]
        errors = Counter(str(outcome.error) for outcome in outcomes)
        reasons = [f"{error} ({count} of {len(outcomes)} trials)" for error, count in errors.most_common(_MAX_ERRORS)]
        if len(errors) > _MAX_ERRORS:
            reasons.append(f"{len(errors) - _MAX_ERRORS} other reasons in {self.run.path / layout.TRIALS}")
        return (
            f"all {len(outcomes)} trials failed, so there is no model: {'; '.join(reasons)}. "
            "Remove the cause from model.params or from the search space, and start a new search"
        )

    def _record_baseline(self, best: optuna.trial.FrozenTrial) -> None:
        """Record the config's own point if it lies outside the space, and say so if it is better than the best."""
        baseline = self.study.finished_baseline()
        if baseline is None:
            return
        metrics = outcome_of(baseline).metrics
        values = [metrics[monitor] for monitor in self.monitors] if metrics else []
        point = self.study.point_of(baseline)
        self.run.metadata["tuning"]["baseline"] = {"trial": baseline.number, "values": values, "point": point}
        if values and self.study.signs[0] * values[0] > self.study.signs[0] * best.values[0]:
            progress.notice(
                f"the config's own values (trial 0: {self.monitors[0]} = {values[0]:.6g}) are better than the best of "
                f"the search space (trial {best.number}: {best.values[0]:.6g}); extend tuning.space to include them"
            )

    def record_windows(self, best: optuna.trial.FrozenTrial) -> None:
        """Record the metrics of the best trial and of trial 0 in each window of a rolling split."""
        best_windows = outcome_of(best).windows
        if best_windows is None:
            return
        first_windows = outcome_of(self.study.finished_trials()[0]).windows
        records = plan_windows(self.prepared.dataset, self.loaded.config)
        for position, record in enumerate(records):
            record["best"] = best_windows[position]
            # Trial 0, the config's own values, may have failed.
            record["trial_0"] = first_windows[position] if first_windows else None
        self.run.metadata["tuning"]["windows"] = records

    def keep_model(self, best: optuna.trial.FrozenTrial, number: int) -> None:
        """Make the model of the best trial that of the run, and evaluate it.

        Args:
            best: The trial.
            number: Its number in the run.
        """
        loaded = results.with_point(self.loaded, self.space, self.study.point_of(best))
        # The run's split indexes the run's data: a model of other data cannot be evaluated on it.
        if loaded.config.data != self.loaded.config.data:
            progress.notice(
                "the best trial uses other data options than this run, so the run keeps no model; train it with: "
                f"recctl train {self.run.path / layout.BEST_CONFIG}"
            )
            return
        entries = [
            model_entry for model_entry in self.run.metadata["models"] if model_entry["fitted_on"] == stages.TRAIN
        ]
        # After more trials there may be a better one: its model becomes a new version, with new metrics.
        if not entries or entries[-1].get("trial") != number:
            self._save_model_of(best.number, number, loaded)
        elif {"validation", "test"} <= self.run.metrics().keys():
            return  # nothing new to measure, and every use of the test set counts
        stages.fit_and_evaluate(self.run, loaded.config, self.prepared)

    def _save_model_of(self, trial: int, number: int, loaded: LoadedConfig) -> None:
        """Save a trial's model as a version of the run; fit it again if another machine has the file."""
        folder = self.folder / str(trial)
        if not (folder / MODEL_FILE).exists():
            stages.fit_trial(self.run, loaded.config, self.prepared, number)
            return
        if (folder / layout.HISTORY).exists():
            (folder / layout.HISTORY).replace(self.run.path / layout.HISTORY)
        last_timestamp = self.prepared.split.train(self.prepared.dataset).last_timestamp()
        self.run.save_model(load_model(folder / MODEL_FILE), stages.TRAIN, number, last_timestamp=last_timestamp)


def _space(
    config: Config, section: TuningConfig, stored: Sequence[Any] | None, *, resumed: bool, may_be_empty: bool = False
) -> Space:
    """The space of a search; a study that exists keeps its own."""
    given = spaces.search_space(config, section, may_be_empty=may_be_empty)
    if stored is None:
        return given
    space = stored_space.from_stored(stored)
    # The default ranges may be those of an earlier version.
    if resumed and not section.space and section.strategy != "manual":
        return space
    extended = given.including(spaces.config_values(config, given))
    return space if stored_space.is_extended(stored) and space == extended else given


def _identity(
    config: Config,
    monitors: list[str],
    data_hash: str | None,
    split_hash: str | None,
    space: Space,
    stored: Sequence[Any] | None,
) -> dict[str, Any]:
    """What all trials of a study have in common.

    It is stored with the study, so that searches that share one do not mix scores of different data, models or metrics,
    or take points by number from different lists.

    Args:
        config: The config of the search.
        monitors: Its monitored metrics.
        data_hash: Hash of its data.
        split_hash: Hash of its split.
        space: Its space.
        stored: The space as the study stores it, if it exists; in another form by earlier versions.
    """
    is_stored = stored is not None and stored_space.from_stored(stored) == space
    windows: dict[str, Any] = {}
    if config.split.strategy == "rolling":
        # The split is that of the newest window.
        windows["windows"] = config.split.model_dump()
    return windows | {
        "data": data_hash,
        "split": split_hash,
        "model": config.model.name,
        "monitors": monitors,
        "strategy": _strategy_identity(config.tuning or TuningConfig(), config.seed),
        "space": stored if is_stored else stored_space.to_stored(space),
    }


def _strategy_identity(section: TuningConfig, seed: int) -> str:
    """The strategy, with the settings that decide which point belongs to which number."""
    settings: dict[str, Any] = {}
    if section.strategy == "manual":
        settings = {"points": section.points}
    elif section.strategy == "grid":
        settings = {"grid_size": section.grid_size, "seed": seed}
    elif section.strategy == "coarse_to_fine":
        settings = {"n_rounds": section.n_rounds, "seed": seed}
    shown = ", ".join(f"{setting}={value}" for setting, value in settings.items())
    return f"{section.strategy} ({shown})" if shown else section.strategy


def monitors_of(config: Config, section: TuningConfig) -> list[str]:
    """The metrics that a search optimizes."""
    if isinstance(section.monitor, str):
        return [section.monitor]
    if section.monitor is not None:
        return list(section.monitor)
    evaluation = config.evaluation
    evaluated_keys = metric_keys(evaluation.metrics, evaluation.k_values, sampled=evaluation.n_candidates is not None)
    return [selection_metric(config, map(str, evaluated_keys))["metric"]]


def _pruner(section: TuningConfig, config: Config) -> optuna.pruners.BasePruner:
    is_by_windows = config.split.strategy == "rolling"
    n_warmup_steps = 1 if is_by_windows else 2
    if section.pruner == "median":
        # `n_min_trials` counts those that reached the epoch: where most stop early, that may be a single trial.
        return optuna.pruners.MedianPruner(
            n_startup_trials=_MIN_TRIALS_FOR_PRUNING,
            n_warmup_steps=n_warmup_steps,
            n_min_trials=_MIN_TRIALS_FOR_PRUNING,
        )
    if section.pruner == "hyperband":
        max_resource = config.split.n_windows if config.split.strategy == "rolling" else _n_epochs(config)
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=max_resource, reduction_factor=3)
    return optuna.pruners.NopPruner()


def _n_epochs(config: Config) -> int:
    params = config.model.params
    return int(params.get("epochs", params.get("n_epochs", 1)))
