"""Fit several models on the same split, and decide: a run that names the runs it compares, and can be resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from recctl import engines, progress
from recctl.config import LoadedConfig
from recctl.config.loading import with_values
from recctl.config.schema import EngineConfig
from recctl.errors import ArtifactError, ConfigError, DataError, RecctlError, TrainingError
from recctl.experiment import stages
from recctl.experiment.comparison.entries import ComparisonEntry, collect_entries, entries_of_config
from recctl.experiment.comparison.refit import refit_best
from recctl.experiment.comparison.result import ComparisonOptions, compare_runs
from recctl.experiment.config_checks import CHECKS, load
from recctl.experiment.data import Prepared, resolve_config, split_dataset
from recctl.experiment.lifecycle import begin, prepare_for, recording, resume_command
from recctl.experiment.monitors import selection_metric
from recctl.models.registry import model_class
from recctl.runs import Run, RunStore
from recctl.runs.store import run_hashes


@dataclass(frozen=True)
class Repeats:
    """How often each model is fitted.

    Attributes:
        seeds: Of the models that draw random numbers, all on one split; empty: as the config says.
        n_folds: Each part of so many is test once; None: the config's own split.
        refit: Fit the best anew on train and validation, and read test with that model alone.
    """

    seeds: tuple[int, ...] = ()
    n_folds: int | None = None
    refit: bool = False


def compare(
    sources: Sequence[str | Path | Run],
    store: RunStore | None = None,
    terms: ComparisonOptions | None = None,
    repeats: Repeats | None = None,
    overrides: Sequence[str] = (),
) -> Run:
    """Compare models: fit those of configs on one split, take those of runs as they are, choose, and tell differences.

    The best is chosen on validation. Test is read once by each model that is fitted, at its end, so that differences
    are told on users who chose nothing; with `repeats.refit` it is read by the best alone, fitted anew, and differences
    are those on validation.

    Args:
        sources: Configs (files), and runs or references to runs, of one data and split.
        store: Where runs are kept.
        terms: How they are judged.
        repeats: How often each is fitted.
        overrides: `section.key=value` each, for all the configs.

    Returns:
        A run of kind "compare"; `verdict` gives what it came to.

    Raises:
        ConfigError: The configs differ in more than models and training, or can't be compared as asked.
        DataError: Runs of different data or splits.
        TrainingError: Models could not be fitted; those that could are kept.
    """
    store = store or RunStore()
    return compare_entries(
        collect_entries(sources, store, overrides), store, terms or ComparisonOptions(), repeats or Repeats()
    )


def compare_entries(
    contenders: list[ComparisonEntry], store: RunStore, terms: ComparisonOptions, repeats: Repeats
) -> Run:
    """Compare what was gathered; `compare` describes the rest."""
    terms = _checked(terms, repeats, contenders)
    prepared, seconds = None, 0.0
    with engines.opened(_engine(contenders)):
        if not all(contender.run for contender in contenders):
            prepared, seconds = prepare_for(_of_fold(_base(contenders), repeats, 0))
            for existing in filter(None, (contender.run for contender in contenders)):
                _require_parts(existing, prepared)
        run = _begin(store, contenders, terms, repeats, prepared, seconds)
        _go_on(run, store, contenders, prepared)
    return run


def resume(run: Run) -> bool:
    """Fit what is missing of a comparison, and judge; False if there is nothing to do."""
    if run.metadata.get("kind") != "compare":
        raise ConfigError(f"{run.id}: is no comparison; go on with: recctl train --resume {run.id}")
    if run.status == "complete":
        return False
    run.require_idle()
    store = RunStore(run.path.parent)
    given = {entry["label"]: entry["run_id"] for entry in run.metadata["compared"] if entry["given"]}
    contenders = [
        replace(one, label=label, run=store.resolve(given[label]) if label in given else None)
        for one, label in zip(entries_of_config(load(run.path / "config.yaml")), run.metadata["labels"], strict=True)
    ]
    with engines.opened(_engine(contenders)):
        run.begin()
        _go_on(run, store, contenders, None)
    return True


def comparison_result(run: Run) -> dict[str, Any]:
    """What a comparison came to.

    Raises:
        ArtifactError: It is not complete, or its file is damaged.
    """
    path = run.path / "comparison.json"
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = f"; go on with: recctl compare --resume {run.id}" if run.metadata.get("kind") == "compare" else ""
        raise ArtifactError(f"{run.id}: holds no comparison{hint}") from None
    except ValueError as error:
        raise ArtifactError(f"{path}: damaged: {error}") from None
    return document


# ---- what is asked


def _checked(terms: ComparisonOptions, repeats: Repeats, contenders: list[ComparisonEntry]) -> ComparisonOptions:
    fitted = [contender for contender in contenders if contender.run is None]
    labels = [contender.label for contender in contenders]
    measured = all("test" in contender.run.metrics() for contender in contenders if contender.run)
    terms = replace(terms, on=terms.on or ("validation" if repeats.refit or not measured else "test"))
    problems = []
    if (repeats.seeds or repeats.n_folds) and len(fitted) < len(contenders):
        problems.append("--seeds and --folds are for configs; runs are what they are")
    if repeats.refit and repeats.n_folds:
        problems.append("--refit and --folds exclude each other: a model of one fold is not for use")
    if repeats.refit and terms.on != "validation":
        problems.append("--refit reads test with the refitted best alone: compare on validation")
    for contender in fitted:
        split = contender.loaded.config.split
        if repeats.n_folds and split.strategy not in ("random", "k_fold"):
            problems.append(f"--folds: draws interactions at random; split.strategy is {split.strategy}")
        if not contender.loaded.config.has_validation and terms.on == "validation":
            problems.append(f"{contender.label}: there is no validation part to choose by; set split.val_size")
    if terms.reference is not None and terms.reference not in labels:
        problems.append(f"reference={terms.reference!r}: is none of {', '.join(labels)}")
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return replace(terms, seed=_base(contenders).loaded.config.seed)


def _begin(
    store: RunStore,
    contenders: list[ComparisonEntry],
    terms: ComparisonOptions,
    repeats: Repeats,
    prepared: Prepared | None,
    seconds: float,
) -> Run:
    """The comparison's run: what it will do, and on which data and split, stands in it before anything is done."""
    config = resolve_config(_base(contenders).loaded)
    for name in ("model", "models", "training", "tuning"):
        config.pop(name, None)
    config["models"] = []
    for contender in contenders:
        own = resolve_config(contender.loaded)
        config["models"].append({"label": contender.label, **own["model"], "training": own["training"]})
    source = Path(config["data"]["source"]).name.split(".")[0] or "data"
    compared = [
        {
            "label": c.label,
            "seed": seed,
            "fold": fold,
            "given": c.run is not None,
            "run_id": c.run.id if c.run else None,
        }
        for fold in range(repeats.n_folds or 1)
        for c in contenders
        for seed in _seeds(c, repeats)
    ]
    facts: dict[str, Any] = {
        "timings": {"prepare": seconds},
        "labels": [contender.label for contender in contenders],
        "compared": compared,
        "comparison": {"terms": asdict(terms), "repeats": asdict(repeats)},
    }
    existing = contenders[0].run
    parts = None
    if prepared is not None:
        parts = prepared.split.parts
        facts |= prepared.record
    elif existing is not None:
        parts = existing.split_parts()
        facts |= {name: existing.metadata[name] for name in ("data", "split")}
    return Run.create(store.root, f"compare-{source}"[:60], "compare", config, parts, facts)


