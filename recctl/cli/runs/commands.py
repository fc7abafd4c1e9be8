"""The group that the commands of `recctl runs` register with."""

from __future__ import annotations

from recctl.cli.app import app, group

runs = group("List, show, name, verify and delete runs.")
app.add_typer(runs, name="runs")
