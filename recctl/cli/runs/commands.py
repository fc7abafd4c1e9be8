"""The group that the commands register with."""

from __future__ import annotations

from recctl.cli.app import app, group

runs = group("List, show, name, check and remove runs.")
app.add_typer(runs, name="runs")
