"""Models side by side: differences, their significance, and the cost of accuracy."""

from __future__ import annotations

from typing import Any

from recctl.metrics import MetricKey
from recctl.reports.errors import SectionOmittedError
from recctl.reports.render import formatting, plots
from recctl.reports.render.blocks import (
    Block,
    Bullets,
    Details,
    Figure,
    Grid,
    Heading,
    Inline,
    Note,
    Styled,
    Table,
    small,
    strong,
)
from recctl.reports.report_data import ReportData

# A comparison as comparison.json holds it.
Comparison = dict[str, Any]
# One of its models.
Model = dict[str, Any]


def comparison(report_data: ReportData) -> list[Block] | None:
    """The comparison of the models in words, figures and tables."""
    result = report_data.comparison
    if result is None:
        if not report_data.has_several_models and report_data.comparison_run is None:
            return None
        raise SectionOmittedError(report_data.why_not_compared)
    blocks: list[Block] = []
    if result["words"]:
        blocks.append(Bullets(result["words"]))
    blocks += [
        Grid(_forest_plots(result)),
        _models(result),
        Note(_methods(result)),
        *_windows(result),
        Heading("Accuracy and cost"),
        _costs(result),
        Note(
            "A model is on a Pareto front if no other model is at least as good in both accuracy and that quantity, "
            "and better in one of them."
        ),
    ]
    blocks += _refit(result)
    blocks += [
        Heading("All metrics"),
        _all_metrics(result),
        Note(f"Small print: the {result['confidence']:.0%} interval of the metric. The best values are in bold."),
        Details("All differences with intervals and p-values", [_all_differences(result)]),
    ]
    return blocks


def _windows(result: Comparison) -> list[Block]:
    """The metric of each model in each window of a backtest; empty for a comparison on one split."""
    windows = result.get("windows")
    if not windows:
        return []
    metric = result["metric"]
    metric_name = formatting.metric_name(metric)
    test_starts = [window["test_start"] for window in windows]
    bands = []
    lines = []
    for index, model in enumerate(result["compared"]):
        estimates = model["metrics"][metric]["windows"]
        bands.append(plots.band(test_starts, estimates, index))
        lines.append(plots.line(model["label"], test_starts, [each["value"] for each in estimates], index))
    # Bands first, so that no line is below one.
    figure = plots.plot([*bands, *lines], {"title": "First day of test", "type": "date"}, metric_name)
    return [
        Heading("Windows"),
        Figure(
            f"{metric_name} by window",
            figure,
            f"Bands: {result['confidence']:.0%} bootstrap intervals over the users of each window.",
        ),
        _table_of_windows(result),
        Note(
            f"The mean over windows is what models are compared by. Users were resampled with all of their windows, so "
            f"intervals and p-values are about these {len(windows)} windows. A window is won by a model whose value is "
            "better than that of every other model."
        ),
    ]


def _table_of_windows(result: Comparison) -> Table:
    models = [(model["label"], model["metrics"][result["metric"]]) for model in result["compared"]]
    table_rows: list[list[Inline]] = []
    for position, window in enumerate(result["windows"]):
        estimates = [record["windows"][position] for _, record in models]
        row_cells: list[Inline] = [
            f"{window['test_start']} until {window['test_end']}",
            formatting.count(window["interactions"]["train"]),
            formatting.count(window["interactions"]["test"]),
            formatting.count(estimates[0]["n_users"]),
        ]
        row_cells += [_value_with_interval(estimate, is_best=False) for estimate in estimates]
        table_rows.append(row_cells)
    missing = [formatting.MISSING] * 3
    table_rows.append(["Mean", *missing, *(formatting.metric_value(record["value"]) for _, record in models)])
    table_rows.append(
        ["Standard deviation", *missing, *(formatting.metric_value(record["spread"]) for _, record in models)]
    )
    table_rows.append(["Windows won", *missing, *(formatting.count(record["windows_won"]) for _, record in models)])
    headings = ["Test", "Train interactions", "Test interactions", "Users"]
    headings += [label for label, _ in models]
    return Table(f"{formatting.metric_name(result['metric'])} by window", headings, table_rows)


def _interval_heading(result: Comparison, of: str) -> str:
    return f"{result['confidence']:.0%} interval of {of}"


def _forest_plots(result: Comparison) -> list[Figure]:
    metric = result["metric"]
    metric_name = formatting.metric_name(metric)
    figures = {model["label"]: model["metrics"][metric] for model in result["compared"]}
    plots_of_models = [
        Figure(
            f"{metric_name} on {result['on']}",
            plots.forest(list(figures), list(figures.values()), metric_name),
            f"With {result['confidence']:.0%} bootstrap intervals of {metric_name} over "
            f"{formatting.count(result['n_users'])} users.",
        )
    ]
    differences = {label: figure for label, figure in figures.items() if figure["difference"] is not None}
    if differences:
        plots_of_models.append(
            Figure(
                f"Difference from {result['reference']}",
                plots.forest(
                    list(differences),
                    list(differences.values()),
                    f"Difference in {metric_name}",
                    value_key="difference",
                    prefix="difference_",
                ),
                "Paired by user, which is more precise than comparing the intervals of the values. Values right of the "
                "line are higher.",
            )
        )
    return plots_of_models


