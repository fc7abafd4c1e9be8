"""The result of a comparison: a document of plain values, with sentences that summarize it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from recctl.arguments import at_least, between, check_fields, one_of, optional, text
from recctl.errors import ArtifactError, ConfigError, DataError
from recctl.evaluation.paired_comparison import MetricEstimate, PairedComparison, WindowEstimate, compare_windows
from recctl.evaluation.pareto import pareto_front
from recctl.evaluation.significance import N_RESAMPLES, Test
from recctl.experiment.comparison import segments
from recctl.experiment.comparison.backtest import add_windows
from recctl.metrics import MetricKey
from recctl.models.base.rating_metrics import is_rating_metric, models_of_ratings
from recctl.models.registry import model_class, model_names
from recctl.runs import Run, layout
from recctl.runs.evaluations import EvaluationRecord, comparability
from recctl.runs.rating_models import run_predicts_ratings
from recctl.suggest import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

# Below, the percentiles of resampled means are no intervals: of ten users with equal differences, all resamples agree.
MIN_USERS_TO_DECIDE = 10

_ESTIMATE_KEYS = tuple(estimate_field.name for estimate_field in fields(MetricEstimate))
_WINDOW_KEYS = tuple(estimate_field.name for estimate_field in fields(WindowEstimate))
# Costs that are traded off against accuracy: the name of the Pareto front, the key of a model, and its direction.
_TRADE_OFFS = (("coverage", "coverage", 1), ("speed", "fit_seconds", -1), ("size", "model_bytes", -1))


@dataclass(frozen=True)
class ComparisonOptions:
    """How models are compared. The names of the attributes are keys of metadata.json.

    Attributes:
        on: The part whose metrics are reported, "validation" or "test"; None: test if all runs have it.
        metric: The metric that selects the best model and that differences are tested for; by default the one that the
            runs monitor.
        reference: The label of the model that the others are compared with; the best one if None.
        confidence: The level of the confidence intervals. Differences are significant if p < 1 - confidence.
        test: The significance test.
        n_resamples: Number of resamples of intervals and randomization tests.
        seed: Seed of the resamples.
    """

    on: str | None = None
    metric: str | None = None
    reference: str | None = None
    confidence: float = 0.95
    test: Test = "randomisation"
    n_resamples: int = N_RESAMPLES
    seed: int = 42

    def __post_init__(self) -> None:
        check_fields(
            self,
            on=optional(one_of("validation", "test")),
            metric=optional(text),
            reference=optional(text),
            confidence=between(0, 1),
            test=one_of(*get_args(Test)),
            n_resamples=at_least(1),
            seed=at_least(0),
        )


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """The figures by which the model of a run is compared.

    Attributes:
        run: The run.
        record: What was measured, and how.
        validation: Metrics on validation, by which models are chosen; empty if their validation parts differ.
        table: The metrics of each user.
        window: Position of the window of a backtest.
        segment_tables: Those of each user in each segment, by its key.
    """

    run: Run
    record: EvaluationRecord
    validation: Mapping[str, float]
    table: pd.DataFrame
    window: int = 0
    segment_tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def stored(cls, run: Run, part: str, window: int = 0) -> MeasuredRun:
        """Return the stored figures of a run on a part.

        Raises:
            ArtifactError: The run lacks them.
        """
        record = run.evaluation(part)
        if record is None:
            raise ArtifactError(f"{run.id}: was not evaluated on {part}; run `recctl evaluate {run.id} --on {part}`")
        # Lists that were made elsewhere are no candidates for the choice: they can't be kept.
        validation = {} if run.is_lists else run.metrics().get("validation", {})
        return cls(run, record, validation, run.per_user_of(record), window, run.segment_tables(record))


def compare_runs(
    runs: Mapping[str, Sequence[Run]],
    options: ComparisonOptions,
    windows: Sequence[Mapping[str, Any]] = (),
    window_of: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Compare models by the stored metrics of their runs; see `compare_measured`.

    Args:
        runs: The runs of each model, by label.
        options: How models are compared.
        windows: The windows of a backtest.
        window_of: The position of the window of each run, by its id.

    Raises:
        ArtifactError: A run lacks the metrics of a part.
    """
    part = options.on or "test"
    positions = window_of or {}
    measured = {
        label: [MeasuredRun.stored(run, part, positions.get(run.id, 0)) for run in some_runs]
        for label, some_runs in runs.items()
    }
    return compare_measured(measured, part, options, windows=windows)


