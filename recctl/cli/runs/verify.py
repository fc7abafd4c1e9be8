"""`recctl runs verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import register_command
from recctl.cli.runs.commands import runs

if TYPE_CHECKING:
    from recctl.runs import Run, RunStore


@register_command(runs, "verify")
def verify(
    run_ids: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="Runs to verify. Default: all.", show_default=False)
    ] = None,
) -> None:
    """Verify every file of runs against the recorded hashes and values; exit with code 4 if one differs."""
    from recctl import progress
    from recctl.cli import common, terminal
    from recctl.errors import ArtifactError
    from recctl.runs import verification

    store = common.store()
    selected: list[Run]
    damaged: dict[str, str] = {}
    if run_ids:
        selected = [store.resolve(run_id) for run_id in run_ids]
    else:
        selected, damaged = store.scan()
    faults: list[list[Any]] = [[run_id, "metadata.json", problem] for run_id, problem in damaged.items()]
    with terminal.bars(), progress.task("Verifying runs", total=len(selected), unit="runs") as task:
        for n_done, run in enumerate(selected):
            task.update(n_done)
            faults += [[run.id, *file_fault] for file_fault in verification.verify(run)]
    if not run_ids:
        faults += _alias_faults(store)
    if faults:
        terminal.table(["run_id", "file", "problem"], faults)
    column_keys = ("run_id", "file", "problem")
    n_runs = len(selected) + len(damaged)
    terminal.print_json(
        {"runs": n_runs, "faults": [dict(zip(column_keys, file_fault, strict=True)) for file_fault in faults]}
    )
    if faults:
        n_damaged = len({file_fault[0] for file_fault in faults} - {None})
        if n_damaged == 0:
            raise ArtifactError(f"{n_runs} runs: all files are intact, but aliases are damaged")
        raise ArtifactError(
            f"{n_damaged} of {n_runs} runs have damaged files; restore the files, or delete the runs with "
            "`recctl runs rm`"
        )
    terminal.print_result(f"{n_runs} runs: all files are intact")


def _alias_faults(store: RunStore) -> Iterator[list[str | None]]:
    from recctl.errors import ArtifactError

    for alias_name in store.aliases.all():
        try:
            store.aliases.history(alias_name)
        except ArtifactError as error:
            yield [None, f".names/{alias_name}", str(error)]
