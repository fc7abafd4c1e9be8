"""Models side by side: which differences are more than chance, and what accuracy costs."""

from __future__ import annotations

from typing import Any

from recctl.reports.render import formatting, plots
from recctl.reports.render.html import Html, bullets, figure, fold, grid, join, note, table, tag
from recctl.reports.report_data import LeftOutError, ReportData


def comparison(material: ReportData) -> Html | None:
    """What the models came to, in words, figures and tables."""
    document = material.comparison
    if document is None and len(material.subjects) < 2 and material.comparison_run is None:
        return None
    if document is None:
        raise LeftOutError(material.why_not_compared)
    return join(
        [
            bullets(document["words"]) if document["words"] else None,
            grid(_forests(document)),
            table(
                f"Models by {document['metric']}",
                ["Model", *_heads(document)],
                [[_name(document, model), *_cells(document, model)] for model in document["compared"]],
            ),
            note(_how(document)),
            tag("h3", "What it costs"),
            _costs(document),
            _refitted(document),
            tag("h3", "Every metric"),
            _every_metric(document),
            fold("Every difference, with its interval and p", _every_difference(document)),
        ]
    )


def _forests(document: dict[str, Any]) -> list[Html]:
    metric, reference = document["metric"], document["reference"]
    name = formatting.metric_name(metric)
    of = {model["label"]: model["metrics"][metric] for model in document["compared"]}
    percent = f"{document['confidence']:.0%}"
    shown = [
        figure(
            f"{name} on {document['on']}",
            plots.forest(list(of), list(of.values()), name),
            f"With {percent} intervals over {formatting.count(document['n_users'])} users.",
        )
    ]
    others = {label: one for label, one in of.items() if one["difference"] is not None}
    if others:
        shown.append(
            figure(
                f"Difference from {reference}",
                plots.forest(
                    list(others), list(others.values()), f"Difference in {name}", of="difference", prefix="difference_"
                ),
                "Paired by user, which tells more than the intervals of the values do. Right of the line is more.",
            )
        )
    return shown


def _heads(document: dict[str, Any]) -> list[str]:
    return [
        "Validation",
        *([document["on"].capitalize()] if document["on"] != "validation" else []),
        f"{document['confidence']:.0%} interval",
        "Difference",
        f"{document['confidence']:.0%} interval",
        "p (Holm)",
    ]


def _cells(document: dict[str, Any], model: dict[str, Any]) -> list[Any]:
    found = model["metrics"][document["metric"]]
    here = formatting.value(found["value"])
    return [
        formatting.value(model["validation"]) if document["on"] != "validation" else here,
        *([here] if document["on"] != "validation" else []),
        formatting.interval(found),
        formatting.difference(found["difference"]),
        formatting.interval(found, "difference_low", "difference_high"),
        formatting.p_value(found["p_holm"]),
    ]


def _costs(document: dict[str, Any]) -> Html:
    rows = [
        [
            model["label"],
            formatting.value(model["metrics"][document["metric"]]["value"]),
            formatting.share(model["coverage"]),
            formatting.seconds(model["fit_seconds"]),
            formatting.size(model["model_bytes"]),
            ", ".join(model["front"]) or formatting.NOTHING,
        ]
        for model in document["compared"]
    ]
    heads = [
        "Model",
        formatting.metric_name(document["metric"]),
        "Coverage",
        "Fit",
        "Model file",
        "Best trade-off with",
    ]
    said = "A model has the best trade-off with something if no other one is better in both."
    return join([table("What accuracy costs", heads, rows, words=(0, len(heads) - 1)), note(said)])


def _name(document: dict[str, Any], model: dict[str, Any]) -> Any:
    label = model["label"]
    return [tag("b", label), tag("small", "\u00a0best")] if label == document["best"] else label


def _how(document: dict[str, Any]) -> str:
    left_out = sum(document["left_out"].values())
    return (
        f"The best was chosen on {document['chosen_on']}; differences are from {document['reference']}, on "
        f"{document['on']}. p is of a paired {document['test']} test, corrected for the number of models (Holm); "
        f"intervals are of {formatting.count(document['n_resamples'])} bootstrap resamples of the "
        f"{formatting.count(document['n_users'])} users"
        + (f"; {formatting.count(left_out)} users that not all models have are left out." if left_out else ".")
    )


def _refitted(document: dict[str, Any]) -> Html | None:
    done = document.get("refit")
    if not done:
        return None
    rows = [
        [formatting.metric_name(key), formatting.value(found["value"]), formatting.interval(found)]
        for key, found in done["metrics"].items()
    ]
    heads = ["Metric", "Test", f"{document['confidence']:.0%} interval"]
    return join(
        [
            tag("h3", f"{document['best']}, fitted on train and validation, on test"),
            table("The best, refitted", heads, rows),
        ]
    )


def _every_metric(document: dict[str, Any]) -> Html:
    """A row a metric, a column a model, the best in bold."""
    models = document["compared"]
    rows = []
    for key in models[0]["metrics"]:
        best = best_of(document, key)
        cells = []
        for model in models:
            found = model["metrics"][key]
            between = formatting.interval(found)
            shown = formatting.value(found["value"])
            small = None if between == formatting.NOTHING else tag("small", f" {between}")
            cells.append([tag("b", shown) if model["label"] in best else shown, small])
        rows.append([formatting.metric_name(key), *cells])
    heads = ["Metric", *(model["label"] for model in models)]
    return table(f"Every metric on {document['on']}", heads, rows)


def best_of(document: dict[str, Any], key: str) -> list[str]:
    """Labels of the models that are best by a metric, to the digits that are shown."""
    from recctl.metrics import MetricKey

    sign = MetricKey.parse(key).sign
    shown = {
        model["label"]: sign * round(value, 4)
        for model in document["compared"]
        if (value := model["metrics"][key]["value"]) is not None
    }
    return [label for label, value in shown.items() if value == max(shown.values())] if len(shown) > 1 else []


def _every_difference(document: dict[str, Any]) -> Html:
    rows = []
    for key in document["compared"][0]["metrics"]:
        for model in document["compared"]:
            found = model["metrics"][key]
            if found["difference"] is not None:
                rows.append(
                    [
                        formatting.metric_name(key),
                        model["label"],
                        formatting.difference(found["difference"]),
                        formatting.interval(found, "difference_low", "difference_high"),
                        formatting.p_value(found["p"]),
                        formatting.p_value(found["p_holm"]),
                    ]
                )
    heads = ["Metric", "Model", "Difference", f"{document['confidence']:.0%} interval", "p", "p (Holm)"]
    return table(f"Differences from {document['reference']} on {document['on']}", heads, rows, words=(0, 1))