def _models(result: Comparison) -> Table:
    """A row for each model: its metric on validation and on the reported part, and its difference."""
    metric = result["metric"]
    metric_name = formatting.metric_name(metric)
    has_other_part = result["on"] != "validation"
    headings = ["Model", f"{metric_name} on validation"]
    if has_other_part:
        headings.append(f"{metric_name} on {result['on']}")
    headings += [
        _interval_heading(result, f"{metric_name} on {result['on']}"),
        "Difference",
        _interval_heading(result, "the difference"),
        "p (Holm)",
    ]
    table_rows = []
    for model in result["compared"]:
        figure = model["metrics"][metric]
        row_cells: list[Inline] = [_model_name(result, model)]
        if has_other_part:
            row_cells.append(formatting.metric_value(model["validation"]))
        row_cells += [
            formatting.metric_value(figure["value"]),
            formatting.interval(figure),
            formatting.difference(figure["difference"]),
            formatting.interval(figure, "difference_"),
            formatting.p_value(figure["p_holm"]),
        ]
        table_rows.append(row_cells)
    return Table(f"Models by {metric}", headings, table_rows)


def _model_name(result: Comparison, model: Model) -> Inline:
    label: str = model["label"]
    return [strong(label), small("\u00a0best")] if label == result["best"] else label


def _methods(result: Comparison) -> str:
    method_text = (
        f"The best model was chosen on {result['chosen_on']}. Differences are from {result['reference']}, on "
        f"{result['on']}. p-values are of a paired {result['test']} test, corrected for the number of models by Holm's "
        f"method; intervals are from {formatting.count(result['n_resamples'])} bootstrap resamples of the "
        f"{formatting.count(result['n_users'])} users."
    )
    n_left_out = sum(result["left_out"].values())
    if n_left_out:
        method_text += f" {formatting.count(n_left_out)} users that were not evaluated for every model are excluded."
    return method_text


def _costs(result: Comparison) -> Table:
    metric = result["metric"]
    headings = ["Model", formatting.metric_name(metric), "Coverage", "Fit time", "Model file", "Pareto fronts"]
    table_rows = []
    for model in result["compared"]:
        row_cells = [
            model["label"],
            formatting.metric_value(model["metrics"][metric]["value"]),
            formatting.percent(model["coverage"]),
            formatting.duration(model["fit_seconds"]),
            formatting.file_size(model["model_bytes"]),
            ", ".join(model["front"]) or formatting.MISSING,
        ]
        table_rows.append(row_cells)
    return Table("Accuracy and cost", headings, table_rows, text_columns=(0, len(headings) - 1))


def _refit(result: Comparison) -> list[Block]:
    """The test metrics of the best model, refitted on train and validation; empty without such a refit."""
    refit = result.get("refit")
    if not refit:
        return []
    table_rows = [
        [formatting.metric_name(metric_key), formatting.metric_value(figure["value"]), formatting.interval(figure)]
        for metric_key, figure in refit["metrics"].items()
    ]
    headings = ["Metric", "Test", _interval_heading(result, "the metric")]
    return [
        Heading(f"{result['best']}, refitted on train + validation, on test"),
        Table("The best model, refitted", headings, table_rows),
    ]


def _all_metrics(result: Comparison) -> Table:
    """A row for each metric, a column for each model, the best values in bold."""
    models = result["compared"]
    table_rows = []
    for metric_key in models[0]["metrics"]:
        best_labels = best_models(result, metric_key)
        row_cells: list[Inline] = [formatting.metric_name(metric_key)]
        row_cells += [
            _value_with_interval(model["metrics"][metric_key], model["label"] in best_labels) for model in models
        ]
        table_rows.append(row_cells)
    headings = ["Metric"] + [model["label"] for model in models]
    return Table(f"All metrics on {result['on']}", headings, table_rows)


def _value_with_interval(figure: dict[str, Any], is_best: bool) -> Inline:
    value = formatting.metric_value(figure["value"])
    cell_parts: list[str | Styled] = [strong(value) if is_best else value]
    interval = formatting.interval(figure)
    if interval != formatting.MISSING:
        cell_parts.append(small(f" {interval}"))
    return cell_parts


def best_models(result: Comparison, key: str) -> list[str]:
    """Labels of the models with the best value of a metric, rounded as shown; empty if fewer than two have one."""
    sign = MetricKey.parse(key).sign
    # Models that look equal in a table share the best place.
    rounded = {}
    for model in result["compared"]:
        value = model["metrics"][key]["value"]
        if value is not None:
            rounded[model["label"]] = sign * round(value, 4)
    if len(rounded) < 2:
        return []
    best_value = max(rounded.values())
    return [label for label, value in rounded.items() if value == best_value]


def _all_differences(result: Comparison) -> Table:
    table_rows = []
    for metric_key in result["compared"][0]["metrics"]:
        for model in result["compared"]:
            figure = model["metrics"][metric_key]
            if figure["difference"] is not None:
                row_cells = [
                    formatting.metric_name(metric_key),
                    model["label"],
                    formatting.difference(figure["difference"]),
                    formatting.interval(figure, "difference_"),
                    formatting.p_value(figure["p"]),
                    formatting.p_value(figure["p_holm"]),
                ]
                table_rows.append(row_cells)
    headings = ["Metric", "Model", "Difference", _interval_heading(result, "the difference"), "p", "p (Holm)"]
    return Table(f"Differences from {result['reference']} on {result['on']}", headings, table_rows, text_columns=(0, 1))
