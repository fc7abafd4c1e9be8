"""`recctl report` as a function: runs to an HTML page, or to tables for a paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from recctl import arguments, atomic, progress
from recctl.arguments import flag, one_of, optional, text, validated
from recctl.errors import ConfigError, RecctlError
from recctl.reports.render import latex_markdown
from recctl.reports.render.blocks import Block, Bullets
from recctl.reports.render.latex import PACKAGES
from recctl.reports.render.page import Section, render_page
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
from recctl.runs import Run, layout
from recctl.runs.checks import opened, some_runs
from recctl.version import __version__

Format = Literal["html", "md", "latex"]
_SUFFIXES = {"html": "html", "md": "md", "latex": "tex"}
# Texts at the beginning of reports, which other files do not have. The page has one as `generator`.
_SIGNATURES = (
    '<meta name="generator" content="recctl report">',
    *latex_markdown.SIGNATURES.values(),
    # The page and the LaTeX tables of earlier versions, which nightly jobs write to the same place.
    '<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy"',
    f"% needs {PACKAGES}",
)
_N_BYTES_OF_SIGNATURE = 200

# In the order of the page. A section that has nothing to show raises the reason; one that does not apply to the runs
# at all returns None.
_SECTIONS: tuple[tuple[str, Callable[[ReportData], list[Block] | None]], ...] = (
    ("Comparison", comparison.comparison),
    ("Metrics", metrics.metrics),
    ("Metrics of each run", metrics.metrics_of_each_run),
    ("Metrics over k", metrics.metrics_over_k),
    ("Learning curves", learning_curves.learning_curves),
    ("Search", search.search),
    ("Quality by segment", segments.quality),
    ("Popularity and coverage", segments.catalog),
    ("Examples", examples.examples),
    ("Findings", findings.findings),
    ("Data and split", provenance.data),
    ("Provenance", provenance.provenance),
    ("Config", provenance.config),
)


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written.

    Attributes:
        path: The file.
        bytes: Its size.
        left_out: By title of each omitted section, the reason.
    """

    path: Path
    bytes: int
    left_out: dict[str, str] = field(default_factory=dict)


@validated(
    runs=some_runs,
    path=optional(arguments.path),
    form=one_of(*get_args(Format)),
    metric=optional(text),
    overrides=arguments.overrides,
    force=flag,
)
def write_report(
    runs: Run | str | Sequence[Run | str],
    path: str | Path | None = None,
    form: Format = "html",
    metric: str | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
) -> WrittenReport:
    """Write a report of runs: an HTML page that works offline, or tables for a paper.

    Some sections read the data and the models again, with their hashes checked. Nothing is downloaded or
    queried, and the test part is not read.

    Args:
        runs: One or more runs, or references to runs of the default runs directory: ids, aliases, `latest` or `best`.
            Models of several runs are compared if the runs share data and split.
        path: The file to write. Default: `report.html` (`.md`, `.tex`) in the directory of the run; for several runs,
            a file in `exports/` of the first.
        form: "html", "md" or "latex".
        metric: The metric that the report focuses on; None: the one that the runs monitor.
        overrides: Where and how the data of the runs are read now, such as `data.source=FILE`.
        force: Replace a file at `path` that is no report. Reports are always replaced.

    Raises:
        ConfigError: There is no run, the format or the metric is unknown, or the file exists and is no report, or it
            cannot be written.
        ArtifactError: A reference means no run, or tables were requested and no run has metrics.

    Examples:
        ```python
        from recctl import write_report

        write_report("latest")  # report.html in the directory of the run
        write_report(["latest", "best"], "table.tex", form="latex")
        ```
    """
    selected = opened(runs)
    if not selected:
        raise ConfigError("report: name at least one run; `recctl runs list` shows them")
    target = Path(path) if path is not None else _default_path(selected, form)
    if path is not None and not force:
        _require_replaceable(target)
    report_data = ReportData(selected, metric, overrides)
    left_out: dict[str, str] = {}
    with progress.task("Writing the report"):
        report_text = _page(report_data, left_out) if form == "html" else latex_markdown.tables(report_data, form)
    try:
        atomic.write_bytes(target, report_text.encode())
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror}); choose another file with -o") from None
    return WrittenReport(target, target.stat().st_size, left_out)


def _require_replaceable(target: Path) -> None:
    """Check that nothing is at a path but a report, or an empty file.

    Raises:
        ConfigError: Something else is there.
    """
    try:
        with target.open("rb") as file:
            beginning = file.read(_N_BYTES_OF_SIGNATURE)
    except OSError:  # there is no file; or it can't be read, so that writing reports the problem
        return
    if beginning and not any(signature.encode() in beginning for signature in _SIGNATURES):
        raise ConfigError(
            f"{target}: already exists, and was not written by recctl report; choose another file, or replace it with "
            "--force"
        )


def _default_path(runs: Sequence[Run], form: Format) -> Path:
    suffix = _SUFFIXES[form]
    if len(runs) == 1:
        return runs[0].path / f"report.{suffix}"
    # Eight ids keep the file name short enough for every file system.
    id_ends = "-".join(run.id.rpartition("-")[2] for run in runs[:8])
    return runs[0].path / layout.EXPORTS / f"report-{id_ends}.{suffix}"


def _page(report_data: ReportData, left_out: dict[str, str]) -> str:
    """The page; reasons of omitted sections are added to `left_out`."""
    sections = []
    for section_title, make_section in _SECTIONS:
        try:
            blocks = make_section(report_data)
        except RecctlError as error:
            left_out[section_title] = str(error)
        else:
            if blocks is not None:
                sections.append(Section(section_title, blocks))
    if left_out:
        reasons = [f"{section_title}: {reason}." for section_title, reason in left_out.items()]
        sections.append(Section("Omitted sections", [Bullets(reasons)]))
    footer = f"Written by recctl {__version__}. This file is self-contained."
    return render_page(summary.title(report_data), summary.header(report_data), sections, footer)
