"""Findings about convergence and overfitting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

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
# Estimated relative error of weights, above which they are not those of the model.
_MAX_RELATIVE_ERROR = 0.01
# Decrease of a metric at the end of a training from its best values.
_OVERFITTING_DROP = 0.05
_SEVERE_DROP = 0.2
# Validation RMSE relative to train RMSE without early stopping. A well-tuned SVD of MovieLens-100K with early stopping
# has 1.35.
_MAX_ERROR_RATIO = 1.5
# Standard errors beyond which a change of the mean over some epochs is hardly by chance. A drop, which is from the best
# of many means, needs more of them. With these limits, a finding has at most 7% of simulated curves without trend whose
# values vary by 3% (of 20 epochs or more, 1%), and 98% of those that drop by 20%.
_STANDARD_ERRORS_OF_GAIN = 3.0
_STANDARD_ERRORS_OF_DROP = 4.0
# Metrics below this multiple of the random baseline show that the model learned nothing.
_MIN_RATIO_TO_RANDOM = 3.0
# Discounts of DCG at ranks 1 to 1,000.
_DISCOUNTS = [1 / math.log2(rank + 1) for rank in range(1, 1001)]
_FAILURE_MESSAGES = ("diverged", "not finite", "not positive definite", "objective rose", "too imprecise")


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
        baseline: The comparison with popularity: `experiment.popularity_baseline`; empty if there is none.
    """

    epochs: Sequence[Mapping[str, Any]]
    monitor: str
    error: str
    metrics: Mapping[str, float]
    n_items: int
    n_validation_users: int
    n_validation_interactions: int
    convergence: Mapping[str, float]
    baseline: Mapping[str, Any]

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
    yield from _popularity_baseline(record, settings)


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
    gain = _trend(record).gain
    if gain <= _MIN_GAIN:
        return
    decreases_constantly = len(decreases) > 2 and decreases[0] > 0 and decreases[-1] > _CONSTANT_DECREASE * decreases[0]
    rule = f"the last tenth of the epochs gained more than {_MIN_GAIN:.0%}, and more than the values vary by chance"
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
        evidence | {"gain_of_last_epochs": gain, "last_epochs": _n_last_epochs(record)},
        rule,
        settings.suggestions(
            settings.learning_rate(3) if decreases_constantly else [],
            more_epochs_with_stopping,
            settings.more_epochs(),
        ),
    )


class _Trend(NamedTuple):
    """Where a curve is heading at its end. Changes that may be by chance are 0, so that at most one is not.

    Attributes:
        gain: How much the last tenth of the epochs is better than the best before, as a share of it.
        drop: How much the last quarter is worse than the best before, as a share of it.
    """

    gain: float
    drop: float


