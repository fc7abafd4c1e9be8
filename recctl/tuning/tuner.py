"""The search: trials are asked for and told here, by one process, until the budget is used up."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic, sleep
from typing import Any

import optuna
from optuna.storages import RDBStorage

from recctl import engines, progress
from recctl.config import Config, LoadedConfig
from recctl.config.schema import TuningConfig
from recctl.engines.ray_engine import OnRay
from recctl.errors import ConfigError, TrainingError
from recctl.experiment import Prepared, load, stages
from recctl.experiment.api import require_one_model
from recctl.experiment.lifecycle import begin, prepare_for, recording
from recctl.experiment.monitors import selection_metric
from recctl.metrics import metric_keys
from recctl.models.base.search_space import Point, Space, declared_space, parse_space
from recctl.models.registry import load_model, model_class
from recctl.runs import Run, RunStore
from recctl.runs.store import run_hashes
from recctl.training.early_stopping import direction
from recctl.tuning import results
from recctl.tuning.executors import InProcess, Pool, Processes
from recctl.tuning.samplers import StrategySampler
from recctl.tuning.storage import failures_told, open_storage, open_study, own_storage
from recctl.tuning.strategies import STRATEGIES, Strategy
from recctl.tuning.study import Outcome, Study, Trial, outcome_of
from recctl.tuning.trial_runner import Task, TrialRunner

_BEAT = 30.0


def tune(
    loaded: LoadedConfig, store: RunStore | None = None, storage: str | None = None, study: str | None = None
) -> Run:
    """Search hyperparameters: a run with all trials, the best config, and the best model with its metrics.

    The first trial is what the config says. Trials are judged by validation; test is read once, with the best model.

    Args:
        loaded: The config; its `tuning` section says how.
        store: Where runs are kept.
        storage: The URL of a database that several searches share; by default `study.db` in the run.
        study: The name of the study there; by default the run's id.

    Raises:
        RecctlError: What went wrong. Trials that fail are no error, unless all do.
    """
    section = loaded.config.tuning or TuningConfig()
    require_one_model(loaded)
    _space(loaded.config, section)
    if not loaded.config.has_validation:
        raise ConfigError("split.val_size: a search is judged by validation, and there is none; write val_size: 0.1")
    shared = open_storage(storage) if storage else None
    with engines.opened(loaded.config.engine):
        prepared, seconds = prepare_for(loaded)
        facts = {"shared": storage is not None, "study": study if storage else "study", "planned": section.n_trials}
        run = begin(store or RunStore(), loaded, "tune", prepared, seconds, tuning=facts)
        with recording(run):
            _search(run, loaded, prepared, shared)
    return run


def resume(run: Run, storage: str | None = None, more: Sequence[str] = ()) -> bool:
    """Go on with a search that was broken off, or that is to have more trials; False if there is nothing to do.

    Args:
        run: The search.
        storage: Where its trials are, if they are not in the run.
        more: Overrides of `tuning`, as `tuning.n_trials=100`.

    Raises:
        ConfigError: Another process works on it, or its storage is not given.
    """
    run.require_idle()
    if run.status == "complete" and not more:
        return False
    if run.metadata["tuning"]["shared"] and storage is None:
        raise ConfigError(f"{run.id}: its trials are in a database: say --storage again")
    loaded = load(run.path / "config.yaml", more)
    shared = open_storage(storage) if storage else None
    with engines.opened(loaded.config.engine):
        prepared, _ = prepare_for(loaded, run)
        run.begin()
        with recording(run):
            _search(run, loaded, prepared, shared)
    return True


def _search(run: Run, loaded: LoadedConfig, prepared: Prepared, shared: RDBStorage | None) -> None:
    with failures_told("the database of the trials" if shared else str(run.path / "study.db")):
        search = _Search(run, loaded, prepared, shared)
        try:
            with run.timed("search"):
                search.run_trials()
        except BaseException:
            with suppress(Exception):  # why it was broken off is what counts
                results.write(run, search.study, loaded, search.monitors)
            raise
        results.write(run, search.study, loaded, search.monitors)
        search.finish()


class _Search:
    """One search, and all it has at hand."""

    def __init__(self, run: Run, loaded: LoadedConfig, prepared: Prepared, shared: RDBStorage | None) -> None:
        config = loaded.config
        self.run, self.loaded, self.prepared = run, loaded, prepared
        self.section = config.tuning or TuningConfig()
        self.monitors = _monitors(config, self.section)
        self.space = _space(config, self.section)
        first = self.space.point(_values(config, self.space))
        make = STRATEGIES[self.section.strategy]
        self.strategy: Strategy = make(self._planned(), self.space, first, config.seed)
        self.n_trials = min(self.section.n_trials or self.strategy.n_trials, self.strategy.most or 2**31)
        data_hash, split_hash = run_hashes(run)
        identity = {
            "data": data_hash,
            "split": split_hash,
            "model": config.model.name,
            "monitors": self.monitors,
            "space": [str(dimension) for dimension in self.space.dimensions],
        }
        storage = shared or own_storage(run.path / "study.db")
        study = open_study(
            storage,
            run.metadata["tuning"]["study"] or run.id,
            [direction(monitor) for monitor in self.monitors],
            identity,
            _pruner(self.section, config),
        )
        self.study = Study(study, storage, self.space, run.id, shared=shared is not None)
        sampler = self.section.sampler, config.seed, self._several(), self.study.tried
        study.sampler = StrategySampler(self.strategy, first, *sampler)
        if any(dimension.name.startswith("data.") for dimension in self.space.dimensions):
            progress.notice(
                "options of the data are searched: trials that differ in them have validations of their own"
            )

    def _several(self) -> bool:
        return isinstance(engines.current(), OnRay) or (self.section.jobs or 1) > 1

    def _planned(self) -> TuningConfig:
        """The tuning section as it was when the search began: rounds stay what they were when it gets more trials."""
        return self.section.model_copy(update={"n_trials": self.run.metadata["tuning"]["planned"]})

    # ---- trials

    def run_trials(self) -> None:
        """Run trials until the budget is used up."""
        pool = self._pool()
        self._deadline = monotonic() + 60 * self.section.minutes if self.section.minutes else None
        try:
            with progress.task(f"Tuning {self.loaded.config.model.name}", self.n_trials, "trials") as task:
                self._show(task)
                while True:
                    waiting = self._fill(pool)
                    if pool.under_way:
                        for number, outcome in pool.wait(_BEAT):
                            self._told(number, outcome)
                            self._show(task)
                    elif waiting:  # for trials of other searches in the same study
                        sleep(1)
                    else:
                        self.study.leave()
                        break
                    self.study.heartbeat()
        finally:
            pool.close()
            shutil.rmtree(self.run.path / "shared", ignore_errors=True)

    def _pool(self) -> Pool:
        split, dataset = self.prepared.split, self.prepared.dataset
        workbench = TrialRunner(
            self.loaded.config, split.train(dataset), split.validation(dataset), self.monitors, self.study.signs[0]
        )
        if isinstance(engine := engines.current(), OnRay):
            from recctl.tuning.ray_executor import TrialsOnRay

            return TrialsOnRay(workbench, engine, self.section.jobs, self.study.report)
        if self.section.jobs is None or not self._several():
            return InProcess(workbench, self.study.report)
        return Processes(workbench, self.section.jobs, self.study.report, self.run.path / "shared")

    def _fill(self, pool: Pool) -> bool:
        """Start as many trials as can be; whether the next one has to wait for others."""
        while pool.free and self._wants_another():
            if not self._may_begin(self.study.next_number()):
                return True
            number = self.study.claim()
            if number >= self.n_trials:  # somebody else has asked for the last one
                self.study.leave()
                break
            if not self._may_begin(number):  # somebody else has the one that was next: ours is of a later round
                return True
            self._start(pool, self.study.begin(number))
        return self.study.next_number() >= self.n_trials and self.study.has_unclaimed()

    def _may_begin(self, number: int) -> bool:
        over = {trial.number for trial in self.study.over()}
        return over.issuperset(range(self.strategy.waits_for(number)))

    def _wants_another(self) -> bool:
        if self.study.next_number() >= self.n_trials:
            return False
        if self._deadline is not None and monotonic() > self._deadline:
            return False
        return self.section.no_gain is None or self._without_gain() < self.section.no_gain

    def _start(self, pool: Pool, trial: Trial) -> None:
        folder = self.run.path / "trials" / str(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        self.run.log(f"trial {trial.number}: {trial.point}")
        best = self.study.best()
        to_beat = None if best is None else self.study.score(best)
        try:
            pool.start(Task(trial.number, results.with_point(self.loaded, self.space, trial.point), folder, to_beat))
        except ConfigError as error:
            self._told(trial.number, Outcome("failed", error=str(error)))

    def _told(self, number: int, outcome: Outcome) -> None:
        self.study.tell(number, outcome)
        if outcome.state == "failed":
            self.run.log(f"trial {number} failed: {outcome.error}")
            progress.notice(f"trial {number} failed: {outcome.error}")
        best = self.study.best()
        over = {str(trial.number) for trial in self.study.over() if best is None or trial.number != best.number}
        for folder in (self.run.path / "trials").iterdir():
            if folder.name in over:
                shutil.rmtree(folder, ignore_errors=True)

    def _without_gain(self) -> int:
        best = self.study.best()
        return sum(best is not None and trial.number > best.number for trial in self.study.over())

    def _show(self, task: progress.Task) -> None:
        best = self.study.best()
        figures: dict[str, float | str] = {}
        if best is not None:
            figures = {f"best {self.monitors[0]}": round(best.values[0], 5), "in trial": str(best.number)}
        task.update(len(self.study.over()), **figures)

    # ---- the best

    def finish(self) -> None:
        """Keep the best trial's model, measure it, and draw the search."""
        best = self.study.best()
        if best is None:
            errors = [outcome_of(trial).get("error") for trial in self.study.over()]
            raise TrainingError(f"no trial of {len(errors)} came to a value; the last: {(errors or ['none'])[-1]}")
        self.run.metadata["tuning"] |= {
            "strategy": self.section.strategy,
            "monitors": self.monitors,
            "n_trials": len(self.study.over()),
            "best_trial": best.number,
            "best_values": best.values,
            "best_point": self.study.point_of(best),
            "pareto": self.study.pareto(),
            "importances": results.importances(self.study),
        }
        self.run.save_metadata()
        with self.run.timed("figures"), progress.task("Drawing the search"):
            results.write_figures(self.run.path / "figures", self.study, self.monitors[0])
        self._keep_model(best)
        shutil.rmtree(self.run.path / "trials", ignore_errors=True)

    def _keep_model(self, best: optuna.trial.FrozenTrial) -> None:
        loaded = results.with_point(self.loaded, self.space, self.study.point_of(best))
        if loaded.config.data != self.loaded.config.data:
            progress.notice(
                "the best trial has data of its own, and this run keeps no model; make it one: "
                f"recctl train {self.run.path / 'best.yaml'}"
            )
            return
        kept = [entry.get("trial") for entry in self.run.metadata["models"] if entry["fitted_on"] == stages.TRAIN]
        if kept[-1:] != [best.number]:
            # After more trials there can be a better one: its models are new versions, its metrics new figures.
            folder = self.run.path / "trials" / str(best.number)
            if (folder / "model.pkl").exists():
                if (folder / "history.jsonl").exists():
                    (folder / "history.jsonl").replace(self.run.path / "history.jsonl")
                self.run.save_model(load_model(folder / "model.pkl"), stages.TRAIN, best.number)
            else:
                stages.fit_trial(self.run, loaded.config, self.prepared, best.number)
        stages.fit_and_evaluate(self.run, loaded.config, self.prepared)


