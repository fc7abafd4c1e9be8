"""`recctl report` as a function: runs to one page, or to tables for a paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from recctl import atomic, progress
from recctl.errors import ConfigError, RecctlError
from recctl.reports.render import latex_markdown
from recctl.reports.render.html import Html, bullets
from recctl.reports.render.page import Section, page
from recctl.reports.report_data import ReportData
from recctl.reports.sections import (
    comparison,
    examples,
    findings,
    learning_curves,
    metrics,
    provenance,
    search,
    segments,
    summary,
)
from recctl.runs import Run
from recctl.suggest import did_you_mean
from recctl.version import __version__

Format = Literal["html", "md", "latex"]
_ENDINGS = {"html": "html", "md": "md", "latex": "tex"}

# In the order of the page. A part that has nothing to show says why; one that is not for such runs gives None.
_SECTIONS: tuple[tuple[str, Callable[[ReportData], Html | None]], ...] = (
    ("Comparison", comparison.comparison),
    ("Metrics", metrics.metrics),
    ("Metrics of each run", metrics.each_alone),
    ("Trade-offs over k", metrics.over_k),
    ("Learning curves", learning_curves.learning),
    ("Search", search.search),
    ("Quality by user and item", segments.quality),
    ("Popularity and coverage", segments.catalog),
    ("Examples", examples.examples),
    ("Findings", findings.findings),
    ("Data and split", provenance.data),
    ("Provenance", provenance.provenance),
    ("Config", provenance.config),
)


@dataclass(frozen=True)
class Written:
    """A report that was written.

    Attributes:
        path: The file.
        bytes: Its size.
        left_out: By title of a part that it has not: why.
    """

    path: Path
    bytes: int
    left_out: dict[str, str] = field(default_factory=dict)


def write_report(
    runs: Sequence[Run], path: Path | None = None, form: Format = "html", metric: str | None = None
) -> Written:
    """Write what runs came to: a page that needs nothing but a browser, or tables for a paper.

    Data and models are read again for some parts, with their hashes checked; nothing is fetched, and test is not read.

    Args:
        runs: One or several; of several the models are compared, where they are of one data and split.
        path: The file; by default `report.html` (`.md`, `.tex`) in the run's directory, of several runs in
            `exports/` of the first.
        form: "html", "md" or "latex".
        metric: What quality is told by; what the runs monitor if None.

    Raises:
        ConfigError: No run, an unknown form or metric, or a file that can't be written.
        ArtifactError: Tables are asked for and there is nothing to put in them.
    """
    if not runs:
        raise ConfigError("report: name a run")
    if form not in get_args(Format):
        raise ConfigError(f"format={form!r}: unknown{did_you_mean(form, get_args(Format))}")
    material = ReportData(runs, metric)
    left_out: dict[str, str] = {}
    with progress.task("Writing the report"):
        text = _page(material, left_out) if form == "html" else latex_markdown.tables(material, form)
    target = path or _default(runs, form)
    try:
        atomic.write_bytes(target, text.encode())
    except OSError as error:
        raise ConfigError(f"{target}: can't be written ({error.strerror}); name another file with -o") from None
    return Written(target, target.stat().st_size, left_out)


def _default(runs: Sequence[Run], form: Format) -> Path:
    if len(runs) == 1:
        return runs[0].path / f"report.{_ENDINGS[form]}"
    ends = "-".join(run.id.rpartition("-")[2] for run in runs[:8])
    return runs[0].path / "exports" / f"report-{ends}.{_ENDINGS[form]}"


def _page(material: ReportData, left_out: dict[str, str]) -> str:
    sections = []
    for title, make in _SECTIONS:
        try:
            body = make(material)
        except RecctlError as reason:
            left_out[title] = str(reason)
        else:
            sections += [] if body is None else [Section(title, body)]
    if left_out:
        lines = [f"{title}: {reason}." for title, reason in left_out.items()]
        sections.append(Section("Left out", bullets(lines)))
    title = summary.title(material)
    return page(
        title, summary.lead(material), sections, f"Written by recctl {__version__}. Everything is in this file."
    )
