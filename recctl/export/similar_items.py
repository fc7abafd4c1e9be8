"""The most similar items of each item, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field

from recctl import progress
from recctl.data import columns
from recctl.data.titles import TITLE
from recctl.errors import ArtifactError
from recctl.export import _table_files
from recctl.export._id_lists import Ids, known_codes
from recctl.export._table_files import FileFormat
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender
from recctl.ranking import TIE_RULE

_ITEMS_PER_BLOCK = 2048
_SIMILAR_ITEM = "similar_item_id"
_SIMILAR_TITLE = "similar_title"


class SimilarItemsFormat(ExportFormat):
    """The most similar items of each item, as a table: Parquet, CSV, or JSON lines.

    The file is `similar_items.parquet`, `.csv` or `.jsonl`, with these columns:

        item_id          string or int64
        similar_item_id  string or int64
        score            float32          the similarity, which each model defines; higher is more similar
        rank             int32            from 1
        title            string           of the item; only if the run has titles of items
        similar_title    string           of the similar item; only if the run has titles of items

    Items are in ascending order of id, or in the requested order, each with up to `k` rows in ascending order of rank.
    The files are written as those of `recommendations`.
    """

    name = "similar-items"
    libraries = ("pyarrow",)
    read_with: ClassVar[Mapping[str, str]] = {
        "similar_items.parquet": "any Parquet reader",
        "similar_items.csv": "any CSV reader; read ids of the type string as text",
        "similar_items.jsonl": "any JSON reader, line by line",
    }

    k: int = Field(10, ge=1, description="Number of similar items for each item.")
    items: Ids | None = Field(None, description="Items: a file or a list of ids; default: all items of the model.")
    titles: bool = Field(True, description="Add the titles of the items, if the run has any.")
    file_format: FileFormat = Field("parquet", description="parquet, csv or jsonl.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Rank and write block by block."""
        vocabulary = model.item_vocabulary
        id_type = _table_files.id_type(vocabulary)
        schema = pa.schema(
            [(columns.ITEM, id_type), (_SIMILAR_ITEM, id_type), ("score", pa.float32()), ("rank", pa.int32())]
        )
        with_titles = self.titles and len(context.titles) > 0
        if with_titles:
            schema = schema.append(pa.field(TITLE, pa.string())).append(pa.field(_SIMILAR_TITLE, pa.string()))
        codes = np.arange(len(vocabulary), dtype=np.int32)
        if self.items is not None:
            codes = known_codes(self.items, "items", columns.ITEM, vocabulary)
        n_rows = 0
        with (
            _table_files.open_writer(folder / f"similar_items.{self.file_format}", schema, self.file_format) as write,
            progress.task("Finding similar items", len(codes), "items") as task,
        ):
            for begin in range(0, len(codes), _ITEMS_PER_BLOCK):
                block = codes[begin : begin + _ITEMS_PER_BLOCK]
                similar = model.similar_items(vocabulary.decode(block), self.k)
                if with_titles:
                    similar[TITLE] = pd.Series(context.titles.of(similar[columns.ITEM]), dtype=object)
                    similar[_SIMILAR_TITLE] = pd.Series(context.titles.of(similar[_SIMILAR_ITEM]), dtype=object)
                write(pa.Table.from_pandas(similar, schema, preserve_index=False))
                n_rows += len(similar)
                task.update(begin + len(block))
        return {
            "items": len(codes),
            "rows": n_rows,
            "tie_rule": TIE_RULE,
            "columns": _table_files.columns_of(schema),
        }

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Check the number of rows; right after writing, also the first item's list against the model's."""
        options = manifest["options"]
        n_rows = 0
        table_path = folder / f"similar_items.{options['file_format']}"
        for piece in _table_files.read_pieces(table_path, _table_files.schema_of(manifest), options["file_format"]):
            if model is not None and n_rows == 0 and len(piece):
                _check_first_item(table_path, piece.slice(0, options["k"]).to_pandas(), model, options["k"])
            n_rows += len(piece)
        if n_rows != manifest["facts"]["rows"]:
            raise ArtifactError(f"{table_path}: {n_rows:,} rows, not {manifest['facts']['rows']:,}")


def _check_first_item(path: Path, rows: pd.DataFrame, model: Recommender, k: int) -> None:
    first_item = rows[columns.ITEM].iloc[0]
    written = rows[rows[columns.ITEM] == first_item]
    expected = model.similar_items([first_item], k)
    same_items = written[_SIMILAR_ITEM].tolist() == expected[_SIMILAR_ITEM].tolist()
    if not same_items or not np.allclose(written["score"], expected["score"], rtol=1e-5, atol=1e-5):
        raise ArtifactError(f"{path}: when read back, the similar items differ from the model's")
