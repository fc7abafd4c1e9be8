"""The section, the figure and the tables of a backtest, from figures that are known."""

from typing import Any

from recctl.reports.render.latex_markdown import _windows_table
from recctl.reports.sections.comparison import _windows


def estimate(value: float) -> dict[str, Any]:
    return {"n_users": 50, "value": value, "low": value - 0.01, "high": value + 0.01, "difference": None}


def result_of(values: dict[str, list[float]]) -> dict[str, Any]:
    compared = []
    for label, of_windows in values.items():
        record = {
            "value": sum(of_windows) / len(of_windows),
            "low": 0.1,
            "high": 0.3,
            "spread": 0.05,
            "windows_won": 1,
            "windows": [estimate(value) for value in of_windows],
        }
        compared.append({"label": label, "metrics": {"ndcg@10": record}})
    windows = [
        {"test_start": start, "test_end": end, "interactions": {"train": 1000, "test": 100}}
        for start, end in (("2026-10-01", "2026-10-08"), ("2026-10-08", "2026-10-15"))
    ]
    return {"metric": "ndcg@10", "on": "test", "confidence": 0.95, "windows": windows, "compared": compared}


RESULT = result_of({"ease": [0.1, 0.3], "als": [0.2, 0.25]})


def test_figure_has_a_line_and_a_band_for_each_model() -> None:
    figure = _windows(RESULT)[1]
    traces = figure.plot["data"]  # type: ignore[union-attr]
    lines = {trace["name"]: trace["y"] for trace in traces if "name" in trace}
    assert lines == {"ease": [0.1, 0.3], "als": [0.2, 0.25]}
    bands = [trace for trace in traces if trace.get("fill") == "toself"]
    assert [band["x"] for band in bands] == [["2026-10-01", "2026-10-08", "2026-10-08", "2026-10-01"]] * 2
    assert bands[0]["y"] == [0.11, 0.31, 0.29, 0.1 - 0.01]


def test_comparison_on_one_split_has_no_windows() -> None:
    assert _windows({"metric": "ndcg@10", "compared": []}) == []


def test_paper_table_has_a_row_for_each_window_then_mean_spread_and_wins() -> None:
    rows = [[cell.text for cell in row] for row in _windows_table(RESULT).rows]
    assert rows == [
        ["2026-10-01", "0.1000", "0.2000"],
        ["2026-10-08", "0.3000", "0.2500"],
        ["Mean", "0.2000", "0.2250"],
        ["SD", "0.0500", "0.0500"],
        ["Won", "1", "1"],
    ]
