"""`recctl runs verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import verb
from recctl.cli.runs.commands import runs

if TYPE_CHECKING:
    from recctl.runs import RunStore


@verb(runs, "verify")
def verify(
    run_ids: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="Runs to check; default: all.", show_default=False)
    ] = None,
) -> None:
    """Read every file of runs, check hashes and figures; exit code 4 if anything is not what it should be."""
    from recctl import progress
    from recctl.cli import common, terminal
    from recctl.errors import ArtifactError
    from recctl.runs import verification

    store = common.store()
    found, damaged = store.scan() if not run_ids else ([store.resolve(run_id) for run_id in run_ids], [])
    faults: list[list[Any]] = [[run_id, "metadata.json", "can't be read"] for run_id in damaged]
    with terminal.bars(), progress.task("Checking runs", total=len(found), unit="runs") as task:
        for done, run in enumerate(found):
            task.update(done)
            faults += [[run.id, *fault] for fault in verification.verify(run)]
    if not run_ids:
        faults += _faults_of_names(store)
    if faults:
        terminal.table(["run_id", "file", "problem"], faults)
    keys = ("run_id", "file", "problem")
    n_runs = len(found) + len(damaged)
    terminal.print_json({"runs": n_runs, "faults": [dict(zip(keys, fault, strict=True)) for fault in faults]})
    if faults:
        n_bad = len({fault[0] for fault in faults} - {None})
        if not n_bad:
            raise ArtifactError(f"{n_runs} runs: every file is what its run says; but names are damaged")
        raise ArtifactError(f"{n_bad} of {n_runs} runs have damaged files; restore those, or `recctl runs rm` the runs")
    terminal.print_result(f"{n_runs} runs: every file is what its run says")


def _faults_of_names(store: RunStore) -> Iterator[list[str | None]]:
    from recctl.errors import ArtifactError

    for name in store.aliases.all():
        try:
            store.aliases.history(name)
        except ArtifactError as error:
            yield [None, f".names/{name}", str(error)]