def _base(contenders: list[ComparisonEntry]) -> ComparisonEntry:
    """Whose config says what is read and how it is split: that of a run may be of other paths, or of another day."""
    return next((contender for contender in contenders if contender.run is None), contenders[0])


def _engine(contenders: list[ComparisonEntry]) -> EngineConfig | None:
    """What the configs compute on: one engine for all. What runs were made on may be no more."""
    return next((c.loaded.config.engine for c in contenders if c.run is None and c.loaded.config.engine), None)


def _seeds(contender: ComparisonEntry, repeats: Repeats) -> Sequence[int | None]:
    draws = "seed" in model_class(contender.loaded.config.model.name).parameters
    return repeats.seeds if draws and repeats.seeds else [None]


# ---- what is done


def _go_on(run: Run, store: RunStore, contenders: list[ComparisonEntry], prepared: Prepared | None) -> None:
    plan = run.metadata["comparison"]
    terms, repeats = (
        ComparisonOptions(**plan["terms"]),
        Repeats(**plan["repeats"] | {"seeds": tuple(plan["repeats"]["seeds"])}),
    )
    with recording(run):
        missing = [entry for entry in run.metadata["compared"] if not _is_done(store, entry)]
        if missing:
            prepared = prepared or prepare_for(_of_fold(_base(contenders), repeats, 0), run)[0]
            _fit_missing(run, store, missing, {contender.label: contender for contender in contenders}, prepared)
        runs: dict[str, list[Run]] = {contender.label: [] for contender in contenders}
        for entry in run.metadata["compared"]:
            runs[entry["label"]].append(store.resolve(entry["run_id"]))
        with run.timed("judge"):
            document = compare_runs(runs, terms)
        document["refit"] = refit_best(runs[document["best"]][0], prepared, terms) if repeats.refit else None
        text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        run.save_file("comparison.json", text.encode())
        run.metadata["best"] = document["best"]


