"""`recctl diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import SetOption, app, verb

if TYPE_CHECKING:
    from recctl.diagnosis import Diagnosis, Finding
    from recctl.runs import Run

_STYLES = {"problem": "bold red", "warning": "yellow", "hint": "cyan"}


@verb(app)
def diagnose(
    source: Annotated[
        str, typer.Argument(metavar="CONFIG|RUN", help="A YAML config, whose data are looked at; or a run.")
    ],
    overrides: SetOption = None,
    data: Annotated[
        bool, typer.Option("--data", help="Read a run's data again, for what it does not record of them.")
    ] = False,
) -> None:
    """Say what is wrong with data or a run, by which figures, and which settings to try."""
    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.diagnosis import diagnose_config, diagnose_run
    from recctl.errors import ConfigError

    common.apply_threads()
    path = Path(source)
    with terminal.bars():
        if path.is_file() or path.suffix in (".yaml", ".yml"):
            diagnosis = diagnose_config(experiment.load(path, overrides or []))
        else:
            if overrides:
                raise ConfigError("--set is for configs; a run is what it is")
            diagnosis = diagnose_run(common.store().resolve(source), reread=data)
    for finding in diagnosis.findings:
        _show(finding)
    if diagnosis.healthy:
        few = f"nothing worse than hints: {len(diagnosis.findings)}" if diagnosis.findings else "nothing found"
        terminal.print_result(f"healthy: {few} (looked at {', '.join(diagnosis.checked)})")
    terminal.print_json({"source": source, **diagnosis.plain()})


def _show(finding: Finding) -> None:
    from rich.markup import escape

    from recctl.cli import terminal

    style = _STYLES[finding.severity]
    terminal.print_result(
        f"[{style}]{finding.severity}[/{style}] [bold]{escape(finding.title)}[/bold]  ({finding.key})"
    )
    known = {name: value for name, value in finding.evidence.items() if value is not None}
    terminal.print_result(escape("  seen: " + ", ".join(f"{name} {_figure(value)}" for name, value in known.items())))
    terminal.print_result(escape(f"  rule: {finding.rule}"))
    for place, line in enumerate(finding.suggestions):
        terminal.print_result(escape(f"  {'try: ' if not place else '     '} {line}"))
    terminal.print_result("")


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def tell_briefly(run: Run) -> None:
    """On stderr: what is wrong with a run, a line for each finding that is more than a hint."""
    from rich.markup import escape

    from recctl.cli import terminal
    from recctl.diagnosis import diagnose_run

    diagnosis: Diagnosis = diagnose_run(run)
    worse = [finding for finding in diagnosis.findings if finding.severity != "hint"]
    for finding in worse:
        advice = f"; try {finding.suggestions[0]}" if finding.suggestions else ""
        terminal.info(escape(f"{finding.severity}: {finding.title}{advice}"))
    if worse:
        terminal.info(escape(f"why, and what else to try: recctl diagnose {run.id}"))
