"""`recctl similar`."""

from __future__ import annotations

from typing import Annotated

import typer

from recctl.cli.app import RunArgument, app, register_command


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
    from recctl.experiment import unknown_ids

    common.apply_threads()
    run = common.store().resolve_model(run_id)
    model = experiment.load_version(run)
    items = [parse_id(item_text, model.item_vocabulary.is_text, "item") for item_text in item_ids]
    unknown_ids.require_known(items, model.item_vocabulary, "item", run)
    records = model.similar_lists(items, k).records()
    title_columns = {"item_id": "title", "similar_item_id": "similar_title"}
    columns = ["item_id", "similar_item_id", "score", "rank", *common.add_titles(records, run, title_columns)]
    terminal.table(columns, [list(record.values()) for record in records])
    terminal.print_json({"run_id": run.id, "path": str(run.path), "status": run.status, "similar_items": records})