def _fit_missing(
    run: Run, store: RunStore, missing: list[dict[str, Any]], contenders: dict[str, ComparisonEntry], prepared: Prepared
) -> None:
    """Fit the models that are not fitted yet; data are read once, and split once for each fold."""
    plan = run.metadata["comparison"]
    repeats, with_test = Repeats(**plan["repeats"]), plan["terms"]["on"] == "test"
    failed: list[tuple[str, RecctlError]] = []
    fold, of_fold = 0, prepared
    for entry in missing:
        loaded = _of_fold(contenders[entry["label"]], repeats, entry["fold"])
        if entry["seed"] is not None:
            loaded = with_values(loaded, {("model", "params", "seed"): entry["seed"]}, CHECKS)
        if entry["fold"] != fold:
            fold, of_fold = entry["fold"], split_dataset(prepared.dataset, None, prepared.record["data"], loaded.config)
        try:
            _fit_one(run, store, entry, loaded, of_fold, with_test)
        except RecctlError as error:
            progress.notice(f"{entry['label']} failed: {error}")
            failed.append((entry["label"], error))
        of_fold = replace(of_fold, notes=[])  # told once
    if failed:
        told = [f"{label}: {error}" for label, error in failed]
        told.append(f"the others are kept; go on with: {resume_command(run)}")
        of_files = all(isinstance(error, ArtifactError) for _, error in failed)
        raise (ArtifactError if of_files else TrainingError)("\n".join(told))


def _is_done(store: RunStore, entry: dict[str, Any]) -> bool:
    if entry["run_id"] is None:
        return False
    try:
        return entry["given"] or store.resolve(entry["run_id"]).status == "complete"
    except ArtifactError:
        if entry["given"]:
            raise
        entry["run_id"] = None
        return False


def _of_fold(contender: ComparisonEntry, repeats: Repeats, fold: int) -> LoadedConfig:
    if repeats.n_folds is None:
        return contender.loaded
    val_size = contender.loaded.config.split.val_size
    split = {"strategy": "k_fold", "n_folds": repeats.n_folds, "fold": fold, "val_size": val_size}
    return with_values(contender.loaded, {("split",): split}, CHECKS)


def _fit_one(
    comparison: Run,
    store: RunStore,
    entry: dict[str, Any],
    loaded: LoadedConfig,
    prepared: Prepared,
    with_test: bool,
) -> None:
    """One model: an ordinary run of training, which is named before it begins its work."""
    progress.notice(f"fitting {entry['label']}" + "".join(_which(entry)))
    resumed = entry["run_id"] is not None
    if not resumed:
        run = begin(store, loaded, "train", prepared, comparison.metadata["timings"].get("prepare", 0.0), comparison)
        entry["run_id"] = run.id
        comparison.save_metadata()
    else:
        run = store.resolve(entry["run_id"])
        run.begin()
    with recording(run, loaded.config, resumed=resumed) as trackers:
        if with_test:
            stages.fit_and_evaluate(run, loaded.config, prepared, trackers)
            return
        model = stages.fit(run, loaded.config, prepared, trackers)
        with run.timed("evaluate_validation"):
            metrics = stages.evaluate_part(run, "validation", prepared, model, loaded.config)
        run.metadata["monitor"] = selection_metric(loaded.config, metrics)


def _which(entry: dict[str, Any]) -> Iterator[str]:
    if entry["seed"] is not None:
        yield f", seed {entry['seed']}"
    if entry["fold"]:
        yield f", fold {entry['fold']}"


def _require_parts(run: Run, prepared: Prepared) -> None:
    for what, hash_ in zip(("data", "split"), run_hashes(run), strict=True):
        if hash_ != prepared.record[what]["hash"]:
            raise DataError(
                f"{run.id} is of different {what} than the configs; its figures can't be compared with theirs"
            )
