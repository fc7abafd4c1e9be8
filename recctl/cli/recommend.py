"""`recctl recommend`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from recctl.cli.app import RunArgument, app, verb


class OnUnknown(StrEnum):
    """What to do with users the model was not fitted on."""

    error = "error"
    popular = "popular"
    skip = "skip"


@verb(app)
def recommend(
    run_id: RunArgument,
    user_ids: Annotated[
        list[str] | None, typer.Argument(metavar="USER_ID...", help="Users of the training data.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option("--history", metavar="ITEM_ID,...", help="Recommend to somebody new, who likes these items."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Keep items the user has already.")] = False,
    on_unknown: Annotated[OnUnknown, typer.Option(help="For users the model was not fitted on.")] = OnUnknown.error,
) -> None:
    """Show the best items for users of a run's model, or for a new person's history."""
    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    if not user_ids and history is None:
        raise ConfigError("name users, or give a new person's --history ITEM_ID,...")
    common.apply_threads()
    run = common.store().resolve(run_id)
    model = experiment.load_version(run)
    options: dict[str, Any] = {"k": k, "exclude_seen": not include_seen, "on_unknown": on_unknown.value}
    if history is not None:
        items = [_id(text, model.item_vocabulary.is_text, "item") for text in history.split(",") if text]
        table = model.recommend_for_history([items], **options)
    else:
        table = model.recommend(
            [_id(text, model.user_vocabulary.is_text, "user") for text in user_ids or []], **options
        )
    rows = table.to_dict("records")
    terminal.table(list(table.columns), [list(row.values()) for row in rows])
    terminal.print_json({"run_id": run.id, "path": str(run.path), "status": run.status, "recommendations": rows})


def _id(text: str, is_text: bool, what: str) -> str | int:
    from recctl.errors import DataError

    if is_text:
        return text
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{what} {text!r}: the {what}s of this model are whole numbers") from None
