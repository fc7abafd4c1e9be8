"""`recctl recommend`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from recctl.cli.app import INCLUDE_SEEN_HELP, RunArgument, app, register_command


class OnUnknown(StrEnum):
    """How to treat users that the model was not fitted on."""

    error = "error"
    popular = "popular"
    skip = "skip"


@register_command(app)
def recommend(
    run_id: RunArgument,
    user_ids: Annotated[
        list[str] | None, typer.Argument(metavar="USER_ID...", help="Users of the training data.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option("--history", metavar="ITEM_ID,...", help="Recommend to a new user with these items as history."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of items per user.")] = 10,
    include_seen: Annotated[bool, typer.Option("--include-seen", help=INCLUDE_SEEN_HELP)] = False,
    on_unknown: Annotated[
        OnUnknown, typer.Option(help="How to treat users that the model was not fitted on.")
    ] = OnUnknown.error,
) -> None:
    """Show the top items of a run's model for known users, or for the history of a new user."""
    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.errors import ConfigError

    if not user_ids and history is None:
        raise ConfigError("give USER_IDs, or the --history ITEM_ID,... of a new user")
    common.apply_threads()
    run = common.store().resolve(run_id)
    model = experiment.load_version(run)
    options: dict[str, Any] = {"k": k, "exclude_seen": not include_seen, "on_unknown": on_unknown.value}
    if history is not None:
        item_texts = [item_text for item_text in history.split(",") if item_text]
        history_items = [_parse_id(item_text, model.item_vocabulary.is_text, "item") for item_text in item_texts]
        recommended = model.recommend_for_history([history_items], **options)
    else:
        users = [_parse_id(user_text, model.user_vocabulary.is_text, "user") for user_text in user_ids or []]
        recommended = model.recommend(users, **options)
    records = recommended.to_dict("records")
    terminal.table(list(recommended.columns), [list(record.values()) for record in records])
    terminal.print_json({"run_id": run.id, "path": str(run.path), "status": run.status, "recommendations": records})


def _parse_id(text: str, is_text: bool, what: str) -> str | int:
    from recctl.errors import DataError

    if is_text:
        return text
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{what} {text!r}: the {what} ids of this model are integers") from None
