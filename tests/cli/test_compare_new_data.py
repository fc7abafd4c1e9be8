"""`compare --data` and `--test-of`: models of different training data on the same new interactions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from recctl.experiment.comparison.result import gate_failure
from tests.experiment import shop

MODELS = {
    "ease": "{name: ease, params: {l2_reg: 20.0}}",
    "popularity": "{name: popularity}",
    "random": "{name: random}",
}


def train(
    recctl: Any, source: str, model: str, *options: str, split: str = "{strategy: leave_last, val_size: 1}"
) -> str:
    Path(f"{model}.yaml").write_text(
        f"data: {{source: {source}}}\nsplit: {split}\nmodel: {MODELS[model]}\n"
        "evaluation: {metrics: [ndcg], k_values: [10]}\n"
    )
    done = recctl("train", f"{model}.yaml", "--json", "-q", *options)
    assert done.code == 0, done.err
    return str(done.json["run_id"])


@pytest.fixture
def two(recctl: Any, workdir: Path) -> tuple[str, str]:
    """Runs of EASE and of popularity, fitted on different data."""
    rows = shop.interactions()
    shop.write(Path("all.csv"), rows)
    shop.write(Path("some.csv"), [row for row in rows if row[0] <= 50 and row[1] != 7])
    return train(recctl, "all.csv", "ease"), train(recctl, "some.csv", "popularity")


def test_models_are_measured_on_the_same_users_without_what_either_was_fitted_on(recctl: Any, two: Any) -> None:
    train_items = [
        {user: items[:-2] for user, items in shop.by_user(rows).items()}
        for rows in (shop.interactions(), [row for row in shop.interactions() if row[0] <= 50 and row[1] != 7])
    ]
    ranked = [shop.without(shop.lists(recctl, run, range(1, 51)), *train_items) for run in two]
    draw = random.Random(6)
    # Also item 7, which the second model does not know, and rows that either model was fitted on.
    new = {user: sorted({*draw.sample(items[:10], 2)} | ({7} & {*items})) for user, items in ranked[0].items()}
    rows = [(user, item) for user, items in new.items() for item in items]
    fitted = [(user, train_items[0][user][0]) for user in range(1, 11)]
    shop.write(Path("new.csv"), rows + fitted, "user_id,item_id")
    done = recctl("compare", *two, "--data", "new.csv", "--json")
    assert done.code == 0, done.err
    found = done.json["comparison"]
    values = [shop.ndcg(one, new) for one in ranked]
    figures = {model["runs"][0]: model["metrics"]["ndcg@10"] for model in found["compared"]}
    assert found["n_users"] == 50
    for run, by_user in zip(two, values, strict=True):
        assert figures[run]["value"] == pytest.approx(shop.mean(by_user))
    difference = shop.mean({user: values[0][user] - values[1][user] for user in new})
    assert abs(next(f["difference"] for f in figures.values() if f["difference"] is not None)) == pytest.approx(
        abs(difference)
    )
    assert found["n_fitted_pairs"]["ease"] == 10
    assert "ease was fitted on 10" in done.err
    assert found["file"] == "new.csv"
    assert "new.csv (file:" in recctl("compare", *two, "--data", "new.csv").out


def test_gate_refuses_pairs_that_a_model_was_fitted_on(recctl: Any, two: Any) -> None:
    shop.write(Path("old.csv"), shop.interactions()[:40])
    refused = recctl("compare", *two, "--data", "old.csv", "--fail-if-worse")
    assert refused.code == 3
    assert "no model has seen" in refused.err


def test_gate_on_newer_interactions_of_a_run(recctl: Any, workdir: Path) -> None:
    rows = shop.interactions()
    newest = max(time for *_, time in rows)
    shop.write(Path("d.csv"), rows)
    production = train(recctl, "d.csv", "popularity", "--refit")
    ranked = shop.lists(recctl, production, range(1, 61))
    items = shop.by_user(rows)
    fresh = shop.without(ranked, items)
    shop.write(Path("d.csv"), rows + [(user, fresh[user][user % 4], newest + user) for user in fresh])
    run = train(recctl, "d.csv", "random", "--test-since", production, "--refit")
    worse = recctl("compare", run, production, "--test-of", run, "--fail-if-worse", "--max-drop", "0.005", "--json")
    assert worse.code == 6
    assert worse.json["gate"]["passed"] is False
    assert "may lose 0.005 or more" in worse.err
    better = recctl("compare", production, run, "--test-of", run, "--fail-if-worse", "--max-drop", "0.005", "--json")
    assert better.code == 0, better.err
    assert better.json["gate"] == {"passed": True, "reason": None}
    assert better.json["test_looks"] is None


def test_gate_excludes_users_who_come_back_to_an_item(recctl: Any, workdir: Path) -> None:
    rows = shop.interactions()
    newest = max(time for *_, time in rows)
    items = shop.by_user(rows)
    shop.write(Path("d.csv"), rows)
    production = train(recctl, "d.csv", "popularity", "--refit")
    fresh = shop.without(shop.lists(recctl, production, range(1, 61)), items)
    new = [(user, fresh[user][user % 4], newest + user) for user in fresh]
    again = [(user, items[user][0], newest + user) for user in list(fresh)[:20]]
    shop.write(Path("d.csv"), [*rows, *new, *again])
    run = train(recctl, "d.csv", "random", "--test-since", production, "--refit")
    gate = ("--test-of", run, "--fail-if-worse", "--max-drop", "0.005", "--json")
    better = recctl("compare", production, run, *gate)
    assert better.code == 0, better.err
    assert set(better.json["comparison"]["n_fitted_pairs"].values()) == {20}
    assert "they are excluded for all models" in better.err
    # A model that was fitted on the test part itself is refused all the same.
    everything = recctl("fit", run, "--all-data", "--json").json["run_id"]
    leaking = recctl("compare", everything, production, *gate)
    assert leaking.code == 3
    assert "no model has seen" in leaking.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-drop", "0.1"), "add --fail-if-worse"),
        (("--data", "x.csv", "--test-of", "latest"), "cannot be used together"),
        (("--data", "x.csv", "--on", "test"), "--on is a part of the runs' own split"),
        (("--data", "x.csv", "--seeds", "1,2"), "compare those that runs have"),
    ],
)
def test_options_that_exclude_each_other_are_refused(recctl: Any, options: tuple[str, ...], message: str) -> None:
    refused = recctl("compare", "a", "b", *options)
    assert refused.code == 2
    assert message in refused.err


def test_configs_have_no_model_to_compare_on_new_data(recctl: Any, two: Any) -> None:
    refused = recctl("compare", "ease.yaml", two[0], "--data", "new.csv")
    assert refused.code == 2
    assert "train first" in refused.err


def test_repeats_count_on_new_data_where_nothing_is_excluded(recctl: Any, workdir: Path) -> None:
    rows = shop.interactions()
    shop.write(Path("d.csv"), rows)
    split = "{strategy: leave_last}"
    runs = [
        train(recctl, "d.csv", model, "--set", "evaluation.exclude=none", split=split) for model in ("ease", "random")
    ]
    ranked = [shop.lists(recctl, run, range(1, 61), "--include-seen") for run in runs]
    again = {user: [items[0], items[3]] for user, items in shop.by_user(rows).items()}
    shop.write(Path("new.csv"), [(user, item) for user, items in again.items() for item in items], "user_id,item_id")
    done = recctl("compare", *runs, "--data", "new.csv", "--fail-if-worse", "--json")
    assert done.code == 0, done.err
    figures = {model["runs"][0]: model["metrics"]["ndcg@10"]["value"] for model in done.json["comparison"]["compared"]}
    for run, lists in zip(runs, ranked, strict=True):
        assert figures[run] == pytest.approx(shop.mean(shop.ndcg(lists, again)))


def document(low: float, high: float, n_users: int = 100, mode: str = "max") -> dict[str, Any]:
    figure = {"difference_low": low, "difference_high": high}
    models = [{"label": "new", "metrics": {"ndcg@10": figure}}, {"label": "old", "metrics": {"ndcg@10": {}}}]
    return {
        "n_users": n_users,
        "unequal_training": [],
        "worse": [],
        "metric": "ndcg@10",
        "mode": mode,
        "reference": "old",
        "compared": models,
    }


@pytest.mark.parametrize(
    ("low", "high", "mode", "reason"),
    [
        (-0.004, 0.02, "max", None),
        (-0.006, 0.02, "max", "100 users are too few to tell"),
        (-0.02, -0.01, "max", "may lose 0.005 or more"),
        (-0.02, 0.004, "min", None),
        (0.01, 0.02, "min", "may lose 0.005 or more"),
    ],
)
def test_margin_is_met_by_the_end_of_the_interval(low: float, high: float, mode: str, reason: str | None) -> None:
    failure = gate_failure(document(low, high, mode=mode), "new", 0.005)
    assert (failure is None) == (reason is None)
    assert reason is None or reason in str(failure)


def test_few_users_decide_nothing() -> None:
    assert "9 users are too few to decide" in str(gate_failure(document(0.0, 0.0, n_users=9), "new", 0.005))
