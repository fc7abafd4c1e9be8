"""One search over several models: each has a study of its own, and all share the data, the budget and the executor."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import monotonic, sleep
from typing import Any, Literal

import optuna
import pandas as pd

from recctl import engines, progress
from recctl.config import LoadedConfig, to_yaml
from recctl.config.loading import with_values
from recctl.config.schema import TuningConfig, as_list
from recctl.engines.ray_engine import RayEngine
from recctl.errors import ConfigError, TrainingError
from recctl.experiment import CHECKS, Prepared, stages
from recctl.experiment.comparison.entries import ComparisonEntry, entries_of_config, with_unique_labels
from recctl.experiment.comparison.result import ComparisonOptions
from recctl.experiment.comparison.run import Repeats, compare_entries, comparison_result
from recctl.experiment.comparison.run import resume as resume_comparison
from recctl.experiment.data import resolve_config
from recctl.experiment.lifecycle import begin, prepare_for, recording
from recctl.experiment.run_config import load_run_config
from recctl.experiment.stored_models import load_version
from recctl.experiment.trackers import require_trackers
from recctl.experiment.warm_start import refuse_warm_start
from recctl.metrics import MetricKey
from recctl.reports.report import write_report
from recctl.reports.search_figures import write_search_figures
from recctl.runs import Run, RunStore, layout
from recctl.tracking import Tracker
from recctl.training.monitor import direction
from recctl.tuning import results, resumption
from recctl.tuning.allocation import Rung, Share, Standing, plan_share, ranked, surviving
from recctl.tuning.executors import InProcessExecutor, ProcessExecutor, TrialExecutor
from recctl.tuning.outcomes import outcome_of
from recctl.tuning.storage import (
    close_own_storage,
    closing_storage,
    describe_study,
    open_storage,
    own_storage,
    translate_storage_errors,
)
from recctl.tuning.strategies import DEFAULT_TRIALS
from recctl.tuning.trial_runner import TrialRunner, cut_windows
from recctl.tuning.tuner import (
    ONLY_BASELINE,
    Search,
    is_model_search,
    location_of,
    monitors_of,
    record_study_name,
    require_same_study_of,
    shared_storage_of,
    study_name,
    study_of_model,
)

# Key of the user attribute with the rungs, in a study of its own beside those of the models.
_RUNGS = "rungs"
# Strategies without a fixed number of points: the budget decides how many they propose.
_OPEN_STRATEGIES = ("bayesian", "random")
# Options of `--resume` that give a search more trials or more time.
_BUDGET_OVERRIDES = ("tuning.n_trials=", "tuning.timeout_minutes=", "tuning.patience=")
# Where the time alone decides.
_UNLIMITED = 10**9
_TABLES: dict[Literal["md", "latex"], str] = {"md": "table.md", "latex": "table.tex"}


def tune_models(loaded: LoadedConfig, store: RunStore, storage: str | None, study: str | None) -> Run:
    """Search the hyperparameters of several models as one run; see `recctl.tuning.tune`.

    Raises:
        RecctlError: The search cannot start or continue. Failed trials raise nothing unless all trials fail.
    """
    if loaded.config.tuning is None:
        loaded = with_values(loaded, {("tuning",): {}}, CHECKS)
    section = loaded.config.tuning or TuningConfig()
    entries = _entries(loaded)
    _require_possible(loaded, entries, section)
    require_trackers(loaded.config)
    shared_storage = open_storage(storage) if storage else None
    with closing_storage(shared_storage), engines.opened(loaded.config.engine):
        prepared, seconds = prepare_for(loaded, models=[entry.loaded.config.model.name for entry in entries])
        if shared_storage is not None and study is not None:
            with translate_storage_errors(location_of(None)):
                for entry in entries:
                    name = study_of_model(study, entry.label)
                    require_same_study_of(shared_storage, name, entry.loaded.config, prepared, may_be_empty=True)
        study_facts = {
            "shared": storage is not None,
            "study": study if storage else None,
            "planned": section.n_trials,
            "allocation": section.allocation,
            "labels": [entry.label for entry in entries],
        }
        run = begin(store, loaded, "tune", prepared, seconds, tuning=study_facts)
        record_study_name(run)
        with (
            recording(run, loaded.config) as trackers,
            translate_storage_errors(location_of(None if shared_storage else run)),
        ):
            _ModelSearch(run, loaded, entries, prepared, shared_storage, resumed=False).execute(trackers)
    return run


def resume_models(run: Run, storage: str | None, more: Sequence[str], overrides: Sequence[str]) -> bool:
    """Continue a search over models; what was decided stays decided. See `recctl.tuning.resume`.

    Raises:
        ConfigError: Another strategy, metric or allocation is requested, or its storage is not given.
        DataError: The data or the split differ from those of the run.
    """
    stored = load_run_config(run, overrides)
    loaded = load_run_config(run, overrides, more)
    section = loaded.config.tuning or TuningConfig()
    stored_section = stored.config.tuning or TuningConfig()
    if section.allocation != stored_section.allocation:
        raise ConfigError(
            f"--allocation {section.allocation}: {run.id} divides its trials by {stored_section.allocation}; omit "
            f"this, or start a new search: recctl tune {run.path / layout.CONFIG} --allocation {section.allocation}"
        )
    entries = _entries(loaded)
    monitors = (_monitors(_entries(stored), stored_section), _monitors(entries, section))
    resumption.require_same_search(run, (stored_section.strategy, section.strategy), monitors)
    if run.status == "complete" and section.allocation == "equal":
        raise ConfigError(
            f"{run.id}: its models are refitted and tested; for more trials, start a new search: "
            f"recctl tune {run.path / layout.CONFIG} --trials N"
        )
    has_more_budget = any(override.startswith(_BUDGET_OVERRIDES) for override in more)
    if has_more_budget and "comparison" in run.metadata["tuning"]:
        raise ConfigError(
            f"{run.id}: the best of each model are being refitted and tested, so none can be given more trials; finish "
            f"it with: recctl tune --resume {run.id}"
        )
    shared_storage = shared_storage_of(run, storage)
    location = location_of(run if shared_storage is None else None)
    with closing_storage(shared_storage), engines.opened(loaded.config.engine):
        search: _ModelSearch | None = None
        with translate_storage_errors(location):
            has_study = resumption.has_study(run, shared_storage, study_of_model(study_name(run), entries[0].label))
            prepared, _ = prepare_for(loaded, run, models=[entry.loaded.config.model.name for entry in entries])
            open_search = partial(
                _ModelSearch,
                run,
                loaded,
                entries,
                prepared,
                shared_storage,
                resumed=True,
                is_extended=has_more_budget,
            )
            if has_study:
                search = open_search()
                if any(override.startswith("tuning.n_trials=") for override in more):
                    search.require_more_trials()
        run.begin()
        with recording(run, loaded.config, resumed=True) as trackers, translate_storage_errors(location):
            search = search or open_search()
            if more:
                resumption.write_back(run, loaded, search.first.strategy)
            search.execute(trackers)
    return True


def _entries(loaded: LoadedConfig) -> list[ComparisonEntry]:
    """The models, each with a config and a label of its own."""
    return with_unique_labels(list(entries_of_config(loaded)))


def _require_possible(loaded: LoadedConfig, entries: Sequence[ComparisonEntry], section: TuningConfig) -> None:
    """Check before the data are read that the models can be searched together.

    Raises:
        ConfigError: They can't; all problems are reported together.
    """
    problems = []
    lists = [entry.label for entry in entries if entry.is_lists]
    if lists:
        problems.append(
            f"models: {', '.join(lists)}: a file of recommendations has nothing to search; remove it, and compare it "
            "with the result: recctl compare"
        )
    models = [entry for entry in entries if not entry.is_lists]
    if len(models) < 2:
        problems.append("models: a search over models needs two; write model: for a single one")
    if not loaded.config.has_validation:
        key, value = loaded.config.validation_setting
        problems.append(f"{key}: a search compares trials on validation data; set {key}: {value}")
    if len(as_list(section.monitor)) > 1:
        problems.append("tuning.monitor: models are compared by one metric; write one, such as monitor: ndcg@10")
    if section.strategy == "manual":
        problems.append("tuning.strategy: manual has the points of one model; choose another strategy")
    elif section.allocation == "adaptive" and section.strategy not in _OPEN_STRATEGIES:
        problems.append(
            f"tuning.strategy: {section.strategy} plans all of its trials; for allocation: adaptive, choose bayesian "
            "or random"
        )
    if section.allocation == "adaptive" and section.n_trials is not None and section.n_trials < len(models):
        problems.append(
            f"tuning.n_trials: {section.n_trials} is the total of allocation: adaptive; each of the {len(models)} "
            f"models needs a trial, so set n_trials: {len(models)} or more"
        )
    if problems:
        raise ConfigError(*problems)
    for entry in models:
        refuse_warm_start(entry.loaded, "recctl tune")
        stages.build_model(entry.loaded.config).require_device()
    _monitors(models, section)


def _monitors(entries: Sequence[ComparisonEntry], section: TuningConfig) -> list[str]:
    """The metric that all models are compared by.

    Raises:
        ConfigError: By default, they would be compared by different ones.
    """
    monitors = {entry.label: monitors_of(entry.loaded.config, section) for entry in entries}
    first_monitors = next(iter(monitors.values()))
    if any(own_monitors != first_monitors for own_monitors in monitors.values()):
        listed = ", ".join(f"{label}: {own_monitors[0]}" for label, own_monitors in monitors.items())
        raise ConfigError(f"tuning.monitor: the models have different defaults ({listed}); set one that all can have")
    return first_monitors


class _ModelSearch:
    """A search over models with its run, its data and a search of each model."""

    def __init__(
        self,
        run: Run,
        loaded: LoadedConfig,
        entries: Sequence[ComparisonEntry],
        prepared: Prepared,
        shared_storage: optuna.storages.RDBStorage | None,
        *,
        resumed: bool,
        is_extended: bool = False,
    ) -> None:
        self.run = run
        self.loaded = loaded
        self.entries = list(entries)
        self.prepared = prepared
        self.section = loaded.config.tuning or TuningConfig()
        self.storage = shared_storage or own_storage(run.path / layout.STUDY)
        self.searches = {
            entry.label: Search(
                run, entry.loaded, prepared, shared_storage, resumed=resumed, label=entry.label, storage=self.storage
            )
            for entry in entries
        }
        self.monitors = self.first.monitors
        # What was decided is stored beside the trials: it survives the process, and is shared with the trials.
        self.decisions = optuna.create_study(
            storage=self.storage,
            study_name=study_name(run),
            load_if_exists=True,
            direction="maximize" if direction(self.monitors[0]) == "max" else "minimize",
        )
        self._begun = monotonic()
        self._resumed = resumed
        # Whether a search that is resumed was given more trials or more time.
        self._is_extended = is_extended
        self._executing: Search | None = None
        # When the time of an adaptive search is used up, by `monotonic()`.
        self._deadline: float | None = None

    @property
    def first(self) -> Search:
        """The search of the first model."""
        return next(iter(self.searches.values()))

    def execute(self, trackers: Sequence[Tracker]) -> None:
        """Run all trials, keep the best model, and write the results; trackers get each finished trial."""
        for search in self.searches.values():
            search.trackers = trackers
        try:
            self._execute()
        finally:
            close_own_storage(self.storage)

    def _execute(self) -> None:
        try:
            with self.run.timed("search"):
                self._run_trials()
        except BaseException:
            # An interrupted search has a best trial, too.
            with suppress(Exception):  # the original error matters more
                self._write_trials()
            raise
        self._write_trials()
        self._finish()

    def _run_trials(self) -> None:
        describe_study(self.decisions, self.run.id, self.monitors)
        executor = self._executor()
        try:
            if self.section.allocation == "equal":
                self._search_equally(executor)
            else:
                self._search_adaptively(executor)
        finally:
            executor.close()
            shutil.rmtree(self.run.path / "shared", ignore_errors=True)

    def require_more_trials(self) -> None:
        """Check that the requested number of trials is not below the number of those that are finished.

        Raises:
            ConfigError: It is.
        """
        n_finished = [self._standing(label).n_trials for label in self.searches]
        is_total = self.section.allocation == "adaptive"
        resumption.require_more_trials(self.run, self.section, sum(n_finished) if is_total else max(n_finished))

    # ---- allocation

    def _search_equally(self, executor: TrialExecutor) -> None:
        """Give each model the same number of trials and the same time."""
        # Of a resumed search, models that have used up their budget run no trial, unless all are given more.
        for label, search in self.searches.items():
            if self.section.timeout_minutes is not None:
                # A trial may take as long as the whole search of its model.
                self._limit(search, executor, 0, 60 * self.section.timeout_minutes)
            self._run(search, executor)
            self._note_standing(label)

    def _search_adaptively(self, executor: TrialExecutor) -> None:
        """Give each rung of models the same budget, keep the better half, and give the rest to the last."""
        total_seconds = self._total().seconds
        if total_seconds is not None:
            self._deadline = monotonic() + total_seconds - (self._spent().seconds or 0.0)
        while True:
            # Processes that share the studies share the decisions: the first one to reach the end of a rung makes it.
            rungs = self._rungs()
            if not rungs or rungs[-1].survivors is not None:
                rung = self._next_rung(rungs)
                if rung is None:
                    break
                rungs.append(rung)
                self._store(rungs)
            rung = rungs[-1]
            for label in rung.models:
                self._run_share(label, rung, executor)
            stored = self._rungs()
            if len(stored) > len(rungs) or stored[-1].survivors is not None:
                continue
            survivors = surviving([self._standing(label) for label in rung.models])
            rungs[-1] = replace(rung, survivors=survivors)
            self._store(rungs)
            self._note_rung(len(rungs), rungs[-1])
            if not survivors:
                break

    def _next_rung(self, rungs: Sequence[Rung]) -> Rung | None:
        labels = list(self.searches)
        if rungs:
            labels = list(rungs[-1].survivors or [])
        has_ended = bool(rungs) and len(rungs[-1].models) == 1
        if not labels:
            return None
        if has_ended:
            if not self._is_extended:
                return None
            # Once: the last model may end before its budget does.
            self._is_extended = False
        share = plan_share(len(self.searches), len(labels), self._total(), self._spent())
        if share is None:
            return None
        return Rung(labels, share, {label: self._standing(label).n_trials for label in labels})

    def _total(self) -> Share:
        n_trials = self.section.n_trials
        minutes = self.section.timeout_minutes
        if n_trials is None and minutes is None:
            n_trials = max(DEFAULT_TRIALS, 2 * len(self.searches))
        return Share(n_trials, None if minutes is None else 60 * minutes)

    def _spent(self) -> Share:
        standings = [self._standing(label) for label in self.searches]
        seconds = sum(standing.seconds for standing in standings) / self._n_parallel()
        if not self._resumed:
            # Beside the trials themselves: the start of processes, and the proposals.
            seconds = max(seconds, monotonic() - self._begun)
        return Share(sum(standing.n_trials for standing in standings), seconds)

    def _run_share(self, label: str, rung: Rung, executor: TrialExecutor) -> None:
        """Run trials of a model until its budget for the rung is used up."""
        search = self.searches[label]
        n_before = rung.n_trials_before[label]
        n_trials = _UNLIMITED
        if rung.share.trials is not None:
            n_trials = n_before + rung.share.trials
        if search.study.is_baseline_outside:
            # A model must not lose because its own values, which are measured first, lie outside its space.
            n_trials = max(n_trials, 2)
        search.limit_trials(n_trials)
        # Counted from the start of the rung: a surviving model gets more trials even if its last ones brought no gain.
        search.patience_begins = n_before
        if rung.share.seconds is not None:
            self._limit(search, executor, n_before, rung.share.seconds)
        self._run(search, executor)

    def _limit(self, search: Search, executor: TrialExecutor, n_before: int, seconds: float) -> None:
        """Limit the seconds of a model: of all its trials since some number, and of each of them."""

        def seconds_left() -> float:
            of_share = seconds - self._seconds_of(search, n_before) / self._n_parallel()
            return of_share if self._deadline is None else min(of_share, self._deadline - monotonic())

        search.seconds_left = seconds_left
        # A trial that is running when the share is used up may end; one that takes longer than the share may not, and
        # none may run when the time of the whole search is used up.
        search.trial_seconds = seconds
        search.stop_at = self._deadline

    def _run(self, search: Search, executor: TrialExecutor) -> None:
        self._executing = search
        search.run_on(executor)
        # Trials of other processes that share the study: they belong to what is decided next.
        while search.study.has_running():
            sleep(1)
            search.study.heartbeat()
            search.run_on(executor)

    def _standing(self, label: str) -> Standing:
        search = self.searches[label]
        best_trial = search.study.best()
        score = None if best_trial is None else search.study.score(best_trial)
        n_trials = len(search.study.finished_trials())
        return Standing(label, score, self._seconds_of(search, 0), n_trials)

    def _seconds_of(self, search: Search, n_before: int) -> float:
        """The seconds of a model's trials, from some number on."""
        outcomes = [outcome_of(trial) for trial in search.study.finished_trials()[n_before:]]
        return sum(outcome.fit_seconds + outcome.evaluate_seconds for outcome in outcomes)

    def _rungs(self) -> list[Rung]:
        return [Rung.from_json(values) for values in self.decisions.user_attrs.get(_RUNGS, [])]

    def _store(self, rungs: Sequence[Rung]) -> None:
        self.decisions.set_user_attr(_RUNGS, [rung.to_json() for rung in rungs])

    # ---- trials

    def _n_parallel(self) -> int:
        """Number of trials at a time, by which the seconds of trials are divided."""
        engine = engines.current()
        if isinstance(engine, RayEngine):
            return self.section.jobs or engine.slots
        return self.section.jobs or 1

    def _executor(self) -> TrialExecutor:
        config = self.first.loaded.config
        windows = cut_windows(self.prepared.dataset, self.prepared.split, config)
        runner = TrialRunner(config, windows, self.monitors)
        engine = engines.current()
        if isinstance(engine, RayEngine):
            from recctl.tuning.ray_executor import RayExecutor

            return RayExecutor(runner, engine, self.section.jobs, self._report)
        has_time_limit = self.section.timeout_minutes is not None
        if self._n_parallel() == 1 and not has_time_limit:
            return InProcessExecutor(runner, self._report)
        # Also for one trial at a time: only a process of its own can be stopped.
        return ProcessExecutor(runner, self._n_parallel(), self._report, self.run.path / "shared")

    def _report(self, number: int, epoch: int, value: float) -> bool:
        assert self._executing is not None
        return self._executing.study.report(number, epoch, value)

    # ---- results

    def _note_standing(self, label: str) -> None:
        standing = self._standing(label)
        progress.step(f"{label}: {self._describe(standing)}")

    def _describe(self, standing: Standing) -> str:
        measured = "no value"
        if standing.score is not None:
            measured = f"{self.monitors[0]} = {self._value(standing):.5g}"
        return f"{measured} after {standing.n_trials} trials, {standing.seconds:.1f} s"

    def _value(self, standing: Standing) -> float:
        return float(MetricKey.parse(self.monitors[0]).sign * (standing.score or 0.0))

    def _note_rung(self, number: int, rung: Rung) -> None:
        if len(rung.models) == 1:
            self._note_standing(rung.models[0])
            return
        standings = ", ".join(f"{label} ({self._describe(self._standing(label))})" for label in rung.models)
        message = f"rung {number}: {standings}; left: {', '.join(rung.survivors or []) or 'none'}"
        self.run.log(message)
        progress.step(message)

    def _best(self) -> tuple[Search, optuna.trial.FrozenTrial]:
        """The search of the best model, and its best trial.

        Raises:
            TrainingError: No trial has a value.
        """
        labels = ranked([self._standing(label) for label in self.searches])
        if not labels:
            errors = [
                f"{label}: {outcome_of(trial).error}"
                for label, search in self.searches.items()
                for trial in search.study.finished_trials()[:1]
            ]
            self.run.metadata["tuning"]["all_failed"] = bool(errors)
            raise TrainingError(f"no trial of any model has a value: {'; '.join(errors) or 'none was run'}")
        search = self.searches[labels[0]]
        best_trial = search.study.best()
        assert best_trial is not None  # ranked models have a value
        return search, best_trial

    def _table(self) -> pd.DataFrame:
        """All finished trials with their model, numbered in the order in which they were started."""
        tables = []
        for label, search in self.searches.items():
            table = results.table(search.study, self.monitors)
            if len(table):
                started = [trial.datetime_start for trial in search.study.finished_trials()]
                table.insert(0, "model", label)
                table = table.rename(columns={"number": "trial"})
                table["started"] = pd.Series(started, index=table.index)
                tables.append(table)
        if not tables:
            return pd.DataFrame()
        merged = pd.concat([table.dropna(axis="columns", how="all") for table in tables], ignore_index=True)
        merged = merged.sort_values("started", kind="stable", ignore_index=True).drop(columns="started")
        merged.insert(0, "number", range(len(merged)))
        if "in_space" in merged:
            # Only models whose own values lie outside their space have the column.
            merged["in_space"] = merged["in_space"].map(lambda in_space: in_space is not False)
        settings = [column for column in merged if merged[column].dtype == object and column not in ("model", "state")]
        for column in settings:
            merged[column] = _of_one_type(merged[column])
        return merged

    def _number_of(self, search: Search, trial: optuna.trial.FrozenTrial, table: pd.DataFrame) -> int:
        """The number in the run of a trial of a model."""
        is_trial = (table["model"] == search.label) & (table["trial"] == trial.number)
        return int(table.loc[is_trial, "number"].iloc[0])

    def _write_trials(self) -> None:
        """Write trials.parquet and best.yaml from the finished trials."""
        table = self._table()
        if not len(table):
            return
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        self.run.save_file(layout.TRIALS, buffer.getvalue())
        if not ranked([self._standing(label) for label in self.searches]):
            return
        search, best_trial = self._best()
        config = resolve_config(results.with_point(search.loaded, search.space, search.study.point_of(best_trial)))
        for section_name in ("tuning", "engine"):
            config.pop(section_name, None)
        header_line = (
            f"# Best of {len(table)} trials of {len(self.searches)} models of {self.run.id}: {search.label}, "
            f"{self.monitors[0]} = {best_trial.values[0]:.6g} on validation\n"
        )
        self.run.save_file(layout.BEST_CONFIG, (header_line + to_yaml(config)).encode())

    def _finish(self) -> None:
        """Keep and measure the best model; after an equal search, compare the best of all models on test.

        Raises:
            TrainingError: No trial has a value.
        """
        search, best_trial = self._best()
        number = self._number_of(search, best_trial, self._table())
        record = self.run.metadata["tuning"]
        record.pop("all_failed", None)
        record |= {
            "strategy": self.section.strategy,
            "monitors": self.monitors,
            "n_trials": sum(self._standing(label).n_trials for label in self.searches),
            "best_model": search.label,
            "best_trial": number,
            # Its number among the trials of its model, by which log.txt and trackers name it.
            "best_trial_of_model": best_trial.number,
            "best_values": best_trial.values,
            "best_point": search.study.point_of(best_trial),
            "pareto": [],
            "pick": [],
            "importances": results.importances(search.study, self.monitors),
            "models": self._model_records(),
            "rungs": [rung.to_json() for rung in self._rungs()],
        }
        search.record_windows(best_trial)
        self.run.save_metadata()
        with self.run.timed("figures"), progress.task("Drawing the search"):
            write_search_figures(self.run)
        n_with_value = sum(model["best_value"] is not None for model in record["models"])
        if self.section.allocation == "equal" and n_with_value > 1:
            self._compare_best(search, number)
        else:
            search.keep_model(best_trial, number)
        shutil.rmtree(self.run.path / "trials", ignore_errors=True)

    def _model_records(self) -> list[dict[str, Any]]:
        """What each model got and achieved, the best first; those without a value last."""
        standings = {label: self._standing(label) for label in self.searches}
        order = ranked(list(standings.values()))
        order += [label for label in standings if label not in order]
        rungs = self._rungs()
        records = []
        for label in order:
            standing = standings[label]
            search = self.searches[label]
            best_trial = search.study.best()
            records.append(
                {
                    "label": label,
                    "model": search.loaded.config.model.name,
                    "trials": standing.n_trials,
                    "seconds": round(standing.seconds, 3),
                    "rungs": sum(label in rung.models for rung in rungs) or None,
                    "best_value": None if best_trial is None else best_trial.values[0],
                    "best_point": None if best_trial is None else search.study.point_of(best_trial),
                    "error": _why_no_value(search) if best_trial is None else None,
                }
            )
        return records

    # ---- the table of a paper

    def _compare_best(self, best: Search, number: int) -> None:
        """Fit the best configuration of each model on train + validation, and compare them on test, once."""
        comparison = self._comparison()
        document = comparison_result(comparison)
        self._write_tables(comparison)
        # Of a rolling split, the run of the newest window, which is that of the search.
        runs = {model["label"]: model["runs"][-1] for model in document["compared"]}
        label = str(best.label)
        if label not in runs:
            return
        adopt_model(self.run, Run.open(self.run.path.parent / runs[label]), number)

    def _comparison(self) -> Run:
        """The comparison of the best configurations; it is resumed if it was interrupted."""
        store = RunStore(self.run.path.parent)
        comparison_id = self.run.metadata["tuning"].get("comparison")
        if comparison_id is not None and comparison_id in store.ids():
            comparison = store.resolve(comparison_id)
            resume_comparison(comparison)
            return store.resolve(comparison_id)
        entries = []
        for label, search in self.searches.items():
            best_trial = search.study.best()
            if best_trial is None:
                progress.notice(f"{label} is not in the table: no trial has a value")
                continue
            loaded = results.with_point(search.loaded, search.space, search.study.point_of(best_trial))
            values: dict[tuple[str | int, ...], Any] = {("training", "refit"): True, ("tuning",): None}
            entries.append(ComparisonEntry(label, label, with_values(loaded, values, CHECKS)))
        return compare_entries(
            entries, store, ComparisonOptions(metric=self.monitors[0]), Repeats(), on_begin=self._record_comparison
        )

    def _record_comparison(self, comparison: Run) -> None:
        self.run.metadata["tuning"]["comparison"] = comparison.id
        self.run.save_metadata()

    def _write_tables(self, comparison: Run) -> None:
        """Write the table of the comparison in Markdown and LaTeX."""
        for form, file_name in _TABLES.items():
            write_report([comparison], self.run.path / file_name, form=form, force=True)


