"""The findings of the diagnosis."""

from __future__ import annotations

from dataclasses import dataclass, field

from recctl.diagnosis import diagnose_run
from recctl.diagnosis.findings import Finding
from recctl.errors import RecctlError
from recctl.reports.errors import SectionOmittedError
from recctl.reports.render import formatting
from recctl.reports.render.blocks import Block, FindingBox, Note
from recctl.reports.report_data import ReportData


@dataclass
class _SharedFinding:
    """A finding, and the labels of the models that have it."""

    finding: Finding
    models: list[str] = field(default_factory=list)


def findings(report_data: ReportData) -> list[Block]:
    """Problems of the runs, the evidence, and settings to try. Models with the same finding share a box."""
    shared_findings: dict[str, _SharedFinding] = {}
    finding_notes: list[Block] = []
    errors: list[Block] = []
    for run_view in report_data.views:
        try:
            diagnosis = diagnose_run(run_view.run)
        except RecctlError as error:
            errors.append(Note(f"{run_view.label}: {error}."))
            continue
        # Findings about the data are the same for all models; `repr` also compares their evidence.
        for finding in diagnosis.findings:
            shared = shared_findings.setdefault(repr(finding), _SharedFinding(finding))
            shared.models.append(run_view.label)
        if not diagnosis.findings:
            prefix = f"{run_view.label}: no findings" if report_data.has_several_models else "No findings"
            finding_notes.append(Note(f"{prefix}. Checked: {', '.join(diagnosis.checked)}."))
    if not report_data.views:
        raise SectionOmittedError("no run has a model")
    boxes: list[Block] = [_box(shared, report_data.has_several_models) for shared in shared_findings.values()]
    return boxes + finding_notes + errors


def _box(shared: _SharedFinding, name_models: bool) -> FindingBox:
    finding = shared.finding
    return FindingBox(
        title=formatting.capitalized(finding.title),
        severity=finding.severity,
        evidence=", ".join(finding.described_evidence()),
        rule=finding.rule,
        suggestions=finding.suggestions,
        models=shared.models if name_models else (),
    )
