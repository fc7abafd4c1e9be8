"""Findings about convergence and overfitting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from recctl.diagnosis.findings import Finding, Settings
from recctl.metrics import MetricKey

Evidence = dict[str, Any]

# A loss that varies by less over all epochs is flat: the noise of mini-batches is about as large.
_FLAT_LOSS = 0.01
# A rise of the loss between epochs that exceeds noise. If a third of the epochs have one, it is not by chance.
_LOSS_RISE = 0.01
_MAX_SHARE_OF_RISES = 1 / 3
# The last decrease of the loss relative to the first: near convergence, decreases become smaller.
_CONSTANT_DECREASE = 0.5
# Gain of the last tenth of the epochs: a smaller one is not worth more epochs.
_MIN_GAIN = 0.01
# Share of items that the solver gave up: a few, with hardly any interactions, change no recommendations.
_MAX_UNSOLVED_SHARE = 0.01
# Decrease of a metric from its best value: it varies by some percent between epochs.
_OVERFITTING_DROP = 0.05
_SEVERE_DROP = 0.2
# Validation RMSE relative to train RMSE without early stopping. A well-tuned SVD of MovieLens-100K with early stopping
# has 1.35.
_MAX_ERROR_RATIO = 1.5
# Metrics below this multiple of the random baseline show that the model learned nothing.
_MIN_RATIO_TO_RANDOM = 3.0
# Discounts of DCG at ranks 1 to 1,000.
_DISCOUNTS = [1 / math.log2(rank + 1) for rank in range(1, 1001)]
_FAILURE_MESSAGES = ("diverged", "not finite", "not positive definite")


@dataclass(frozen=True)
class TrainingRecord:
    """The course of a training, and its result on validation.

    Attributes:
        epochs: The lines of history.jsonl.
        monitor: The metric that was measured on validation after each epoch.
        error: The error message of a failed run, else empty.
        metrics: Metrics on validation after training.
        n_items: Items in train; 0 if unknown.
        n_validation_users: Users in validation; 0 if unknown.
        n_validation_interactions: Interactions in validation.
        convergence: What the model reports of its solver: `Recommender.convergence`.
    """

    epochs: Sequence[Mapping[str, Any]]
    monitor: str
    error: str
    metrics: Mapping[str, float]
    n_items: int
    n_validation_users: int
    n_validation_interactions: int
    convergence: Mapping[str, float]

    @property
    def losses(self) -> list[float]:
        """The training loss of each epoch."""
        return [line["loss"] for line in self.epochs]

    @property
    def scores(self) -> list[tuple[int, float]]:
        """The measured epochs with their monitored metric, negated if lower is better."""
        sign = MetricKey.parse(self.monitor).sign
        measured = []
        for line in self.epochs:
            value = line["metrics"].get(self.monitor)
            if value is not None and math.isfinite(value):
                measured.append((line["epoch"], sign * value))
        return measured


def findings(record: TrainingRecord, settings: Settings) -> Iterator[Finding]:
    """Check whether a training converged, and whether it overfitted."""
    diverged = list(_divergence(record, settings))
    yield from diverged
    if not diverged and len(record.epochs) > 1:
        yield from _convergence(record, settings)
        yield from _overfitting(record, settings)
        yield from _error_ratio(record, settings)
    yield from _solver(record.convergence, settings)
    yield from _random_baseline(record, settings)


# ---- convergence


def _divergence(record: TrainingRecord, settings: Settings) -> Iterator[Finding]:
    bad_epochs = [line["epoch"] for line in record.epochs if not math.isfinite(line["loss"])]
    failed = any(message in record.error for message in _FAILURE_MESSAGES)
    if not bad_epochs and not failed:
        return
    evidence: Evidence = {"epoch": bad_epochs[0]} if bad_epochs else {"error": record.error.splitlines()[0]}
    clip_gradients = {}
    if not settings.params.get("max_grad_norm"):
        clip_gradients = {"model.params.max_grad_norm": 1.0}
    yield Finding(
        "loss-diverged",
        "convergence",
        "problem",
        "training diverged",
        evidence,
        "the loss is not finite, or exceeds 1.5 times the loss of the first epoch",
        settings.suggestions(
            settings.learning_rate(0.25),
            clip_gradients,
            settings.scaled(("reg", "l2_reg"), 10),
            settings.normalized_ratings(),
        ),
    )


def _convergence(record: TrainingRecord, settings: Settings) -> Iterator[Finding]:
    losses = record.losses
    decreases = [previous - following for previous, following in pairwise(losses)]
    scale = abs(losses[0]) or 1.0
    evidence: Evidence = {
        "epochs": len(losses),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "lowest_loss": min(losses),
    }
    n_rises = sum(decrease < -_LOSS_RISE * scale for decrease in decreases)
    if len(losses) > 2 and max(losses) - min(losses) < _FLAT_LOSS * scale:
        yield _flat_loss(settings, evidence, is_steady=all(decrease > 0 for decrease in decreases))
    elif len(losses) > 3 and n_rises >= _MAX_SHARE_OF_RISES * len(decreases):
        yield Finding(
            "rate-high",
            "convergence",
            "warning",
            "the loss oscillates: the learning rate is too high",
            evidence | {"rises": n_rises},
            f"in at least a third of the epochs the loss rises by more than {_LOSS_RISE:.0%} of its first value",
            settings.suggestions(settings.learning_rate(0.25), settings.scaled(("batch_size",), 4)),
        )
    else:
        yield from _still_improving(record, settings, decreases, evidence)


def _flat_loss(settings: Settings, evidence: Evidence, is_steady: bool) -> Finding:
    rule = f"the loss of all epochs lies within {_FLAT_LOSS:.0%} of its first value"
    if is_steady:
        return Finding(
            "rate-low",
            "convergence",
            "problem",
            "the loss decreases steadily but very slowly: the learning rate is too low",
            evidence,
            rule,
            settings.suggestions(settings.learning_rate(10), settings.more_epochs()),
        )
    return Finding(
        "loss-flat",
        "convergence",
        "problem",
        "the loss does not decrease",
        evidence,
        rule,
        settings.suggestions(
            settings.min_user_interactions(),
            settings.learning_rate(0.1),
            settings.more_epochs(),
            settings.normalized_ratings(),
        ),
    )


def _still_improving(
    record: TrainingRecord, settings: Settings, decreases: list[float], evidence: Evidence
) -> Iterator[Finding]:
    """Whether the maximum number of epochs ended a training that had not converged."""
    max_epochs = settings.params.get("epochs", settings.params.get("n_epochs"))
    if len(record.epochs) < (max_epochs or 0):  # stopped early or interrupted
        return
    n_last = max(1, len(record.epochs) // 10)
    gain = _gain_of_last_epochs(record, n_last)
    if gain <= _MIN_GAIN:
        return
    decreases_constantly = len(decreases) > 2 and decreases[0] > 0 and decreases[-1] > _CONSTANT_DECREASE * decreases[0]
    rule = f"the last tenth of the epochs gained more than {_MIN_GAIN:.0%}"
    if decreases_constantly:
        rule += (
            f"; the last decrease of the loss is more than {_CONSTANT_DECREASE:.0%} of the first, so the learning rate "
            "may be too low"
        )
    more_epochs_with_stopping = [more_epochs | settings.early_stopping() for more_epochs in settings.more_epochs()]
    yield Finding(
        "still-improving",
        "convergence",
        "warning",
        "training ended while it was still improving",
        evidence | {"gain_of_last_epochs": gain, "last_epochs": n_last},
        rule,
        settings.suggestions(
            settings.learning_rate(3) if decreases_constantly else [],
            more_epochs_with_stopping,
            settings.more_epochs(),
        ),
    )


def _gain_of_last_epochs(record: TrainingRecord, n_last: int) -> float:
    """The relative gain of the monitored metric over the last epochs; of the loss if no metric was measured."""
    scores = record.scores
    if not scores:
        losses = record.losses
        return (losses[-1 - n_last] - losses[-1]) / (abs(losses[0]) or 1.0)
    best = max(score for _, score in scores)
    last_counted_epoch = record.epochs[-1]["epoch"] - n_last
    earlier_scores = [score for epoch, score in scores if epoch <= last_counted_epoch]
    best_before = max(earlier_scores, default=best)
    return (best - best_before) / (abs(best_before) or 1.0)


def _solver(convergence: Mapping[str, float], settings: Settings) -> Iterator[Finding]:
    """Whether a model without epochs reached its optimum."""
    if convergence.get("unsolved", 0) > _MAX_UNSOLVED_SHARE:
        yield Finding(
            "not-solved",
            "convergence",
            "warning",
            "the solver did not converge for some items",
            convergence,
            f"more than {_MAX_UNSOLVED_SHARE:.0%} of the items have a duality gap above tol after max_iter iterations",
            settings.suggestions(settings.scaled(("max_iter",), 4), settings.scaled(("l2_reg",), 4)),
        )
    if convergence.get("at_limit") and convergence["last_fall"] > _MIN_GAIN:
        yield Finding(
            "still-improving",
            "convergence",
            "warning",
            "the iterations ended while the objective was still decreasing",
            convergence,
            f"the last iteration decreased the objective by more than {_MIN_GAIN:.0%}",
            settings.suggestions(settings.scaled(("n_iterations",), 2)),
        )


def _random_baseline(record: TrainingRecord, settings: Settings) -> Iterator[Finding]:
    """Whether a validation metric is close to that of random recommendations."""
    baseline = _expected_random_metric(record)
    if baseline is None or settings.model.name == "random":
        return
    key, expected = baseline
    if record.metrics[key] >= _MIN_RATIO_TO_RANDOM * expected:
        return
    yield Finding(
        "metric-low",
        "convergence",
        "problem",
        "validation metrics are hardly better than random recommendations",
        {key: record.metrics[key], "by_chance": expected},
        f"below {_MIN_RATIO_TO_RANDOM:g} times the expected value of random recommendations",
        settings.suggestions(
            settings.min_user_interactions(),
            settings.learning_rate(0.1),
            settings.more_epochs(),
            {"model.name": "popularity"},
        ),
    )


def _expected_random_metric(record: TrainingRecord) -> tuple[str, float] | None:
    """The key of a metric, and its approximate expectation for random lists; None if there is no such metric.

    A random list of k among n items has recall k / n. With r relevant items, its DCG is r / n times the sum of the
    first k discounts, and the ideal DCG is the sum of the first min(k, r) discounts.
    """
    if not record.n_items or not record.n_validation_users:
        return None
    n_relevant = record.n_validation_interactions / record.n_validation_users
    for key in record.metrics:
        metric = MetricKey.parse(key)
        if metric.k is None or metric.sampled:
            continue
        if metric.name == "recall":
            return key, min(1.0, metric.k / record.n_items)
        if metric.name == "ndcg" and metric.k <= len(_DISCOUNTS):
            n_ideal = max(1, min(metric.k, round(n_relevant)))
            ideal = sum(_DISCOUNTS[:n_ideal])
            return key, min(1.0, sum(_DISCOUNTS[: metric.k]) * n_relevant / record.n_items / ideal)
    return None


# ---- overfitting


def _overfitting(record: TrainingRecord, settings: Settings) -> Iterator[Finding]:
    """Whether the monitored metric declines after its best epoch."""
    scores = record.scores
    if len(scores) < 3:
        return
    best_epoch, best = max(scores, key=lambda epoch_and_score: epoch_and_score[1])
    last_epoch, last = scores[-1]
    drop = (best - last) / (abs(best) or 1.0)
    loss_at_best = record.losses[best_epoch - 1]
    evidence = {
        "best_epoch": best_epoch,
        "epochs": last_epoch,
        f"best_{record.monitor}": abs(best),
        f"last_{record.monitor}": abs(last),
        "loss_at_best": loss_at_best,
        "last_loss": record.losses[-1],
    }
    stops_early = settings.config.training.early_stopping is not None
    if drop > _OVERFITTING_DROP and not stops_early and record.losses[-1] < loss_at_best:
        yield Finding(
            "overfitting",
            "overfitting",
            "problem" if drop > _SEVERE_DROP else "warning",
            "overfitting: validation gets worse while the training loss keeps decreasing",
            evidence | {"drop": drop},
            f"the metric ends more than {_OVERFITTING_DROP:.0%} below its best value; a problem above "
            f"{_SEVERE_DROP:.0%}",
            _regularization(settings),
        )
    elif stops_early and best_epoch <= 2 and last_epoch > 2:
        yield Finding(
            "best-epoch-early",
            "overfitting",
            "warning",
            "the first epochs are the best: the learning rate is too high, or the model overfits at once",
            evidence,
            "the best of more than two epochs is the first or the second",
            settings.suggestions(settings.learning_rate(0.25)) + _regularization(settings),
        )


def _error_ratio(record: TrainingRecord, settings: Settings) -> Iterator[Finding]:
    """Whether validation error far exceeds train error, for models whose loss is the RMSE on train."""
    last = record.epochs[-1]
    validation_rmse = last["metrics"].get("rmse")
    stops_early = settings.config.training.early_stopping is not None
    if validation_rmse is None or stops_early or not settings.model.needs_ratings:
        return
    if validation_rmse > _MAX_ERROR_RATIO * last["loss"]:
        yield Finding(
            "train-validation-gap",
            "overfitting",
            "warning",
            "overfitting: the validation error is far above the training error",
            {"validation_rmse": validation_rmse, "train_rmse": last["loss"]},
            f"the ratio exceeds {_MAX_ERROR_RATIO:g}, without early stopping",
            _regularization(settings),
        )


def _regularization(settings: Settings) -> tuple[str, ...]:
    """Options against overfitting: regularization, dropout, capacity, early stopping, negative samples."""
    more_dropout = []
    for name in ("dropout", "edge_dropout"):
        rate = settings.params.get(name)
        if rate is not None and rate < 0.5:
            more_dropout.append({f"model.params.{name}": round(min(0.6, rate + 0.3), 2)})
    return settings.suggestions(
        settings.scaled(("reg", "l1_reg", "l2_reg"), 5),
        more_dropout,
        settings.less_capacity(),
        settings.early_stopping(),
        settings.scaled(("n_negatives",), 2.5, maximum=1024),
    )
