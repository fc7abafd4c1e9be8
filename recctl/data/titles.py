"""Titles of items, which recommendations, reports and exports show; models never read them."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recctl.data import text_ids
from recctl.data.columns import ITEM, format_value
from recctl.data.parquet_content import read_parquet_content
from recctl.data.vocabulary import Vocabulary

TITLE = "title"
_MAX_LISTED = 3
# The text of an integer id that was stored as a floating-point number: 17.0 is the id 17.
_INTEGER_AND_FRACTION = r"^(-?(?:0|[1-9][0-9]*))\.0+$"
_CONTROL_OR_BLANK = r"[\s\x00-\x1f\x7f]+"


class ItemTitles:
    """Titles by item id.

    Attributes:
        vocabulary: The ids of the items with a title.
        titles: Their titles, object dtype holding str, in the order of the vocabulary.
    """

    def __init__(self, vocabulary: Vocabulary, titles: NDArray[Any]) -> None:
        self.vocabulary = vocabulary
        self.titles = titles
        # Code -1, of an id without a title, selects the last entry.
        self._by_code = np.append(titles, np.array([None], object))

    @classmethod
    def none(cls) -> ItemTitles:
        """No titles at all."""
        return cls(Vocabulary(np.empty(0, np.int64)), np.empty(0, object))

    def __len__(self) -> int:
        return len(self.vocabulary)

    def of(self, item_ids: Iterable[Any]) -> list[str | None]:
        """The title of each item; None for items without one."""
        return list(self._by_code[self.vocabulary.codes(item_ids)])

    def to_parquet(self) -> bytes:
        """The content of a Parquet file with the columns `item_id` and `title`."""
        id_type = pa.large_string() if self.vocabulary.is_text else pa.int64()
        table = pa.table(
            {ITEM: pa.array(self.vocabulary.ids, id_type), TITLE: pa.array(self.titles, pa.large_string())}
        )
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    @classmethod
    def from_parquet(cls, content: bytes) -> ItemTitles:
        """Read what `to_parquet` returns.

        Raises:
            Exception: The content is damaged; a reader of Parquet can raise anything.
        """
        table = read_parquet_content(content)
        return cls(Vocabulary(_to_array(table[ITEM])), _to_array(table[TITLE]))


def _to_array(column: pa.ChunkedArray) -> NDArray[Any]:
    # Through a list, as the other conversions of Arrow import pandas, for which a short command must not wait.
    return np.array(column.to_pylist(), np.int64 if pa.types.is_integer(column.type) else object)


@dataclass(frozen=True, eq=False)
class MatchedTitles:
    """Titles of a table of items that belong to the items of a data set.

    Attributes:
        titles: The titles of the items that have one.
        record: Counts for the record of a run: `items`, `titles`, `conflicting`.
        notes: What a user should know: items without a title, and items with several.
    """

    titles: ItemTitles
    record: dict[str, int]
    notes: list[str]


def match_ids(vocabulary: Vocabulary, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Find the codes of ids that were read as text; null for those that the vocabulary does not have.

    Where its ids are integers, `17` and `17.0` are the id 17, and `017` is not; where they are text, ids must be equal.

    Args:
        vocabulary: The users or items of a data set.
        ids: Ids as text, `(n_rows,)`.
    """
    import pyarrow.compute as pc

    ids = text_ids.trim(ids.cast(pa.large_string()))
    known = pa.array(vocabulary.ids).cast(pa.large_string())
    if not vocabulary.is_text:
        ids = pc.replace_substring_regex(ids, _INTEGER_AND_FRACTION, r"\1")
    return pc.index_in(ids, value_set=known)


def match_titles(vocabulary: Vocabulary, ids: pa.ChunkedArray, titles: pa.ChunkedArray, source: str) -> MatchedTitles:
    """Find the titles of the items of a data set in a table of items.

    The data set decides the type of ids. Where its ids are integers, `17` and `17.0` in the table are the id 17, and
    `017` is not; where they are text, ids must be equal. Of several titles of an item, the last one counts.

    Args:
        vocabulary: The items of the data set.
        ids: The ids of the table as text, `(n_rows,)`.
        titles: The titles of the table as text, `(n_rows,)`; empty where there is none.
        source: The name of the table for messages.
    """
    import pandas as pd
    import pyarrow.compute as pc

    codes = match_ids(vocabulary, ids)
    # Titles are shown on one line, and control characters would change how a terminal shows them.
    titles = pc.utf8_trim_whitespace(pc.replace_substring_regex(titles, _CONTROL_OR_BLANK, " "))
    used = pd.DataFrame({"code": codes.to_numpy(), TITLE: titles.to_pandas()})
    used = used[used["code"].notna() & (used[TITLE] != "")].drop_duplicates()
    is_conflicting = used.duplicated("code", keep="last")
    conflicting = used.loc[is_conflicting, "code"].unique().astype(np.int64)
    used = used[~is_conflicting].sort_values("code")
    title_codes = used["code"].to_numpy(np.int64)
    has_title = np.zeros(len(vocabulary), bool)
    has_title[title_codes] = True
    found = ItemTitles(Vocabulary(vocabulary.ids[title_codes]), used[TITLE].to_numpy(object))
    record = {"items": len(vocabulary), "titles": len(found), "conflicting": len(conflicting)}
    notes = []
    if not len(found) and len(ids):
        notes.append(_no_match_note(vocabulary, codes, ids, source))
    elif not has_title.all():
        listed = _listed(vocabulary.ids[~has_title])
        note = f"{source}: no title for {(~has_title).sum():,} of the {len(vocabulary):,} items, e.g. {listed}"
        # Two kinds of ids, such as those of a shop and of its supplier, often share some numbers.
        is_mostly_missing = 2 * len(found) < len(vocabulary)
        notes.append(f"{note}; check data.items.id" if is_mostly_missing else note)
    if len(conflicting):
        listed = _listed(vocabulary.ids[np.sort(conflicting)])
        n_items = "1 item has" if len(conflicting) == 1 else f"{len(conflicting):,} items have"
        notes.append(f"{source}: {n_items} several titles (duplicate ids), the last of which is used, e.g. {listed}")
    return MatchedTitles(found, record, notes)


def _no_match_note(vocabulary: Vocabulary, codes: pa.ChunkedArray, ids: pa.ChunkedArray, source: str) -> str:
    if codes.null_count < len(codes):
        return f"{source}: all titles of the {len(vocabulary):,} items are empty; check data.items.title"
    examples = f"{format_value(ids[0].as_py())} there, {format_value(vocabulary.ids[0])} in the data"
    return (
        f"{source}: none of its ids is an item of the data ({examples}), so that no titles are shown; "
        "check data.items.id"
    )


def _listed(ids: NDArray[Any]) -> str:
    return ", ".join(format_value(item_id) for item_id in ids[:_MAX_LISTED].tolist())
