"""`recctl runs promote`, `rollback`, `names`, `tag` and `note`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from recctl.cli.app import RunArgument, verb
from recctl.cli.runs.commands import runs

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A name that a run was promoted to.")]


@verb(runs, "promote")
def promote(
    run_id: RunArgument,
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="The name, e.g. production.")],
) -> None:
    """Give a run a name, which every command takes for a run; its model is checked first."""
    from recctl.cli import common, terminal

    store = common.store()
    run = store.resolve(run_id)
    before = store.aliases.current(name)
    store.promote(run, name)
    was = before.run if before and before.run != run.id else None
    terminal.print_result(f"{name}: {run.id}" + (f" (was {was})" if was else ""))
    terminal.print_json(common.describe(run, name=name, previous=was))


@verb(runs, "rollback")
def rollback(name: NameArgument) -> None:
    """Point a name to the run it pointed to before."""
    from recctl.cli import common, terminal
    from recctl.errors import ArtifactError

    store = common.store()
    before = store.aliases.previous(name)
    if before is not None and before.run not in store.ids():
        raise ArtifactError(f"{name}: pointed to {before.run} before, which is no more; promote another run")
    was = store.aliases.current(name)
    run = store.resolve(store.aliases.rollback(name).run)
    terminal.print_result(f"{name}: {run.id}" + (f" (was {was.run})" if was else ""))
    terminal.print_json(common.describe(run, name=name, previous=was.run if was else None))


@verb(runs, "names")
def names(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show where this one pointed, and when.")] = None,
) -> None:
    """List the names and the runs they point to, or the history of one."""
    from recctl.cli import common, terminal
    from recctl.errors import ArtifactError
    from recctl.suggest import did_you_mean

    known = common.store().aliases
    if name is not None and name not in known.all():
        raise ArtifactError(f"{name}: no such name{did_you_mean(name, known.all())}")
    moves = known.history(name) if name else [move for each in known.all() if (move := known.current(each))]
    heads = [str(move.number) for move in moves] if name else known.all()
    terminal.table(
        ["move" if name else "name", "run", "since", "by", "action"],
        [[head, move.run, move.at, move.by, move.action] for head, move in zip(heads, moves, strict=True)],
    )
    terminal.print_json(
        {"names": [{"name": name or head, **asdict(move)} for head, move in zip(heads, moves, strict=True)]}
    )


@verb(runs, "tag")
def tag(
    run_id: RunArgument,
    tags: Annotated[list[str], typer.Argument(metavar="TAG...", help="Tags to add.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take them away instead.")] = False,
) -> None:
    """Add tags to a run, or take them away; a run with tags is never tidied away."""
    from recctl.cli import common, terminal
    from recctl.runs import labels

    run = common.store().resolve(run_id)
    found = labels.update(run, remove=tags) if remove else labels.update(run, add=tags)
    terminal.print_result(f"{run.id}: {', '.join(found.tags) or 'no tags'}")
    terminal.print_json(common.describe(run, tags=found.tags))


@verb(runs, "note")
def note(
    run_id: RunArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to remember; empty to forget.")],
) -> None:
    """Keep a note with a run, instead of the one before."""
    from rich.markup import escape

    from recctl.cli import common, terminal
    from recctl.runs import labels

    run = common.store().resolve(run_id)
    found = labels.update(run, note=text)
    terminal.print_result(escape(f"{run.id}: {found.note or 'no note'}"))
    terminal.print_json(common.describe(run, note=found.note))
