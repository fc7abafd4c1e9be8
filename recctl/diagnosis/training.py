"""Whether a training came to rest, and whether it learnt its data by heart: from the figures of its epochs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from recctl.diagnosis.findings import Finding, Settings
from recctl.metrics import MetricKey

Line = Mapping[str, Any]

# A loss that moved by less, over all epochs, has not moved: noise of batches is about as large.
_FLAT = 0.01
# A rise of the loss from one epoch to the next that is more than noise; a third of the epochs with one is no accident.
_RISE, _RISES = 0.01, 1 / 3
# The last fall of the loss over the first: a training that comes to rest slows down.
_UNSLOWED = 0.5
# What the last tenth of the epochs still gained: less is not worth the time.
_GAIN = 0.01
# Problems given up: single ones, of hardly any interactions, change no list.
_UNSOLVED = 0.01
# How far a metric may fall from its best: single epochs scatter by some percent.
_DROP, _LARGE_DROP = 0.05, 0.2
# Error on validation over that on train, where no epoch was chosen by validation; a well-tuned SVD of MovieLens-100K,
# whose epoch was, has 1.35.
_GAP = 1.5
# What a metric must be above chance to say that anything was learnt.
_ABOVE_CHANCE = 3.0
_DISCOUNTS = [1 / math.log2(rank + 1) for rank in range(1, 1001)]


@dataclass(frozen=True)
class Course:
    """How a training went.

    Attributes:
        history: The lines of history.jsonl.
        monitor: The metric that was watched.
        error: What a failed run said; empty if it did not fail.
        metrics: Of validation, at the end.
        held_out: Interactions and users of validation, and items to choose from; or nothing.
        convergence: What the model says of itself: `Recommender.convergence`.
    """

    history: Sequence[Line]
    monitor: str
    error: str
    metrics: Mapping[str, float]
    held_out: Mapping[str, int]
    convergence: Mapping[str, float]

    @property
    def losses(self) -> list[float]:
        """Of each epoch."""
        return [line["loss"] for line in self.history]

    @property
    def watched(self) -> list[tuple[int, float]]:
        """Each epoch that was measured, and its metric, turned so that higher is better."""
        sign = MetricKey.parse(self.monitor).sign
        found = [(line["epoch"], line["metrics"].get(self.monitor)) for line in self.history]
        return [(epoch, sign * value) for epoch, value in found if value is not None and math.isfinite(value)]


def findings(course: Course, settings: Settings) -> Iterator[Finding]:
    """What is to be said of a training."""
    diverged = list(_diverged(course, settings))
    yield from diverged
    if not diverged and len(course.history) > 1:
        yield from _converges(course, settings)
        yield from _overfits(course, settings)
    yield from _solves(course.convergence, settings)
    yield from _learnt_nothing(course, settings)


# ---- does it not converge


def _diverged(course: Course, settings: Settings) -> Iterator[Finding]:
    bad = [line["epoch"] for line in course.history if not math.isfinite(line["loss"])]
    said = next((words for words in ("diverged", "not finite", "not positive definite") if words in course.error), None)
    if not bad and said is None:
        return
    cut = [] if settings.params.get("max_grad_norm") else [{"model.params.max_grad_norm": 1.0}]
    yield Finding(
        "loss-diverged",
        "convergence",
        "problem",
        "training ran away: the loss grew beyond all measure",
        {"epoch": bad[0]} if bad else {"error": course.error.splitlines()[0]},
        "a loss that is not finite or stands 1.5 times above the first epoch's",
        settings.lines(
            settings.slower_steps(0.25),
            cut,
            settings.scaled(("reg", "l2_reg"), 10),
            settings.step("normalize_ratings", method="minmax") if not settings.config.data.implicit else {},
        ),
    )


def _converges(course: Course, settings: Settings) -> Iterator[Finding]:
    losses = course.losses
    falls = [a - b for a, b in pairwise(losses)]
    size = abs(losses[0]) or 1.0
    evidence = {"epochs": len(losses), "first_loss": losses[0], "last_loss": losses[-1], "lowest_loss": min(losses)}
    chapter = [
        settings.more_of_users(),
        settings.slower_steps(0.1),
        settings.more_epochs(),
        settings.step("normalize_ratings", method="minmax") if not settings.config.data.implicit else {},
    ]
    rises = sum(fall < -_RISE * size for fall in falls)
    if len(losses) > 2 and max(losses) - min(losses) < _FLAT * size:
        steady = all(fall > 0 for fall in falls)
        yield Finding(
            "rate-low" if steady else "loss-flat",
            "convergence",
            "problem",
            "the loss hardly falls" + (", but steadily: steps are too small" if steady else ""),
            evidence,
            f"all epochs lie within {_FLAT:.0%} of the first one's loss",
            settings.lines(*([settings.slower_steps(10), settings.more_epochs()] if steady else chapter)),
        )
    elif len(losses) > 3 and rises >= _RISES * len(falls):
        yield Finding(
            "rate-high",
            "convergence",
            "warning",
            "the loss goes up and down: steps are too large",
            {**evidence, "rises": rises},
            f"in at least a third of the epochs it rose by more than {_RISE:.0%} of the first",
            settings.lines(settings.slower_steps(0.25), settings.scaled(("batch_size",), 4)),
        )
    else:
        yield from _goes_on(course, settings, falls, evidence)


def _goes_on(course: Course, settings: Settings, falls: list[float], evidence: Line) -> Iterator[Finding]:
    """Whether it was broken off while it still got better."""
    last = max(1, len(course.history) // 10)
    watched = course.watched
    limit = settings.params.get("epochs", settings.params.get("n_epochs"))
    if len(course.history) < (limit or 0):  # stopped early, or broken off
        return
    if watched:
        best = max(value for _, value in watched)
        before = max([value for epoch, value in watched if epoch <= course.history[-1]["epoch"] - last], default=best)
        gain = (best - before) / (abs(before) or 1.0)
    else:
        gain = (course.losses[-1 - last] - course.losses[-1]) / (abs(course.losses[0]) or 1.0)
    if gain <= _GAIN:
        return
    unslowed = len(falls) > 2 and falls[0] > 0 and falls[-1] > _UNSLOWED * falls[0]
    yield Finding(
        "still-improving",
        "convergence",
        "warning",
        "training ended while it still got better",
        {**evidence, "gain_of_last_epochs": gain, "last_epochs": last},
        f"the last tenth of the epochs gained more than {_GAIN:.0%}"
        + (f"; the last step down was more than {_UNSLOWED:.0%} of the first: steps are small" if unslowed else ""),
        settings.lines(
            settings.slower_steps(3) if unslowed else [],
            [{**more, **settings.early_stopping()} for more in settings.more_epochs()],
            settings.more_epochs(),
        ),
    )


def _solves(convergence: Mapping[str, float], settings: Settings) -> Iterator[Finding]:
    """Whether a model that is not trained in epochs came to its minimum."""
    if convergence.get("unsolved", 0) > _UNSOLVED:
        yield Finding(
            "not-solved",
            "convergence",
            "warning",
            "items were given up before they were solved",
            convergence,
            f"more than {_UNSOLVED:.0%} of them have a duality gap above tol",
            settings.lines(settings.scaled(("max_iter",), 4), settings.scaled(("l2_reg",), 4)),
        )
    if convergence.get("at_limit") and convergence["last_fall"] > _GAIN:
        yield Finding(
            "still-improving",
            "convergence",
            "warning",
            "iterations ended while the objective still fell",
            convergence,
            f"the last one allowed brought more than {_GAIN:.0%}",
            settings.lines(settings.scaled(("n_iterations",), 2)),
        )


def _learnt_nothing(course: Course, settings: Settings) -> Iterator[Finding]:
    chance = _by_chance(course)
    if chance is None or settings.model.name == "random":
        return
    key, expected = chance
    if course.metrics[key] >= _ABOVE_CHANCE * expected:
        return
    yield Finding(
        "metric-low",
        "convergence",
        "problem",
        "the metrics of validation are hardly above chance",
        {key: course.metrics[key], "by_chance": expected},
        f"below {_ABOVE_CHANCE:g} times what lists drawn at random come to",
        settings.lines(
            settings.more_of_users(),
            settings.slower_steps(0.1),
            settings.more_epochs(),
            {"model.name": "popularity"},
        ),
    )


def _by_chance(course: Course) -> tuple[str, float] | None:
    """A metric, and about what random lists come to; None where that can't be said."""
    items, users = course.held_out.get("items", 0), course.held_out.get("users", 0)
    if not items or not users:
        return None
    relevant = course.held_out["interactions"] / users
    for key in course.metrics:
        parsed = MetricKey.parse(key)
        if parsed.k is None or parsed.sampled:
            continue
        if parsed.name == "recall":
            return key, min(1.0, parsed.k / items)
        if parsed.name == "ndcg" and parsed.k <= len(_DISCOUNTS):
            ideal = sum(_DISCOUNTS[: max(1, min(parsed.k, round(relevant)))])
            return key, min(1.0, sum(_DISCOUNTS[: parsed.k]) * relevant / items / ideal)
    return None


