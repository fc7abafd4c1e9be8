"""Comparison of existing models on the same new interactions, whatever data each was fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from recctl import progress
from recctl.config import Config
from recctl.data.dataset import InteractionDataset
from recctl.errors import ConfigError, DataError
from recctl.evaluation.eval_users import KnownPairs, count_pairs
from recctl.evaluation.segments import Segment, segment_records
from recctl.experiment import stages, stored_models
from recctl.experiment.comparison.result import MeasuredRun
from recctl.experiment.lifecycle import prepare_for
from recctl.experiment.run_config import load_run_config
from recctl.experiment.secondary_data import read_secondary
from recctl.experiment.segments import AttributeTables, counts_of_models, make_segments
from recctl.metrics import MetricKey
from recctl.models.base import Recommender
from recctl.runs import Run, RunStore
from recctl.runs.evaluations import EvaluationRecord, MeasuredData, MeasuredModel
from recctl.runs.store import run_hashes

# Metrics whose values depend on the size of a model's own catalog, so that models of different catalogs differ in them.
_CATALOG_METRICS = ("auc", "coverage", "gini")


@dataclass(frozen=True)
class NewData:
    """What models are compared on. The names of the attributes are keys of metadata.json.

    Attributes:
        file: A file, read as the data of the first run; None: the test part of a run.
        test_of: A reference to this run.
        overrides: In what the file differs from these data, or where the data of the run are now.
        require_unseen: Refuse pairs that a model was fitted on.
    """

    file: str | None = None
    test_of: str | None = None
    overrides: tuple[str, ...] = ()
    require_unseen: bool = False


@dataclass(frozen=True, eq=False)
class NewMeasurements:
    """The figures of models on new data.

    Attributes:
        runs: By label.
        measured: What was measured.
        n_interactions: Number of interactions in it.
        n_fitted_pairs: By label, how many of its pairs the model was fitted on; they are excluded for all models.
    """

    runs: dict[str, MeasuredRun]
    measured: MeasuredData
    n_interactions: int
    n_fitted_pairs: dict[str, int]


def measure_on_new_data(
    runs: Mapping[str, Run], store: RunStore, new_data: NewData, metric: str | None
) -> NewMeasurements:
    """Evaluate the models of runs on the same interactions.

    The candidates are the items of all models: an item that a model does not know is a miss for it. What any of the
    models was fitted on is excluded for all of them, unless the protocol of the first run excludes nothing. It is
    otherwise that protocol.

    Args:
        runs: By label; their newest models are compared.
        store: Where `new_data.test_of` is found.
        new_data: What is measured.
        metric: A metric that must be among the measured ones, such as `ndcg@10`.

    Raises:
        DataError: The data can't be read, or a model was fitted on some of them although this is not allowed.
    """
    models = {label: stored_models.load_version(run) for label, run in runs.items()}
    first_run = next(iter(runs.values()))
    dataset, measured = _read(first_run, next(iter(models.values())), store, new_data)
    loaded = load_run_config(first_run)
    config = _protocol(loaded.config, metric, _have_same_items(list(models.values())))
    excluded = [KnownPairs.of_model(model) for model in models.values()]
    n_fitted_pairs = dict.fromkeys(models, 0)
    if config.evaluation.exclude == "none":
        # Repeats are what is measured: a pair that a model was fitted on may be a new interaction.
        excluded = []
    else:
        n_fitted_pairs = {label: count_pairs(dataset, KnownPairs.of_model(model)) for label, model in models.items()}
    repeats = [label for label, run in runs.items() if new_data.file is None and _is_newer(dataset, run)]
    _report_fitted_pairs(n_fitted_pairs, repeats, new_data)
    segments: list[Segment] = []
    if config.evaluation.segments:
        tables = AttributeTables(loaded)
        tables.require_groups(dataset)
        segments = make_segments(config, dataset, counts_of_models(list(models.values())), tables)
    results = {}
    for label, model in models.items():
        evaluation = stages.evaluate_model(model, dataset, dataset.history, config, excluded, segments)
        model_entry = runs[label].model_entry()
        evaluator = stages.make_evaluator(config, config.evaluation.metrics, config.evaluation.k_values)
        record = EvaluationRecord(
            measured,
            MeasuredModel(model_entry["version"], model_entry["sha256"], model_entry["fitted_on"]),
            # Not stored in the run: the figures depend on what the other models were fitted on.
            evaluator.settings | {"excluded_models": sorted(runs[name].model_entry()["sha256"] for name in runs)},
            datetime.now(UTC).isoformat(timespec="seconds"),
            evaluation.counts,
            evaluation.metrics,
            segment_records(segments, evaluation.segments, config.seed),
        )
        results[label] = MeasuredRun(runs[label], record, {}, evaluation.per_user, segment_tables=evaluation.segments)
    return NewMeasurements(results, measured, len(dataset), n_fitted_pairs)


def _read(
    first_run: Run, first_model: Recommender, store: RunStore, new_data: NewData
) -> tuple[InteractionDataset, MeasuredData]:
    if new_data.file is not None:
        loaded = load_run_config(first_run, new_data.overrides)
        secondary = read_secondary(loaded, new_data.file, first_model.user_vocabulary, first_model.item_vocabulary)
        return secondary.dataset, secondary.measured
    if new_data.test_of is None:
        raise ConfigError("give the data to compare on: --data FILE or --test-of RUN")
    run = store.resolve_model(new_data.test_of)
    prepared, _ = prepare_for(load_run_config(run, new_data.overrides), run)
    data_hash, split_hash = run_hashes(run)
    return prepared.split.test(prepared.dataset), MeasuredData("test", data_hash, split_hash)


def _is_newer(dataset: InteractionDataset, run: Run) -> bool:
    """Whether all interactions are later than the last that the newest model of a run was fitted on."""
    last_timestamp = run.model_entry().get("last_timestamp")
    return last_timestamp is not None and dataset.timestamps is not None and dataset.timestamps.min() > last_timestamp


def _report_fitted_pairs(n_fitted_pairs: Mapping[str, int], repeats: Sequence[str], new_data: NewData) -> None:
    """Report the pairs that models were fitted on, or refuse them for a gate.

    Args:
        n_fitted_pairs: Their number by label.
        repeats: Labels of models that were fitted on older interactions only: for them, such a pair is a user who comes
            back to an item. It is no leak, and a gate must not fail by it every night.
        new_data: What is measured.
    """
    listed = [f"{label} was fitted on {n_pairs:,}" for label, n_pairs in n_fitted_pairs.items() if n_pairs]
    if not listed:
        return
    message = f"of the pairs to compare on, {'; '.join(listed)}"
    has_leak = any(n_pairs and label not in repeats for label, n_pairs in n_fitted_pairs.items())
    if new_data.require_unseen and has_leak:
        raise DataError(
            f"{message}; a gate needs interactions that no model has seen, such as those after the last that the older "
            "model was fitted on: recctl train CONFIG --test-since RUN"
        )
    progress.notice(f"{message}; they are excluded for all models")


def _have_same_items(models: Sequence[Recommender]) -> bool:
    first_ids = set(models[0].item_vocabulary.ids.tolist())
    return all(set(model.item_vocabulary.ids.tolist()) == first_ids for model in models[1:])


def _protocol(config: Config, metric: str | None, same_items: bool) -> Config:
    """The config with the settings under which models of different training data can be compared."""
    section = config.evaluation
    metric_names = list(section.metrics)
    k_values = list(section.k_values)
    if metric is not None:
        metric_key = MetricKey.parse(metric)
        if not metric_key.is_known:
            raise ConfigError(f"--metric {metric!r}: unknown; `recctl config metrics` lists metrics")
        metric_names.append(metric_key.name)
        if metric_key.k is not None:
            k_values.append(metric_key.k)
    if not same_items:
        left_out = [name for name in metric_names if name in _CATALOG_METRICS]
        metric_names = [name for name in metric_names if name not in _CATALOG_METRICS]
        if left_out:
            progress.notice(f"the models know different items: {', '.join(left_out)} can't be compared and is left out")
    if section.n_candidates is not None:
        progress.notice("n_candidates does not apply: the models may know different items to sample from")
    updated = section.model_copy(
        update={
            "metrics": list(dict.fromkeys(metric_names)),
            "k_values": sorted(set(k_values)),
            "exclude": "none" if section.exclude == "none" else "known",
            "n_candidates": None,
        }
    )
    return config.model_copy(update={"evaluation": updated})
