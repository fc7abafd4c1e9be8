"""The items most like each item, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from recctl import progress
from recctl.data import columns
from recctl.errors import ArtifactError
from recctl.export import _table_files
from recctl.export._id_lists import Ids, known_codes
from recctl.export._table_files import FileFormat
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender

_AT_ONCE = 2048
_SIMILAR = "similar_item_id"


class SimilarItemsFormat(ExportFormat):
    """The items most like each item, as a table: Parquet, CSV, or a JSON object a line.

    `similar_items.parquet`, `.csv` or `.jsonl`: `item_id`, `similar_item_id`, `score`, `rank` (from 1), items in
    ascending order of id. Which items are alike is the model's own matter.
    """

    name = "similar-items"

    k: int = Field(10, ge=1, description="How many for each item.")
    items: Ids | None = Field(None, description="Only for these items: a file or a list of ids; all unless given.")
    file_format: FileFormat = Field("parquet", description="parquet, csv or jsonl.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Rank and write, a piece after another."""
        vocabulary = model.item_vocabulary
        of_ids = _table_files.id_type(vocabulary)
        schema = pa.schema([(columns.ITEM, of_ids), (_SIMILAR, of_ids), ("score", pa.float32()), ("rank", pa.int32())])
        codes = np.arange(len(vocabulary), dtype=np.int32)
        if self.items is not None:
            codes = known_codes(self.items, "items", columns.ITEM, vocabulary)
        n_rows = 0
        with (
            _table_files.written(folder / f"similar_items.{self.file_format}", schema, self.file_format) as write,
            progress.task("Looking for similar items", len(codes), "items") as task,
        ):
            for begin in range(0, len(codes), _AT_ONCE):
                found = model.similar_items(vocabulary.decode(codes[begin : begin + _AT_ONCE]), self.k)
                write(pa.Table.from_pandas(found, schema, preserve_index=False))
                n_rows += len(found)
                task.update(min(begin + _AT_ONCE, len(codes)))
        return {"items": len(codes), "rows": n_rows, "columns": _table_files.columns_of(schema)}

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Rows; and right after writing, the first ones against the model's."""
        options, n_rows = manifest["options"], 0
        path = folder / f"similar_items.{options['file_format']}"
        for piece in _table_files.pieces(path, _table_files.schema_of(manifest), options["file_format"]):
            if model is not None and not n_rows and len(piece):
                first = piece.slice(0, options["k"]).to_pandas()
                expected = model.similar_items(first[columns.ITEM].iloc[:1], options["k"])
                written = first[first[columns.ITEM] == first[columns.ITEM].iloc[0]]
                alike = written[_SIMILAR].tolist() == expected[_SIMILAR].tolist()
                if not alike or not np.allclose(written["score"], expected["score"], rtol=1e-5, atol=1e-5):
                    raise ArtifactError(f"{path}: read back, the similar items are others than the model's")
            n_rows += len(piece)
        if n_rows != manifest["facts"]["rows"]:
            raise ArtifactError(f"{path}: {n_rows:,} rows, not {manifest['facts']['rows']:,}")
