"""Segments of runs: columns of users, items and interactions, records, comparisons and assertions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import RunStore, experiment
from recctl.errors import DataError
from recctl.evaluation.significance import holm
from recctl.runs import Run
from tests.conftest import Outcome, RecordingListener

CONFIG = """\
seed: 3
data:
  source: events.csv
  columns: {user_id: customer, item_id: sku, timestamp: time}
  users: {file: users.csv, id: customer}
  items: {file: items.csv, id: sku, title: null}
split: {strategy: temporal, test_size: 0.25, val_size: 0.1}
model: {name: ease, params: {l2_reg: 20.0}}
evaluation:
  metrics: [ndcg, recall, coverage]
  k_values: [5]
  on_unknown: zero
  segments: [{activity: [4, 9]}, new_users, new_items, {users: country}, {items: {column: genres, separator: "|"}},
             {interactions: channel}]
"""


@pytest.fixture
def shop(workdir: Path) -> pd.DataFrame:
    """Events with a channel, and tables of customers and products, of which some have no row."""
    rng = np.random.default_rng(2)
    n = 1200
    time = np.arange(n)
    # Customers and products become known one after the other.
    events = pd.DataFrame(
        {
            "customer": [f"c{rng.integers(0, 20 + 50 * t // n)}" for t in time],
            "sku": rng.integers(0, 15 + 25 * time // n),
            "time": time,
            "channel": rng.choice(["app", "shop"], n),
        }
    )
    events.to_csv("events.csv", index=False)
    customers = [f"c{number}" for number in range(66)]
    countries = rng.choice(["DE", "FR"], 66)
    pd.DataFrame({"customer": customers, "country": countries, "age": np.linspace(18, 80, 66)}).to_csv(
        "users.csv", index=False
    )
    genres = rng.choice(["War", "Drama|War", "Comedy"], 40)
    pd.DataFrame({"sku": range(40), "genres": genres}).to_csv("items.csv", index=False)
    Path("shop.yaml").write_text(CONFIG)
    return events


def train(*overrides: str, config: str = "shop.yaml") -> Run:
    return experiment.train(experiment.load(config, overrides), RunStore("runs"))


def parts_of(run: Run, events: pd.DataFrame) -> pd.Series:
    return pd.Series(run.split_parts()).map({0: "train", 1: "validation", 2: "test"})


def test_segments_of_a_run_equal_plain_groups_of_its_users(shop: pd.DataFrame) -> None:
    run = train()
    part = parts_of(run, shop)
    record = run.evaluation("test")
    assert record is not None
    per_user = run.per_user("test").set_index("user_id")
    in_train = shop[part == "train"].groupby("customer").size()
    length = np.array([in_train.get(user, 0) for user in per_user.index])
    country = pd.read_csv("users.csv").set_index("customer")["country"]
    groups = {
        "new_users": length == 0,
        "known_users": length > 0,
        "activity=<4": length < 4,
        "activity=4-8": (length >= 4) & (length < 9),
        "activity=>=9": length >= 9,
        "country=DE": np.array([country.get(user) == "DE" for user in per_user.index]),
        "country=(no row)": np.array([user not in country.index for user in per_user.index]),
    }
    for key, is_member in groups.items():
        segment = record.segments[key]
        assert segment["n_users"] == is_member.sum() > 0, key
        for metric in ("ndcg@5", "recall@5"):
            figure = segment["metrics"][metric]
            assert figure["value"] == pytest.approx(per_user.loc[is_member, metric].mean()), key
            assert figure["low"] is None or figure["low"] <= figure["value"] <= figure["high"]
        assert "coverage@5" not in segment["metrics"]
    assert record.segments["new_users"]["metrics"]["ndcg@5"]["value"] == 0, "on_unknown: zero"


def test_segments_of_items_and_interactions_restrict_what_is_relevant(shop: pd.DataFrame) -> None:
    run = train("evaluation.exclude=none")
    part = parts_of(run, shop)
    record = run.evaluation("test")
    assert record is not None
    tables = run.segment_tables(record)
    test = shop[part == "test"].drop_duplicates(["customer", "sku"], keep="last")
    genres = pd.read_csv("items.csv").set_index("sku")["genres"]
    known = set(shop.loc[part == "train", "sku"])
    kept = {
        "genres=War": test["sku"].map(lambda sku: "War" in genres[sku]),
        "genres=Comedy": test["sku"].map(lambda sku: genres[sku] == "Comedy"),
        "channel=app": test["channel"] == "app",
        "new_items": ~test["sku"].isin(known),
    }
    for key, is_kept in kept.items():
        expected = test[is_kept].groupby("customer").size()
        found = tables[key].set_index("user_id")["n_relevant"]
        assert found.sort_index().to_dict() == expected.sort_index().to_dict(), key
        assert record.segments[key]["n_users"] == len(expected)
    assert record.segments["new_items"]["metrics"]["recall@5"]["value"] == 0


def test_metrics_json_holds_segments_under_a_key_of_their_own(shop: pd.DataFrame, recctl: Any) -> None:
    run = train()
    stored = json.loads((run.path / "metrics.json").read_text())
    assert set(stored) == {"validation", "test", "segments"}
    assert set(run.metrics()) == set(stored["segments"]) == {"validation", "test"}
    record = run.evaluation("test")
    assert record is not None
    for key, figures in stored["segments"]["test"].items():
        assert figures == {name: figure["value"] for name, figure in record.segments[key]["metrics"].items()}
    for command in (("runs", "verify"), ("runs", "list", "--where", "ndcg@5>=0"), ("runs", "compare", run.id, run.id)):
        done: Outcome = recctl(*command)
        assert done.code == 0, done.err
    assert "new_users" in recctl("runs", "show", run.id).out
    assert recctl("runs", "show", run.id, "--json").json["segments"]["test"] == record.segments


def test_verify_finds_changed_values_of_segments(shop: pd.DataFrame, recctl: Any) -> None:
    run = train()
    table = pd.read_parquet(run.path / "segments.parquet")
    table.loc[table["segment"] == "country=DE", "ndcg@5"] += 0.5
    table[table["segment"] != "new_items"].to_parquet(run.path / "segments.parquet")
    done = recctl("runs", "verify", run.id)
    assert done.code == 4
    text = done.out + done.err
    assert "the mean of ndcg@5 over country=DE" in text
    assert "new_items has 0 users" in text


def test_segments_are_added_later_and_are_no_part_of_the_protocol(shop: pd.DataFrame) -> None:
    plain = train("evaluation.segments=[]")
    assert plain.segments() == {}
    assert "segments" not in json.loads((plain.path / "metrics.json").read_text())
    assert not (plain.path / "segments.parquet").exists()
    before = plain.evaluation("test")
    whole = train()
    assert before is not None
    added = experiment.measure(plain, "test", overrides=["evaluation.segments=[new_users]"], metrics=["ndcg"])
    again = experiment.measure(
        plain, "test", overrides=["evaluation.segments=[new_users, new_items]"], metrics=["recall"]
    )
    assert before.id == added.id == again.id
    record = plain.evaluation("test")
    assert record is not None
    assert set(record.segments) == {"new_users", "known_users", "new_items", "known_items"}
    assert set(record.segments["new_users"]["metrics"]) == {"ndcg@5", "recall@5"}
    expected = whole.evaluation("test")
    assert expected is not None
    assert record.segments["known_users"] == expected.segments["known_users"]
    assert set(plain.segment_tables(record)["known_users"]) >= {"ndcg@5", "recall@5"}
    assert record.metrics == expected.metrics


def test_new_data_are_divided_by_what_the_model_was_fitted_on(shop: pd.DataFrame) -> None:
    run = train()
    shop.iloc[-80:].to_csv("next.csv", index=False)
    experiment.measure(run, data="next.csv", overrides=["evaluation.segments=[new_users, {users: country}]"])
    (segments,) = (found for label, found in run.segments().items() if label.startswith("file:"))
    in_train = set(shop.loc[parts_of(run, shop) == "train", "customer"])
    users = set(shop.iloc[-80:]["customer"])
    assert segments["new_users"]["n_users"] == len(users - in_train)
    assert {"country=DE", "country=FR"} <= set(segments)


@pytest.mark.parametrize(
    ("override", "code", "message"),
    [
        ("evaluation.segments=[{users: contry}]", 3, "no column 'contry'; did you mean country"),
        ("evaluation.segments=[{items: genre}]", 3, "no column 'genre'; did you mean genres"),
        ("evaluation.segments=[{interactions: chanel}]", 3, "no column 'chanel'; did you mean channel"),
        ("evaluation.segments=[{users: age}]", 3, "numbers need cuts"),
        ("evaluation.segments=[activty]", 2, "did you mean activity"),
        ("data.users=null", 2, r"set data.users: {file: users.csv"),
        ("data.users.file=user.csv", 3, "data.users.file does not exist"),
        ("data.users.id=age", 3, "none of its ids is in the data"),
        ("evaluation.segments=[{users: country}, {items: {column: genres, label: country}}]", 2, "two segments"),
    ],
)
def test_mistakes_are_found_before_anything_is_fitted(
    shop: pd.DataFrame, recctl: Any, override: str, code: int, message: str
) -> None:
    done = recctl("train", "shop.yaml", "--set", override)
    assert (done.code, list(Path("runs").glob("*"))) == (code, [])
    assert message in done.err


def test_users_without_a_row_are_counted(shop: pd.DataFrame, listener: RecordingListener) -> None:
    train()
    assert any("users.csv: no row for" in notice and "users, e.g." in notice for notice in listener.notices)


def test_assertion_of_a_segment_decides_the_exit_code(shop: pd.DataFrame, recctl: Any) -> None:
    train()
    value = RunStore("runs").resolve("latest").segments()["validation"]["activity=>=9"]["metrics"]["ndcg@5"]["value"]
    for bound, code in ((value - 1e-6, 0), (value + 1e-6, 6)):
        done = recctl("evaluate", "latest", "--assert", f"ndcg@5[activity=>=9]>={bound:.9f}")
        assert done.code == code, done.err
    unknown = recctl("evaluate", "latest", "--assert", "ndcg@5[new_user]>=0")
    assert unknown.code == 2
    assert "did you mean new_users" in unknown.err
    assert "activity=..., new_users, known_users" in unknown.err
    bucket = recctl("evaluate", "latest", "--assert", "ndcg@5[country=UK]>=0")
    assert bucket.code == 2
    assert "country=DE, country=FR" in bucket.err


# ---- comparisons

MODELS = "models=[{name: ease, params: {l2_reg: 20.0}}, {name: popularity}, {name: random}]"


def compared(recctl: Any, *arguments: str) -> dict[str, Any]:
    done = recctl("compare", *arguments, "--resamples", "400", "--json")
    assert done.code == 0, done.err
    document: dict[str, Any] = done.json["comparison"]
    return document


def test_differences_within_segments_are_corrected_over_models_and_segments(shop: pd.DataFrame, recctl: Any) -> None:
    config = CONFIG.replace("model: {name: ease, params: {l2_reg: 20.0}}", MODELS.replace("=", ": ", 1))
    Path("several.yaml").write_text(config)
    document = compared(recctl, "several.yaml")
    estimates = [
        models[label]["ndcg@5"]
        for segment in document["segments"].values()
        for models in [segment["models"]]
        for label in models
        if label != document["reference"]
    ]
    p_values = [estimate["p"] for estimate in estimates]
    assert len(p_values) > 20
    assert [estimate["p_holm"] for estimate in estimates] == pytest.approx(holm(p_values).tolist())
    for label, segment_models in document["segments"]["country=DE"]["models"].items():
        (run_id,) = next(model["runs"] for model in document["compared"] if model["label"] == label)
        figure = RunStore("runs").resolve(run_id).segments()["test"]["country=DE"]["metrics"]["ndcg@5"]
        assert segment_models["ndcg@5"]["value"] == pytest.approx(figure["value"])
    text = recctl("compare", RunStore("runs").resolve(recctl("runs", "list", "--json").json["runs"][0]["run_id"]).id)
    assert "within segments" in text.out


def test_runs_are_compared_in_the_segments_that_all_of_them_have(shop: pd.DataFrame, recctl: Any) -> None:
    ease = train("evaluation.segments=[new_users, {activity: [4]}, {users: country}]")
    popularity = train("model={name: popularity}", "evaluation.segments=[{activity: [5]}, {users: country}]")
    document = compared(recctl, ease.id, popularity.id)
    assert list(document["segments"]) == ["country=DE", "country=FR", "country=(no row)"]
    left_out = next(sentence for sentence in document["words"] if "not measured alike" in sentence)
    assert left_out.startswith("new_users, known_users, activity=<4, activity=>=4, activity=<5, activity=>=5:")


def test_change_of_the_order_is_said_in_words(shop: pd.DataFrame, recctl: Any) -> None:
    ease = train("evaluation.segments=[{popularity: [40]}, {users: country}]")
    popularity = train("model={name: popularity}", "evaluation.segments=[{popularity: [40]}, {users: country}]")
    document = compared(recctl, ease.id, popularity.id)
    order = [model["label"] for model in document["compared"]]
    changed = {
        key
        for key, segment in document["segments"].items()
        if segment["models"][order[0]]["ndcg@5"]["value"] < segment["models"][order[1]]["ndcg@5"]["value"]
    }
    sentences = [sentence for sentence in document["words"] if "the order of models changes" in sentence]
    assert {sentence.removeprefix("In ").partition(" (")[0] for sentence in sentences} == changed
    assert changed, "popularity recommends popular items alone"
    assert all(" there." in sentence for sentence in sentences)


def test_old_records_without_segments_are_read(shop: pd.DataFrame) -> None:
    run = train("evaluation.segments=[]")
    stored = json.loads((run.path / "evaluations.json").read_text())
    assert all("segments" not in record for record in stored["evaluations"])
    record = run.evaluation("test")
    assert record is not None
    assert run.segment_tables(record) == {}


def test_unreadable_column_is_an_error_of_the_data(shop: pd.DataFrame) -> None:
    Path("users.csv").write_text("customer,country\nx,DE\n")
    with pytest.raises(DataError, match=r"none of its ids is in the data \(.* check data\.users\.id"):
        train()
