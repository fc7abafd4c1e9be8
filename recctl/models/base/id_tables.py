"""Between the tables and lists of ids that users have and the codes that models work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from recctl.data import columns
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ConfigError, DataError
from recctl.suggest import did_you_mean

Histories = Iterable[Iterable[Any]] | Mapping[Any, Iterable[Any]] | pd.DataFrame
OnUnknown = Literal["error", "popular", "skip"]


def check_arguments(k: int, on_unknown: str = "error", *choices: str) -> None:
    """Refuse a `k` or an `on_unknown` that means nothing.

    Raises:
        ConfigError: Naming the value.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ConfigError(f"k={k!r}: must be a whole number of at least 1")
    choices = choices or get_args(OnUnknown)
    if on_unknown not in choices:
        raise ConfigError(f"on_unknown={on_unknown!r}: unknown choice{did_you_mean(str(on_unknown), choices)}")


def require_known(what: str, ids: Sequence[Any], known: Any, on_unknown: str = "error") -> None:
    """Refuse ids that are not known, where that is what was asked for.

    Raises:
        DataError: Naming the first of them after `what`.
    """
    if on_unknown != "error" or known.all():
        return
    unknown = [repr(ids[at]) for at in np.flatnonzero(~known).tolist()]
    shown = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
    raise DataError(f"{what} {shown}: not in what the model was fitted on; on_unknown says what else to do")


def id_list(ids: Iterable[Any] | str | int) -> list[Any]:
    """Ids as a list of Python values; one id alone is a list of one.

    Raises:
        DataError: Neither an id nor several.
    """
    if isinstance(ids, str | int | np.integer):
        return [ids]
    try:
        return ids.tolist() if isinstance(ids, np.ndarray | pd.Series | pd.Index) else list(ids)
    except TypeError:
        raise DataError(f"ids are int or str, in a list; not {ids!r}") from None


def ranked_table(
    ids: Sequence[Any], items: Int32Array, scores: Float32Array, vocabulary: Vocabulary, of: str, found: str
) -> pd.DataFrame:
    """A row for each id and each of its items; empty places (-1) are left out."""
    filled = items >= 0
    rank = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)
    owners = np.repeat(np.arange(len(ids)), filled.sum(axis=1))
    return pd.DataFrame(
        {
            of: pd.Index(ids).take(owners),
            found: vocabulary.column(items[filled]),
            "score": scores[filled],
            "rank": rank[filled],
        }
    )


def histories_to_matrix(histories: Histories, items: Vocabulary) -> tuple[list[Any], InteractionMatrix]:
    """The ids of the people, and what each interacted with, oldest first, in item codes; unknown items left out.

    Raises:
        DataError: Not what `Histories` says.
    """
    if isinstance(histories, pd.DataFrame):
        return _table_to_matrix(histories, items)
    given = dict(histories) if isinstance(histories, Mapping) else dict(enumerate(id_list(histories)))
    rows = [_history(person, row) for person, row in given.items()]
    codes = items.codes([item for row in rows for item in row])
    bounds = np.cumsum([0, *map(len, rows)])
    known = [codes[a:b][codes[a:b] >= 0] for a, b in pairwise(bounds)]
    return list(given), InteractionMatrix.from_rows(known, len(items))


def distinct_items(histories: InteractionMatrix) -> InteractionMatrix:
    """Each item of a history once, as in the data a model is fitted on: in order of code, the last value counts."""
    values = None if histories.is_binary else histories.values
    return InteractionMatrix.from_pairs(
        histories.rows, histories.columns, values, (histories.n_rows, histories.n_columns)
    )


def _history(person: Any, row: Any) -> list[Any]:
    if isinstance(row, str | bytes | Mapping) or not isinstance(row, Iterable):
        raise DataError(f"histories: {row!r} (of {person!r}) is no list of item ids; for one person give [[1, 2, 3]]")
    return id_list(row)


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
