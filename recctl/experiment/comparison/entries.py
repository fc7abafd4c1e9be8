"""The models of a comparison: collected from configs and runs, labeled, and checked for the same data and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recctl.config import LoadedConfig, flatten
from recctl.config.loading import with_values
from recctl.errors import ConfigError, DataError
from recctl.experiment.config_checks import CHECKS, config_of_model
from recctl.experiment.data import resolve_config
from recctl.experiment.run_config import load, load_run_config
from recctl.experiment.use_of_ratings import meaningless_for_model, model_of
from recctl.metrics import METRICS
from recctl.models.base.rating_metrics import is_rating_metric, why_meaningless
from recctl.runs import Run, RunStore, layout
from recctl.runs.evaluations import MeasuredData, data_reasons
from recctl.runs.store import run_hashes

# Sections of a config in which compared models may differ.
_MODEL_SECTIONS = ("model", "models", "training", "tuning", "tracking", "engine")
# What the figures of existing runs must share; their data and split are compared by hashes.
_PROTOCOL_KEYS = (
    "evaluation.n_candidates",
    "evaluation.relevance_threshold",
    "evaluation.on_unknown",
    "evaluation.exclude",
    "evaluation.gain",
)


@dataclass(frozen=True)
class ComparisonEntry:
    """One of the compared models.

    Attributes:
        label: The unique label of the model in tables.
        long_label: The label to use if several models have the same `label`.
        loaded: The config, with this model only; for a file of recommendations, with its entry of `models` only.
        run: The run, if the model is fitted already.
    """

    label: str
    long_label: str
    loaded: LoadedConfig
    run: Run | None = None

    @property
    def is_lists(self) -> bool:
        """Whether it is a file of recommendation lists, or a run that measured one."""
        models = self.loaded.config.models
        return bool(models) and models[0].recommendations is not None


def collect_entries(
    sources: Sequence[str | Path | Run], store: RunStore, overrides: Sequence[str] = (), *, on_new_data: bool = False
) -> list[ComparisonEntry]:
    """Collect the models of configs (files) and runs (references), each with a unique label.

    Args:
        sources: Configs and runs.
        store: The runs directory.
        overrides: Settings for all configs.
        on_new_data: Whether they are runs whose models are compared on new data, so that their own may differ.

    Raises:
        ConfigError: There are fewer than two models, or their configs differ in more than the model and its training.
        DataError: The runs have different data or splits.
    """
    entries = [collected for source in sources for collected in _entries_of_source(source, store, overrides)]
    if on_new_data:
        not_fitted = [collected.label for collected in entries if collected.run is None]
        if not_fitted:
            raise ConfigError(f"--data and --test-of compare runs; {', '.join(not_fitted)}: train first")
    elif overrides and all(collected.run for collected in entries):
        raise ConfigError("--set applies to configs; the settings of a run can't be changed")
    if len(entries) < 2:
        raise ConfigError("compare needs two models: configs, a config with several models:, or runs")
    if not on_new_data:
        _require_same_settings(entries)
    return with_unique_labels(entries)


def entries_of_config(loaded: LoadedConfig) -> Iterator[ComparisonEntry]:
    """Yield the models of a config with `models:`."""
    for position, model in enumerate(loaded.config.models):
        if model.recommendations is not None:
            yield _entry_of_lists(loaded, position)
            continue
        single = config_of_model(loaded.config, position)
        values: dict[tuple[str | int, ...], Any] = {
            ("model",): single.model.model_dump(),
            ("training",): single.training.model_dump(),
            ("evaluation", "metrics"): single.evaluation.metrics,
            ("models",): [],
        }
        if single.tuning is not None:
            values["tuning", "space"] = single.tuning.space
        given_params = loaded.given["models"][position].get("params") or {}
        params = ", ".join(f"{parameter_name}={value}" for parameter_name, value in given_params.items())
        label = model.label or model.name
        yield ComparisonEntry(label, f"{model.name}({params})", with_values(loaded, values, CHECKS))


def _entry_of_lists(loaded: LoadedConfig, position: int) -> ComparisonEntry:
    entry = loaded.config.models[position]
    only_this = with_values(loaded, {("models",): [loaded.given["models"][position]]}, CHECKS)
    return ComparisonEntry(entry.label or entry.name, f"{entry.name} ({entry.recommendations})", only_this)


def require_same_parts(first: Run, second: Run) -> None:
    """Check that two runs were evaluated on the same users and items, before anything is written.

    Raises:
        DataError: Their data or splits differ.
    """
    reasons = list(data_reasons(MeasuredData("test", *run_hashes(first)), MeasuredData("test", *run_hashes(second))))
    if reasons:
        raise DataError(
            f"{first.id} and {second.id} can't be compared: {'; '.join(reasons)}; fit one of them on the data and the "
            f"split of the other, or compare them on new data: recctl compare {first.id} {second.id} --data FILE"
        )


def _entries_of_source(
    source: str | Path | Run, store: RunStore, overrides: Sequence[str]
) -> Iterator[ComparisonEntry]:
    if isinstance(source, Run):
        yield _entry_of_run(source)
    elif Path(source).suffix not in (".yaml", ".yml"):
        yield _entry_of_run(store.resolve_model(str(source)))
    else:
        loaded = _add_coverage(load(Path(source), overrides))
        if loaded.config.models:
            yield from entries_of_config(loaded)
        else:
            model_name = loaded.config.model.name
            yield ComparisonEntry(model_name, f"{model_name} ({Path(source).stem})", loaded)


def _entry_of_run(run: Run) -> ComparisonEntry:
    loaded = load_run_config(run)
    if run.metadata.get("kind") == "tune" and loaded.config.models:
        loaded = load_run_config(run, file_name=layout.BEST_CONFIG)
    models = loaded.config.models
    label = (models[0].label or models[0].name) if models else loaded.config.model.name
    return ComparisonEntry(label, run.id, loaded, run)


def _add_coverage(loaded: LoadedConfig) -> LoadedConfig:
    """Add coverage to the metrics of rankings: accuracy alone hides that a model recommends few items."""
    section = loaded.config.evaluation
    ranks_items = any(METRICS[metric_name].task == "ranking" for metric_name in section.metrics)
    if not ranks_items or section.n_candidates or "coverage" in section.metrics:
        return loaded
    return with_values(loaded, {("evaluation", "metrics"): [*section.metrics, "coverage"]}, CHECKS)


def with_unique_labels(entries: list[ComparisonEntry]) -> list[ComparisonEntry]:
    """Use long labels where short ones are equal, and number those that are equal too."""
    label_counts = Counter(entry.label for entry in entries)
    labels = [entry.label if label_counts[entry.label] == 1 else entry.long_label for entry in entries]
    label_counts = Counter(labels)
    numbers: Counter[str] = Counter()
    labeled = []
    for entry, label in zip(entries, labels, strict=True):
        numbers[label] += 1
        if label_counts[label] > 1:
            label = f"{label} #{numbers[label]}"
        labeled.append(replace(entry, label=label))
    return labeled


def _require_same_settings(entries: list[ComparisonEntry]) -> None:
    runs = [entry.run for entry in entries if entry.run]
    for run in runs[1:]:
        require_same_parts(runs[0], run)
    first_entry = entries[0]
    expected = _shared_settings(first_entry.loaded)
    for entry in entries[1:]:
        actual = _shared_settings(entry.loaded)
        config_keys = sorted(expected.keys() | actual.keys())
        if _differ_in_rating_metrics_only(first_entry, entry):
            config_keys.remove("evaluation.metrics")
        if first_entry.is_lists or entry.is_lists:
            # Its default depends on the model; the data are read once, as the models need them.
            config_keys = [config_key for config_key in config_keys if config_key != "data.implicit"]
        # Configs must agree in everything but the model. Runs may come from other paths or versions of a config.
        if first_entry.run or entry.run:
            config_keys = [config_key for config_key in config_keys if config_key in _PROTOCOL_KEYS]
        problems = [
            f"{config_key} is {expected.get(config_key)!r} in {_origin(first_entry)}, "
            f"{actual.get(config_key)!r} in {_origin(entry)}; "
            "models are compared on the same data, split and evaluation protocol"
            for config_key in config_keys
            if expected.get(config_key) != actual.get(config_key)
        ]
        if problems:
            raise ConfigError(*problems)


def require_meaningful_for_all(entries: Sequence[ComparisonEntry], metric: str | None) -> None:
    """Check that a requested metric means something for every model.

    Raises:
        ConfigError: It is an error of predicted ratings, and the scores of some models are no ratings.
    """
    if metric is None:
        return
    configs = [entry.loaded.config for entry in entries if not entry.is_lists]
    refused = [model_of(config) for config in configs if meaningless_for_model(config, [metric])]
    if refused:
        raise ConfigError(*dict.fromkeys(f"--metric {metric}: {why_meaningless(model)}" for model in refused))


def _origin(entry: ComparisonEntry) -> str:
    return entry.run.id if entry.run else f"{entry.loaded.origin} ({entry.label})"


def _differ_in_rating_metrics_only(first: ComparisonEntry, second: ComparisonEntry) -> bool:
    """Whether the metrics differ in errors of predicted ratings only, because one of the models predicts none."""
    if first.is_lists or second.is_lists:
        # The metrics of lists are checked by name.
        return False
    first_config = first.loaded.config
    second_config = second.loaded.config
    if model_of(first_config).predicts_ratings == model_of(second_config).predicts_ratings:
        return False
    ranking_metrics = [
        [metric for metric in config.evaluation.metrics if not is_rating_metric(metric)]
        for config in (first_config, second_config)
    ]
    return ranking_metrics[0] == ranking_metrics[1]


def _shared_settings(loaded: LoadedConfig) -> dict[str, Any]:
    """The settings that all compared models must have in common, by dotted key."""
    sections = resolve_config(loaded)
    settings = flatten(
        {section_name: section for section_name, section in sections.items() if section_name not in _MODEL_SECTIONS}
    )
    # Segments are no part of the protocol: what all models have is compared.
    return {
        key: value
        for key, value in settings.items()
        if key != "evaluation.segments" and not key.startswith("data.users")
    }
