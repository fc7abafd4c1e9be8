"""`recctl runs rm` and `gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from recctl.cli.app import register_command
from recctl.cli.runs.commands import runs

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def _ask(question: str, yes: bool) -> None:
    """Ask for confirmation unless `yes`; raises `typer.Abort` if the answer is no."""
    import sys

    from recctl.errors import ConfigError

    if yes:
        return
    if not sys.stdin.isatty():
        # A script would wait for an answer that never comes.
        raise ConfigError("cannot ask for confirmation without a terminal; use --yes")
    typer.confirm(question, abort=True, err=True)


@register_command(runs, "rm")
def remove(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs to delete.")], yes: YesOption = False
) -> None:
    """Delete runs, also those whose metadata are missing or damaged; these are named by their whole id."""
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    store = common.store()
    _, problems = store.scan()
    references = list(dict.fromkeys(run_ids))
    damaged = [reference for reference in references if reference in problems]
    selected = [store.resolve(reference) for reference in references if reference not in problems]
    selected_ids = [run.id for run in selected] + damaged
    # Check all runs before deleting any.
    running = [run.id for run in selected if run.status == "running"]
    if running:
        raise ConfigError(f"{', '.join(running)}: still running; stop it first")
    _ask(f"Delete {', '.join(selected_ids)}?", yes)
    for run in selected:
        store.remove(run)
        terminal.print_result(f"removed {run.id}")
    for run_id in damaged:
        store.remove_damaged(run_id)
        terminal.print_result(f"removed {run_id}")
    terminal.print_json({"removed": selected_ids})


@register_command(runs, "gc")
def collect(
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than", min=0, metavar="DAYS", help="Age from which failed and interrupted runs are deleted."
        ),
    ] = 7.0,
    keep: Annotated[
        int | None,
        typer.Option(
            "--keep", min=1, metavar="N", help="Also delete complete runs except the N newest.", show_default=False
        ),
    ] = None,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Also delete the checkpoints of complete runs.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be deleted.")] = False,
    yes: YesOption = False,
) -> None:
    """Delete leftovers of deletions and crashes, and old runs that failed or were interrupted.

    Keeps runs that have a tag or an alias, and runs that an alias pointed to before, for `recctl runs rollback`. With
    --keep, a script needs no --yes.
    """
    import sys
    from datetime import timedelta

    from recctl.cli import common, terminal
    from recctl.engines import format_bytes
    from recctl.runs import gc

    store = common.store()
    garbage = gc.find_garbage(store, timedelta(days=older_than), checkpoints, keep)
    garbage_rows = [
        [str(garbage_item.path.relative_to(store.root)), garbage_item.reason, terminal.Count(garbage_item.size)]
        for garbage_item in garbage
    ]
    terminal.table(["path", "reason", "bytes"], garbage_rows)
    total_size = sum(garbage_item.size for garbage_item in garbage)
    n_items = "1 item" if len(garbage) == 1 else f"{len(garbage)} items"
    if not garbage:
        terminal.print_result("nothing to delete")
    elif dry_run:
        terminal.print_result(f"would delete {n_items} ({format_bytes(total_size)})")
    else:
        # A script that gives --keep has decided; at a terminal, the number may be a slip.
        is_decided = yes or (keep is not None and not sys.stdin.isatty())
        _ask(f"Delete {n_items} ({format_bytes(total_size)})?", is_decided)
        gc.delete(store, garbage)
        terminal.print_result(f"deleted {n_items} ({format_bytes(total_size)})")
    listed = [{"path": relative_path, "why": reason, "bytes": size} for relative_path, reason, size in garbage_rows]
    terminal.print_json({"deleted": not dry_run, "bytes": total_size, "found": listed})
