"""`recctl runs verify`, `rm` and `gc`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import verb
from recctl.cli.runs.commands import runs

if TYPE_CHECKING:
    from recctl.runs import RunStore

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


def _ask(question: str, yes: bool) -> None:
    import sys

    from recctl.errors import ConfigError

    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is here to ask: say --yes")
        typer.confirm(question, abort=True, err=True)


@verb(runs, "verify")
def verify(
    run_ids: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="Runs to check; default: all.", show_default=False)
    ] = None,
) -> None:
    """Read every file of runs, check hashes and figures; exit code 4 if anything is not what it should be."""
    from recctl import progress
    from recctl.cli import common, console
    from recctl.errors import ArtifactError
    from recctl.runs import verification

    store = common.store()
    found, damaged = store.scan() if not run_ids else ([store.resolve(run_id) for run_id in run_ids], [])
    faults: list[list[Any]] = [[run_id, "metadata.json", "can't be read"] for run_id in damaged]
    with console.shown(), progress.task("Checking runs", total=len(found), unit="runs") as task:
        for done, run in enumerate(found):
            task.update(done)
            faults += [[run.id, *fault] for fault in verification.verify(run)]
    if not run_ids:
        faults += _faults_of_names(store)
    if faults:
        console.table(["run_id", "file", "problem"], faults)
    keys = ("run_id", "file", "problem")
    n_runs = len(found) + len(damaged)
    console.document({"runs": n_runs, "faults": [dict(zip(keys, fault, strict=True)) for fault in faults]})
    if faults:
        n_bad = len({fault[0] for fault in faults} - {None})
        if not n_bad:
            raise ArtifactError(f"{n_runs} runs: every file is what its run says; but names are damaged")
        raise ArtifactError(f"{n_bad} of {n_runs} runs have damaged files; restore those, or `recctl runs rm` the runs")
    console.say(f"{n_runs} runs: every file is what its run says")


def _faults_of_names(store: RunStore) -> Iterator[list[str | None]]:
    from recctl.errors import ArtifactError

    for name in store.names.all():
        try:
            store.names.history(name)
        except ArtifactError as error:
            yield [None, f".names/{name}", str(error)]


@verb(runs, "rm")
def remove(
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs to delete.")], yes: YesOption = False
) -> None:
    """Delete runs."""
    from recctl.cli import common, console
    from recctl.errors import ConfigError

    store = common.store()
    found = [store.resolve(run_id) for run_id in dict.fromkeys(run_ids)]
    busy = [run.id for run in found if run.status == "running"]
    if busy:
        raise ConfigError(f"{', '.join(busy)}: still running; stop it first")
    _ask(f"Delete {', '.join(run.id for run in found)}?", yes)
    for run in found:
        store.remove(run)
        console.say(f"removed {run.id}")
    console.document({"removed": [run.id for run in found]})


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

    from recctl.cli import common, console
    from recctl.engines import in_words
    from recctl.runs import gc

    store = common.store()
    found = gc.waste(store, timedelta(days=older_than), checkpoints)
    rows = [[str(waste.path.relative_to(store.root)), waste.why, waste.size] for waste in found]
    console.table(["path", "why", "bytes"], rows)
    total = sum(waste.size for waste in found)
    if found and not dry_run:
        _ask(f"Delete these {len(found)}, {in_words(total)}?", yes)
        gc.collect(store, found)
    told = "would be" if dry_run else "were"
    console.say(f"{len(found)} {told} deleted, {in_words(total)}" if found else "nothing to delete")
    listed = [{"path": path, "why": why, "bytes": size} for path, why, size in rows]
    console.document({"deleted": not dry_run, "bytes": total, "found": listed})
