"""`recctl runs rm` and `gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from recctl.cli.app import verb
from recctl.cli.runs.commands import runs

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def _ask(question: str, yes: bool) -> None:
    import sys

    from recctl.errors import ConfigError

    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is here to ask: say --yes")
        typer.confirm(question, abort=True, err=True)


@verb(runs, "rm")
def remove(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs to delete.")], yes: YesOption = False
) -> None:
    """Delete runs."""
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    store = common.store()
    found = [store.resolve(run_id) for run_id in dict.fromkeys(run_ids)]
    busy = [run.id for run in found if run.status == "running"]
    if busy:
        raise ConfigError(f"{', '.join(busy)}: still running; stop it first")
    _ask(f"Delete {', '.join(run.id for run in found)}?", yes)
    for run in found:
        store.remove(run)
        terminal.print_result(f"removed {run.id}")
    terminal.print_json({"removed": [run.id for run in found]})


@verb(runs, "gc")
def collect(
    older_than: Annotated[
        float, typer.Option("--older-than", min=0, metavar="DAYS", help="Keep failed and broken-off runs for so long.")
    ] = 7.0,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also delete the checkpoints of complete runs.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
    yes: YesOption = False,
) -> None:
    """Delete what is left of deletions and crashes, and old runs that failed or were broken off.

    Runs that have a tag, or are promoted to a name (or were before, so that a rollback finds them), are kept.
    """
    from datetime import timedelta

    from recctl.cli import common, terminal
    from recctl.engines import format_bytes
    from recctl.runs import gc

    store = common.store()
    found = gc.find_garbage(store, timedelta(days=older_than), checkpoints)
    rows = [[str(garbage.path.relative_to(store.root)), garbage.reason, garbage.size] for garbage in found]
    terminal.table(["path", "why", "bytes"], rows)
    total = sum(garbage.size for garbage in found)
    if found and not dry_run:
        _ask(f"Delete these {len(found)}, {format_bytes(total)}?", yes)
        gc.delete(store, found)
    told = "would be" if dry_run else "were"
    terminal.print_result(f"{len(found)} {told} deleted, {format_bytes(total)}" if found else "nothing to delete")
    listed = [{"path": path, "why": why, "bytes": size} for path, why, size in rows]
    terminal.print_json({"deleted": not dry_run, "bytes": total, "found": listed})