def compare_measured(
    runs: Mapping[str, Sequence[MeasuredRun]],
    compared_part: str,
    options: ComparisonOptions,
    *,
    same_training: bool = True,
    windows: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Compare models by figures of their runs.

    Several runs of a model (seeds, folds) are first averaged for each user, so that a user remains one observation
    however often it was evaluated. Their spread is reported but not tested, because the training data of folds overlap.
    In a backtest this is done in each window, and the figure of a model is the mean over windows.

    Args:
        runs: The figures of the runs of each model, by label.
        compared_part: What they were measured on: a part, or the label of a file.
        options: How models are compared.
        same_training: Whether the models are expected to have the same training data, without which no significance is
            claimed; False for models that are compared as they are, on data that is new to all of them.
        windows: The windows of a backtest, as `backtest.plan_windows` returns them.

    Returns:
        The document that comparison.json stores.

    Raises:
        DataError: The figures can't be compared, because data, split or protocol differ.
        ConfigError: The runs have no such metric in common.
    """
    _require_comparable(runs)
    unequal_training = _unequal_training(runs) if same_training else []
    metric = _select_metric(runs, options.metric)
    metric_key = MetricKey.parse(metric)
    validation_scores = {
        label: _mean([measured.validation.get(metric) for measured in some_runs]) for label, some_runs in runs.items()
    }
    candidates = [label for label, some_runs in runs.items() if not some_runs[0].run.is_lists] or list(runs)
    scores = {label: validation_scores[label] for label in candidates}
    chosen_on = "validation"
    if None in scores.values():  # some run has no validation part
        chosen_on = compared_part
        scores = {label: _mean(_values(runs[label], metric)) for label in candidates}
    # Chosen on validation where there is one: choosing on test would report the luck of the best.
    best_label = max(scores, key=lambda label: metric_key.sign * (scores[label] or 0.0))
    reference = options.reference or best_label
    comparison = _compare_per_user(runs, compared_part, metric, reference, options)
    models = []
    for label, some_runs in runs.items():
        model = {"label": label} | _costs([measured.run for measured in some_runs])
        model["fitted_on"] = some_runs[0].record.model.fitted_on
        model["validation"] = validation_scores[label]
        model["metrics"] = _metric_records(label, some_runs, comparison)
        if unequal_training:
            _remove_significance(model["metrics"])
        models.append(model)
    models.sort(key=lambda model: -metric_key.sign * model["metrics"][metric]["value"])
    _add_pareto_fronts(models, metric_key)
    document: dict[str, Any] = {
        "on": compared_part,
        "metric": metric,
        "mode": metric_key.mode,
        "best": best_label,
        "chosen_on": chosen_on,
        "reference": reference,
        "confidence": options.confidence,
        "test": options.test,
        "correction": "holm, over the models by each metric",
        "n_resamples": options.n_resamples,
        "n_users": comparison.n_users,
        "left_out": comparison.left_out,
        "protocol": next(iter(runs.values()))[0].record.protocol,
        "unequal_training": unequal_training,
        "compared": models,
    }
    document["words"] = summary_sentences(document)
    document["words"] += _lists_sentences(document)
    document["words"] += _add_segments(document, runs, options)
    document["words"] += _history_sentences(runs, compared_part)
    document["words"] += _rating_metric_sentences(runs)
    if windows:
        add_windows(document, windows)
    document["worse"] = worse_than_reference(document)
    return document


# ---- metrics


def _require_comparable(runs: Mapping[str, Sequence[MeasuredRun]]) -> None:
    """Check that figures can be compared.

    Raises:
        DataError: Data, split or protocol differ; says which.
    """
    first_label, first_runs = next(iter(runs.items()))
    counterparts = {measured.record.data.identity: measured for measured in first_runs}
    for label, some_runs in runs.items():
        for measured in some_runs:
            # Of several folds, the one with the same split.
            counterpart = counterparts.get(measured.record.data.identity, first_runs[0])
            reasons = comparability(counterpart.record, measured.record).reasons
            if reasons:
                raise DataError(
                    f"{first_label} ({counterpart.run.id}) and {label} ({measured.run.id}) can't be compared: "
                    f"{'; '.join(reasons)}"
                )


def _unequal_training(runs: Mapping[str, Sequence[MeasuredRun]]) -> list[str]:
    """What each model was fitted on, if they differ in the parts; else empty."""
    fitted_on = {
        label: some_runs[0].record.model.fitted_on for label, some_runs in runs.items() if not some_runs[0].run.is_lists
    }
    if len(set(fitted_on.values())) <= 1:
        return []
    return [f"{label} was fitted on {part}" for label, part in fitted_on.items()]


def _remove_significance(metrics: dict[str, dict[str, Any]]) -> None:
    """Remove p-values: a difference may be due to the training data."""
    for record in metrics.values():
        record["p"] = None
        record["p_holm"] = None


def _select_metric(runs: Mapping[str, Sequence[MeasuredRun]], requested: str | None) -> str:
    shared = _shared_metrics(runs)
    if requested is not None:
        if requested not in shared:
            raise ConfigError(f"--metric {requested!r}: not measured for every model{did_you_mean(requested, shared)}")
        return requested
    every_run = [measured.run for some_runs in runs.values() for measured in some_runs]
    monitored = {str(run.metadata["monitor"]["metric"]) for run in every_run if "monitor" in run.metadata}
    if all(run.is_lists for run in every_run):
        monitored = {str(run.metadata[layout.LISTS]["monitor"]["metric"]) for run in every_run}
    if len(monitored) > 1:
        # Models of ratings may monitor RMSE, which means nothing for the others.
        left_out = _left_out_rating_metrics(runs)
        monitored = {metric for metric in monitored if metric not in left_out}
    if len(monitored) != 1 or not monitored <= set(shared):
        listed = ", ".join(sorted(monitored)) or "none"
        raise ConfigError(f"the runs monitor different metrics ({listed}); choose one, as in --metric {shared[0]}")
    # A single one, checked above.
    return monitored.pop()


def _shared_metrics(runs: Mapping[str, Sequence[MeasuredRun]]) -> list[str]:
    every_run = [measured for some_runs in runs.values() for measured in some_runs]
    metrics_by_run = [measured.record.metrics for measured in every_run]
    left_out = _left_out_rating_metrics(runs)
    shared = [
        metric_key
        for metric_key in metrics_by_run[0]
        if MetricKey.parse(metric_key).is_known
        and metric_key not in left_out
        and all(metric_key in metrics for metrics in metrics_by_run)
    ]
    if not shared:
        run_ids = ", ".join(measured.run.id for measured in every_run)
        raise ArtifactError(
            f"{run_ids}: no metric was measured for all of them that means something for all; "
            "evaluate them with `recctl evaluate RUN -m METRIC`"
        )
    return shared


def _left_out_rating_metrics(runs: Mapping[str, Sequence[MeasuredRun]]) -> list[str]:
    """The measured errors of predicted ratings, if the scores of some model are no ratings."""
    if not _labels_without_ratings(runs):
        return []
    measured_keys = [
        metric_key for some_runs in runs.values() for measured in some_runs for metric_key in measured.record.metrics
    ]
    return [metric_key for metric_key in dict.fromkeys(measured_keys) if is_rating_metric(metric_key)]


def _labels_without_ratings(runs: Mapping[str, Sequence[MeasuredRun]]) -> list[str]:
    return [label for label, some_runs in runs.items() if not run_predicts_ratings(some_runs[0].run)]


def _values(runs: Sequence[MeasuredRun], metric: str) -> list[float | None]:
    return [measured.record.metrics.get(metric) for measured in runs]


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None unless all values are known."""
    known_values = [value for value in values if value is not None]
    # A mean over some of the seeds would compare models by different seeds.
    if not known_values or len(known_values) < len(values):
        return None
    return float(np.mean(known_values))


def _compare_per_user(
    runs: Mapping[str, Sequence[MeasuredRun]], part: str, metric: str, reference: str, options: ComparisonOptions
) -> PairedComparison:
    tables = {label: _tables_by_window(some_runs) for label, some_runs in runs.items()}
    if any(metric not in table for some_tables in tables.values() for table in some_tables):
        raise ArtifactError(
            f"{metric} on {part} has no values by user in every run, which a significance test needs; "
            f"evaluate again: recctl evaluate RUN --on {part}"
        )
    metric_keys = [metric]
    metric_keys.extend(metric_key for metric_key in _shared_metrics(runs) if metric_key != metric)
    return compare_windows(
        tables,
        reference,
        metric_keys,
        seed=options.seed,
        confidence=options.confidence,
        test=options.test,
        n_resamples=options.n_resamples,
    )


def _tables_by_window(runs: Sequence[MeasuredRun]) -> list[pd.DataFrame]:
    """The metrics of each user in each window, averaged over seeds and folds; one window without a backtest."""
    positions = sorted({measured.window for measured in runs})
    return [
        _average_tables([measured.table for measured in runs if measured.window == position]) for position in positions
    ]


def _average_tables(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Average the metrics of each user over the tables that contain the user.

    RMSE and MAE are means over ratings: the (squared) errors are averaged with the number of ratings as weights.
    """
    import pandas as pd

    if len(tables) == 1:
        return tables[0]
    all_rows = pd.concat(tables, ignore_index=True)
    metric_keys = [MetricKey.parse(str(column)) for column in all_rows]
    error_columns = [
        str(metric_key) for metric_key in metric_keys if metric_key.is_known and metric_key.metric.of == "errors"
    ]
    counts = all_rows["n_rated"] if "n_rated" in all_rows else all_rows["n_relevant"]
    for column in error_columns:
        exponent = 2 if column == "rmse" else 1
        all_rows[column] = all_rows[column] ** exponent * counts
    all_rows["__count"] = counts
    by_user = all_rows.groupby("user_id")
    averaged = by_user.mean()
    for column in error_columns:
        exponent = 2 if column == "rmse" else 1
        mean_error = by_user[column].sum(min_count=1) / by_user["__count"].sum()
        averaged[column] = mean_error ** (1 / exponent)
    return averaged.drop(columns="__count").reset_index()


def _metric_records(label: str, runs: Sequence[MeasuredRun], comparison: PairedComparison) -> dict[str, dict[str, Any]]:
    """Each metric of a model: its estimate, or the value alone for metrics that have no values by user."""
    records: dict[str, dict[str, Any]] = {}
    for metric_key in [*comparison.estimates, *comparison.without_user_values]:
        values = [value for value in _values(runs, metric_key) if value is not None]
        record: dict[str, Any]
        if metric_key in comparison.estimates:
            record = asdict(comparison.estimates[metric_key][label])
        else:
            record = dict.fromkeys(_ESTIMATE_KEYS)
            record["value"] = _mean(values)
        records[metric_key] = nan_to_none(record)
        records[metric_key]["spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        if comparison.windows:
            records[metric_key]["windows"] = _window_records(label, runs, metric_key, comparison)
    return records


def _window_records(
    label: str, runs: Sequence[MeasuredRun], metric_key: str, comparison: PairedComparison
) -> list[dict[str, Any]]:
    """The estimates of a metric in each window, or the values alone for metrics that have no values by user."""
    if metric_key in comparison.windows:
        return [nan_to_none(asdict(estimate)) for estimate in comparison.windows[metric_key][label]]
    records: list[dict[str, Any]] = []
    for position in sorted({measured.window for measured in runs}):
        values = _values([measured for measured in runs if measured.window == position], metric_key)
        record: dict[str, Any] = dict.fromkeys(_WINDOW_KEYS)
        record["value"] = _mean(values)
        records.append(record)
    return records


def nan_to_none(record: Mapping[str, float | None]) -> dict[str, float | None]:
    """Replace NaN by None, which JSON can express."""
    return {field_name: None if value is None or math.isnan(value) else value for field_name, value in record.items()}


def _add_segments(
    document: dict[str, Any], runs: Mapping[str, Sequence[MeasuredRun]], options: ComparisonOptions
) -> list[str]:
    """Add the comparison within segments to a document, if there are any; return its conclusions as sentences."""
    shared_keys, other_keys = segments.shared_segments(runs)
    sentences = []
    if shared_keys:
        metric_keys = list(document["compared"][0]["metrics"])
        document["segments"] = segments.compare_segments(
            runs, document["reference"], metric_keys, options, _average_tables
        )
        document["segment_correction"] = segments.CORRECTION
        if document["unequal_training"]:
            segments.remove_significance(document["segments"])
        sentences += segments.order_sentences(document, lambda model: _difference_sentence(model, document))
    if other_keys:
        sentences.append(
            f"{', '.join(other_keys)}: left out, because these segments were not measured alike for all models; "
            "measure them with: recctl evaluate RUN --set 'evaluation.segments=[...]'"
        )
    return sentences


# ---- costs and trade-offs


def _costs(runs: Sequence[Run]) -> dict[str, Any]:
    # Not the newest version: a refit is fitted on more data.
    first_versions: list[dict[str, Any]] = [next(iter(run.metadata["models"]), {}) for run in runs]
    costs = {
        "model": first_versions[0].get("model"),
        "runs": [run.id for run in runs],
        "fit_seconds": _mean([run.metadata.get("timings", {}).get("fit") for run in runs]),
        "model_bytes": _mean([model_entry.get("bytes") for model_entry in first_versions]),
    }
    if runs[0].is_lists:
        lists = runs[0].metadata[layout.LISTS]
        costs["lists"] = {"file": lists["file"], "sha256": lists["sha256"]}
    return costs


def _add_pareto_fronts(models: list[dict[str, Any]], metric: MetricKey) -> None:
    """Add to each model its coverage, and on which Pareto fronts of accuracy and another quantity it lies."""
    coverage = _coverage_key(list(models[0]["metrics"]), metric)
    accuracy = {model["label"]: metric.sign * model["metrics"][str(metric)]["value"] for model in models}
    for model in models:
        model["coverage"] = model["metrics"][coverage]["value"] if coverage else None
        model["front"] = []
    for trade_off, cost_key, sign in _TRADE_OFFS:
        # A model without the quantity, such as one that was not fitted here, is on no front.
        points = {
            model["label"]: (accuracy[model["label"]], sign * model[cost_key])
            for model in models
            if model[cost_key] is not None
        }
        front_labels = pareto_front(points)
        for model in models:
            if model["label"] in front_labels:
                model["front"].append(trade_off)


def _coverage_key(keys: list[str], metric: MetricKey) -> str | None:
    """The key of coverage at the cutoff of the metric, or at any cutoff."""
    at_same_cutoff = str(MetricKey("coverage", metric.k))
    candidates = [metric_key for metric_key in keys if MetricKey.parse(metric_key).name == "coverage"]
    if at_same_cutoff in candidates:
        return at_same_cutoff
    return candidates[0] if candidates else None


# ---- sentences


def gate_failure(document: Mapping[str, Any], label: str, max_drop: float | None) -> str | None:
    """Say why a model does not pass a gate against the reference of a comparison; None if it passes.

    Args:
        document: The comparison.
        label: The model.
        max_drop: The non-inferiority margin: the lower end of the interval of the difference must be above `-max_drop`
            (for metrics that are minimized, the upper end below `max_drop`). None: the model must not be significantly
            worse.
    """
    if document["n_users"] < MIN_USERS_TO_DECIDE:
        return f"{document['n_users']:,} users are too few to decide; a gate needs at least {MIN_USERS_TO_DECIDE}"
    if document["unequal_training"]:
        return f"unequal training data: {'; '.join(document['unequal_training'])}"
    if max_drop is None:
        if not document["worse"]:
            return None
        return f"{'; '.join(document['worse'])} (significance level {1 - document['confidence']:.2g})"
    metric = document["metric"]
    estimate = next(model for model in document["compared"] if model["label"] == label)["metrics"][metric]
    is_maximized = document["mode"] == "max"
    low = estimate["difference_low"] if is_maximized else -estimate["difference_high"]
    if low > -max_drop:
        return None
    interval = f"{estimate['difference_low']:+.4f} to {estimate['difference_high']:+.4f}"
    problem = (
        f"{label} differs from {document['reference']} in {metric} by {interval}, and may lose {max_drop:g} or more"
    )
    high = estimate["difference_high"] if is_maximized else -estimate["difference_low"]
    if high > -max_drop:
        problem += f"; {document['n_users']:,} users are too few to tell, as the interval includes smaller losses"
    return problem


def worse_than_reference(document: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each model that is significantly worse than the reference (`p_holm < 1 - confidence`)."""
    sentences = []
    for model in document["compared"]:
        estimate = model["metrics"][document["metric"]]
        if estimate["p_holm"] is None or not _is_significant(estimate, document):
            continue
        is_better = (estimate["difference"] > 0) == (document["mode"] == "max")
        if not is_better:
            sentences.append(_difference_sentence(model, document))
    return sentences


def summary_sentences(document: Mapping[str, Any]) -> list[str]:
    """Return the conclusions of a comparison as sentences."""
    compared_part = document["on"]
    reference = document["reference"]
    others = [model for model in document["compared"] if model["label"] != reference]
    sentences = [f"{_difference_sentence(model, document)}." for model in others]
    if document["unequal_training"]:
        sentences.append(
            f"Unequal training data: {'; '.join(document['unequal_training'])}. No significance is claimed, as the "
            "difference may be due to the data: train all of them with --refit, or none."
        )
    if document["chosen_on"] == compared_part and reference == document["best"] and len(document["compared"]) > 1:
        sentences.append(
            f"{reference} was chosen on these same users of {compared_part}, so its advantage is overestimated; "
            "evaluate it on a part that was not used for the choice."
        )
    for label, n_users in document["left_out"].items():
        if n_users:
            sentences.append(f"{label}: {n_users:,} users are excluded because another model has no results for them.")
    return sentences


def _difference_sentence(model: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    metric = document["metric"]
    label = model["label"]
    reference = document["reference"]
    estimate = model["metrics"][metric]
    if estimate["p_holm"] is None:
        return f"{label} has {estimate['value']:.4f} in {metric}, {estimate['difference']:+.4f} from {reference}"
    p_value = f"p = {estimate['p_holm']:.2g}"
    if not _is_significant(estimate, document):
        return f"{reference} and {label} do not differ significantly in {metric} ({p_value})"
    is_better = (estimate["difference"] > 0) == (document["mode"] == "max")
    winner, loser = (label, reference) if is_better else (reference, label)
    # The size of the difference, whichever model comes first and whichever direction is better.
    sign = 1 if estimate["difference"] > 0 else -1
    smallest, largest = sorted(sign * estimate[bound_key] for bound_key in ("difference_low", "difference_high"))
    difference = (
        f"{abs(estimate['difference']):.4f} ({100 * document['confidence']:.4g}% CI {smallest:.4f} to {largest:.4f})"
    )
    return f"{winner} is significantly better than {loser} in {metric}, by {difference}, {p_value}"


def _lists_sentences(document: Mapping[str, Any]) -> list[str]:
    """Say which of the compared are files of lists, and whether one of them has the best value."""
    listed = {model["label"]: model["lists"] for model in document["compared"] if "lists" in model}
    if not listed:
        return []
    sentences = [
        f"{label} is a file of recommendation lists, {Path(lists['file']).name} (SHA-256 {lists['sha256'][:12]}): it "
        "is compared, but it can't be kept as the best model."
        for label, lists in listed.items()
    ]
    # By the value on the reported part, in the order of which the models are.
    leader = document["compared"][0]["label"]
    if leader in listed and document["best"] not in listed:
        sentences.append(f"{leader} has the best {document['metric']} on {document['on']}, ahead of every model.")
    return sentences


def _history_sentences(runs: Mapping[str, Sequence[MeasuredRun]], part: str) -> list[str]:
    """Say which models had validation in their history on test, if others did not."""
    if part != "test":
        return []
    read_validation: list[str] = []
    others: list[str] = []
    for label, some_runs in runs.items():
        measured = some_runs[0]
        if measured.run.is_lists:
            continue
        if measured.record.model.fitted_on != "train" or "validation" not in measured.run.metrics():
            return []
        model_name = measured.run.model_entry()["model"]
        reads_order = model_name in model_names() and model_class(model_name).reads_order
        if reads_order and measured.record.protocol["exclude"] != "train":
            read_validation.append(label)
        else:
            others.append(label)
    if not read_validation or not others:
        return []
    sentence = (
        f"{', '.join(read_validation)} had the interactions of validation in the history on test, as in published "
        f"protocols; {', '.join(others)} answered from train alone. --refit makes the inputs equal."
    )
    return [sentence]


def _rating_metric_sentences(runs: Mapping[str, Sequence[MeasuredRun]]) -> list[str]:
    """Say which metrics are left out, because they mean nothing for some models."""
    left_out = _left_out_rating_metrics(runs)
    if not left_out:
        return []
    labels = _labels_without_ratings(runs)
    return [f"{', '.join(left_out)}: left out, because the scores of {', '.join(labels)} are not ratings."]


def without_meaningless_significance(document: dict[str, Any]) -> dict[str, Any]:
    """Remove p-values of predicted ratings from a stored comparison with models whose scores are no ratings.

    Versions before 0.3 called such differences significant.
    """
    labels = [model["label"] for model in document["compared"] if not _may_predict_ratings(model["model"])]
    affected = [metric_key for metric_key in document["compared"][0]["metrics"] if is_rating_metric(metric_key)]
    if not labels or not affected:
        return document
    for model in document["compared"]:
        for metric_key in affected:
            model["metrics"][metric_key] |= {"p": None, "p_holm": None}
    if document["metric"] in affected:
        document["worse"] = []
        document["words"] = summary_sentences({"unequal_training": [], "left_out": {}} | document)
        document["words"].append(
            f"{document['metric']} means nothing here, because the scores of {', '.join(labels)} are not ratings."
        )
    return document


def _may_predict_ratings(model_name: str) -> bool:
    """Whether a model predicts ratings, possibly with hyperparameters that the document does not hold."""
    return model_name not in model_names() or model_name in models_of_ratings()


def _is_significant(estimate: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    return bool(estimate["p_holm"] < 1 - document["confidence"])
