"""Conversion between the ids of users and items, as tables and lists, and the codes that models work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from recctl.data import columns, frames
from recctl.data.frames import Frame
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.pandas_types import is_column
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Histories = Iterable[Iterable[Any]] | Mapping[Any, Iterable[Any]] | Frame
OnUnknown = Literal["error", "popular", "skip"]
OnUnknownPair = Literal["error", "skip", "mean"]

# An error message names at most this many ids.
_MAX_LISTED = 5


def require_known(what: str, ids: Sequence[Any], is_known: NDArray[np.bool_], on_unknown: str | None = None) -> None:
    """Raise an error if ids are unknown and `on_unknown` does not allow it.

    Args:
        what: The beginning of the message: the model, and "user" or "item".
        ids: All ids.
        is_known: Whether the model was fitted on each, `(len(ids),)`.
        on_unknown: The choice of the caller; None if there is no choice.

    Raises:
        DataError: The message names the first unknown ids.
    """
    if on_unknown in ("error", None) and not is_known.all():
        listed = _listed(ids, ~is_known)
        hint = "" if on_unknown is None else "; see on_unknown for alternatives"
        raise DataError(f"{what} {listed}: not in the data the model was fitted on{hint}")


def require_history(model: str, ids: Sequence[Any], is_served: NDArray[np.bool_], on_unknown: str = "error") -> None:
    """Raise an error if histories cannot be scored and `on_unknown` is "error".

    Args:
        model: The name of the model.
        ids: The ids of all users.
        is_served: Whether the model can score the history of each, `(len(ids),)`.
        on_unknown: The choice of the caller.

    Raises:
        DataError: The message names the first users without a known item in their history.
    """
    if on_unknown == "error" and not is_served.all():
        listed = _listed(ids, ~is_served)
        raise DataError(f"{model}: no known item in the history of {listed}; see on_unknown for alternatives")


def _listed(ids: Sequence[Any], selected: NDArray[np.bool_]) -> str:
    listed = [repr(ids[row]) for row in np.flatnonzero(selected).tolist()]
    text = ", ".join(listed[:_MAX_LISTED])
    if len(listed) > _MAX_LISTED:
        text += f" and {len(listed) - _MAX_LISTED} more"
    return text


def id_list(ids: Iterable[Any] | str | int, name: str = "ids") -> list[Any]:
    """Ids as a list of Python values; a single id becomes a list of one.

    Args:
        ids: The ids.
        name: Name of the argument, for messages.

    Raises:
        DataError: The argument is neither an id nor iterable.
    """
    if isinstance(ids, str | int | np.integer):
        return [ids]
    # tolist() yields Python values; list() would yield NumPy scalars, which print as np.int64(7) in messages.
    if isinstance(ids, np.ndarray) or is_column(ids):
        values: list[Any] = ids.tolist()
        return values
    try:
        return list(ids)
    except TypeError:
        raise DataError(f"{name}={ids!r}: must be a list of ids, int or str") from None


class RankedLists(NamedTuple):
    """Ranked items of users, or of items.

    Attributes:
        ids: The id of each list.
        items: Item codes, best first, -1 after the end of a list, `(len(ids), k)`.
        scores: Their scores, `(len(ids), k)`.
        vocabulary: The ids of the items.
        id_column: The name of the column of `ids`.
        item_column: The name of the column of items.
    """

    ids: Sequence[Any]
    items: Int32Array
    scores: Float32Array
    vocabulary: Vocabulary
    id_column: str
    item_column: str

    def table(self) -> pd.DataFrame:
        """A row for each id and each of its items: columns `id_column, item_column, score, rank`."""
        import pandas as pd

        is_item = self.items >= 0
        ranks = np.broadcast_to(np.arange(1, self.items.shape[1] + 1), self.items.shape)
        list_of_row = np.repeat(np.arange(len(self.ids)), is_item.sum(axis=1))
        return pd.DataFrame(
            {
                self.id_column: pd.Index(self.ids).take(list_of_row),
                self.item_column: self.vocabulary.column(self.items[is_item]),
                "score": self.scores[is_item],
                "rank": ranks[is_item],
            }
        )

    def records(self) -> list[dict[str, Any]]:
        """The rows of `table` as dicts of plain values, made without pandas."""
        records = []
        for list_id, items, scores in zip(self.ids, self.items, self.scores, strict=True):
            item_ids = self.vocabulary.decode(items[items >= 0]).tolist()
            for rank, (item_id, score) in enumerate(zip(item_ids, scores.tolist(), strict=False), start=1):
                records.append({self.id_column: list_id, self.item_column: item_id, "score": score, "rank": rank})
        return records


def histories_to_matrix(histories: Histories, items: Vocabulary) -> tuple[list[Any], InteractionMatrix]:
    """Convert histories to item codes.

    Args:
        histories: As for `Recommender.recommend_for_history`.
        items: The items of the model. Other items are left out.

    Returns:
        The ids of the users, and their histories, oldest first, `(n, n_items)`; an item can occur repeatedly.

    Raises:
        DataError: The histories are not of the type `Histories`.
    """
    if frames.is_frame(histories):
        return _table_to_matrix(frames.to_pandas(histories, "histories"), items)
    if isinstance(histories, Mapping):
        by_user = dict(histories)
    else:
        by_user = dict(enumerate(id_list(cast(Iterable[Any], histories), "histories")))
    rows = [_history(user, history) for user, history in by_user.items()]
    # All items are encoded in one call: a call per user would cost more than the encoding.
    codes = items.codes([item for row in rows for item in row])
    ends = np.cumsum([len(row) for row in rows])
    known_rows = [row[row >= 0] for row in np.split(codes, ends[:-1])] if rows else []
    return list(by_user), InteractionMatrix.from_rows(known_rows, len(items))


def distinct_items(histories: InteractionMatrix) -> InteractionMatrix:
    """Histories with each item once, in ascending order of code, with its last value, as in data for fitting."""
    values = None if histories.is_binary else histories.values
    # Of repeated pairs it keeps the last value.
    return InteractionMatrix.from_pairs(
        histories.rows, histories.columns, values, (histories.n_rows, histories.n_columns)
    )


def _history(user: Any, history: Any) -> list[Any]:
    if isinstance(history, str | bytes | Mapping) or not isinstance(history, Iterable):
        raise DataError(
            f"histories: {history!r} (of {user!r}) is not a list of item ids; for one user pass [[1, 2, 3]]"
        )
    return id_list(history)


def _table_to_matrix(table: pd.DataFrame, items: Vocabulary) -> tuple[list[Any], InteractionMatrix]:
    columns.require_columns(table, columns.USER, columns.ITEM, source="histories")
    if columns.TIMESTAMP in table:
        # Stable, so that row order breaks ties of timestamps, as in data for fitting.
        table = table.sort_values(columns.TIMESTAMP, kind="stable")
    users, user_codes = Vocabulary.encode(columns.ids_of(table[columns.USER], columns.USER))
    item_codes = items.codes(columns.ids_of(table[columns.ITEM], columns.ITEM))
    order = np.argsort(user_codes, kind="stable")
    # Unknown items are dropped, but their users stay, with an empty history.
    order = order[item_codes[order] >= 0]
    starts = np.zeros(len(users) + 1, np.int64)
    np.cumsum(np.bincount(user_codes[order], minlength=len(users)), out=starts[1:])
    if columns.RATING in table:
        values = columns.ratings_of(table[columns.RATING])[order]
    else:
        values = np.empty(0, np.float32)
    return users.ids.tolist(), InteractionMatrix(starts, item_codes[order], values, len(items))
