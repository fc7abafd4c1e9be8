"""What the diagnosis finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from recctl.errors import RecctlError
from recctl.reports.diagnosis import diagnose_run
from recctl.reports.markup import Html, code, join, note, tag
from recctl.reports.material import LeftOutError, Material

if TYPE_CHECKING:
    from recctl.reports.diagnosis.findings import Finding


def findings(material: Material) -> Html:
    """What is wrong with the runs, by which figures, and what to try."""
    shown = []
    for one in material.subjects:
        try:
            diagnosis = diagnose_run(one.run)
        except RecctlError as error:
            shown.append(note(f"{one.label}: {error}."))
            continue
        heading = tag("h3", one.label) if len(material.subjects) > 1 else None
        if diagnosis.findings:
            shown.append(join([heading, *(_finding(finding) for finding in diagnosis.findings)]))
        else:
            shown.append(join([heading, note(f"Nothing found; looked at {', '.join(diagnosis.looked_at)}.")]))
    if not shown:
        raise LeftOutError("there is no run of a model")
    return join(shown)


def _finding(finding: Finding) -> Html:
    tries = [tag("li", code(line)) for line in finding.suggestions]
    return tag(
        "div",
        tag("p", tag("b", finding.title), " ", tag("span", finding.severity, class_=f"badge {finding.severity}")),
        tag("p", f"Seen: {', '.join(_evidence(finding))}. {finding.rule}", class_="note"),
        [tag("p", "To try, in this order:", class_="note"), tag("ul", tries)] if tries else None,
        class_="finding",
    )


def _evidence(finding: Finding) -> Iterator[str]:
    for name, value in finding.evidence.items():
        if value is not None:
            yield f"{name.replace('_', ' ')} {_figure(value)}"


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if type(value) is int else str(value)