def _n_last_epochs(record: TrainingRecord) -> int:
    return max(1, len(record.epochs) // 10)


def _trend(record: TrainingRecord) -> _Trend:
    """The trend of the monitored metric; of the loss if no metric was measured.

    One noisy curve must not be found to be both still improving and overfitting: a gain rules out a drop.
    """
    epochs = [epoch for epoch, _ in record.scores]
    values = [score for _, score in record.scores]
    if not values:
        epochs = [line["epoch"] for line in record.epochs]
        values = [-loss for loss in record.losses]
    last_counted_epoch = record.epochs[-1]["epoch"] - _n_last_epochs(record)
    n_last = max(1, sum(epoch > last_counted_epoch for epoch in epochs))
    gain, standard_error = _change_at_end(values, n_last)
    if gain > _STANDARD_ERRORS_OF_GAIN * standard_error:
        return _Trend(gain, 0.0)
    change, standard_error = _change_at_end(values, max(2, round(len(values) / 4)))
    if -change > _STANDARD_ERRORS_OF_DROP * standard_error:
        return _Trend(0.0, -change)
    return _Trend(0.0, 0.0)


def _change_at_end(values: Sequence[float], n_last: int) -> tuple[float, float]:
    """The mean of the last values compared with the highest mean of as many successive values before them.

    Returns:
        The change and its standard error, both relative to the values. The change is 0 if there are too few values.
    """
    earlier = values[:-n_last]
    if len(earlier) < n_last:
        return 0.0, 0.0
    best_before = max(fmean(earlier[start : start + n_last]) for start in range(len(earlier) - n_last + 1))
    # A loss can fall to 0; its first value tells how large it is.
    scale = max(abs(best_before), abs(values[0])) or 1.0
    standard_error = _noise(values) * math.sqrt(2 / n_last)
    return (fmean(values[-n_last:]) - best_before) / scale, standard_error / scale


def _noise(values: Sequence[float]) -> float:
    """An estimate of the standard deviation of values around a curve that rises to its best value and then falls.

    Steps against the direction of such a curve are noise. Without any trend, half of the steps are, and the variance of
    a step is twice that of a value: the sum of their squares over all steps is the variance of a value.
    """
    best = max(range(len(values)), key=values.__getitem__)
    against = [max(0.0, values[i] - values[i + 1]) for i in range(best)]
    against += [max(0.0, values[i + 1] - values[i]) for i in range(best, len(values) - 1)]
    return math.sqrt(fmean(step * step for step in against))


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
    if convergence.get("last_fall", 0) < -_MIN_GAIN:
        yield Finding(
            "objective-rose",
            "convergence",
            "problem",
            "the last iteration raised the objective: rounding outweighs the regularization",
            convergence,
            f"the last iteration raised the objective by more than {_MIN_GAIN:.0%}",
            settings.suggestions(settings.scaled(("reg",), 100), settings.normalized_ratings()),
        )
    if convergence.get("relative_error", 0) > _MAX_RELATIVE_ERROR:
        yield Finding(
            "inexact-solution",
            "convergence",
            "problem",
            "the weights are dominated by rounding",
            convergence,
            f"the estimated relative error of the weights is above {_MAX_RELATIVE_ERROR:.0%}",
            settings.suggestions(settings.scaled(("l2_reg",), 100), settings.normalized_ratings()),
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


def _popularity_baseline(record: TrainingRecord, settings: Settings) -> Iterator[Finding]:
    """Whether the model recommends no better than the most popular items would."""
    baseline = record.baseline
    if not baseline or baseline["low"] > 0:
        return
    is_worse = baseline["high"] < 0
    metric = baseline["metric"]
    # Models of ratings are made to predict ratings, and often rank worse.
    predicts_ratings = settings.model.predicts_ratings
    yield Finding(
        "not-better-than-popularity",
        "convergence",
        "problem" if is_worse and not predicts_ratings else "warning",
        f"the model is {'worse' if is_worse else 'no better'} than popularity: the most popular items for everybody",
        {
            metric: baseline["model"],
            f"{metric}_of_popularity": baseline["popularity"],
            "difference": baseline["difference"],
            "low": baseline["low"],
            "high": baseline["high"],
            "users": baseline["users"],
            "part": baseline["part"],
        },
        "the 95% interval of the difference by user, low to high, is not above 0; a problem if it is below 0, except "
        "for models of ratings",
        settings.suggestions(
            {"model.name": "als"} if predicts_ratings else {},
            settings.learning_rate(3),
            settings.more_epochs(),
            settings.scaled(("reg", "l1_reg", "l2_reg"), 0.1),
            settings.min_user_interactions(),
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
    drop = _trend(record).drop
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
            f"the last quarter of the epochs is more than {_OVERFITTING_DROP:.0%} below the best before, and by more "
            f"than the values vary by chance; a problem above {_SEVERE_DROP:.0%}",
            _regularization(settings),
        )
    # A warm start is expected to need few epochs.
    elif stops_early and best_epoch <= 2 and last_epoch > 2 and settings.config.training.warm_start is None:
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
    if validation_rmse is None or stops_early or not settings.model.predicts_ratings:
        return
    is_improving = _trend(record).gain > _MIN_GAIN
    if validation_rmse > _MAX_ERROR_RATIO * last["loss"] and not is_improving:
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