# ---- does it overfit


def _overfits(course: Course, settings: Settings) -> Iterator[Finding]:
    watched, stopping = course.watched, settings.config.training.early_stopping
    if len(watched) > 2:
        best_epoch, best = max(watched, key=lambda pair: pair[1])
        last_epoch, last = watched[-1]
        drop = (best - last) / (abs(best) or 1.0)
        evidence = {
            "best_epoch": best_epoch,
            "epochs": last_epoch,
            f"best_{course.monitor}": abs(best),
            f"last_{course.monitor}": abs(last),
            "loss_at_best": course.losses[best_epoch - 1],
            "last_loss": course.losses[-1],
        }
        if drop > _DROP and stopping is None and course.losses[-1] < course.losses[best_epoch - 1]:
            yield Finding(
                "overfitting",
                "overfitting",
                "problem" if drop > _LARGE_DROP else "warning",
                "overfitting: validation gets worse while the loss goes on falling",
                {**evidence, "drop": drop},
                f"the metric ends more than {_DROP:.0%} below its best; a problem above {_LARGE_DROP:.0%}",
                _against_overfitting(settings),
            )
        elif stopping is not None and best_epoch <= 2 and last_epoch > 2:
            yield Finding(
                "best-epoch-early",
                "overfitting",
                "warning",
                "the best epoch is among the first: steps are large, or the model learns by heart at once",
                evidence,
                "the best of more than two epochs is the first or second",
                settings.lines(settings.slower_steps(0.25)) + _against_overfitting(settings),
            )
    yield from _gap(course, settings)


