"""Weights of events from the config to the model, and when ratings of the source must be readable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import RunStore, experiment, load_model, make_model, progress
from recctl.config import LoadedConfig, parse_config, to_yaml
from recctl.data.sources import ReadOptions, SourceTable
from recctl.errors import DataError
from recctl.experiment.use_of_ratings import needs_ratings
from recctl.models.registry import model_classes

WEIGHTS = {"view": 1, "cart": 3, "buy": 5}
STEPS = [
    {"weight_events": {"column": "event", "weights": WEIGHTS}},
    {"drop_duplicates": {"keep": "sum"}},
]


def events() -> pd.DataFrame:
    """Rows of 30 users and 12 items."""
    rows = [(row % 30, (row * 7 + row // 30) % 12, list(WEIGHTS)[row % 7 % 3], row) for row in range(400)]
    return pd.DataFrame(rows, columns=["user_id", "item_id", "event", "timestamp"])


def load(values: dict[str, Any], folder: Path = Path()) -> LoadedConfig:
    return parse_config(to_yaml({"seed": 1, **values}), "c.yaml", folder, [], experiment.CHECKS)


def config(model: str = "als", folder: Path = Path(), **data: Any) -> LoadedConfig:
    return load({"data": {"source": "events.csv", "preprocess": STEPS, **data}, "model": {"name": model}}, folder)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> list[ReadOptions]:
    """Replace the readers by a table in memory; the options they are called with are collected."""
    collected: list[ReadOptions] = []

    def read_configured_source(source: str, options: ReadOptions, **_: Any) -> SourceTable:
        collected.append(options)
        return SourceTable.from_frame(events(), {"source": source}, options.extra_columns)

    monkeypatch.setattr("recctl.experiment.data.read_configured_source", read_configured_source)
    return collected


def test_columns_of_steps_are_read_and_dropped_after_the_steps(options: list[ReadOptions]) -> None:
    dataset, _, record = experiment.read_dataset(config())
    assert options[0].extra_columns == ("event",)
    assert options[0].needs_ratings is False
    expected = events().assign(rating=events()["event"].map(WEIGHTS))
    expected = expected.groupby(["user_id", "item_id"])["rating"].sum()
    assert dataset.data.groupby(["user_id", "item_id"])["rating"].sum().to_dict() == expected.to_dict()
    assert [step["name"] for step in record["preprocess"]] == ["weight_events", "drop_duplicates"]


@pytest.mark.parametrize("file_format", ["csv", "csv.gz", "csv without header", "parquet", "jsonl", "feather"])
def test_events_are_read_from_files_of_any_format(file_format: str, tmp_path: Path) -> None:
    frame = events().assign(flag=events()["timestamp"] % 2 == 0)[["user_id", "item_id", "timestamp", "event", "flag"]]
    path = tmp_path / f"events.{file_format.split()[0]}"
    columns: list[str | int] = ["event", "flag"]
    data: dict[str, Any] = {"source": path.name}
    if file_format == "csv without header":
        frame.to_csv(path, index=False, header=False)
        columns = [3, 4]
        data["columns"] = {"user_id": 0, "item_id": 1, "timestamp": 2}
    elif file_format.startswith("csv"):
        frame.to_csv(path, index=False)
    elif file_format == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        getattr(frame, f"to_{file_format}")(path)
    data["preprocess"] = [
        {"select_rows": {"column": columns[1], "values": [True]}},
        {"weight_events": {"column": columns[0], "weights": WEIGHTS}},
    ]
    loaded = load({"data": data}, tmp_path)
    result = experiment.read_dataset(loaded)
    expected = events()[frame["flag"]]
    assert result.dataset.data["timestamp"].tolist() == expected["timestamp"].tolist()
    assert result.dataset.data["rating"].tolist() == expected["event"].map(WEIGHTS).tolist()


def test_missing_column_of_a_step_is_named(options: list[ReadOptions]) -> None:
    with pytest.raises(DataError, match=r"no column 'evnt'; did you mean event\?"):
        experiment.read_dataset(config(preprocess=[{"select_rows": {"column": "evnt", "values": ["view"]}}]))


@pytest.mark.parametrize("model", ["als", "ease", "slim", "item-knn", "rp3beta", "sansa", "user-knn"])
def test_models_with_weights_use_them(model: str, tmp_path: Path, options: list[ReadOptions]) -> None:
    loaded = config(model, tmp_path)
    assert loaded.config.data.implicit is False
    prepared = experiment.prepare(loaded)
    assert not any("ignores" in note for note in prepared.notes)
    run = experiment.train(loaded, RunStore(tmp_path / "runs"))
    fitted = load_model(run.path / "models" / "v1.pkl")
    assert set(fitted.seen.values.tolist()) > {1.0}
    binary = make_model(model, **fitted.hyperparameters()).fit(prepared.split.train(prepared.dataset).data)
    users = fitted.user_vocabulary.ids[:5]
    assert fitted.recommend(users, 5)["score"].tolist() != pytest.approx(binary.recommend(users, 5)["score"].tolist())


@pytest.mark.parametrize(
    ("model", "data", "note"),
    [
        ({"name": "popularity"}, {}, "popularity ignores the weights of weight_events"),
        (
            {"name": "item-knn", "params": {"similarity": "jaccard"}},
            {},
            "item-knn ignores the weights of weight_events",
        ),
        (
            {"name": "als"},
            {"implicit": True},
            "data.implicit is true, so that the weights of weight_events are not used; leave it out to use them",
        ),
        ({"name": "als"}, {}, None),
        ({"name": "svd"}, {}, None),
    ],
)
def test_unused_weights_are_noted(
    model: dict[str, Any], data: dict[str, Any], note: str | None, options: list[ReadOptions]
) -> None:
    loaded = load({"data": {"source": "events.csv", "preprocess": STEPS, **data}, "model": model})
    notes = [text for text in experiment.prepare(loaded).notes if "weight_events" in text]
    assert notes == ([] if note is None else [note])


def test_weights_do_not_decide_relevance(tmp_path: Path, options: list[ReadOptions]) -> None:
    run = experiment.train(config("popularity", tmp_path), RunStore(tmp_path / "runs"))
    without = config("popularity", tmp_path, preprocess=[{"drop_duplicates": None}])
    other = experiment.train(without, RunStore(tmp_path / "runs"))
    assert run.metrics() == other.metrics()
    assert [record.counts for record in run.evaluations()] == [record.counts for record in other.evaluations()]


def test_models_say_whether_they_use_weights() -> None:
    using = {model.name for model in model_classes() if model.uses_weights}
    assert using == {"als", "ease", "item-knn", "rp3beta", "sansa", "slim", "user-knn"}
    assert not make_model("item-knn", similarity="jaccard").uses_weights


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, False),
        ({"model": {"name": "svd"}}, True),
        ({"data": {"implicit": False}}, True),
        ({"evaluation": {"relevance_threshold": 4}}, True),
        ({"evaluation": {"metrics": ["rmse"]}, "model": {"name": "als", "params": {"implicit": False}}}, True),
        ({"data": {"preprocess": [{"normalize_ratings": None}]}}, True),
        ({"data": {"preprocess": [{"drop_duplicates": {"keep": "mean"}}]}}, True),
        ({"data": {"preprocess": [{"drop_duplicates": None}]}}, False),
        ({"data": {"preprocess": STEPS}}, False),
        ({"data": {"preprocess": STEPS}, "evaluation": {"relevance_threshold": 4}}, False),
    ],
)
def test_ratings_of_the_source_are_needed_if_anything_uses_them(values: dict[str, Any], expected: bool) -> None:
    assert needs_ratings(load(values).config) is expected


@pytest.mark.parametrize("file_format", ["csv", "parquet", "jsonl"])
def test_unreadable_ratings_are_left_out_unless_they_are_used(file_format: str, tmp_path: Path) -> None:
    frame = events()[["user_id", "item_id"]].assign(rating=["4", *["liked it"] * 399])
    path = tmp_path / f"rated.{file_format}"
    if file_format == "csv":
        frame.to_csv(path, index=False)
    elif file_format == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    notices: list[str] = []

    class Notices(progress._Silence):
        def notice(self, message: str) -> None:
            notices.append(message)

    with progress.listening(Notices()):
        result = experiment.read_dataset(load({"data": {"source": path.name}}, tmp_path))
    assert (len(result.dataset), result.dataset.ratings) == (400, None)
    assert any(path.name in notice and "rating" in notice and "liked it" in notice for notice in notices)
    with pytest.raises(DataError, match="liked it"):
        experiment.read_dataset(load({"data": {"source": path.name}, "model": {"name": "svd"}}, tmp_path))
    with pytest.raises(DataError, match="liked it"):
        experiment.read_dataset(
            load({"data": {"source": path.name}, "evaluation": {"relevance_threshold": 4}}, tmp_path)
        )


MIXED = """\
seed: 3
data: {source: synthetic, synthetic: {n_users: 60, n_items: 30, n_interactions: 800}}
split: {strategy: random, test_size: 0.2, val_size: 0.1}
evaluation: {metrics: [ndcg], k_values: [10]}
"""
MIXED_MODELS = "models: [{name: ease}, {name: svd, params: {n_epochs: 2}}, {name: svdpp, params: {n_epochs: 2}}]\n"


@pytest.mark.parametrize(("command", "options"), [("compare", []), ("tune", ["--trials", "1"])])
def test_models_that_differ_in_their_use_of_ratings_are_refused_before_any_work(
    recctl: Any, command: str, options: list[str]
) -> None:
    Path("mixed.yaml").write_text(MIXED + MIXED_MODELS)
    refused = recctl(command, "mixed.yaml", "--json")
    assert refused.code == 2
    assert "data.implicit: the default is false for svd, svdpp, and true for ease; write implicit: false" in refused.err
    assert not Path("runs").exists()
    assert recctl(command, "mixed.yaml", "--set", "data.implicit=false", *options).code == 0


def test_runs_that_differ_in_their_use_of_ratings_are_compared(recctl: Any) -> None:
    ids = []
    for name in ("ease", "svd"):
        Path(f"{name}.yaml").write_text(f"{MIXED}model: {{name: {name}}}\n")
        ids.append(recctl("train", f"{name}.yaml", "--json").json["run_id"])
    assert recctl("compare", *ids).code == 0


def test_an_adaptive_search_gives_each_model_its_data_and_its_run_can_be_read(recctl: Any) -> None:
    text = MIXED + MIXED_MODELS + "tuning: {allocation: adaptive, n_trials: 6}\n"
    Path("mixed.yaml").write_text(text)
    found = recctl("tune", "mixed.yaml", "--json")
    assert found.code == 0
    assert [model["trials"] > 0 for model in found.json["tuning"]["models"]] == [True, True, True]
    run_id = found.json["run_id"]
    assert "implicit:" not in RunStore().resolve(run_id).config_text(), "each model has a default of its own"
    again = recctl("evaluate", run_id, "--json")
    assert again.json["metrics"]["validation"] == found.json["metrics"]["validation"]
    assert recctl("tune", "--resume", run_id, "--trials", "7", "-q").code == 0
