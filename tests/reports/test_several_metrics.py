"""What a report shows of a search of several metrics."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from recctl.reports.search_figures import SearchTrials, pareto_figure
from recctl.reports.sections.search import _best_trials
from recctl.runs import Run


def search_of(path: Path, kept: int, pick: list[str]) -> SearchTrials:
    table = pd.DataFrame(
        {
            "number": [0, 1, 2, 3],
            "state": "complete",
            "ndcg@10": [0.3, 0.5, 0.5, 0.4],
            "coverage@10": [0.2, 0.1, 0.3, 0.6],
            "l2_reg": [1.0, 2.0, 3.0, 4.0],
            "pareto": [False, False, True, True],
        }
    )
    table.to_parquet(path / "trials.parquet")
    run = Run(path)
    monitors = ["ndcg@10", "coverage@10"]
    run.metadata = {"tuning": {"monitors": monitors, "best_trial": kept, "pareto": [2, 3], "pick": pick}}
    return SearchTrials(run)


def test_trials_are_in_the_order_in_which_the_search_prefers_them(tmp_path: Path) -> None:
    assert search_of(tmp_path, 2, []).complete["number"].tolist() == [2, 1, 3, 0]
    assert search_of(tmp_path, 3, ["coverage@10>=0.5"]).complete["number"].tolist() == [3, 2, 1, 0]


def test_figure_tells_the_kept_trial_from_the_rest_of_the_front(tmp_path: Path) -> None:
    figure = pareto_figure(search_of(tmp_path, 3, ["coverage@10>=0.5"]))
    assert figure is not None
    drawn = {trace["name"]: (trace["x"], trace["y"]) for trace in figure.plot["data"]}
    assert drawn == {
        "Other trials": ([0.5, 0.3], [0.1, 0.2]),
        "Pareto front": ([0.5], [0.3]),
        "Trial 3, whose model is kept": ([0.4], [0.6]),
    }
    assert figure.note is not None
    assert "coverage@10>=0.5" in figure.note


def test_table_has_all_metrics_of_the_front_and_marks_the_kept_trial(tmp_path: Path) -> None:
    _, table = _best_trials(search_of(tmp_path, 3, []))
    rows = [row[:4] for row in table.rows]
    assert rows == [["3 (kept)", "0.4000", "0.6000", "4"], ["2", "0.5000", "0.3000", "3"]]
    assert table.headings[:4] == ["Trial", "NDCG@10", "Coverage@10", "l2_reg"]
