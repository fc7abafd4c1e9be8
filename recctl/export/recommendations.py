"""The best items of each user, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from recctl import progress
from recctl.data import columns
from recctl.data.matrix import Float32Array, Int32Array
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError, ConfigError
from recctl.export import _table_files, _target_users
from recctl.export._id_lists import Ids, known_codes
from recctl.export._table_files import FileFormat
from recctl.export._target_users import Audience
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender
from recctl.models.base.id_tables import OnUnknown
from recctl.ranking import map_blocks

_CHECKED = 1000


class RecommendationsFormat(ExportFormat):
    """The best items of each user, as a table: Parquet, CSV, or a JSON object a line.

    `recommendations.parquet`, `.csv` or `.jsonl`: `user_id`, `item_id`, `score`, `rank` (from 1), users in the order
    asked. Written block by block: memory does not grow with the users.
    """

    name = "recommendations"

    k: int = Field(10, ge=1, description="How many items for each user.")
    users: Ids | None = Field(None, description="Only these users: a file or a list of ids; all unless given.")
    histories: Path | None = Field(None, description="A file of what people had whom the model never saw: for them.")
    on_unknown: OnUnknown = Field("error", description="For users the model can't serve: error, popular or skip.")
    include_seen: bool = Field(False, description="Keep items that the user had.")
    allow: Ids | None = Field(None, description="Only these items: a file or a list of ids.")
    block: Ids | None = Field(None, description="None of these items: a file or a list of ids.")
    file_format: FileFormat = Field("parquet", description="parquet, csv or jsonl.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Rank and write, block by block."""
        audience = self._audience(model)
        barred = self._barred(model)
        of_items = _table_files.id_type(model.item_vocabulary)
        item_ids = pa.array(model.item_vocabulary.ids, of_items)
        schema = pa.schema(
            [(columns.USER, audience.ids.type), (columns.ITEM, of_items), ("score", pa.float32()), ("rank", pa.int32())]
        )
        n, k = len(audience.rows), min(self.k, len(item_ids))

        def best(places: Int32Array) -> tuple[Int32Array, Int32Array, Float32Array]:
            return places, *audience.best(places, k, not self.include_seen, barred)

        n_rows = n_short = 0
        with (
            _table_files.written(folder / f"recommendations.{self.file_format}", schema, self.file_format) as write,
            progress.task("Recommending", n, "users") as task,
        ):
            for places, items, scores in map_blocks(best, n, len(item_ids)):
                table = _table(schema, audience.ids, item_ids, places, items, scores)
                write(table)
                n_rows += len(table)
                n_short += int((items[:, -1] < 0).sum()) if k == self.k else len(items)
                task.update(int(places[-1]) + 1)
        return {
            "users": n,
            "rows": n_rows,
            "users_with_fewer_than_k": n_short,
            "columns": _table_files.columns_of(schema),
        }

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Rows, ranks and scores; and right after writing, the first scores against the model's."""
        options, n_rows = manifest["options"], 0
        path = folder / f"recommendations.{options['file_format']}"
        for piece in _table_files.pieces(path, _table_files.schema_of(manifest), options["file_format"]):
            _check_piece(path, piece, options["k"])
            if model is not None and not n_rows and options["histories"] is None:
                _check_scores(path, piece.slice(0, _CHECKED), model)
            n_rows += len(piece)
        if n_rows != manifest["facts"]["rows"]:
            raise ArtifactError(f"{path}: {n_rows:,} rows, not {manifest['facts']['rows']:,}")

    def _audience(self, model: Recommender) -> Audience:
        if self.histories is None:
            return _target_users.of_users(model, self.users, self.on_unknown)
        if self.users is not None:
            raise ConfigError("export format recommendations: users are of the model, histories of others: give one")
        return _target_users.of_histories(model, self.histories, self.on_unknown)

    def _barred(self, model: Recommender) -> Float32Array | None:
        """What is added to everybody's scores: minus infinity for items that may not be recommended."""
        if self.allow is None and self.block is None:
            return None
        barred = np.zeros(len(model.item_vocabulary), np.float32)
        if self.allow is not None:
            barred[:] = -np.inf
            barred[known_codes(self.allow, "allow", columns.ITEM, model.item_vocabulary)] = 0
        if self.block is not None:
            barred[known_codes(self.block, "block", columns.ITEM, model.item_vocabulary)] = -np.inf
        if np.isinf(barred).all():
            raise ConfigError("export format recommendations: block takes away every item that allow leaves")
        return barred


def _table(
    schema: Any, user_ids: Any, item_ids: Any, places: Int32Array, items: Int32Array, scores: Float32Array
) -> Any:
    """A row for each user of a block and each of the items; empty places (-1) are left out."""
    filled = items >= 0
    owners = np.repeat(places, filled.sum(axis=1))
    ranks = np.broadcast_to(np.arange(1, items.shape[1] + 1, dtype=np.int32), items.shape)[filled]
    cells = [user_ids.take(pa.array(owners)), item_ids.take(pa.array(items[filled])), scores[filled], ranks]
    return pa.table(cells, schema=schema)


def _check_piece(path: Path, piece: Any, k: int) -> None:
    ranks, scores = piece["rank"], piece["score"]
    if piece.num_rows and not (
        pc.min(ranks).as_py() >= 1 and pc.max(ranks).as_py() <= k and pc.all(pc.is_finite(scores)).as_py()
    ):
        raise ArtifactError(f"{path}: damaged: ranks beyond {k}, or scores that are no numbers")


def _check_scores(path: Path, piece: Any, model: Recommender) -> None:
    users, known = _looked_up(model.user_vocabulary, piece[columns.USER])
    items, _ = _looked_up(model.item_vocabulary, piece[columns.ITEM])
    written, scores = piece["score"].to_numpy()[known], model.score_pairs(users[known], items[known])
    if not np.allclose(written, scores, rtol=1e-5, atol=1e-5):
        worst = float(np.abs(written - scores).max())
        raise ArtifactError(f"{path}: read back, scores differ from the model's by up to {worst:g}")


def _looked_up(vocabulary: Vocabulary, ids: Any) -> tuple[Int32Array, NDArray[np.bool_]]:
    """Codes of a few ids, and which are known; a table of all ids would take more memory than all else here."""
    wanted = ids.to_numpy(zero_copy_only=False)
    codes = np.minimum(np.searchsorted(vocabulary.ids, wanted), len(vocabulary) - 1).astype(np.int32)
    return codes, vocabulary.ids[codes] == wanted
