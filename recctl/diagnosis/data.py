"""Findings about the data and their split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recctl.data.preprocessing import sets_weights
from recctl.diagnosis.findings import Finding, Settings, Values
from recctl.experiment.use_of_ratings import step_list

# NDCG@10 of a single user has a standard deviation of about 0.3, so that the mean over 400 users has a standard error
# of 0.015; with fewer users it exceeds typical differences between models.
_MIN_TEST_USERS = 400
# With fewer, a model with some hundred parameters per user fits noise; MovieLens-100K has ten times as many.
_MIN_INTERACTIONS = 10_000
# With fewer, little is left to learn from after the split; most papers filter by the same number (5-core).
_MIN_USER_INTERACTIONS = 5
# One pair in 5,000: the density of Amazon and Gowalla data, where two items rarely share a user.
_MIN_DENSITY = 0.0002
# The top 20 % have 65 % of the interactions in MovieLens and 60 % in Goodbooks; above 80 %, popularity is hard to beat.
_MAX_TOP_20_SHARE = 0.8
# Unseen users and items bound every metric from above; 5 % is more than good models differ by.
_MAX_COLD_SHARE = 0.05
_MAX_DUPLICATE_SHARE = 0.01
# Star ratings span 4 to 10; on wider scales the default learning rates make models diverge.
_MAX_RATING_SPAN = 20.0


def findings(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    """Check the data and their split.

    Args:
        facts: Values of `recctl.data.description.describe`, as far as they are known; and `leakage`, the leakage report
            of the split.
        settings: The config that reads the data.
    """
    yield from _size(facts, settings)
    yield from _density(facts, settings)
    yield from _popularity(facts, settings)
    leakage = facts.get("leakage", {})
    for part in ("validation", "test"):
        if part in leakage:
            yield from _cold_start(part, leakage, settings)
            yield from _temporal_leakage(part, leakage, settings)
            yield from _seen_pairs(part, leakage, settings)
    yield from _duplicates(facts, settings)
    yield from _timestamps(facts, settings)
    yield from _rating_scale(facts, settings)


def _size(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    evidence = {name: facts[name] for name in ("interactions", "users", "items")}
    parts = facts.get("leakage", {}).get("parts", {})
    if parts and "test" not in parts:  # fitted on all data: there is nothing to measure on
        return
    n_test_users = parts.get("test", {}).get("users")
    if n_test_users:
        evidence["test_users"] = n_test_users
    has_few_test_users = n_test_users is not None and n_test_users < _MIN_TEST_USERS
    if facts["interactions"] < _MIN_INTERACTIONS or has_few_test_users:
        yield Finding(
            "data-small",
            "data",
            "hint",
            "small data set: differences between models may be due to chance",
            evidence,
            f"fewer than {_MIN_INTERACTIONS:,} interactions, or fewer than {_MIN_TEST_USERS} test users, with whom the "
            "mean of NDCG@10 has a standard error of about 0.015",
            settings.suggestions({"split.strategy": "k_fold"}),
        )


def _density(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    # Runs do not record the density; this counts repeated pairs too.
    approximate_density = facts["interactions"] / max(1, facts["users"] * facts["items"])
    density = facts.get("density", approximate_density)
    median_per_user = (facts.get("per_user") or {}).get("median")
    has_short_histories = median_per_user is not None and median_per_user < _MIN_USER_INTERACTIONS
    if density < _MIN_DENSITY or has_short_histories:
        yield Finding(
            "data-sparse",
            "data",
            "warning" if has_short_histories else "hint",
            "sparse data: few interactions per user or item",
            {"density": density, "median_per_user": median_per_user},
            f"the density is below {_MIN_DENSITY}, or half of the users have fewer than {_MIN_USER_INTERACTIONS} "
            "interactions",
            settings.suggestions(settings.min_user_interactions(), settings.min_item_interactions()),
        )


def _popularity(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    popularity = facts.get("popularity") or {}
    if popularity.get("top_20_percent", 0) <= _MAX_TOP_20_SHARE:
        return
    metrics = settings.config.evaluation.metrics
    with_coverage: Values = {}
    if "coverage" not in metrics:
        with_coverage = {"evaluation.metrics": [*metrics, "coverage"]}
    yield Finding(
        "data-long-tail",
        "data",
        "hint",
        "long tail: a few items have most of the interactions",
        {name: popularity[name] for name in ("top_20_percent", "gini") if name in popularity},
        f"the most popular 20% of the items have more than {_MAX_TOP_20_SHARE:.0%} of the interactions; compare with "
        "model.name=popularity, and report coverage beside accuracy",
        settings.suggestions(with_coverage, settings.min_item_interactions(), {"model.name": "popularity"}),
    )


def _cold_start(part: str, leakage: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    """Users and items of a part that are not in train."""
    splits_by_user = "history" in leakage.get("parts", {})  # then all users of the part are cold on purpose
    within_user: Values = {}
    if settings.config.split.strategy == "random":
        within_user = {"split.within_user": True}
    options = {
        "users": [within_user, settings.min_user_interactions()],
        "items": [settings.min_item_interactions()],
    }
    for kind, suggestions in options.items():
        unseen = leakage[part][f"unseen_{kind}"]
        if unseen["share"] <= _MAX_COLD_SHARE or (kind == "users" and splits_by_user):
            continue
        yield Finding(
            f"data-cold-{kind}-{part}",
            "data",
            "warning",
            f"cold start: {part} has {kind} that are not in train",
            {f"cold_{kind}": unseen[kind], "share_of_interactions": unseen["share"]},
            f"they have more than {_MAX_COLD_SHARE:.0%} of the interactions of {part}; a model can neither recommend "
            "cold items nor personalize for cold users",
            settings.suggestions(*suggestions),
        )


def _temporal_leakage(part: str, leakage: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    newer = leakage[part].get("train_later")
    strategy = settings.config.split.strategy
    if part == "test" and newer and newer["interactions"] and strategy in ("random", "k_fold"):
        yield Finding(
            "data-future",
            "data",
            "hint",
            "temporal leakage: train has interactions newer than the oldest test interaction",
            {"share_of_train_later": newer["share"], "strategy": strategy},
            "any such interaction; metrics are higher than they would be in production, where the future is unknown",
            settings.suggestions({"split.strategy": "temporal"}, {"split.strategy": "leave_last"}),
        )


def _seen_pairs(part: str, leakage: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    n_pairs = leakage[part].get("duplicates")
    if not n_pairs:
        return
    n_interactions = leakage["parts"][part]["interactions"]
    yield Finding(
        f"data-seen-{part}",
        "data",
        "warning" if n_pairs > _MAX_DUPLICATE_SHARE * n_interactions else "hint",
        f"user-item pairs of {part} are also in train",
        {"pairs": n_pairs},
        "any such pair: it is left out of the evaluation, unless evaluation.exclude is none; a warning if they exceed "
        f"{_MAX_DUPLICATE_SHARE:.0%} of {part}",
        settings.suggestions(settings.preprocessing("drop_duplicates")),
    )


def _duplicates(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    n_duplicates = facts.get("duplicates", 0)
    if n_duplicates > _MAX_DUPLICATE_SHARE * facts["interactions"]:
        yield Finding(
            "data-duplicates",
            "data",
            "hint" if settings.model.reads_order else "warning",
            "duplicate user-item pairs",
            {"duplicates": n_duplicates, "interactions": facts["interactions"]},
            f"more than {_MAX_DUPLICATE_SHARE:.0%} of the rows repeat a pair; only the latest of a pair counts, and "
            "a split may put the same pair into train and test",
            settings.suggestions(settings.preprocessing("drop_duplicates")),
        )


def _timestamps(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    if "time" in facts and facts["time"] is None and settings.model.reads_order:
        yield Finding(
            "data-no-timestamps",
            "data",
            "warning",
            f"{settings.model.name} needs the order of interactions, and the data have no timestamps",
            {"timestamps": "none"},
            "without timestamps the order of the rows is used; if the data have a column of times, name it in "
            "data.columns.timestamp",
        )


def _rating_scale(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    ratings = facts.get("ratings")
    if settings.config.data.implicit or not ratings:
        return
    # Weights of implicit feedback are meant to differ, and no model is trained by gradients of them.
    if sets_weights(step_list(settings.config)) and not settings.model.needs_ratings:
        return
    if ratings["max"] - ratings["min"] > _MAX_RATING_SPAN:
        yield Finding(
            "data-wide-ratings",
            "data",
            "warning",
            "wide rating scale: default learning rates are too high",
            {"lowest": ratings["min"], "highest": ratings["max"]},
            f"ratings span more than {_MAX_RATING_SPAN:g}; the defaults suit star ratings",
            settings.suggestions(settings.normalized_ratings()),
        )
