"""A comparison stands for its winner wherever a model is needed, and `latest` for the newest run with a model."""

from __future__ import annotations

from typing import Any

import pytest

from recctl import RunStore
from recctl.cli.runs.list import _shorten
from recctl.errors import ArtifactError
from recctl.experiment import load_version
from recctl.runs import Run

TWO_MODELS = "models: [{name: popularity}, {name: ease, params: {l2_reg: 50.0}}]"


@pytest.fixture
def comparison(recctl: Any, workdir: Any) -> dict[str, Any]:
    """The JSON document of a comparison of popularity and EASE."""
    text = (workdir / "small.yaml").read_text().replace("model: {name: ease, params: {l2_reg: 50.0}}", TWO_MODELS)
    (workdir / "two.yaml").write_text(text)
    done = recctl("compare", "two.yaml", "--resamples", "100", "--json")
    assert done.code == 0, done.err
    document: dict[str, Any] = done.json
    return document


def winner_of(document: dict[str, Any]) -> str:
    """The run of the model with the best ndcg@10 on validation, from the metrics of the runs."""
    runs = [model["runs"][0] for model in document["comparison"]["compared"]]
    scores = {run: Run.open(RunStore().root / run).metrics()["validation"]["ndcg@10"] for run in runs}
    return max(scores, key=lambda run: scores[run])


def test_list_shows_the_models_of_a_comparison(recctl: Any, comparison: dict[str, Any]) -> None:
    (row,) = recctl("runs", "list", "--kind", "compare", "--json").json["runs"]
    assert row["compared"] == ["popularity", "ease"]
    (line,) = [line for line in recctl("runs", "list").out.splitlines() if comparison["run_id"] in line]
    assert "  popularity, ease  " in line


def test_list_shortens_the_models_of_a_large_comparison() -> None:
    assert _shorten(["a" * 30, "b", "c"]) == f"{'a' * 30} +2"
    assert _shorten(["popularity", "item-knn", "ease"]) == "popularity, item-knn +1"
    assert _shorten(["popularity", "item-knn"]) == "popularity, item-knn"


def test_complete_comparison_is_not_resumed_with_settings(recctl: Any, comparison: dict[str, Any]) -> None:
    done = recctl("compare", "--resume", comparison["run_id"], "--set", "data.source=elsewhere.csv")
    assert done.code == 2
    assert f"{comparison['run_id']} is complete" in done.err


def test_promoted_comparison_promotes_its_winner(recctl: Any, comparison: dict[str, Any]) -> None:
    winner = winner_of(comparison)
    promoted = recctl("runs", "promote", comparison["run_id"], "--as", "production", "--json")
    assert promoted.code == 0, promoted.err
    assert promoted.json["run_id"] == winner
    assert f"{comparison['run_id']} is a comparison; using its winner" in promoted.err
    assert winner in promoted.err
    assert recctl("runs", "show", "production", "--json").json["run_id"] == winner
    # The same run again is no new move.
    recctl("runs", "promote", comparison["run_id"], "--as", "production")
    assert len(recctl("runs", "names", "production", "--json").json["names"]) == 1


def test_comparison_is_evaluated_recommended_from_and_exported_by_its_winner(
    recctl: Any, comparison: dict[str, Any]
) -> None:
    run_id, winner = comparison["run_id"], winner_of(comparison)
    for command in (
        ("evaluate", run_id, "--on", "validation"),
        ("recommend", run_id, "3"),
        ("similar", run_id, "3"),
        ("export", run_id, "--format", "recommendations", "-k", "3"),
    ):
        done = recctl(*command, "--json")
        assert done.code == 0, done.err
        assert done.json["run_id"] == winner
        assert winner in done.err
    expected = recctl("recommend", winner, "3", "--json").json["recommendations"]
    assert recctl("recommend", run_id, "3", "--json").json["recommendations"] == expected


def test_comparison_against_production_compares_the_winner(recctl: Any, comparison: dict[str, Any]) -> None:
    baseline = recctl("train", "small.yaml", "--set", "model.name=popularity", "--json").json["run_id"]
    compared = recctl("compare", comparison["run_id"], baseline, "--fail-if-worse", "--json")
    assert compared.code == 0, compared.err
    runs = [model["runs"][0] for model in compared.json["comparison"]["compared"]]
    assert runs == [winner_of(comparison), baseline]


def test_latest_after_a_comparison_is_the_newest_run_with_a_model(recctl: Any, comparison: dict[str, Any]) -> None:
    trained = [run for run in RunStore().runs() if run.metadata["kind"] == "train"]
    newest = max(trained, key=lambda run: run.metadata["created"]).id
    for command in (("recommend", "latest", "3"), ("evaluate", "latest"), ("runs", "show", "latest")):
        done = recctl(*command, "--json")
        assert done.code == 0, done.err
        assert done.json["run_id"] == newest
    assert recctl("runs", "promote", "latest", "--as", "production", "--json").json["run_id"] == newest


def test_latest_after_a_comparison_names_the_comparison(recctl: Any, comparison: dict[str, Any]) -> None:
    said = recctl("report", "latest").err
    assert f"not the comparison {comparison['run_id']}, whose winner is {comparison['comparison']['best']}" in said
    recctl("fit", comparison["run_id"], "--all-data")
    assert "comparison" not in recctl("runs", "show", "latest").err


def test_next_command_after_a_comparison_reports_it(recctl: Any, comparison: dict[str, Any]) -> None:
    done = recctl("compare", comparison["run_id"])
    assert done.err.splitlines()[-1] == f"next: recctl report {comparison['run_id']}"


def test_shown_comparison_lists_its_models_and_winner(recctl: Any, comparison: dict[str, Any]) -> None:
    rows = dict(
        line.split(maxsplit=1) for line in recctl("runs", "show", comparison["run_id"]).out.splitlines() if line.strip()
    )
    assert rows["compared"].strip() == "popularity, ease"
    assert rows["winner"].strip() == f"{comparison['comparison']['best']}, {winner_of(comparison)}"


def test_unfinished_comparison_has_no_winner(recctl: Any, comparison: dict[str, Any]) -> None:
    run = Run.open(RunStore().root / comparison["run_id"])
    run.end("interrupted")
    refused = recctl("runs", "promote", run.id, "--as", "production")
    assert (refused.code, "is interrupted and has no winner" in refused.err) == (4, True)
    assert recctl("runs", "names", "--json").json["names"] == []


def test_comparison_whose_winner_was_deleted_says_so(recctl: Any, comparison: dict[str, Any]) -> None:
    winner = winner_of(comparison)
    assert recctl("runs", "rm", winner, "--yes").code == 0
    refused = recctl("recommend", comparison["run_id"], "3")
    assert (refused.code, "the run of its winner can't be read" in refused.err, winner in refused.err) == (
        4,
        True,
        True,
    )


def test_loading_the_model_of_a_comparison_in_python_names_the_winner(recctl: Any, comparison: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=f"use the run of its winner: {winner_of(comparison)}"):
        load_version(RunStore().resolve(comparison["run_id"]))
    assert RunStore().resolve_model(comparison["run_id"]).id == winner_of(comparison)
