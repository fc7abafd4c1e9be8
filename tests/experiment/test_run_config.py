"""The data of a run are found again after they moved, with or without the run, and only if they are the same data."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from recctl.models.ease import EASERecommender

CONFIG = """\
data: {source: data/clicks.csv}
split: {strategy: random, test_size: 0.2, val_size: 0.1}
model: {name: ease, params: {l2_reg: 20.0}}
evaluation: {metrics: [ndcg], k_values: [5]}
"""


def rows(n_users: int = 60) -> str:
    lines = [f"{user},{(user * 7 + step * step) % 40}" for user in range(n_users) for step in range(12)]
    return "user_id,item_id\n" + "\n".join(lines) + "\n"


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def project(recctl: Any, workdir: Path) -> Path:
    """A folder with config, data and a run."""
    folder = workdir / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "clicks.csv").write_text(rows())
    (folder / "c.yaml").write_text(CONFIG)
    assert recctl("train", "project/c.yaml", "--runs-dir", "project/runs").code == 0
    return folder


def evaluate(recctl: Any, *options: str, runs: str = "project/runs") -> Any:
    return recctl("evaluate", "latest", "--on", "test", "--json", "--runs-dir", runs, *options)


def test_data_that_moved_are_read_where_set_says_and_the_run_keeps_its_config(recctl: Any, project: Path) -> None:
    before = evaluate(recctl).json["measured"]
    (project / "data").rename(project.parent / "archive")
    (config,) = project.glob("runs/*/config.yaml")
    stored = config.read_bytes()
    gone = evaluate(recctl)
    assert gone.code == 3
    assert "--set data.source=FILE" in gone.err
    # Relative to the working directory, not to the run.
    assert evaluate(recctl, "--set", "data.source=archive/clicks.csv").json["measured"] == before
    assert config.read_bytes() == stored
    assert recctl("runs", "verify", "--runs-dir", "project/runs").code == 0


def test_other_data_are_refused_wherever_set_finds_them(recctl: Any, project: Path, workdir: Path) -> None:
    (workdir / "other.csv").write_text(rows(59))
    refused = evaluate(recctl, "--set", "data.source=other.csv")
    assert (refused.code, "the data have changed" in refused.err) == (3, True)


@pytest.mark.parametrize("override", ["model.params.l2_reg=1", "seed=3", "split.val_size=0.2", "dta.source=x.csv"])
def test_set_of_anything_but_the_data_of_a_run_is_refused(recctl: Any, project: Path, override: str) -> None:
    refused = evaluate(recctl, "--set", override)
    assert refused.code == 2
    assert override in refused.err
    assert "data.source=FILE" in refused.err


def test_file_of_other_format_is_read_as_set_says(recctl: Any, project: Path, workdir: Path) -> None:
    before = evaluate(recctl).json["measured"]
    (workdir / "semicolons.txt").write_text(rows().replace("user_id,item_id\n", "").replace(",", ";"))
    columns = ["data.source=semicolons.txt", "data.header=false", "data.columns={user_id: 0, item_id: 1}"]
    measured = evaluate(recctl, *(part for column in columns for part in ("--set", column)))
    assert measured.code == 0, measured.err
    assert measured.json["measured"] == before


def test_folder_of_config_data_and_runs_that_moved_as_a_whole_still_works(recctl: Any, project: Path) -> None:
    before = evaluate(recctl).json["measured"]
    project.rename(project.parent / "moved")
    assert evaluate(recctl, runs="moved/runs").json["measured"] == before
    assert recctl("runs", "verify", "--runs-dir", "moved/runs").code == 0


def test_stored_config_of_a_moved_folder_is_trained_again(recctl: Any, project: Path) -> None:
    before = evaluate(recctl).json["measured"]
    project.rename(project.parent / "moved")
    (config,) = (project.parent / "moved").glob("runs/*/config.yaml")
    again = recctl("train", str(config), "--json", "--runs-dir", "moved/runs")
    assert again.code == 0, again.err
    assert again.json["metrics"]["test"] == before
    # Whoever names a file means it.
    refused = recctl("train", str(config), "--set", "data.source=/nowhere.csv", "--runs-dir", "moved/runs")
    assert (refused.code, "/nowhere.csv" in refused.err) == (3, True)


def test_parts_that_match_a_pattern_move_with_the_run(recctl: Any, workdir: Path) -> None:
    folder = workdir / "project"
    (folder / "data").mkdir(parents=True)
    lines = rows().splitlines()
    for number in range(2):
        (folder / "data" / f"part-{number}.csv").write_text("\n".join([lines[0], *lines[1 + number :: 2]]) + "\n")
    (folder / "c.yaml").write_text(CONFIG.replace("clicks.csv", "part-*.csv"))
    assert recctl("train", "project/c.yaml", "--runs-dir", "project/runs").code == 0
    before = evaluate(recctl).json["measured"]
    folder.rename(workdir / "moved")
    assert evaluate(recctl, runs="moved/runs").json["measured"] == before


def test_copy_of_a_folder_reads_its_own_data(recctl: Any, project: Path) -> None:
    before = evaluate(recctl).json["measured"]
    shutil.copytree(project, project.parent / "copy")
    (project / "data" / "clicks.csv").write_text(rows(61))
    assert evaluate(recctl, runs="copy/runs").json["measured"] == before
    assert evaluate(recctl).code == 3


def test_runs_that_moved_without_their_data_find_them_where_they_were(recctl: Any, project: Path) -> None:
    before = evaluate(recctl).json["measured"]
    (project / "runs").rename(project.parent / "runs-elsewhere")
    assert evaluate(recctl, runs="runs-elsewhere").json["measured"] == before


def test_files_of_a_predefined_split_move_with_the_run(recctl: Any, workdir: Path) -> None:
    folder = workdir / "parts"
    folder.mkdir()
    lines = rows().splitlines()
    for position, name in enumerate(("train", "validation", "test")):
        own = [line for number, line in enumerate(lines[1:]) if min(number % 12 % 5, 2) == position]
        (folder / f"{name}.csv").write_text("\n".join([lines[0], *own]) + "\n")
    split = "split: {strategy: predefined, validation: validation.csv, test: test.csv}\n"
    (folder / "c.yaml").write_text("data: {source: train.csv}\n" + split + "model: {name: popularity}\n")
    assert recctl("train", "parts/c.yaml", "--runs-dir", "parts/runs").code == 0
    before = evaluate(recctl, runs="parts/runs").json["measured"]
    folder.rename(workdir / "moved")
    assert evaluate(recctl, runs="moved/runs").json["measured"] == before
    (workdir / "moved" / "test.csv").rename(workdir / "elsewhere.csv")
    gone = evaluate(recctl, runs="moved/runs")
    assert (gone.code, "--set split.test=FILE" in gone.err) == (3, True)
    assert evaluate(recctl, "--set", "split.test=elsewhere.csv", runs="moved/runs").json["measured"] == before


def test_run_of_a_catalog_or_synthetic_source_records_no_locations(recctl: Any) -> None:
    run = Path(recctl("train", "small.yaml", "--json").json["path"])
    assert json.loads((run / "metadata.json").read_text())["locations"] == {}


@pytest.fixture
def moved(recctl: Any, project: Path) -> list[str]:
    """Move the data, and return the options that say where they are."""
    (project / "data").rename(project.parent / "archive")
    return ["--set", "data.source=archive/clicks.csv", "--runs-dir", "project/runs"]


def test_report_and_diagnosis_read_data_where_set_says(recctl: Any, moved: list[str]) -> None:
    without = recctl("report", "latest", "--json", "--runs-dir", "project/runs").json["left_out"]
    assert "--set data.source=FILE" in without["Examples"]
    assert recctl("report", "latest", "--json", *moved).json["left_out"].keys() < without.keys()
    gone = recctl("diagnose", "latest", "--data", "--runs-dir", "project/runs")
    assert (gone.code, "--set data.source=FILE" in gone.err) == (3, True)
    assert recctl("diagnose", "latest", "--data", *moved).code == 0
    assert recctl("diagnose", "latest", *moved).code == 2


def test_fit_on_the_split_of_a_run_reads_data_where_set_says(recctl: Any, moved: list[str], project: Path) -> None:
    (run,) = (path.name for path in (project / "runs").iterdir())
    gone = recctl("fit", run, "--runs-dir", "project/runs")
    assert (gone.code, "--set data.source=FILE" in gone.err) == (3, True)
    fitted = recctl("fit", run, "--set", "model.params.l2_reg=7", "--json", *moved).json
    # The new run knows the place where its data were read.
    assert recctl("evaluate", fitted["run_id"], "--runs-dir", "project/runs").code == 0


@pytest.mark.parametrize("command", ["train", "tune", "compare"])
def test_interrupted_work_is_resumed_with_data_where_set_says(
    recctl: Any, workdir: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (workdir / "clicks.csv").write_text(rows())
    text = CONFIG.replace("data/clicks.csv", "clicks.csv")
    if command == "tune":
        text += "tuning: {n_trials: 2, space: {l2_reg: [1, 10]}}\n"
    if command == "compare":
        text = text.replace("model: {name: ease, params: {l2_reg: 20.0}}", "models: [{name: ease}, {name: popularity}]")
    (workdir / "c.yaml").write_text(text)
    monkeypatch.setattr(EASERecommender, "_fit", _interrupt)
    stopped = recctl(command, "c.yaml")
    assert stopped.code == 130, stopped.err
    monkeypatch.undo()
    monkeypatch.chdir(workdir)
    (workdir / "clicks.csv").rename(workdir / "elsewhere.csv")
    run = next(name for name in os.listdir("runs") if command in ("train", name.split("-")[2]))
    recorded = Path("runs", run, "metadata.json").read_bytes()
    gone = recctl(command, "--resume", run)
    assert (gone.code, "--set data.source=FILE" in gone.err) == (3, True)
    assert Path("runs", run, "metadata.json").read_bytes() == recorded, "it is still interrupted, not failed"
    resumed = recctl(command, "--resume", run, "--set", "data.source=elsewhere.csv", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["status"] == "complete"


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
