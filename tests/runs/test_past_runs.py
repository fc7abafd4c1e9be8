"""Run directories of past versions can still be listed, verified, evaluated, reported, exported and resumed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent / "past_versions"
RUNS = sorted(path for path in FOLDER.glob("*/*") if path.is_dir())
EASE = "20261129-155040-ease-synthetic-2f1f"
TUNE = "20261129-155103-tune-ease-synthetic-1e2e"
COMPARISON = "20261129-155127-compare-synthetic-211d"
INTERRUPTED = "20261129-155458-sasrec-synthetic-ff15"

# What version 0.1 measured when it resumed the interrupted run, with torch's operators for AVX2. Those for other
# processors add up in another order, and after 40 epochs a few items have other ranks.
RESUMED_METRICS = {
    "validation": {"ndcg@10": 0.3582487354762052, "recall@10": 0.6666666666666666},
    "test": {"ndcg@10": 0.2767262175165022, "recall@10": 0.6166666666666667},
}


@pytest.fixture
def past_runs(workdir: Path) -> Path:
    """A runs directory with a copy of every run that an older version wrote."""
    for path in RUNS:
        shutil.copytree(path, workdir / "runs" / path.name)
    return workdir / "runs"


def recorded_metrics(run: Path) -> dict[str, dict[str, float]]:
    metrics: dict[str, dict[str, float]] = json.loads((run / "metrics.json").read_text())
    return metrics


def test_listing_shows_every_past_run_with_its_status(recctl: Any, past_runs: Path) -> None:
    result = recctl("runs", "list", "--json")
    assert result.code == 0
    statuses = {row["run_id"]: row["status"] for row in result.json["runs"]}
    assert statuses == {path.name: "interrupted" if path.name == INTERRUPTED else "complete" for path in RUNS}


def test_verify_finds_no_fault_in_past_runs(recctl: Any, past_runs: Path) -> None:
    result = recctl("runs", "verify", "--json")
    assert (result.code, result.json["faults"]) == (0, [])


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_show_reads_a_past_run(recctl: Any, past_runs: Path, path: Path) -> None:
    result = recctl("runs", "show", path.name, "--json")
    assert (result.code, result.json["run_id"]) == (0, path.name)


def test_stage_of_a_past_comparison_has_its_new_name(recctl: Any, past_runs: Path) -> None:
    stored = json.loads((past_runs / COMPARISON / "metadata.json").read_text())["timings"]
    shown = recctl("runs", "show", COMPARISON, "--json").json["timings"]
    assert shown["compare"] == stored["judge"]
    assert "judge" not in shown


@pytest.mark.parametrize("name", [EASE, TUNE])
def test_evaluating_a_past_run_repeats_its_metrics(recctl: Any, past_runs: Path, name: str) -> None:
    before = recorded_metrics(past_runs / name)
    result = recctl("evaluate", name, "--json", "-q")
    assert result.code == 0
    for metric, value in before["validation"].items():
        assert result.json["metrics"]["validation"][metric] == pytest.approx(value, rel=1e-9)


def test_figures_of_a_past_run_have_its_protocol_and_are_compared_with_their_like(recctl: Any, past_runs: Path) -> None:
    shown = recctl("runs", "show", EASE, "--json").json["evaluations"]
    assert {(record["protocol"]["version"], record["protocol"]["exclude"]) for record in shown} == {(1, "train")}
    stored = json.loads((past_runs / COMPARISON / "metadata.json").read_text())["compared"]
    past = [record["run_id"] for record in stored]
    assert recctl("compare", *past, "-q").code == 0
    # Measured again, the first has another version of the protocol than the second.
    before = recorded_metrics(past_runs / past[0])
    assert recctl("evaluate", past[0], "--on", "test", "-q").code == 0
    refused = recctl("compare", *past, "--on", "test")
    assert refused.code == 3
    assert "evaluation protocol 2 and 1" in refused.err
    assert recctl("evaluate", past[1], "--on", "test", "-q").code == 0
    assert recctl("compare", *past, "--on", "test").code == 0
    kept = [record["metrics"] for record in recctl("runs", "show", past[0], "--json").json["evaluations"]]
    assert before["test"] in kept, "the old figures are still recorded"


def test_thresholds_of_past_figures_get_a_notice_once(recctl: Any, past_runs: Path) -> None:
    first = recctl("evaluate", EASE, "--assert", "ndcg@10>=0")
    assert "check the thresholds of --assert" in first.err
    assert "check the thresholds" not in recctl("evaluate", EASE, "--assert", "ndcg@10>=0").err


def test_past_comparison_gives_its_result_again(recctl: Any, past_runs: Path) -> None:
    stored = json.loads((past_runs / COMPARISON / "comparison.json").read_text())
    result = recctl("compare", "--resume", COMPARISON, "--json", "-q")
    assert result.code == 0
    assert result.json["comparison"]["best"] == stored["best"]


def test_past_model_recommends_reports_and_exports(recctl: Any, past_runs: Path) -> None:
    assert recctl("recommend", EASE, "1", "-k", "3", "--json").code == 0
    assert recctl("report", EASE, "-o", "report.html", "-q").code == 0
    assert recctl("export", EASE, "--format", "embeddings", "-q").code == 2  # EASE has no embeddings
    assert recctl("export", EASE, "--format", "recommendations", "-q").code == 0


def test_resuming_a_past_run_gives_the_metrics_of_the_version_that_began_it(past_runs: Path) -> None:
    # In a new process, because torch chooses its operators when it is imported.
    command = [sys.executable, "-m", "recctl", "train", "--resume", INTERRUPTED, "-q"]
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "avx2"}
    subprocess.run(command, cwd=past_runs.parent, env=environment, check=True)
    metrics = recorded_metrics(past_runs / INTERRUPTED)
    for part, values in RESUMED_METRICS.items():
        assert metrics[part] == pytest.approx(values, rel=1e-6)


def test_past_search_continues_with_more_trials(recctl: Any, past_runs: Path) -> None:
    result = recctl("tune", "--resume", TUNE, "--trials", "6", "--json", "-q")
    assert (result.code, result.json["tuning"]["n_trials"]) == (0, 6)


@pytest.mark.parametrize("name", [EASE, TUNE, COMPARISON])
def test_settings_of_a_past_run_are_fitted_on_all_data(recctl: Any, past_runs: Path, name: str) -> None:
    result = recctl("fit", name, "--all-data", "--json", "-q")
    assert (result.code, result.json["models"][0]["fitted_on"]) == (0, "all")


@pytest.mark.parametrize("name", [EASE, TUNE, COMPARISON])
def test_training_can_test_on_what_is_newer_than_a_past_run(recctl: Any, past_runs: Path, name: str) -> None:
    config = (past_runs / EASE / "config.yaml").read_text()
    Path("past.yaml").write_text(config)
    result = recctl("train", "past.yaml", "--test-since", name, "--json", "-q")
    # The newest interaction of the data was held out, so that something is newer than what was fitted on.
    assert result.code == 0, result.err
    assert set(result.json["metrics"]) == {"validation", "test"}