def _monitors(config: Config, section: TuningConfig) -> list[str]:
    if section.monitor is not None:
        return [section.monitor] if isinstance(section.monitor, str) else list(section.monitor)
    evaluation = config.evaluation
    keys = metric_keys(evaluation.metrics, evaluation.k_values, sampled=evaluation.n_candidates is not None)
    return [selection_metric(config, map(str, keys))["metric"]]


def _space(config: Config, section: TuningConfig) -> Space:
    """What is searched, the config's own values included.

    Raises:
        ConfigError: The model declares no ranges, and the config says none.
    """
    cls = model_class(config.model.name)
    space = parse_space(section.space, cls)[0] if section.space else declared_space(cls)
    if section.strategy == "manual":
        names = dict.fromkeys(name for point in section.points for name in point)
        space, _ = parse_space({name: [p[name] for p in section.points if name in p] for name in names}, cls)
    if not space.dimensions:
        raise ConfigError(f"{config.model.name} has nothing to search; say what in tuning.space")
    return space.including(_values(config, space))


def _values(config: Config, space: Space) -> Point:
    """What a config says of each dimension."""
    found: Point = {}
    values = config.model_dump()
    for dimension in space.dimensions:
        here: Any = values
        for part in dimension.path:
            here = here[int(part)] if isinstance(here, list) else here.get(part) if isinstance(here, dict) else None
        found[dimension.name] = here
    return found


def _pruner(section: TuningConfig, config: Config) -> optuna.pruners.BasePruner:
    if section.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
    if section.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=_n_epochs(config), reduction_factor=3)
    return optuna.pruners.NopPruner()


def _n_epochs(config: Config) -> int:
    return int(config.model.params.get("epochs", config.model.params.get("n_epochs", 1)))
