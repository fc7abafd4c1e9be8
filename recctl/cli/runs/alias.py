"""`recctl runs promote`, `rollback`, `names`, `tag` and `note`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from recctl.cli.app import RunArgument, register_command
from recctl.cli.runs.commands import runs

AliasArgument = Annotated[str, typer.Argument(metavar="NAME", help="Alias of a run.")]


@register_command(runs, "promote")
def promote(
    run_id: RunArgument,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The alias, e.g. production.")],
) -> None:
    """Give a run an alias, which every command accepts as a RUN; the model of the run is verified first."""
    from recctl.cli import common, terminal

    store = common.store()
    run = store.resolve(run_id)
    current = store.aliases.current(name)
    run = store.promote(run, name)
    previous = current.run if current and current.run != run.id else None
    terminal.print_result(_describe_move(name, run.id, previous))
    terminal.print_json(common.describe(run, name=name, previous=previous))


@register_command(runs, "rollback")
def rollback(name: AliasArgument) -> None:
    """Point an alias to the run it pointed to before."""
    from recctl.cli import common, terminal
    from recctl.errors import ArtifactError

    store = common.store()
    # Check before moving the alias: afterwards it would point to a run that does not exist.
    target = store.aliases.previous(name)
    if target is not None and target.run not in store.ids():
        raise ArtifactError(f"{name}: the previous run {target.run} was deleted; promote another run")
    current = store.aliases.current(name)
    run = store.resolve(store.aliases.rollback(name).run)
    previous = current.run if current else None
    terminal.print_result(_describe_move(name, run.id, previous))
    terminal.print_json(common.describe(run, name=name, previous=previous))


def _describe_move(name: str, run_id: str, previous: str | None) -> str:
    description = f"{name}: {run_id}"
    return f"{description} (was {previous})" if previous else description


@register_command(runs, "names")
def names(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show the history of this alias.")] = None,
) -> None:
    """List the aliases and the runs they point to, or the history of one alias."""
    from recctl.cli import common, terminal
    from recctl.errors import ArtifactError
    from recctl.suggest import did_you_mean

    aliases = common.store().aliases
    alias_names = aliases.all()
    if name is None:
        heading = "name"
        labels = alias_names
        moves = [current_move for alias_name in alias_names if (current_move := aliases.current(alias_name))]
    elif name in alias_names:
        heading = "move"
        moves = aliases.history(name)
        labels = [str(current_move.number) for current_move in moves]
    else:
        raise ArtifactError(f"{name}: no such alias{did_you_mean(name, alias_names)}")
    alias_rows = []
    entries = []
    for row_label, current_move in zip(labels, moves, strict=True):
        alias_rows.append([row_label, current_move.run, current_move.at, current_move.by, current_move.action])
        entries.append({"name": name or row_label} | asdict(current_move))
    terminal.table([heading, "run", "since", "by", "action"], alias_rows)
    terminal.print_json({"names": entries})


@register_command(runs, "tag")
def tag(
    run_id: RunArgument,
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="Tags to add.")],
    remove: Annotated[bool, typer.Option("--remove", help="Remove the tags instead.")] = False,
) -> None:
    """Add tags to a run, or remove them; `recctl runs gc` keeps runs with tags."""
    from recctl.cli import common, terminal
    from recctl.runs import labels

    run = common.store().resolve(run_id)
    result = labels.update(run, remove=tags) if remove else labels.update(run, add=tags)
    terminal.print_result(f"{run.id}: {', '.join(result.tags) or 'no tags'}")
    terminal.print_json(common.describe(run, tags=result.tags))


@register_command(runs, "note")
def note(
    run_id: RunArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="The note; empty to remove it.")],
) -> None:
    """Attach a note to a run, replacing the previous one."""
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.runs import labels

    run = common.store().resolve(run_id)
    result = labels.update(run, note=text)
    terminal.print_result(escape(f"{run.id}: {result.note or 'no note'}"))
    terminal.print_json(common.describe(run, note=result.note))
