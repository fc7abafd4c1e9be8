"""Runs that compare models: fit several models on the same split, choose the best, test the differences."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recctl import arguments, engines, progress, urls
from recctl.arguments import at_least, check_fields, flag, many, of_type, optional, validated
from recctl.config import Config, LoadedConfig
from recctl.config.loading import with_values
from recctl.config.schema import EngineConfig, source_name
from recctl.errors import ArtifactError, ConfigError, DataError, RecctlError, TrainingError
from recctl.experiment import stages
from recctl.experiment.comparison import backtest
from recctl.experiment.comparison.entries import (
    ComparisonEntry,
    collect_entries,
    entries_of_config,
    require_meaningful_for_all,
)
from recctl.experiment.comparison.new_data import NewData, NewMeasurements, measure_on_new_data
from recctl.experiment.comparison.refit import refit_best
from recctl.experiment.comparison.result import (
    ComparisonOptions,
    compare_measured,
    compare_runs,
    without_meaningless_significance,
)
from recctl.experiment.config_checks import CHECKS
from recctl.experiment.data import Prepared, resolve_config, split_dataset
from recctl.experiment.lifecycle import prepare_for, recording, resume_command
from recctl.experiment.monitors import selection_metric
from recctl.experiment.recommendation_lists import measure_lists, read_lists, require_same_files
from recctl.experiment.run_config import LOCATIONS, file_locations, load_run_config, refuse_overrides_of_complete
from recctl.experiment.trackers import require_trackers, track_part
from recctl.experiment.use_of_ratings import weight_notes
from recctl.experiment.warm_start import begin_from, drop_model, find_warm_start, refuse_warm_start
from recctl.models.registry import model_class
from recctl.runs import Run, RunStore, layout
from recctl.runs.checks import a_store
from recctl.runs.store import run_hashes
from recctl.tracking import Tracker

_MAX_LABEL = 60  # characters of a run id between its time and its random end


@dataclass(frozen=True)
class Repeats:
    """How often each model is fitted. The names of the attributes are keys of metadata.json.

    Attributes:
        seeds: Seeds for models that draw random numbers, all on one split; empty: the seed of the config.
        n_folds: Number of folds, each of which is test once; None: the split of the config.
        refit: Refit the best model on train + validation and evaluate only this one on test.
    """

    seeds: tuple[int, ...] = ()
    n_folds: int | None = None
    refit: bool = False

    def __post_init__(self) -> None:
        check_fields(self, seeds=many(at_least(0), "[1, 2, 3]"), n_folds=optional(at_least(2)), refit=flag)


@validated(
    sources=many(of_type((str, os.PathLike, Run), "a config file, a Run or the id of a run"), "['a.yaml', 'b.yaml']"),
    store=optional(a_store),
    options=optional(of_type(ComparisonOptions, "a ComparisonOptions")),
    repeats=optional(of_type(Repeats, "a Repeats")),
    overrides=arguments.overrides,
)
def compare(
    sources: Sequence[str | Path | Run],
    store: RunStore | None = None,
    options: ComparisonOptions | None = None,
    repeats: Repeats | None = None,
    overrides: Sequence[str] = (),
    *,
    terms: ComparisonOptions | None = None,
) -> Run:
    """Compare models on one split.

    Models of configs are fitted; existing runs are compared by their stored metrics. The best model is chosen on
    validation. Each fitted model is evaluated on test once, at the end, so that differences are tested on users that
    were not used for the choice. With `repeats.refit`, only the refitted best model is evaluated on test, and
    differences are those on validation.

    Args:
        sources: Configs (files), runs or references to runs, with the same data and split.
        store: The runs directory; the default one if None.
        options: How models are compared.
        repeats: How often each model is fitted.
        overrides: Settings `section.key=value` for all configs.
        terms: Deprecated name of `options`; removed in 0.4.

    Returns:
        A run of kind "compare"; `comparison_result` returns its result.

    Raises:
        ConfigError: The configs differ in more than models and training, or the options don't fit them.
        DataError: The runs have different data or splits.
        TrainingError: Some models could not be fitted; the others are kept.

    Examples:
        ```python
        from recctl import compare
        from recctl.experiment import comparison_result

        run = compare(["ease.yaml", "als.yaml"])
        print(comparison_result(run)["best"])
        ```
    """
    if terms is not None:
        warnings.warn("compare(terms=...) is now compare(options=...); removed in 0.4", FutureWarning, stacklevel=2)
        options = terms
    store = store or RunStore()
    entries = collect_entries(sources, store, overrides)
    return compare_entries(entries, store, options or ComparisonOptions(), repeats or Repeats())


def compare_entries(
    entries: list[ComparisonEntry],
    store: RunStore,
    options: ComparisonOptions,
    repeats: Repeats,
    *,
    on_begin: Callable[[Run], None] | None = None,
) -> Run:
    """Compare models that `collect_entries` returned; see `compare`.

    Args:
        entries: The models.
        store: The runs directory.
        options: How models are compared.
        repeats: How often each model is fitted.
        on_begin: Called with the run before any model is fitted, for a caller that resumes it after an interruption.
    """
    require_meaningful_for_all(entries, options.metric)
    options = _validate_options(options, repeats, entries)
    for entry in entries:
        if entry.run is None:
            require_trackers(entry.loaded.config)
        if entry.run is None and not entry.is_lists:
            refuse_warm_start(entry.loaded, "recctl compare")
    prepared = None
    seconds = 0.0
    lists: dict[str, dict[str, str]] = {}
    with engines.opened(_engine_config(entries)):
        if any(entry.run is None for entry in entries):
            config_of_data = _config_of_fold(_base_entry(entries).loaded, repeats, 0)
            prepared, seconds = prepare_for(config_of_data, models=_models_to_fit(entries))
            first_notes = weight_notes([_base_entry(entries).loaded.config])
            prepared.notes = [note for note in prepared.notes if note not in first_notes]
            prepared.notes += weight_notes([entry.loaded.config for entry in entries if not entry.is_lists])
            lists = _check_lists(entries, prepared, options)
            for entry in entries:
                if entry.run is not None:
                    _require_same_parts(entry.run, prepared)
        run = _create_run(store, entries, options, repeats, prepared, seconds, lists=lists)
        if on_begin is not None:
            on_begin(run)
        _fit_and_compare(run, store, entries, prepared)
    return run


def _check_lists(
    entries: list[ComparisonEntry], prepared: Prepared, options: ComparisonOptions
) -> dict[str, dict[str, str]]:
    """Read every file of lists before models are fitted, which may take hours.

    Returns:
        By label, the hash of each file.
    """
    windows: list[dict[str, Any]] = []
    if backtest.is_backtest(entries):
        windows = backtest.plan_windows(prepared.dataset, _base_entry(entries).loaded.config)
    hashes: dict[str, dict[str, str]] = {}
    for entry in entries:
        if not entry.is_lists or entry.run is not None:
            continue
        configs = _configs_of_lists(entry, windows)
        records = [read_lists(loaded, prepared, _compared_part(options))[1] for loaded in configs]
        hashes[entry.label] = {record["file"]: record["sha256"] for record in records}
        if len(hashes[entry.label]) < len(windows):
            progress.notice(
                f"{entry.label}: the same lists are measured in several windows, some of which they may have been made "
                "after; to give one file for each window, write its number or date: lists-{window}.parquet, "
                "lists-{test_start}.parquet"
            )
    return hashes


def _configs_of_lists(entry: ComparisonEntry, windows: Sequence[Mapping[str, Any]]) -> list[LoadedConfig]:
    """The config of a file of lists in each window of a backtest, or its only one."""
    return [backtest.config_of_window(entry.loaded, window) for window in windows] or [entry.loaded]


def _compared_part(options: ComparisonOptions) -> stages.Part:
    return "validation" if options.on == "validation" else "test"


def compare_on_new_data(
    entries: list[ComparisonEntry], store: RunStore, options: ComparisonOptions, new_data: NewData
) -> Run:
    """Compare the models of runs on the same new interactions, whatever data each was fitted on.

    Args:
        entries: Runs, as `collect_entries` returned them.
        store: The runs directory.
        options: How models are compared; `on` does not apply.
        new_data: What they are measured on.

    Returns:
        A run of kind "compare"; `comparison_result` returns its result.

    Raises:
        DataError: The data can't be read, or have pairs that a model was fitted on although this is not allowed.
    """
    require_meaningful_for_all(entries, options.metric)
    lists = [entry.label for entry in entries if entry.is_lists]
    if lists:
        raise ConfigError(
            f"{', '.join(lists)}: lists belong to the split that they were made for; "
            "--data and --test-of compare models"
        )
    if new_data.test_of is not None:
        # By its id: an alias or `latest` may mean another run when the comparison is resumed.
        new_data = replace(new_data, test_of=store.resolve_model(new_data.test_of).id)
    options = replace(options, seed=entries[0].loaded.config.seed)
    measurements = _measure_entries(entries, store, new_data, options.metric)
    data_record = {
        "source": urls.redact(new_data.file) if new_data.file else f"test of {new_data.test_of}",
        "hash": measurements.measured.data_hash,
        "interactions": measurements.n_interactions,
    }
    run = _create_run(
        store,
        entries,
        options,
        Repeats(),
        None,
        0.0,
        {"data": data_record, "new_data": urls.redact_values(asdict(new_data))},
    )
    with recording(run, _tracked_config(entries)) as trackers:
        _save_result(run, _new_data_document(measurements, options))
        _track_existing(trackers, run, store)
    return run


def _measure_entries(
    entries: list[ComparisonEntry], store: RunStore, new_data: NewData, metric: str | None
) -> NewMeasurements:
    runs = {entry.label: entry.run for entry in entries if entry.run is not None}
    return measure_on_new_data(runs, store, new_data, metric)


def _new_data_document(measurements: NewMeasurements, options: ComparisonOptions) -> dict[str, Any]:
    measured = {label: [measured_run] for label, measured_run in measurements.runs.items()}
    document = compare_measured(measured, measurements.measured.label, options, same_training=False)
    document["file"] = measurements.measured.file
    document["n_fitted_pairs"] = measurements.n_fitted_pairs
    document["refit"] = None
    return document


def resume(run: Run, overrides: Sequence[str] = ()) -> bool:
    """Fit the missing models of a comparison and compare all of them.

    Args:
        run: The comparison.
        overrides: Where and how its data are read now, such as `data.source=FILE`; see `load_run_config`.

    Returns:
        False if the comparison is complete already.
    """
    if run.metadata.get("kind") != "compare":
        raise ConfigError(f"{run.id}: is not a comparison; resume it with: {resume_command(run)}")
    if run.status == "complete":
        refuse_overrides_of_complete(run, overrides)
        return False
    run.require_idle()
    store = RunStore(run.path.parent)
    existing_runs = {record["label"]: record["run_id"] for record in run.metadata["compared"] if record["given"]}
    entries = []
    stored_entries = entries_of_config(load_run_config(run, overrides))
    # Labels are stored, because they were made unique among all entries.
    for entry, label in zip(stored_entries, run.metadata["labels"], strict=True):
        existing_run = store.resolve(existing_runs[label]) if label in existing_runs else None
        if entry.is_lists and existing_run is None:
            configs = _configs_of_lists(entry, run.metadata.get("windows", []))
            require_same_files(configs, run.metadata["list_files"][label])
        entries.append(replace(entry, label=label, run=existing_run))
    with engines.opened(_engine_config(entries)):
        # Before the run begins: other data are refused, and leave it as it was.
        prepared = None if "new_data" in run.metadata else _prepare_missing(run, store, entries)
        run.begin()
        if "new_data" in run.metadata:
            _compare_again_on_new_data(run, store, entries)
            return True
        _fit_and_compare(run, store, entries, prepared, resumed=True)
    return True


def comparison_result(run: Run) -> dict[str, Any]:
    """Return the result of a comparison.

    Raises:
        ArtifactError: The run is not a comparison, is not complete, or its file is damaged.
    """
    result_path = run.path / layout.COMPARISON
    try:
        document: dict[str, Any] = json.loads(result_path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if run.metadata.get("kind") == "compare":
            raise ArtifactError(f"{run.id}: the comparison is not complete; {_resume_hint(run)}") from None
        raise ArtifactError(f"{run.id}: is not a comparison") from None
    except ValueError as error:
        raise ArtifactError(f"{result_path}: damaged: {error}") from None
    return without_meaningless_significance(document)


def _resume_hint(run: Run) -> str:
    return f"resume with: {resume_command(run)}"


# ---- options


def _validate_options(
    options: ComparisonOptions, repeats: Repeats, entries: list[ComparisonEntry]
) -> ComparisonOptions:
    """Check the options, and fill in the reported part and the seed."""
    all_runs_have_test = all("test" in entry.run.metrics() for entry in entries if entry.run)
    compared_part = options.on
    if compared_part is None:
        compared_part = "validation" if repeats.refit or not all_runs_have_test else "test"
    problems = list(_repeat_problems(repeats, entries, compared_part))
    if backtest.is_backtest(entries):
        problems += backtest.problems(entries, refit=repeats.refit)
    labels = [entry.label for entry in entries]
    if options.reference is not None and options.reference not in labels:
        problems.append(f"reference={options.reference!r}: is none of {', '.join(labels)}")
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return replace(options, on=compared_part, seed=_base_entry(entries).loaded.config.seed)


def _repeat_problems(repeats: Repeats, entries: list[ComparisonEntry], part: str) -> Iterator[str]:
    if (repeats.seeds or repeats.n_folds) and any(entry.run for entry in entries):
        yield "--seeds and --folds apply to configs; runs are not fitted again"
    if repeats.refit and repeats.n_folds:
        yield "--refit and --folds exclude each other: the model of one fold is not the one to use"
    lists = [entry.label for entry in entries if entry.is_lists]
    if lists and repeats.n_folds:
        labels = ", ".join(lists)
        yield f"--folds makes other splits than the one that the lists of {labels} were made for; leave it out"
    if lists and len(lists) == len(entries) and repeats.refit:
        yield "--refit fits the best model again, but only lists are compared"
    if repeats.refit and part != "validation":
        yield "--refit evaluates only the refitted best model on test: compare on validation"
    for entry in entries:
        if entry.run is not None:
            continue
        strategy = entry.loaded.config.split.strategy
        if repeats.n_folds and strategy not in ("random", "k_fold"):
            yield f"--folds draws interactions at random, but split.strategy is {strategy}"
        if not entry.loaded.config.has_validation and part == "validation":
            key, value = entry.loaded.config.validation_setting
            yield f"{entry.label}: there is no validation part to choose on; set {key}: {value}"


def _require_same_parts(run: Run, prepared: Prepared) -> None:
    data_hash, split_hash = run_hashes(run)
    for hash_name, run_hash in (("data", data_hash), ("split", split_hash)):
        if run_hash != prepared.record[hash_name]["hash"]:
            raise DataError(f"{run.id} has different {hash_name} than the configs, so their metrics can't be compared")


def _base_entry(entries: list[ComparisonEntry]) -> ComparisonEntry:
    """The entry whose config is read and split by: the first that is not a run, whose paths may be outdated."""
    for entry in entries:
        if entry.run is None and not entry.is_lists:
            return entry
    for entry in entries:
        if entry.run is None:
            return entry
    return entries[0]


def _engine_config(entries: list[ComparisonEntry]) -> EngineConfig | None:
    """The engine of the configs, which is the same for all; those of existing runs may be gone."""
    for entry in entries:
        if entry.run is None and entry.loaded.config.engine:
            return entry.loaded.config.engine
    return None


def _seeds(entry: ComparisonEntry, repeats: Repeats) -> Sequence[int | None]:
    # Fitting a deterministic model with several seeds would repeat the same result.
    if entry.is_lists:
        return [None]
    is_random = "seed" in model_class(entry.loaded.config.model.name).parameters
    return repeats.seeds if is_random and repeats.seeds else [None]


def _config_of_fold(loaded: LoadedConfig, repeats: Repeats, fold: int) -> LoadedConfig:
    if repeats.n_folds is None:
        return loaded
    # Everything else of the split, such as test_size, follows from the number of folds.
    val_size = getattr(loaded.config.split, "val_size", 0)
    fold_split = {"strategy": "k_fold", "n_folds": repeats.n_folds, "fold": fold, "val_size": val_size}
    return with_values(loaded, {("split",): fold_split}, CHECKS)


# ---- the run


def _create_run(
    store: RunStore,
    entries: list[ComparisonEntry],
    options: ComparisonOptions,
    repeats: Repeats,
    prepared: Prepared | None,
    seconds: float,
    new_data: Mapping[str, Any] | None = None,
    lists: Mapping[str, Mapping[str, str]] | None = None,
) -> Run:
    """Create the run of the comparison; it records everything that is needed to resume it.

    Args:
        store: The runs directory.
        entries: The models.
        options: How they are compared.
        repeats: How often each is fitted.
        prepared: The data and the split that models are fitted on; None if all are fitted.
        seconds: The time that preparing them took.
        new_data: What is recorded of new data instead of the data and the split of the runs.
        lists: By label, the hash of each file of recommendation lists.
    """
    config = resolve_config(_base_entry(entries).loaded)
    for section in ("model", "models", "training", "tuning"):
        # Each model has its own under `models:`; those of the first entry would suggest that they apply to all.
        config.pop(section, None)
    # Each model has those that mean something for it: the comparison is resumed with the metrics of all.
    all_metrics = [metric for entry in entries for metric in entry.loaded.config.evaluation.metrics]
    config["evaluation"]["metrics"] = list(dict.fromkeys(all_metrics))
    config["models"] = []
    for entry in entries:
        entry_config = resolve_config(entry.loaded)
        if entry.is_lists:
            config["models"].append(entry_config["models"][0])
            continue
        config["models"].append({"label": entry.label, **entry_config["model"], "training": entry_config["training"]})
    windows: list[dict[str, Any]] = []
    if prepared is not None and backtest.is_backtest(entries):
        windows = backtest.plan_windows(prepared.dataset, _base_entry(entries).loaded.config)
    metadata: dict[str, Any] = {
        "timings": {"prepare": seconds},
        LOCATIONS: file_locations(config, store.root),
        "labels": [entry.label for entry in entries],
        "compared": _planned_runs(entries, repeats, len(windows)),
        "comparison": {"terms": asdict(options), "repeats": asdict(repeats)},
    }
    if windows:
        metadata["windows"] = windows
    if lists:
        metadata["list_files"] = {label: dict(files) for label, files in lists.items()}
    part_codes = None
    existing_run = entries[0].run
    if new_data is not None:
        metadata |= new_data
    elif prepared is not None:
        part_codes = prepared.split.parts
        metadata |= prepared.record
    elif existing_run is not None:
        part_codes = existing_run.split_parts()
        metadata["data"] = existing_run.metadata["data"]
        metadata["split"] = existing_run.metadata["split"]
    source = source_name(_base_entry(entries).loaded.config.data.source).split(".")[0] or "data"
    return Run.create(store.root, f"compare-{source}"[:_MAX_LABEL], "compare", config, part_codes, metadata)


def _planned_runs(entries: list[ComparisonEntry], repeats: Repeats, n_windows: int) -> list[dict[str, Any]]:
    """A record for each run to compare, in the order of fitting: folds or windows, then models, then seeds."""
    records = []
    for fold in range(repeats.n_folds or 1):
        for window in range(n_windows or 1):
            for entry in entries:
                for seed in _seeds(entry, repeats):
                    record = _planned_run(entry, seed, fold)
                    if n_windows:
                        record["window"] = window
                    records.append(record)
    return records


def _planned_run(entry: ComparisonEntry, seed: int | None, fold: int) -> dict[str, Any]:
    return {
        "label": entry.label,
        "seed": seed,
        "fold": fold,
        "given": entry.run is not None,
        "run_id": entry.run.id if entry.run else None,
    }


def _tracked_config(entries: list[ComparisonEntry]) -> Config:
    """The config that names trackers: of a model that is fitted, else of the first run, which was tracked there."""
    return next((entry.loaded.config for entry in entries if entry.run is None), entries[0].loaded.config)


def _track_existing(trackers: Sequence[Tracker], comparison: Run, store: RunStore) -> None:
    """Report the runs that existed before the comparison as parts of it; each stays where it was tracked itself."""
    for record in comparison.metadata["compared"]:
        if record["given"]:
            track_part(trackers, store.resolve(record["run_id"]), {"recctl.label": record["label"]})


def _fit_and_compare(
    run: Run, store: RunStore, entries: list[ComparisonEntry], prepared: Prepared | None, *, resumed: bool = False
) -> None:
    options, repeats = _stored_options(run)
    # Each of its runs has trackers of its own, whose records are parts of that of the comparison. Those of the
    # comparison get means, spreads and intervals over runs.
    with recording(run, _tracked_config(entries), resumed=resumed) as trackers:
        missing = _missing_records(run, store)
        if missing:
            assert prepared is not None  # the callers read the data if a model is missing
            with progress.without_repeats():
                _fit_missing(run, store, missing, entries, prepared)
        runs_by_label: dict[str, list[Run]] = {entry.label: [] for entry in entries}
        window_of: dict[str, int] = {}
        for record in run.metadata["compared"]:
            runs_by_label[record["label"]].append(store.resolve(record["run_id"]))
            window_of[record["run_id"]] = record.get("window", 0)
        with run.timed("compare"):
            document = compare_runs(runs_by_label, options, run.metadata.get("windows", ()), window_of)
        document["refit"] = None
        if repeats.refit:
            document["refit"] = refit_best(runs_by_label[document["best"]][0], prepared, options)
        _save_result(run, document)
        _track_existing(trackers, run, store)


def _missing_records(run: Run, store: RunStore) -> list[dict[str, Any]]:
    return [record for record in run.metadata["compared"] if not _is_done(store, record)]


def _prepare_missing(run: Run, store: RunStore, entries: list[ComparisonEntry]) -> Prepared | None:
    """Read and split the data if a model has to be fitted yet."""
    if not _missing_records(run, store):
        return None
    _, repeats = _stored_options(run)
    config_of_data = _config_of_fold(_base_entry(entries).loaded, repeats, 0)
    prepared, _ = prepare_for(config_of_data, run, models=_models_to_fit(entries))
    return prepared


def _models_to_fit(entries: list[ComparisonEntry]) -> list[str]:
    return [entry.loaded.config.model.name for entry in entries if entry.run is None and not entry.is_lists]


def _compare_again_on_new_data(run: Run, store: RunStore, entries: list[ComparisonEntry]) -> None:
    options, _ = _stored_options(run)
    stored = run.metadata["new_data"]
    new_data = NewData(**(stored | {"overrides": tuple(stored["overrides"])}))
    with recording(run, _tracked_config(entries), resumed=True) as trackers:
        measurements = _measure_entries(entries, store, new_data, options.metric)
        _save_result(run, _new_data_document(measurements, options))
        _track_existing(trackers, run, store)


def _save_result(run: Run, document: dict[str, Any]) -> None:
    result_text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    run.save_file(layout.COMPARISON, result_text.encode())
    run.metadata["best"] = document["best"]


def _stored_options(run: Run) -> tuple[ComparisonOptions, Repeats]:
    stored = run.metadata["comparison"]
    repeats = Repeats(**stored["repeats"])
    return ComparisonOptions(**stored["terms"]), replace(repeats, seeds=tuple(repeats.seeds))


def _is_done(store: RunStore, record: dict[str, Any]) -> bool:
    if record["given"]:
        return True
    run = _own_run(store, record)
    return run is not None and run.status == "complete"


def _own_run(store: RunStore, record: dict[str, Any]) -> Run | None:
    """The run that the comparison began for a model; None if there is none yet, or if it was deleted."""
    if record["run_id"] is None:
        return None
    try:
        return store.resolve(record["run_id"])
    except ArtifactError:
        return None


def _fit_missing(
    comparison: Run,
    store: RunStore,
    missing: list[dict[str, Any]],
    entries: list[ComparisonEntry],
    prepared: Prepared,
) -> None:
    """Fit the models that are not fitted yet. The data are read once, and split once for each fold or window."""
    options, repeats = _stored_options(comparison)
    windows: list[dict[str, Any]] = comparison.metadata.get("windows", [])
    entries_by_label = {entry.label: entry for entry in entries}
    failures: list[tuple[str, RecctlError]] = []
    # Those of fold 0; a window needs a split of its own even if it is the newest, which the comparison has.
    current_part: tuple[int, int | None] = (0, None)
    current = prepared
    for record in missing:
        entry = entries_by_label[record["label"]]
        loaded = _config_of_fold(entry.loaded, repeats, record["fold"])
        if windows:
            loaded = backtest.config_of_window(loaded, windows[record["window"]])
        if record["seed"] is not None:
            loaded = with_values(loaded, {("model", "params", "seed"): record["seed"]}, CHECKS)
        if (record["fold"], record.get("window")) != current_part:
            current_part = (record["fold"], record.get("window"))
            # Folds and windows share the data set; only the split changes.
            current = split_dataset(prepared.dataset, None, prepared.record["data"], loaded.config)
            current.tables = prepared.tables
            if windows and record["window"] < len(windows) - 1:
                # The runs record the leakage of each window; that of the newest is displayed.
                current.notes = []
        try:
            if record.get("window") and not entry.is_lists and backtest.begins_warm(entry.loaded.config):
                loaded = _begin_from_previous_window(comparison, store, record, loaded)
            _fit_one(comparison, store, record, loaded, current, with_test=options.on == "test")
        except RecctlError as error:  # the other models are fitted all the same
            progress.notice(f"{_description(record, windows)} failed: {error}")
            failures.append((_description(record, windows), error))
        current = replace(current, notes=[])  # the first run has displayed them
    if failures:
        raise _fit_error(comparison, failures)


def _begin_from_previous_window(
    comparison: Run, store: RunStore, record: Mapping[str, Any], loaded: LoadedConfig
) -> LoadedConfig:
    """The config of a model in a window, whose training begins from the model of the window before.

    Raises:
        TrainingError: That model could not be fitted.
    """
    for other in comparison.metadata["compared"]:
        is_same_model = (other["label"], other["seed"]) == (record["label"], record["seed"])
        if is_same_model and other["window"] == record["window"] - 1 and _is_done(store, other):
            return with_values(loaded, {("training", "warm_start"): other["run_id"]}, CHECKS)
    raise TrainingError("the model of the window before, from which it begins, is missing")


def _fit_error(comparison: Run, failures: list[tuple[str, RecctlError]]) -> RecctlError:
    error_lines = [f"{label}: {error}" for label, error in failures]
    error_lines.append(f"the other models are kept; {_resume_hint(comparison)}")
    # The exit code follows the class: files that are damaged are not a failed training.
    if all(isinstance(error, ArtifactError) for _, error in failures):
        return ArtifactError("\n".join(error_lines))
    return TrainingError("\n".join(error_lines))


def _fit_one(
    comparison: Run,
    store: RunStore,
    record: dict[str, Any],
    loaded: LoadedConfig,
    prepared: Prepared,
    *,
    with_test: bool,
) -> None:
    """Fit one model as an ordinary training run, whose id the comparison records before it begins."""
    is_lists = bool(loaded.config.models)
    description = _description(record, comparison.metadata.get("windows", []))
    progress.step(f"{'measuring' if is_lists else 'fitting'} {description}")
    existing_run = _own_run(store, record)
    resumed = existing_run is not None
    if existing_run is not None:
        run = existing_run
        run.begin()
    else:
        seconds = comparison.metadata["timings"].get("prepare", 0.0)
        warm_start = None
        if not is_lists:
            loaded, warm_start = find_warm_start(loaded, store)
        kind = "lists" if is_lists else "train"
        run = begin_from(store, loaded, kind, prepared, seconds, comparison, warm_start=warm_start)
        # Saved before the fit: an interrupted comparison resumes this run instead of starting another.
        record["run_id"] = run.id
        comparison.save_metadata()
    properties = _tracked_properties(record, comparison)
    if is_lists:
        with recording(run, loaded.config, resumed=resumed, properties=properties):
            part: stages.Part = "test" if with_test else "validation"
            lists, run.metadata[layout.LISTS] = read_lists(loaded, prepared, part)
            measure_lists(run, loaded, prepared, lists, part)
        return
    with recording(run, loaded.config, resumed=resumed, properties=properties) as trackers:
        if with_test:
            stages.fit_and_evaluate(run, loaded.config, prepared, trackers)
        else:
            model = stages.fit(run, loaded.config, prepared, trackers)
            with run.timed("evaluate_validation"):
                metrics = stages.evaluate_part(run, "validation", prepared, model, loaded.config).metrics
            run.metadata["monitor"] = selection_metric(loaded.config, metrics)
        drop_model(run)


def _tracked_properties(record: Mapping[str, Any], comparison: Run) -> dict[str, str]:
    """What tells a run from the others of a comparison, for trackers."""
    properties = {"recctl.label": str(record["label"])}
    if record["seed"] is not None:
        properties["recctl.seed"] = str(record["seed"])
    if comparison.metadata["comparison"]["repeats"]["n_folds"]:
        properties["recctl.fold"] = str(record["fold"])
    if "window" in record:
        properties["recctl.window"] = str(comparison.metadata["windows"][record["window"]]["number"])
    return properties


def _description(record: dict[str, Any], windows: Sequence[Mapping[str, Any]]) -> str:
    description_parts = [record["label"]]
    if record["seed"] is not None:
        description_parts.append(f"seed {record['seed']}")
    if record["fold"]:
        description_parts.append(f"fold {record['fold']}")
    if windows:
        description_parts.append(backtest.describe_window(windows[record["window"]]))
    return ", ".join(description_parts)
