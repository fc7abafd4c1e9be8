"""Between the tables and lists of ids that users have and the codes that models work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from recctl.data import columns
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary

Histories = Sequence[Iterable[Any]] | Mapping[Any, Iterable[Any]] | pd.DataFrame


def id_list(ids: Iterable[Any] | str | int) -> list[Any]:
    """Ids as a list of Python values; one id alone is a list of one."""
    if isinstance(ids, str | int):
        return [ids]
    return ids.tolist() if isinstance(ids, np.ndarray | pd.Series | pd.Index) else list(ids)


def ranked_table(
    ids: Sequence[Any], items: Int32Array, scores: Float32Array, vocabulary: Vocabulary, of: str, found: str
) -> pd.DataFrame:
    """A row for each id and each of its items; empty places (-1) are left out."""
    filled = items >= 0
    rank = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)
    owner = pd.Series(ids, name=of).repeat(filled.sum(axis=1)).reset_index(drop=True)
    found_ids = pd.Series(vocabulary.decode(items[filled]))
    return pd.DataFrame({of: owner, found: found_ids, "score": scores[filled], "rank": rank[filled]})


def histories_to_matrix(histories: Histories, items: Vocabulary) -> tuple[list[Any], InteractionMatrix]:
    """The ids of the people, and what each interacted with, oldest first, in item codes; unknown items left out."""
    if isinstance(histories, pd.DataFrame):
        return _table_to_matrix(histories, items)
    ids = list(histories) if isinstance(histories, Mapping) else list(range(len(histories)))
    rows = [id_list(row) for row in (histories.values() if isinstance(histories, Mapping) else histories)]
    codes = items.codes([item for row in rows for item in row])
    bounds = np.cumsum([0, *map(len, rows)])
    known = [codes[a:b][codes[a:b] >= 0] for a, b in pairwise(bounds)]
    return ids, InteractionMatrix.from_rows(known, len(items))


def _table_to_matrix(table: pd.DataFrame, items: Vocabulary) -> tuple[list[Any], InteractionMatrix]:
    columns.require_columns(table, columns.USER, columns.ITEM, place="histories")
    if columns.TIMESTAMP in table:
        table = table.sort_values(columns.TIMESTAMP, kind="stable")
    users, owners = Vocabulary.encode(columns.ids_of(table[columns.USER], columns.USER))
    codes = items.codes(columns.ids_of(table[columns.ITEM], columns.ITEM))
    order = np.argsort(owners, kind="stable")
    order = order[codes[order] >= 0]
    starts = np.zeros(len(users) + 1, np.int64)
    np.cumsum(np.bincount(owners[order], minlength=len(users)), out=starts[1:])
    values = columns.ratings_of(table[columns.RATING])[order] if columns.RATING in table else np.empty(0, np.float32)
    return users.ids.tolist(), InteractionMatrix(starts, codes[order], values, len(items))
