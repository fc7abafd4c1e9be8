"""What the runs of a comparison come to: one document of plain values, and its words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from recctl.errors import ArtifactError, ConfigError
from recctl.evaluation.paired_comparison import MetricEstimate, PairedComparison, compare_paired
from recctl.evaluation.pareto import pareto_front
from recctl.evaluation.significance import N_RESAMPLES, Test
from recctl.metrics import MetricKey
from recctl.runs import Run
from recctl.suggest import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_FIGURES = tuple(field.name for field in fields(MetricEstimate))


@dataclass(frozen=True)
class ComparisonOptions:
    """How models are judged.

    Attributes:
        on: The part whose figures are reported: "validation" or "test"; None: test, where that is measured.
        metric: What models are chosen and told apart by; what their runs monitor if None.
        reference: The label the others are held against; the best if None.
        confidence: Of the intervals; p below the rest of 1 tells models apart.
        test: What p is of.
        n_resamples: Of intervals and randomisation tests.
        seed: Of the resamples.
    """

    on: str | None = None
    metric: str | None = None
    reference: str | None = None
    confidence: float = 0.95
    test: Test = "randomisation"
    n_resamples: int = N_RESAMPLES
    seed: int = 42


def compare_runs(runs: Mapping[str, Sequence[Run]], terms: ComparisonOptions) -> dict[str, Any]:
    """Compare models by what their runs have measured and kept.

    Several runs of a model (seeds, folds) are averaged user by user before anything else: a user stays one observation,
    however often it was asked. Their spread is told and no test is made of it, as folds share most of what they are
    fitted on.

    Args:
        runs: By label, the runs of each model.
        terms: How they are judged.

    Returns:
        The document that comparison.json holds.

    Raises:
        ArtifactError: A run lacks the figures of a part.
        ConfigError: They have no such metric in common.
    """
    on = terms.on or "test"
    metric = _metric(runs, terms.metric, on)
    mode = MetricKey.parse(metric).mode
    sign = MetricKey.parse(metric).sign
    validation = {label: _mean(_values(some, "validation", metric)) for label, some in runs.items()}
    reported = {label: _mean(_values(some, on, metric)) for label, some in runs.items()}
    chosen_on = "validation" if None not in validation.values() else on
    scores = validation if chosen_on == "validation" else reported
    best = max(scores, key=lambda label: sign * (scores[label] or 0.0))
    reference = terms.reference or best

    tables = {label: _averaged([run.per_user(on) for run in some]) for label, some in runs.items()}
    shared = _shared_metrics(runs, on)
    if metric not in set.intersection(*(set(table) for table in tables.values())):
        raise ArtifactError(
            f"{metric} of {on} has no values of users in every run, so that chance can't be told; "
            f"measure it again: recctl evaluate RUN --on {on}"
        )
    found = compare_paired(
        tables,
        reference,
        [metric, *(key for key in shared if key != metric)],
        seed=terms.seed,
        confidence=terms.confidence,
        test=terms.test,
        n_resamples=terms.n_resamples,
    )
    models = [
        {
            "label": label,
            **_facts(some),
            "validation": validation[label],
            "metrics": _metrics(label, some, on, found),
        }
        for label, some in runs.items()
    ]
    models.sort(key=lambda model: -sign * model["metrics"][metric]["value"])
    _mark_fronts(models, metric, sign)
    document = {
        "on": on,
        "metric": metric,
        "mode": mode,
        "best": best,
        "chosen_on": chosen_on,
        "reference": reference,
        "confidence": terms.confidence,
        "test": terms.test,
        "correction": "holm, over the models by each metric",
        "n_resamples": terms.n_resamples,
        "n_users": found.n_users,
        "left_out": found.left_out,
        "compared": models,
    }
    return document | {"words": words(document), "worse": worse_than_reference(document)}


# ---- figures


def _metric(runs: Mapping[str, Sequence[Run]], asked: str | None, on: str) -> str:
    every = [run for some in runs.values() for run in some]
    shared = _shared_metrics(runs, on)
    if asked is not None:
        if asked not in shared:
            raise ConfigError(f"--metric {asked!r}: not measured by every model{did_you_mean(asked, shared)}")
        return asked
    wanted = {run.metadata["monitor"]["metric"] for run in every if "monitor" in run.metadata}
    if len(wanted) != 1 or not wanted <= set(shared):
        told = ", ".join(sorted(wanted)) or "none"
        raise ConfigError(f"the runs monitor different metrics ({told}); say by which to compare: --metric {shared[0]}")
    return str(wanted.pop())


def _shared_metrics(runs: Mapping[str, Sequence[Run]], part: str) -> list[str]:
    every = [run.metrics().get(part, {}) for some in runs.values() for run in some]
    shared = [key for key in every[0] if MetricKey.parse(key).is_known and all(key in values for values in every)]
    if not shared:
        lacking = [run.id for some in runs.values() for run in some if part not in run.metrics()]
        raise ArtifactError(f"{', '.join(lacking) or 'the runs'}: no metrics of {part} in common: recctl evaluate RUN")
    return shared


def _values(runs: Sequence[Run], part: str, metric: str) -> list[float | None]:
    return [run.metrics().get(part, {}).get(metric) for run in runs]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _averaged(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """One row for each user: the mean over the tables that have the user; errors by the ratings they are of."""
    import pandas as pd

    if len(tables) == 1:
        return tables[0]
    table = pd.concat(tables, ignore_index=True)
    keys = [MetricKey.parse(str(column)) for column in table]
    errors = [str(key) for key in keys if key.is_known and key.metric.of == "errors"]
    count = table["n_rated"] if "n_rated" in table else table["n_relevant"]
    for key in errors:
        table[key] = table[key] ** (2 if key == "rmse" else 1) * count
    table["__count"] = count
    users = table.groupby("user_id")
    averaged = users.mean()
    for key in errors:
        mean = users[key].sum(min_count=1) / users["__count"].sum()
        averaged[key] = mean ** (0.5 if key == "rmse" else 1)
    return averaged.drop(columns="__count").reset_index()


def _metrics(label: str, runs: Sequence[Run], on: str, found: PairedComparison) -> dict[str, dict[str, Any]]:
    """Each metric of a model: its figure, or its value alone where it is no function of users' values."""
    metrics = {}
    for key in [*found.figures, *found.without]:
        values = [value for value in _values(runs, on, key) if value is not None]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        if key in found.figures:
            figure: dict[str, Any] = asdict(found.figures[key][label])
        else:
            figure = dict.fromkeys(_FIGURES) | {"value": _mean(values)}
        metrics[key] = plain(figure) | {"spread": spread}
    return metrics


