"""Evaluation records: figures belong to the model, the data and the protocol that they were measured with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl.errors import ArtifactError
from recctl.runs import Run
from recctl.runs.evaluations import (
    EvaluationRecord,
    MeasuredData,
    MeasuredModel,
    comparability,
    current_records,
    records_of_version_1,
)

PROTOCOL: dict[str, Any] = {
    "version": 2,
    "tie_rule": 2,
    "exclude": "known",
    "n_candidates": None,
    "relevance_threshold": None,
    "on_unknown": "skip",
}
TEST = MeasuredData("test", "d", "s")
TRAINED = MeasuredModel(1, "one", "train")
REFITTED = MeasuredModel(2, "two", "train+validation")
MODELS = [
    {"version": 1, "sha256": "one", "fitted_on": "train"},
    {"version": 2, "sha256": "two", "fitted_on": "train+validation"},
]
USERS = pd.DataFrame({"user_id": [1, 2], "ndcg@10": [0.0, 1.0], "n_relevant": [1, 1]})


def record(data: MeasuredData = TEST, model: MeasuredModel = TRAINED, value: float = 0.5, **protocol: Any) -> Any:
    return EvaluationRecord(data, model, PROTOCOL | protocol, "2026-01-01T00:00:00", {}, {"ndcg@10": value})


def run_with_models(folder: Path) -> Run:
    run = Run.create(folder, "ease-x", "train", {"seed": 1, "model": {"name": "ease"}})
    run.metadata["models"] = [model | {"file": f"models/v{model['version']}.pkl", "model": "ease"} for model in MODELS]
    run.save_metadata()
    return run


def test_figures_of_the_version_before_a_refit_are_not_those_of_the_run(tmp_path: Path) -> None:
    run = run_with_models(tmp_path)
    validation = MeasuredData("validation", "d", "s")
    run.add_evaluation(record(validation, value=0.25), USERS)
    run.add_evaluation(record(value=0.5), USERS)
    assert run.metrics() == {"validation": {"ndcg@10": 0.25}}  # of the version that validation selected
    assert run.evaluation("test") is None
    with pytest.raises(ArtifactError, match="has no metrics by user on test"):
        run.per_user("test")
    run.add_evaluation(record(model=REFITTED, value=0.75), USERS)
    assert run.metrics()["test"] == {"ndcg@10": 0.75}
    assert len(run.evaluations()) == 3
    assert json.loads((run.path / "metrics.json").read_text()) == run.metrics()


def test_new_model_version_takes_figures_of_the_older_one_out_of_the_view(tmp_path: Path) -> None:
    run = run_with_models(tmp_path)
    run.metadata["models"].pop()
    run.add_evaluation(record(), USERS)

    class Model:
        name = "ease"

        def save(self, path: Path) -> str:
            path.parent.mkdir()
            path.write_bytes(b"two")
            return "two"

    run.save_model(Model(), "train+validation")  # type: ignore[arg-type]
    assert json.loads((run.path / "metrics.json").read_text()) == {}
    assert len(run.evaluations()) == 1


def test_two_files_of_one_name_are_told_apart_by_their_content(tmp_path: Path) -> None:
    run = run_with_models(tmp_path)
    for content_hash, value in (("a" * 64, 0.25), ("b" * 64, 0.5)):
        data = MeasuredData(None, content_hash, file="new.csv")
        run.add_evaluation(record(data, REFITTED, value), USERS)
    assert run.metrics() == {f"file:{'a' * 12}": {"ndcg@10": 0.25}, f"file:{'b' * 12}": {"ndcg@10": 0.5}}


def test_same_file_elsewhere_is_the_same_data() -> None:
    data = MeasuredData(None, "a", file="new.csv")
    assert record(data).id == record(replace(data, file="other/new.csv")).id


def test_figures_of_another_protocol_stay_apart_from_the_runs_own(tmp_path: Path) -> None:
    run = run_with_models(tmp_path)
    run.add_evaluation(record(model=REFITTED, value=0.25), USERS)
    run.add_evaluation(record(model=REFITTED, value=0.5, exclude="none"), USERS)
    assert run.metrics() == {"test": {"ndcg@10": 0.25}}
    assert [stored.metrics["ndcg@10"] for stored in run.evaluations()] == [0.25, 0.5]


def test_repeated_evaluation_replaces_figures_and_keeps_others(tmp_path: Path) -> None:
    run = run_with_models(tmp_path)
    run.add_evaluation(record(model=REFITTED), USERS)
    again = replace(record(model=REFITTED), metrics={"recall@10": 0.125})
    run.add_evaluation(again, USERS[["user_id", "n_relevant"]].assign(**{"recall@10": [0.0, 0.25]}))
    assert run.metrics() == {"test": {"ndcg@10": 0.5, "recall@10": 0.125}}
    assert set(run.per_user("test")) == {"user_id", "n_relevant", "ndcg@10", "recall@10"}


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (record(), ""),
        (record(model=REFITTED), ""),
        (record(MeasuredData("test", "e", "s")), "different data (hashes d and e)"),
        (record(MeasuredData("test", "d", "t")), "different split (hashes s and t)"),
        (record(MeasuredData("validation", "d", "s")), "measured on test and on validation"),
        (record(exclude="none"), "evaluation.exclude is 'known' and 'none'"),
        (record(n_candidates=100, candidate_seed=42), "evaluation.n_candidates is None and 100"),
        (record(version=1, tie_rule=1), "evaluation protocol 2 and 1"),
    ],
)
def test_reasons_name_what_differs(other: EvaluationRecord, reason: str) -> None:
    reasons = comparability(record(), other).reasons
    assert reason in "; ".join(reasons)
    assert bool(reasons) == bool(reason)


def test_models_fitted_on_different_parts_are_marked() -> None:
    assert comparability(record(), record(model=REFITTED)).unequal_training == "fitted on train and on train+validation"
    assert comparability(record(), record()).unequal_training is None


def test_figures_of_version_1_have_its_protocol_and_the_model_that_was_measured() -> None:
    metadata = {"models": MODELS, "seed": 7, "data": {"hash": "d"}, "split": {"hash": "s"}, "evaluation": {"test": {}}}
    metrics = {"validation": {"ndcg@10": 0.25}, "test": {"ndcg@10": 0.5}, "file:new.csv": {"ndcg@10": 0.75}}
    settings = {"n_candidates": 100, "on_unknown": "zero", "metrics": ["ndcg"]}
    records = {stored.data.label: stored for stored in records_of_version_1(metrics, metadata, settings)}
    assert {label: stored.metrics for label, stored in records.items()} == metrics
    assert records["validation"].model == TRAINED
    assert records["test"].model == REFITTED
    assert records["test"].protocol == {
        "version": 1,
        "tie_rule": 1,
        "exclude": "train",
        "n_candidates": 100,
        "relevance_threshold": None,
        "on_unknown": "zero",
        "candidate_seed": 7,
    }
    # Measured again with the same settings, the newer version of the protocol holds.
    again = record(model=REFITTED, exclude="train", n_candidates=100, on_unknown="zero", candidate_seed=7, value=0.125)
    assert current_records([*records.values(), again], MODELS)["test"] is again


def test_record_survives_its_file() -> None:
    stored = record(MeasuredData(None, "a", file="new.csv"))
    assert EvaluationRecord.from_json(json.loads(json.dumps(stored.to_json()))) == stored
    with pytest.raises(ArtifactError, match="not an evaluation record"):
        EvaluationRecord.from_json({"id": "x"})
