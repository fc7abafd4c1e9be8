"""Segments in reports: figures, tables, Markdown and LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recctl import RunStore
from recctl.reports.report import write_report
from recctl.runs import Run

CONFIG = """\
seed: 7
data: {source: synthetic, synthetic: {n_users: 120, n_items: 60, n_interactions: 2500}}
split: {test_size: 0.2, val_size: 0.1}
MODEL
evaluation: {metrics: [ndcg], k_values: [10], segments: [{activity: {quantiles: 3}}, new_items, {popularity: [30]}]}
"""


def report(run: Run, form: Any) -> str:
    return write_report([run], form=form).path.read_text()


@pytest.fixture
def run(recctl: Any) -> Run:
    Path("one.yaml").write_text(CONFIG.replace("MODEL", "model: {name: ease, params: {l2_reg: 50.0}}"))
    assert recctl("train", "one.yaml").code == 0
    return RunStore().resolve("latest")


def test_report_of_a_run_shows_its_segments(run: Run) -> None:
    page = report(run, "html")
    segments = run.segments()["test"]
    assert "NDCG@10 by segment on test" in page
    for key, segment in segments.items():
        assert key.replace("<", "&lt;").replace(">", "&gt;") in page
        if segment["n_users"]:
            assert f"{segment['metrics']['ndcg@10']['value']:.4f}" in page
    assert "NDCG@10 by activity" in page
    assert "Interactions of the user" not in page, "measured by activity already, and not computed again"
    assert "NDCG@10 by popularity" in page
    assert "NDCG@10 by items" in page


@pytest.mark.parametrize("form", ["md", "latex"])
def test_tables_for_papers_have_segments(run: Run, form: str) -> None:
    text = report(run, form)
    assert "by segment on test" in text
    assert f"{run.segments()['test']['activity=q1']['metrics']['ndcg@10']['value']:.4f}" in text


def test_report_of_a_comparison_shows_differences_by_segment(recctl: Any) -> None:
    models = "models: [{name: ease, params: {l2_reg: 50.0}}, {name: popularity}]"
    Path("two.yaml").write_text(CONFIG.replace("MODEL", models))
    done = recctl("compare", "two.yaml", "--resamples", "200", "--json")
    document = done.json["comparison"]
    comparison = RunStore().resolve(done.json["run_id"])
    page = report(comparison, "html")
    difference = document["segments"]["activity=q3"]["models"]["popularity"]["ndcg@10"]["difference"]
    assert f"{difference:+.4f}".replace("-", "−") in page
    assert "holm, over the models and segments by each metric" in page
    assert "| activity=q3" in report(comparison, "md").replace("\\", "")