def _gap(course: Course, settings: Settings) -> Iterator[Finding]:
    """Models of ratings have a loss that compares: the error of train."""
    line = course.history[-1]
    error = line["metrics"].get("rmse")
    chosen = settings.config.training.early_stopping is not None
    if error is None or chosen or not settings.model.needs_ratings or error <= _GAP * line["loss"]:
        return
    yield Finding(
        "train-validation-gap",
        "overfitting",
        "warning",
        "the error on validation is far above that on train",
        {"validation_rmse": error, "train_rmse": line["loss"]},
        f"more than {_GAP:g} times, without early stopping",
        _against_overfitting(settings),
    )


def _against_overfitting(settings: Settings) -> tuple[str, ...]:
    """In the chapter's order: regularisation, dropout, capacity, early stopping, negatives."""
    dropouts = [
        {f"model.params.{name}": round(min(0.6, settings.params[name] + 0.3), 2)}
        for name in ("dropout", "edge_dropout")
        if settings.params.get(name, 1.0) < 0.5
    ]
    return settings.lines(
        settings.scaled(("reg", "l1_reg", "l2_reg"), 5),
        dropouts,
        settings.less_capacity(),
        settings.early_stopping(),
        settings.scaled(("n_negatives",), 2.5, most=1024),
    )
