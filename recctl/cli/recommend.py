"""`recctl recommend`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import INCLUDE_SEEN_HELP, RunArgument, app, register_command

if TYPE_CHECKING:
    from recctl.models.base import Recommender
    from recctl.runs import Run


class OnUnknown(StrEnum):
    """How to treat users that the model was not fitted on."""

    error = "error"
    popular = "popular"
    skip = "skip"


_CHOICES_FOR_UNKNOWN = "--on-unknown popular recommends the most popular items, skip leaves the user out"
_HINT_FOR_USERS = f"{_CHOICES_FOR_UNKNOWN}; --history ITEM_ID,... recommends from given items"


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
    from recctl.experiment import unknown_ids

    if not user_ids and history is None:
        raise ConfigError("give USER_IDs, or the --history ITEM_ID,... of a new user")
    common.apply_threads()
    run = common.store().resolve_model(run_id)
    model = experiment.load_version(run)
    unknown_items: list[Any] = []
    if history is not None:
        item_texts = [item_text for item_text in history.split(",") if item_text]
        history_items = [parse_id(item_text, model.item_vocabulary.is_text, "item") for item_text in item_texts]
        unknown_items = unknown_ids.unknown_ids(history_items, model.item_vocabulary)
        is_known = len(unknown_items) < len(set(history_items))
        is_served = is_known or model.serves_empty_history or on_unknown != OnUnknown.error
        _report_unknown_items(unknown_items, run, model, must_be_known=not is_served)
        recommended = model.recommended_lists_for_history([history_items], k, not include_seen, on_unknown.value)
    else:
        users = [parse_id(user_text, model.user_vocabulary.is_text, "user") for user_text in user_ids or []]
        if on_unknown == OnUnknown.error:
            unknown_ids.require_known(users, model.user_vocabulary, "user", run, _HINT_FOR_USERS)
        recommended = model.recommended_lists(users, k, not include_seen, on_unknown.value)
    records = recommended.records()
    columns = ["user_id", "item_id", "score", "rank", *common.add_titles(records, run, {"item_id": "title"})]
    terminal.table(columns, [list(record.values()) for record in records])
    terminal.print_json(
        {
            "run_id": run.id,
            "path": str(run.path),
            "status": run.status,
            "recommendations": records,
            "unknown_items": unknown_items,
        }
    )


def _report_unknown_items(unknown_items: list[Any], run: Run, model: Recommender, *, must_be_known: bool) -> None:
    """Say which items of a history are ignored, because the model does not know them, and why that may be.

    Raises:
        DataError: An item must be known to recommend, and none is.
    """
    from recctl import progress
    from recctl.errors import DataError
    from recctl.experiment import unknown_ids

    if not unknown_items:
        return
    listed = unknown_ids.listed(unknown_items, model.item_vocabulary)
    known = unknown_ids.known_ids(model.item_vocabulary, "item")
    reasons = unknown_ids.reasons(run, "item", len(model.item_vocabulary))
    if must_be_known:
        message = f"--history: {listed}: none of these is among the {known} that the model was fitted on"
        raise DataError("; ".join([message, *reasons, _CHOICES_FOR_UNKNOWN]))
    message = f"--history: ignored, because not among the {known} that the model was fitted on: {listed}"
    progress.notice("; ".join([message, *reasons]))


def parse_id(text: str, is_text: bool, what: str) -> str | int:
    """Return the id that a user typed in the type of the model's ids.

    Args:
        text: The id.
        is_text: Whether the ids of the model are text.
        what: "user" or "item".

    Raises:
        DataError: The ids of the model are integers, and this is none.
    """
    from recctl.errors import DataError

    if is_text:
        return text
    try:
        return int(text)
    except ValueError:
        raise DataError(f"{what} {text!r}: the {what} ids of this model are integers") from None
