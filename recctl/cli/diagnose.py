"""`recctl diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recctl.cli.app import SetOption, app, register_command

if TYPE_CHECKING:
    from recctl.diagnosis import Diagnosis, Finding
    from recctl.runs import Run

_STYLES = {"problem": "bold red", "warning": "yellow", "hint": "cyan"}


@register_command(app)
def diagnose(
    source: Annotated[str, typer.Argument(metavar="CONFIG|RUN", help="YAML config, whose data is checked; or a run.")],
    overrides: SetOption = None,
    data: Annotated[
        bool, typer.Option("--data", help="Also read the data of a run, for findings that its records do not cover.")
    ] = False,
) -> None:
    """Find problems of a dataset or a run, with evidence and settings to try."""
    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.diagnosis import diagnose_config, diagnose_run
    from recctl.errors import ConfigError

    common.apply_threads()
    source_path = Path(source)
    with terminal.bars():
        if source_path.is_file() or source_path.suffix in common.CONFIG_SUFFIXES:
            diagnosis = diagnose_config(experiment.load(source_path, overrides or []))
        else:
            if overrides and not data:
                raise ConfigError("--set says where the data of a run are, which are read with --data only; add --data")
            diagnosis = diagnose_run(common.store().resolve(source), reread=data, overrides=overrides or [])
    for finding in diagnosis.findings:
        _show(finding)
    if diagnosis.healthy:
        n_hints = len(diagnosis.findings)
        summary = f"no problems or warnings, hints: {n_hints}" if n_hints else "no findings"
        terminal.print_result(f"healthy: {summary} (checked {', '.join(diagnosis.checked)})")
    terminal.print_json({"source": source, **diagnosis.plain()})


def _show(finding: Finding) -> None:
    from rich.markup import escape

    from recctl.cli import terminal

    style = _STYLES[finding.severity]
    terminal.print_result(
        f"[{style}]{finding.severity}[/{style}] [bold]{escape(finding.title)}[/bold]  ({finding.key})"
    )
    terminal.print_result(escape("  evidence: " + ", ".join(finding.described_evidence())))
    terminal.print_result(escape(f"  rule: {finding.rule}"))
    label = "try: "
    for suggestion in finding.suggestions:
        terminal.print_result(escape(f"  {label} {suggestion}"))
        label = "     "
    terminal.print_result("")


def print_warnings(run: Run) -> None:
    """Print a line to stderr for each problem and warning of a run; hints are left out."""
    from rich.markup import escape

    from recctl.cli import terminal
    from recctl.diagnosis import diagnose_run

    diagnosis: Diagnosis = diagnose_run(run)
    findings = [finding for finding in diagnosis.findings if finding.severity != "hint"]
    for finding in findings:
        advice = f"; try {finding.suggestions[0]}" if finding.suggestions else ""
        terminal.info(escape(f"{finding.severity}: {finding.title}{advice}"))
    if findings:
        terminal.info(escape(f"evidence and more suggestions: recctl diagnose {run.id}"))
