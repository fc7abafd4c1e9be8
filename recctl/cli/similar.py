"""`recctl similar`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from recctl.cli.app import RunArgument, app, register_command

if TYPE_CHECKING:
    from recctl.models.base import Recommender
    from recctl.runs import Run


@register_command(app)
def similar(
    run_id: RunArgument,
    item_ids: Annotated[list[str], typer.Argument(metavar="ITEM_ID...", help="Items of the training data.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of similar items for each item.")] = 10,
) -> None:
    """Show the items that are most similar to given ones, by a run's model."""
    from recctl import experiment
    from recctl.cli import common, terminal
    from recctl.cli.recommend import parse_id

    common.apply_threads()
    run = common.store().resolve_model(run_id)
    model = experiment.load_version(run)
    items = [parse_id(item_text, model.item_vocabulary.is_text, "item") for item_text in item_ids]
    _require_known_items(items, run, model)
    similar_items = model.similar_items(items, k)
    records = similar_items.to_dict("records")
    title_columns = {"item_id": "title", "similar_item_id": "similar_title"}
    columns = [*similar_items.columns, *common.add_titles(records, run, title_columns)]
    terminal.table(columns, [list(record.values()) for record in records])
    terminal.print_json({"run_id": run.id, "path": str(run.path), "status": run.status, "similar_items": records})


def _require_known_items(items: list[Any], run: Run, model: Recommender) -> None:
    """Raise an error that says why items are unknown, as far as the run can tell.

    Raises:
        DataError: The model was not fitted on an item.
    """
    from recctl.errors import DataError
    from recctl.experiment import unknown_ids

    unknown_items = unknown_ids.unknown_ids(items, model.item_vocabulary)
    if not unknown_items:
        return
    what = "item" if len(unknown_items) == 1 else "items"
    listed = unknown_ids.listed(unknown_items, model.item_vocabulary)
    known = unknown_ids.known_ids(model.item_vocabulary, "item")
    message = f"{what} {listed}: not among the {known} that the model was fitted on"
    raise DataError("; ".join([message, *unknown_ids.reasons(run, "item")]))
