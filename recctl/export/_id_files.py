"""Users and items have codes: from 0, in ascending order of their ids.

Graphs, vectors and tensors are in the order of codes. `users.json` and `items.json` are arrays of ids in this order:
the id of code 0 comes first. In `users.parquet` and `items.parquet`, the id of code 0 is in the first row of the column
`user_id` or `item_id`, of the type string or int64.

Ids that are text stay text in all files: `"007"` is not 7. Ids that are integers are numbers. If an integer is beyond
2^53 - 1, which JavaScript would round, all ids of its JSON file are text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recctl.data import columns
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError
from recctl.export._table_files import id_type
from recctl.models.base import Recommender

# JavaScript, and other readers of JSON whose numbers are float64, round larger integers.
_MAX_EXACT_INTEGER = 2**53 - 1

USERS = "users"
ITEMS = "items"
_COLUMNS = {USERS: columns.USER, ITEMS: columns.ITEM}
READ_WITH = {
    "users.json": "any JSON reader",
    "items.json": "any JSON reader",
    "users.parquet": "any Parquet reader",
    "items.parquet": "any Parquet reader",
}


def write_json(folder: Path, model: Recommender, sides: Sequence[str] = (USERS, ITEMS)) -> None:
    """Write `users.json` and `items.json`, an id a line."""
    for side in sides:
        # No spaces after commas, but line breaks: readable, and written by the C encoder, unlike with `indent`.
        text = json.dumps(_json_ids(_vocabulary(model, side)), ensure_ascii=False, separators=(",\n", ":"))
        (folder / f"{side}.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def write_parquet(folder: Path, model: Recommender, sides: Sequence[str] = (USERS, ITEMS)) -> None:
    """Write `users.parquet` and `items.parquet`, each with one column."""
    for side in sides:
        vocabulary = _vocabulary(model, side)
        ids = pa.array(vocabulary.ids, id_type(vocabulary))
        pq.write_table(pa.table({_COLUMNS[side]: ids}), folder / f"{side}.parquet")


def check_json(folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
    """Check the number of ids in the JSON files; with a model, also the ids.

    Exports of recctl 0.2 and earlier have no JSON files.

    Raises:
        ArtifactError: A file is damaged.
    """
    for side in (USERS, ITEMS):
        path = folder / f"{side}.json"
        if path.name not in manifest["files"]:
            continue
        try:
            ids = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ArtifactError(f"{path}: damaged: {error}") from error
        n_ids = manifest[f"n_{side}"]
        if not isinstance(ids, list) or len(ids) != n_ids:
            raise ArtifactError(f"{path}: damaged: not an array of {n_ids:,} ids")
        if model is not None and ids != _json_ids(_vocabulary(model, side)):
            raise ArtifactError(f"{path}: when read back, the ids differ from the model's")


def _vocabulary(model: Recommender, side: str) -> Vocabulary:
    return model.user_vocabulary if side == USERS else model.item_vocabulary


def _json_ids(vocabulary: Vocabulary) -> list[int] | list[str]:
    ids: list[Any] = vocabulary.ids.tolist()
    if vocabulary.is_text or not ids:
        return ids
    # Ids are in ascending order.
    if ids[0] < -_MAX_EXACT_INTEGER or ids[-1] > _MAX_EXACT_INTEGER:
        return [str(number) for number in ids]
    return ids
