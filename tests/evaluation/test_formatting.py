from __future__ import annotations

import io
import sys

import pytest

from recctl.evaluation import Evaluator


def test_table_has_metrics_as_rows_and_cutoffs_as_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Evaluator().print_results(
        {"ndcg@10": 0.44389, "ndcg@5": 0.5, "auc": 0.9, "map@10": 0.25, "popularity@5": 12345.678}
    )
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()] == [
        ["metric", "value", "@5", "@10"],
        ["ndcg", "0.5000", "0.4439"],
        ["auc", "0.9000"],
        ["map", "0.2500"],
        ["popularity", "12345.6780"],
    ]
    lines = out.splitlines()
    assert lines[3].index("0.2500") > lines[0].index("@5")  # map has no value at 5
    assert "\x1b" not in out


def test_table_fits_width_of_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    Evaluator().print_results({"ndcg@10": 0.44389})
    assert "─" in screen.getvalue()
    assert max(map(len, screen.getvalue().splitlines())) <= 60


def test_redirected_table_is_not_truncated(capsys: pytest.CaptureFixture[str]) -> None:
    Evaluator().print_results({f"sampled_precision@{k}": 1 / k for k in range(1, 101)})
    header, row = capsys.readouterr().out.splitlines()
    assert len(header.split()) == len(row.split()) == 101
    assert "…" not in header + row


def test_unknown_names_are_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    Evaluator().print_results({"[red]mine@home": 1.0, "ndcg@3": 0.5})
    assert [line.split() for line in capsys.readouterr().out.splitlines()[1:]] == [
        ["[red]mine@home", "1.0000"],
        ["ndcg", "0.5000"],
    ]


def test_metrics_without_cutoff_are_one_column(capsys: pytest.CaptureFixture[str]) -> None:
    Evaluator().print_results({"rmse": 0.91, "mae": 0.7})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["metric", "value"],
        ["rmse", "0.9100"],
        ["mae", "0.7000"],
    ]