def plain(figure: Mapping[str, float | None]) -> dict[str, float | None]:
    """A figure as JSON has it: what is not known is null."""
    return {name: None if value is None or math.isnan(value) else value for name, value in figure.items()}


# ---- trade-offs


def _facts(runs: Sequence[Run]) -> dict[str, Any]:
    first: list[dict[str, Any]] = [next(iter(run.metadata["models"]), {}) for run in runs]
    return {
        "model": first[0].get("model"),
        "runs": [run.id for run in runs],
        "fit_seconds": _mean([run.metadata.get("timings", {}).get("fit") for run in runs]),
        "model_bytes": _mean([entry.get("bytes") for entry in first]),
    }


def _mark_fronts(models: list[dict[str, Any]], metric: str, sign: int) -> None:
    """Say of each model on which fronts of accuracy against something else it is."""
    at_same_k = str(MetricKey("coverage", MetricKey.parse(metric).k))
    covering = [key for key in models[0]["metrics"] if MetricKey.parse(key).name == "coverage"]
    coverage = at_same_k if at_same_k in covering else next(iter(covering), None)
    accuracy = {model["label"]: sign * model["metrics"][metric]["value"] for model in models}
    for model in models:
        model["coverage"] = model["metrics"][coverage]["value"] if coverage else None
        model["front"] = []
    for name, key, direction in (
        ("coverage", "coverage", 1),
        ("speed", "fit_seconds", -1),
        ("size", "model_bytes", -1),
    ):
        others = {m["label"]: None if m[key] is None else direction * m[key] for m in models}
        on_it = pareto_front(accuracy, others)
        for model in models:
            model["front"] += [name] if model["label"] in on_it else []


# ---- words


def worse_than_reference(document: Mapping[str, Any]) -> list[str]:
    """Of each model that is worse than the reference by more than chance (`p_holm < 1 - confidence`), a sentence."""
    metric, mode, level = document["metric"], document["mode"], 1 - document["confidence"]
    worse = []
    for model in document["compared"]:
        figure = model["metrics"][metric]
        if figure["p_holm"] is not None and figure["p_holm"] < level and (figure["difference"] < 0) == (mode == "max"):
            worse.append(_told_apart(model, document["reference"], metric, mode, level))
    return worse


def words(document: Mapping[str, Any]) -> list[str]:
    """What a person should take away, a sentence each."""
    metric, on, reference = document["metric"], document["on"], document["reference"]
    level = 1 - document["confidence"]
    others = [model for model in document["compared"] if model["label"] != reference]
    said = [f"{_told_apart(model, reference, metric, document['mode'], level)}." for model in others]
    if document["chosen_on"] == on and reference == document["best"] and len(document["compared"]) > 1:
        said.append(
            f"{reference} was chosen by these same users of {on}: its lead is flattered by the choice; "
            "what it is worth, only a part that chose nothing can say."
        )
    for label, count in document["left_out"].items():
        if count:
            said.append(f"{label}: {count:,} users that another model lacks are left out of all figures.")
    return said


def _told_apart(model: Mapping[str, Any], reference: str, metric: str, mode: str, level: float) -> str:
    figure, label = model["metrics"][metric], model["label"]
    p = f"p = {figure['p_holm']:.2g}"
    if not figure["p_holm"] < level:
        return f"{reference} and {label} can't be told apart by {metric} ({p})"
    better = (figure["difference"] > 0) == (mode == "max")
    first, second = (label, reference) if better else (reference, label)
    sign = 1 if figure["difference"] > 0 else -1
    low, high = sorted(sign * figure[end] for end in ("difference_low", "difference_high"))
    by = f"{abs(figure['difference']):.4f} ({low:.4f} to {high:.4f})"
    return f"{first} is better than {second} by {by} in {metric} ({p})"
