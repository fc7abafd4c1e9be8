"""`train --test-since RUN`: tests on what is newer than the data of an earlier run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recctl import RunStore, experiment
from recctl.data.splitting import TEST
from recctl.models.ease import EASERecommender
from recctl.runs import Run
from tests.experiment.growing_data import EASE, SVD, Row, rows_until, write


@pytest.fixture
def folder(workdir: Path) -> Path:
    write(workdir / "d.csv", rows_until(3))
    (workdir / "ease.yaml").write_text(EASE)
    (workdir / "svd.yaml").write_text(SVD)
    return workdir


def open_run(outcome: Any) -> Run:
    assert outcome.code == 0, outcome.err
    return Run.open(Path(outcome.json["path"]))


def held_out_rows(run: Run, rows: list[Row]) -> list[Row]:
    return [row for row, part in zip(rows, run.split_parts().tolist(), strict=True) if part == TEST]


def fitted_rows(run: Run, version: int, rows: list[Row]) -> list[Row]:
    """The rows that a model of the run was fitted on, recounted from its split."""
    codes = {"train": (0,), "train+validation": (0, 1), "all": (0,)}[run.model_entry(version)["fitted_on"]]
    return [row for row, part in zip(rows, run.split_parts().tolist(), strict=True) if part in codes]


@pytest.mark.parametrize(
    "earlier", [("train", "ease.yaml"), ("train", "ease.yaml", "--refit"), ("fit", "ease.yaml", "--all-data")]
)
def test_test_is_everything_after_what_run_was_fitted_on(recctl: Any, folder: Path, earlier: tuple[str, ...]) -> None:
    first = open_run(recctl(*earlier, "--json", "-q"))
    old_rows = rows_until(3)
    newest = first.model_entry()
    moment = max(row[3] for row in fitted_rows(first, newest["version"], old_rows))
    assert newest["last_timestamp"] == moment
    rows = sorted([*rows_until(4), (1, 61, 3, moment), (2, 61, 3, moment + 1)], key=lambda row: row[3])
    write(folder / "d.csv", rows)
    recctl("runs", "promote", first.id, "--as", "production")
    outcome = recctl("train", "ease.yaml", "--test-since", "production", "--json")
    run = open_run(outcome)
    held_out = held_out_rows(run, rows)
    assert f"test: {len(held_out)} interactions after" in outcome.err
    assert held_out == [row for row in rows if row[3] > moment]
    assert (1, 61, 3, moment) not in held_out, "a new row of that very moment goes to train"
    assert (2, 61, 3, moment + 1) in held_out
    assert run.metadata["split"]["options"]["test_after"] == moment
    assert run.metadata["split"]["options"]["test_since"] == first.id
    validation = run.metadata["split"]["leakage"]["parts"]["validation"]["interactions"]
    assert abs(validation - 0.1 * (len(rows) - len(held_out))) <= 1
    assert set(run.metrics()) == {"validation", "test"}


def test_refitted_run_is_fitted_on_all_but_test(recctl: Any, folder: Path) -> None:
    first = open_run(recctl("fit", "ease.yaml", "--all-data", "--json", "-q"))
    write(folder / "d.csv", rows_until(4))
    run = open_run(recctl("train", "ease.yaml", "--test-since", first.id, "--refit", "--json", "-q"))
    assert [entry["fitted_on"] for entry in run.metadata["models"]] == ["train", "train+validation"]
    assert fitted_rows(run, 2, rows_until(4)) == rows_until(3)
    assert run.model_entry()["last_timestamp"] == first.model_entry()["last_timestamp"]
    # What comes of it is fitted on everything, and the next test is what is newer than that.
    fitted = open_run(recctl("fit", run.id, "--all-data", "--json"))
    assert fitted.metadata["data"]["interactions"] == 800
    write(folder / "d.csv", rows_until(5))
    after = open_run(recctl("train", "ease.yaml", "--test-since", fitted.id, "--json", "-q"))
    assert held_out_rows(after, rows_until(5)) == rows_until(5)[800:]


def test_split_is_kept_for_evaluation_reports_and_resumption(
    recctl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_run(recctl("fit", "ease.yaml", "--all-data", "--json", "-q"))
    write(folder / "d.csv", rows_until(4))
    whole = open_run(recctl("train", "ease.yaml", "--test-since", first.id, "--json", "-q"))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(EASERecommender, "_fit", interrupt)
        assert recctl("train", "ease.yaml", "--test-since", first.id).code == 130
    stopped = next(run for run in RunStore().runs() if run.status == "interrupted")
    resumed = open_run(recctl("train", "--resume", stopped.id, "--json", "-q"))
    assert resumed.metrics() == whole.metrics()
    assert resumed.metadata["split"] == whole.metadata["split"]
    evaluated = recctl("evaluate", whole.id, "--on", "test", "--json")
    assert evaluated.json["measured"] == whole.metrics()["test"]
    assert "test after 2023-11-17 22:08:53 UTC" in recctl("runs", "show", whole.id).out
    assert recctl("diagnose", whole.id).code == 0
    assert recctl("report", whole.id, "-o", "r.html").code == 0
    assert recctl("runs", "verify").code == 0
    refused = recctl("train", "--resume", stopped.id, "--test-since", first.id)
    assert (refused.code, "--test-since" in refused.err) == (2, True)


def test_estimate_is_of_the_same_split(recctl: Any, folder: Path) -> None:
    first = open_run(recctl("fit", "ease.yaml", "--all-data", "--json", "-q"))
    write(folder / "d.csv", rows_until(4))
    run = open_run(recctl("train", "ease.yaml", "--test-since", first.id, "--json", "-q"))
    sizes = recctl("estimate", "ease.yaml", "--test-since", first.id, "--json").json["sizes"]
    assert sizes["interactions"] == 800
    assert sizes["train_interactions"] == run.metadata["split"]["leakage"]["parts"]["train"]["interactions"]


def test_nothing_newer_is_a_matter_of_data(recctl: Any, folder: Path) -> None:
    first = open_run(recctl("fit", "ease.yaml", "--all-data", "--json", "-q"))
    n_runs = len(RunStore().ids())
    outcome = recctl("train", "ease.yaml", "--test-since", first.id, "--json")
    assert outcome.code == 3
    newest = str(max(row[3] for row in rows_until(3)))
    assert outcome.err.count(newest) == 2, "the moment, and the newest interaction"
    assert f"--test-since {first.id}" in outcome.err
    assert len(RunStore().ids()) == n_runs


def test_run_of_data_without_timestamps_is_refused(recctl: Any, folder: Path) -> None:
    without = ["--set", "data.columns={timestamp: null}", "--set", "split.strategy=random"]
    first = open_run(recctl("train", "ease.yaml", *without, "--json", "-q"))
    assert first.model_entry()["last_timestamp"] is None
    outcome = recctl("train", "ease.yaml", "--test-since", first.id)
    assert outcome.code == 3
    assert "was fitted on data without timestamps" in outcome.err
    timed = open_run(recctl("train", "ease.yaml", "--json", "-q"))
    assert recctl("train", "ease.yaml", *without, "--test-since", timed.id).code == 3


def test_predefined_split_is_refused(recctl: Any, folder: Path) -> None:
    first = open_run(recctl("train", "ease.yaml", "--json", "-q"))
    (folder / "parts.yaml").write_text("data: {source: d.csv}\nsplit: {strategy: predefined, test: d.csv}\n")
    outcome = recctl("train", "parts.yaml", "--test-since", first.id)
    assert outcome.code == 2
    assert "--set split.strategy=temporal" in outcome.err


def test_run_without_model_is_refused(recctl: Any, folder: Path) -> None:
    first = open_run(recctl("split", "ease.yaml", "--json"))
    outcome = recctl("train", "ease.yaml", "--test-since", first.id)
    assert outcome.code == 4
    assert "contains only a split and has no model" in outcome.err


@pytest.mark.parametrize("refit", [False, True])
def test_moment_of_older_run_is_computed_from_its_data(recctl: Any, folder: Path, refit: bool) -> None:
    options = ["--refit"] if refit else []
    first = open_run(recctl("train", "ease.yaml", *options, "--json", "-q"))
    moment = first.model_entry()["last_timestamp"]
    metadata = json.loads((first.path / "metadata.json").read_text())
    for entry in metadata["models"]:
        del entry["last_timestamp"]
    (first.path / "metadata.json").write_text(json.dumps(metadata))
    run = open_run(recctl("train", "ease.yaml", "--test-since", first.id, "--json", "-q"))
    assert run.metadata["split"]["options"]["test_after"] == moment
    write(folder / "d.csv", rows_until(4))
    outcome = recctl("train", "ease.yaml", "--test-since", first.id)
    assert outcome.code == 3
    assert "the data have changed since the run was created" in outcome.err
    assert f"recctl fit {first.id} --all-data" in outcome.err


def test_search_records_what_its_model_was_fitted_on(recctl: Any, folder: Path) -> None:
    space = ["--set", "tuning.space={l2_reg: [1.0, 50.0]}"]
    search = open_run(recctl("tune", "ease.yaml", "--strategy", "grid", *space, "--json", "-q"))
    entry = search.model_entry()
    assert entry["last_timestamp"] == max(row[3] for row in fitted_rows(search, entry["version"], rows_until(3)))


def test_library_takes_run(folder: Path) -> None:
    loaded = experiment.load(folder / "svd.yaml")
    first = experiment.fit(loaded, RunStore())
    write(folder / "d.csv", rows_until(4))
    run = experiment.train(loaded, RunStore(), test_since=first)
    moment = first.model_entry()["last_timestamp"]
    assert held_out_rows(run, rows_until(4)) == [row for row in rows_until(4) if row[3] > moment]
    assert run.metadata["split"]["options"]["validation"] == "leave_last"