def adopt_model(run: Run, other: Run, trial: int) -> None:
    """Take over the models and the figures of another run, so that nothing is fitted or tested twice.

    What was taken over before an interruption stays.
    """
    records = other.evaluations()
    for model_entry in other.metadata["models"]:
        own_entry = _adopted_entry(run, model_entry["fitted_on"], trial)
        if own_entry is None:
            model = load_version(other, model_entry["version"])
            run.save_model(model, model_entry["fitted_on"], trial, last_timestamp=model_entry.get("last_timestamp"))
            own_entry = run.model_entry()
        for record in records:
            if record.model.version == model_entry["version"]:
                own_model = replace(record.model, version=own_entry["version"], sha256=own_entry["sha256"])
                own_record = replace(record, model=own_model)
                run.add_evaluation(own_record, other.per_user_of(record), other.segment_tables(record))
    run.metadata["monitor"] = other.metadata["monitor"]
    run.metadata["baseline"] = other.metadata.get("baseline")
    run.save_metadata()


def _why_no_value(search: Search) -> str | None:
    """Why no trial of a model has a value: the first error, or that only its own values were measured."""
    finished = search.study.finished_trials()
    for trial in finished:
        error = outcome_of(trial).error
        if error:
            return str(error)
    return ONLY_BASELINE if finished else None


def _adopted_entry(run: Run, fitted_on: str, trial: int) -> dict[str, Any] | None:
    """The entry of a model that was taken over already, if there is one."""
    for model_entry in run.metadata["models"]:
        if model_entry["fitted_on"] == fitted_on and model_entry.get("trial") == trial:
            return dict(model_entry)
    return None


def _of_one_type(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column that Parquet can store: values of several types, as models may have them, become text."""
    types = {type(value) for value in column.dropna()}
    if len(types) <= 1 or types <= {int, float}:
        return column
    return column.map(lambda value: value if value is None or value is pd.NA else str(value))


__all__ = ["adopt_model", "is_model_search", "resume_models", "tune_models"]
