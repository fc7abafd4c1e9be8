"""Whether the data carry what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recctl.diagnosis.findings import Finding, Settings

# NDCG@10 of single users has a standard deviation of about 0.3, so that of 400 users' mean is 0.015: with fewer,
# what models differ by is hidden.
_FEW_JUDGED = 400
# Below, a model of some hundred parameters a user fits noise; MovieLens-100K has ten times as many.
_FEW_INTERACTIONS = 10_000
# The chapter's least number, which most papers filter by too (5-core): with fewer, a split leaves little to learn from.
_FEW_OF_A_USER = 5
# One pair of 5,000 is that of Amazon's and Gowalla's sets, where pairs of items hardly ever occur together.
_LOW_DENSITY = 0.0002
# The Pareto share: MovieLens has 65 %, goodbooks 60 %; above 80 % popularity alone is hard to beat.
_LONG_TAIL = 0.8
# What cannot be found caps every metric; 5 % is more than good models differ by.
_COLD = 0.05
_REPEATED = 0.01
# Ratings of stars span 4 to 10; on wider scales the default step sizes of models diverge.
_WIDE_SCALE = 20.0


def findings(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    """What is to be said of data.

    Args:
        facts: What `recctl.data.description` tells, as far as it is known; and `leakage`, the report of the split.
        settings: The config that reads them.
    """
    yield from _size(facts, settings)
    yield from _concentration(facts, settings)
    for part in ("validation", "test"):
        if part in facts.get("leakage", {}):
            yield from _held_out(part, facts["leakage"], settings)
    yield from _columns(facts, settings)


def _size(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    n, users, items = (facts[name] for name in ("interactions", "users", "items"))
    judged = facts.get("leakage", {}).get("parts", {}).get("test", {}).get("users")
    sizes = {"interactions": n, "users": users, "items": items} | ({"test_users": judged} if judged else {})
    if n < _FEW_INTERACTIONS or (judged is not None and judged < _FEW_JUDGED):
        yield Finding(
            "data-small",
            "data",
            "hint",
            "few data: differences between models may be chance",
            sizes,
            f"fewer than {_FEW_INTERACTIONS:,} interactions, or than {_FEW_JUDGED} users in test (the mean of "
            "NDCG@10 over so many has a standard error of about 0.015)",
            settings.lines({"split.strategy": "k_fold"}),
        )
    density = facts.get("density", n / max(1, users * items))
    per_user = (facts.get("per_user") or {}).get("median")
    few = per_user is not None and per_user < _FEW_OF_A_USER
    if density < _LOW_DENSITY or few:
        yield Finding(
            "data-sparse",
            "data",
            "warning" if few else "hint",
            "sparse data: little is known of each user",
            {"density": density, "median_per_user": per_user},
            f"density below {_LOW_DENSITY}, or half of the users with fewer than {_FEW_OF_A_USER} interactions",
            settings.lines(settings.more_of_users(), settings.more_of_items()),
        )


def _concentration(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    popularity = facts.get("popularity") or {}
    if popularity.get("top_20_percent", 0) <= _LONG_TAIL:
        return
    metrics = settings.config.evaluation.metrics
    options = [{"evaluation.metrics": [*metrics, "coverage"]}] if "coverage" not in metrics else []
    yield Finding(
        "data-long-tail",
        "data",
        "hint",
        "a long tail: few items have most interactions",
        {name: popularity[name] for name in ("top_20_percent", "gini") if name in popularity},
        f"a fifth of the items has more than {_LONG_TAIL:.0%} of the interactions; compare with model.name=popularity, "
        "and look at coverage beside accuracy",
        settings.lines(*options, settings.more_of_items(), {"model.name": "popularity"}),
    )


def _held_out(part: str, leakage: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    report, strategy = leakage[part], settings.config.split.strategy
    by_people = "history" in leakage.get("parts", {})
    for what, more in (("users", settings.more_of_users()), ("items", settings.more_of_items())):
        unseen = report[f"unseen_{what}"]
        if unseen["share"] <= _COLD or (what == "users" and by_people):
            continue
        inside = [{"split.within_user": True}] if what == "users" and strategy == "random" else []
        yield Finding(
            f"data-cold-{what}-{part}",
            "data",
            "warning",
            f"{part} asks for {what} that train never saw",
            {f"cold_{what}": unseen[what], "share_of_interactions": unseen["share"]},
            f"more than {_COLD:.0%} of the part's interactions; no model can find these items, or knows these people",
            settings.lines(*inside, more),
        )
    later = report.get("train_later")
    if part == "test" and later and later["interactions"] and strategy in ("random", "k_fold"):
        yield Finding(
            "data-future",
            "data",
            "hint",
            "train knows what came after test: figures are higher than they will be in use",
            {"share_of_train_later": later["share"], "strategy": strategy},
            "any interaction of train later than the first of test, where there are timestamps",
            settings.lines({"split.strategy": "temporal"}, {"split.strategy": "leave_last"}),
        )
    if report.get("duplicates"):
        yield Finding(
            f"data-seen-{part}",
            "data",
            "warning" if report["duplicates"] > _REPEATED * leakage["parts"][part]["interactions"] else "hint",
            f"{part} asks for pairs that train has too: they count as seen and can't be found",
            {"pairs": report["duplicates"]},
            f"any; a warning above {_REPEATED:.0%} of the part",
            settings.lines(settings.step("drop_duplicates")),
        )


def _columns(facts: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    repeated = facts.get("duplicates", 0)
    if repeated > _REPEATED * facts["interactions"]:
        yield Finding(
            "data-duplicates",
            "data",
            "hint" if settings.model.reads_order else "warning",
            "rows repeat pairs of user and item",
            {"duplicates": repeated, "interactions": facts["interactions"]},
            f"more than {_REPEATED:.0%} of the rows; only the last of a pair counts, and a split may tear them apart",
            settings.lines(settings.step("drop_duplicates")),
        )
    if "time" in facts and facts["time"] is None and settings.model.reads_order:
        yield Finding(
            "data-no-timestamps",
            "data",
            "warning",
            f"{settings.model.name} reads the order of histories, and there are no timestamps",
            {"timestamps": "none"},
            "the order is then that of the rows; see data.columns",
        )
    ratings = facts.get("ratings")
    explicit = not settings.config.data.implicit
    if explicit and ratings and ratings["max"] - ratings["min"] > _WIDE_SCALE:
        yield Finding(
            "data-wide-ratings",
            "data",
            "warning",
            "ratings on a wide scale: steps that suit stars are too large",
            {"lowest": ratings["min"], "highest": ratings["max"]},
            f"a span above {_WIDE_SCALE:g}",
            settings.lines(settings.step("normalize_ratings", method="minmax")),
        )
