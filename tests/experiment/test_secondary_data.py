"""Files to evaluate on are read as the run's own data, and what is left out of them is reported."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.experiment import shop

CONFIG = """\
data: {source: d.csv}
split: {strategy: leave_last, val_size: 1}
model: {name: ease, params: {l2_reg: 20.0}}
evaluation: {metrics: [ndcg], k_values: [10]}
"""
SHOP = """\
data:
  source: shop.csv
  delimiter: ';'
  id_type: text
  columns: {user_id: customer, item_id: sku, rating: stars, timestamp: at}
  preprocess:
    - binarize_implicit_feedback: {threshold: 4}
    - sample_interactions: {n: 500}
split: {strategy: random}
model: {name: ease, params: {l2_reg: 20.0}}
evaluation: {metrics: [ndcg], k_values: [10]}
"""


def train(recctl: Any, text: str = CONFIG, rows: shop.Rows | None = None) -> Any:
    if rows is not None:
        shop.write(Path("d.csv"), rows)
    Path("c.yaml").write_text(text)
    done = recctl("train", "c.yaml", "--json", "-q")
    assert done.code == 0, done.err
    return done.json


def measured(recctl: Any, run: str, *options: str) -> Any:
    done = recctl("evaluate", run, "--json", *options)
    assert done.code == 0, done.err
    return done


def test_file_is_read_with_the_columns_ids_and_preprocessing_of_the_run(recctl: Any) -> None:
    draw = random.Random(3)
    rows = [(f"{u:03}", f"{i:04}", draw.choice([2, 4, 5, 5]), time) for u, i, time in shop.interactions()]
    shop.write(Path("shop.csv"), rows, "customer;sku;stars;at", ";")
    run = train(recctl, SHOP)["run_id"]
    ranked = shop.lists(recctl, run, sorted({row[0] for row in rows}), "--on-unknown", "skip")
    new = []
    for user, items in ranked.items():
        good, bad = draw.sample(items[:8], 2)
        new += [(user, good, 5, 1_800_000_000), (user, bad, 1, 1_800_000_001)]
    shop.write(Path("next.csv"), new, "customer;sku;stars;at", ";")
    done = measured(recctl, run, "--data", "next.csv")
    liked = shop.by_user((u, i) for u, i, stars, _ in new if stars >= 4)
    assert done.json["measured"]["ndcg@10"] == pytest.approx(shop.mean(shop.ndcg(ranked, liked)))
    assert "sample_interactions is not applied" in done.err


def test_differences_of_a_file_are_given_by_set(recctl: Any) -> None:
    run = train(recctl, rows=shop.interactions())["run_id"]
    ranked = shop.lists(recctl, run, range(1, 61))
    rows = [(user, items[user % 3]) for user, items in ranked.items()]
    shop.write(Path("same.csv"), rows, "user_id,item_id")
    shop.write(Path("other.csv"), rows, "who;what", ";")
    same = measured(recctl, run, "--data", "same.csv").json
    options = ("--set", "data.delimiter=;", "--set", "data.columns={user_id: who, item_id: what}")
    other = measured(recctl, run, "--data", "other.csv", *options).json
    assert other["measured"] == same["measured"]
    assert other["on"] == same["on"], "the content is the same"
    refused = recctl("evaluate", run, "--data", "same.csv", "--set", "data.source=other.csv")
    assert refused.code == 2
    assert "both name the file" in refused.err


def test_what_is_left_out_is_counted_and_reported(recctl: Any) -> None:
    rows = shop.interactions()
    run = train(recctl, rows=rows)["run_id"]
    items = shop.by_user(rows)
    ranked = shop.lists(recctl, run, items)
    fresh = shop.without(ranked, items)
    new = [(user, fresh[user][0]) for user in range(1, 41)]
    new += [(9000 + n, 1) for n in range(17)]
    new += [(user, 9000 + user) for user in range(1, 14)]
    new += [(user, items[user][0]) for user in range(1, 24)]
    new += new[:5]
    shop.write(Path("new.csv"), new, "user_id,item_id")
    done = measured(recctl, run, "--data", "new.csv")
    counts = done.json["evaluation"]["counts"]["ranking"]
    assert counts["left_out"] == {"repeated": 5, "rated_below_threshold": 0, "of_unknown_users": 17, "known": 23}
    assert counts["n_unknown_items"] == 13
    for words in ("17 of users that the model does not know", "23 of items that the user already had", "5 repeated"):
        assert words in done.err
    assert "13 interactions are with items that the model does not know" in done.err


@pytest.mark.parametrize("name", ['it\'s "new": {a}.csv', "neu [1].csv", "ü*.csv"])
def test_any_path_is_taken_as_it_is(recctl: Any, name: str) -> None:
    run = train(recctl, rows=shop.interactions())["run_id"]
    shop.write(Path(name), [(user, 40) for user in range(1, 30)], "user_id,item_id")
    assert measured(recctl, run, "--data", name).json["evaluation"]["data"]["file"] == name


def test_ids_of_another_type_are_refused_with_the_value(recctl: Any) -> None:
    run = train(recctl, rows=shop.interactions())["run_id"]
    shop.write(Path("new.csv"), [(1, "a-7"), (2, 3)], "user_id,item_id")
    refused = recctl("evaluate", run, "--data", "new.csv")
    assert refused.code == 3
    assert "a-7" in refused.err


def test_own_data_are_not_needed_to_evaluate_on_a_file(recctl: Any) -> None:
    rows = shop.interactions()
    run = train(recctl, rows=rows)["run_id"]
    ranked = shop.lists(recctl, run, range(1, 61))
    Path("d.csv").unlink()
    new = {user: [items[user % 5]] for user, items in ranked.items()}
    shop.write(Path("new.csv"), [(user, items[0]) for user, items in new.items()], "user_id,item_id")
    value = measured(recctl, run, "--data", "new.csv").json["measured"]["ndcg@10"]
    assert value == pytest.approx(shop.mean(shop.ndcg(ranked, new)))


def test_protocol_of_one_evaluation_can_be_set(recctl: Any) -> None:
    rows = shop.interactions()
    trained = train(recctl, rows=rows)
    items = shop.by_user(rows)
    train_items = {user: own[:-2] for user, own in items.items()}
    test = {user: own[-1:] for user, own in items.items()}
    ranked = shop.without(shop.lists(recctl, trained["run_id"], items, "--include-seen"), train_items)
    done = measured(recctl, trained["run_id"], "--on", "test", "--set", "evaluation.exclude=train")
    assert done.json["measured"]["ndcg@10"] == pytest.approx(shop.mean(shop.ndcg(ranked, test)))
    known = shop.without(ranked, {user: own[-2:-1] for user, own in items.items()})
    assert trained["metrics"]["test"]["ndcg@10"] == pytest.approx(shop.mean(shop.ndcg(known, test)))
    # The run's own protocol stays the one of its figures.
    assert done.json["metrics"]["test"] == trained["metrics"]["test"]
