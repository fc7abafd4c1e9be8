"""What the diagnosis finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from recctl.diagnosis import diagnose_run
from recctl.errors import RecctlError
from recctl.reports.render.html import Html, code, join, note, tag
from recctl.reports.report_data import LeftOutError, ReportData

if TYPE_CHECKING:
    from recctl.diagnosis.findings import Finding


def findings(material: ReportData) -> Html:
    """What is wrong with the runs, by which figures, and what to try."""
    found: dict[str, tuple[Finding, list[str]]] = {}
    clean, failed = [], []
    for one in material.subjects:
        try:
            diagnosis = diagnose_run(one.run)
        except RecctlError as error:
            failed.append(note(f"{one.label}: {error}."))
            continue
        for finding in diagnosis.findings:
            found.setdefault(repr(finding), (finding, []))[1].append(one.label)
        if not diagnosis.findings:
            whose = f"{one.label}: n" if len(material.subjects) > 1 else "N"
            clean.append(note(f"{whose}othing found; looked at {', '.join(diagnosis.looked_at)}."))
    if not (found or clean or failed):
        raise LeftOutError("there is no run of a model")
    several = len(material.subjects) > 1
    return join([[_finding(finding, labels if several else []) for finding, labels in found.values()], clean, failed])


def _finding(finding: Finding, labels: list[str]) -> Html:
    tries = [tag("li", code(line)) for line in finding.suggestions]
    return tag(
        "div",
        tag("p", tag("b", finding.title), " ", tag("span", finding.severity, class_=f"badge {finding.severity}")),
        tag("p", f"Of {', '.join(labels)}.", class_="note") if labels else None,
        tag("p", f"Seen: {', '.join(_evidence(finding))}. The rule: {finding.rule}.", class_="note"),
        [tag("p", "To try, in this order:", class_="note"), tag("ul", tries)] if tries else None,
        class_="finding",
    )


def _evidence(finding: Finding) -> Iterator[str]:
    for name, value in finding.evidence.items():
        if value is not None:
            yield f"{name.replace('_', ' ')} {_figure(value)}"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
