"""Top-k recommendations of users, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from recctl import progress
from recctl.data import columns
from recctl.data.matrix import Float32Array, Int32Array
from recctl.data.titles import TITLE
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError, ConfigError
from recctl.export import _table_files, _target_users
from recctl.export._held_out import HeldOutPairs
from recctl.export._id_lists import Ids, known_codes
from recctl.export._table_files import FileFormat
from recctl.export._target_users import TargetUsers
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender
from recctl.models.base.id_tables import OnUnknown
from recctl.ranking import TIE_RULE, map_blocks

# Rows whose scores are compared with the model's after writing.
_N_CHECKED = 1000


class RecommendationsFormat(ExportFormat):
    """Top-k items of each user, as a table: Parquet, CSV, or JSON lines.

    The file is `recommendations.parquet`, `.csv` or `.jsonl`, with these columns:

        user_id  string or int64
        item_id  string or int64
        score    float32          higher is better
        rank     int32            from 1
        title    string           of the item, null where there is none; only if the run has titles of items

    Users are in the requested order, each with up to `k` rows in ascending order of rank. CSV has a header, quotes text
    and nothing else, and leaves null empty. JSON lines are objects with the columns as keys. The manifest has the types
    (`facts.columns`). Written in blocks of users: memory does not grow with the number of users.
    """

    name = "recommendations"
    libraries = ("pyarrow",)
    read_with: ClassVar[Mapping[str, str]] = {
        "recommendations.parquet": "any Parquet reader",
        "recommendations.csv": "any CSV reader; read ids of the type string as text",
        "recommendations.jsonl": "any JSON reader, line by line",
    }

    k: int = Field(10, ge=1, description="Number of items for each user.")
    users: Ids | None = Field(None, description="Users: a file or a list of ids; default: all users of the model.")
    histories: Path | None = Field(
        None, description="A file of interactions of users that the model does not know; recommend for these users."
    )
    on_unknown: OnUnknown = Field("error", description="For users that the model cannot score: error, popular or skip.")
    include_seen: bool = Field(False, description="Keep items that the user has interacted with.")
    allow: Ids | None = Field(None, description="Recommend only these items: a file or a list of ids.")
    block: Ids | None = Field(None, description="Never recommend these items: a file or a list of ids.")
    titles: bool = Field(True, description="Add the titles of the items, if the run has any.")
    file_format: FileFormat = Field("parquet", description="parquet, csv or jsonl.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Rank and write block by block."""
        target = self._target_users(model)
        item_mask = self._item_mask(model)
        item_id_type = _table_files.id_type(model.item_vocabulary)
        item_ids = pa.array(model.item_vocabulary.ids, item_id_type)
        schema = pa.schema(
            [
                (columns.USER, target.ids.type),
                (columns.ITEM, item_id_type),
                ("score", pa.float32()),
                ("rank", pa.int32()),
            ]
        )
        item_titles = None
        if self.titles and len(context.titles):
            item_titles = _table_files.title_column(context.titles, model.item_vocabulary)
            schema = schema.append(pa.field(TITLE, item_titles.type))
        held_out = self._held_out(model, context)
        n_users = len(target.rows)
        k = min(self.k, len(item_ids))

        def rank_users(indices: Int32Array) -> tuple[Int32Array, Int32Array, Float32Array]:
            items, scores = target.rank(indices, k, not self.include_seen, item_mask)
            return indices, items, scores

        n_rows = 0
        n_short = 0
        with (
            _table_files.open_writer(folder / f"recommendations.{self.file_format}", schema, self.file_format) as write,
            progress.task("Recommending", n_users, "users") as task,
        ):
            for indices, items, scores in map_blocks(rank_users, n_users, len(item_ids), "recommendations to users"):
                table = _table(schema, target.ids, item_ids, item_titles, indices, items, scores)
                write(table)
                if held_out is not None:
                    held_out.add(target.rows[indices], items)
                n_rows += len(table)
                # With a catalog smaller than the requested k, every list is short.
                n_short += int((items[:, -1] < 0).sum()) if k == self.k else len(items)
                task.update(int(indices[-1]) + 1)
        if held_out is not None:
            held_out.report(n_rows)
        return {
            "users": n_users,
            "rows": n_rows,
            "users_with_fewer_than_k": n_short,
            "tie_rule": TIE_RULE,
            "held_out_pairs": None if held_out is None else held_out.count,
            "columns": _table_files.columns_of(schema),
        }

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Check rows, ranks and scores; right after writing, also the first scores against the model's."""
        options = manifest["options"]
        table_path = folder / f"recommendations.{options['file_format']}"
        n_rows = 0
        for piece in _table_files.read_pieces(table_path, _table_files.schema_of(manifest), options["file_format"]):
            _check_piece(table_path, piece, options["k"])
            # Scores of histories cannot be computed again from the file, which does not contain them.
            if model is not None and n_rows == 0 and options["histories"] is None:
                _check_scores(table_path, piece.slice(0, _N_CHECKED), model)
            n_rows += len(piece)
        if n_rows != manifest["facts"]["rows"]:
            raise ArtifactError(f"{table_path}: {n_rows:,} rows, not {manifest['facts']['rows']:,}")

    def _target_users(self, model: Recommender) -> TargetUsers:
        if self.histories is None:
            return _target_users.known_users(model, self.users, self.on_unknown)
        if self.users is not None:
            raise ConfigError(
                "export format recommendations: users selects users of the model, histories gives other users; "
                "set only one of them"
            )
        return _target_users.users_with_histories(model, self.histories, self.on_unknown)

    def _held_out(self, model: Recommender, context: Context) -> HeldOutPairs | None:
        """A counter of held-out pairs; None for given histories, without a run, or if seen items are included."""
        if context.run is None or context.entry is None or self.histories is not None or self.include_seen:
            return None
        return HeldOutPairs(context.run, context.entry, model, context.overrides)

    def _item_mask(self, model: Recommender) -> Float32Array | None:
        """Added to the scores of every user: minus infinity for excluded items, else 0; None if all are allowed."""
        if self.allow is None and self.block is None:
            return None
        vocabulary = model.item_vocabulary
        mask = np.zeros(len(vocabulary), np.float32)
        if self.allow is not None:
            # An allow list excludes everything else. `block` follows, so that it wins for items in both.
            mask[:] = -np.inf
            mask[known_codes(self.allow, "allow", columns.ITEM, vocabulary)] = 0
        if self.block is not None:
            mask[known_codes(self.block, "block", columns.ITEM, vocabulary)] = -np.inf
        if np.isinf(mask).all():
            raise ConfigError("export format recommendations: block excludes every item that allow permits")
        return mask


def _table(
    schema: Any,
    user_ids: Any,
    item_ids: Any,
    item_titles: Any | None,
    indices: Int32Array,
    items: Int32Array,
    scores: Float32Array,
) -> Any:
    """One row a user and item; empty positions (-1) are left out."""
    filled = items >= 0
    owners = np.repeat(indices, filled.sum(axis=1))
    # A view: the ranks of a block would otherwise be as large as its items.
    ranks = np.broadcast_to(np.arange(1, items.shape[1] + 1, dtype=np.int32), items.shape)
    user_column = user_ids.take(pa.array(owners))
    codes = pa.array(items[filled])
    table_columns = [user_column, item_ids.take(codes), scores[filled], ranks[filled]]
    if item_titles is not None:
        table_columns.append(item_titles.take(codes))
    return pa.table(table_columns, schema=schema)


def _check_piece(path: Path, piece: Any, k: int) -> None:
    if not piece.num_rows:
        return
    ranks = piece["rank"]
    ranks_valid = pc.min(ranks).as_py() >= 1 and pc.max(ranks).as_py() <= k
    if not ranks_valid or not pc.all(pc.is_finite(piece["score"])).as_py():
        raise ArtifactError(f"{path}: damaged: a rank outside 1 to {k}, or a score that is not finite")


def _check_scores(path: Path, piece: Any, model: Recommender) -> None:
    users, is_known = _look_up(model.user_vocabulary, piece[columns.USER])
    items, _ = _look_up(model.item_vocabulary, piece[columns.ITEM])
    written = piece["score"].to_numpy()[is_known]
    expected = model.score_pairs(users[is_known], items[is_known])
    if not np.allclose(written, expected, rtol=1e-5, atol=1e-5):
        largest = float(np.abs(written - expected).max())
        raise ArtifactError(f"{path}: when read back, scores differ from the model's by up to {largest:g}")


def _look_up(vocabulary: Vocabulary, ids: Any) -> tuple[Int32Array, NDArray[np.bool_]]:
    """Codes of some ids, and which ids are known. Binary search: a hash table of all ids would dominate the memory."""
    values = ids.to_numpy(zero_copy_only=False)
    codes = np.minimum(np.searchsorted(vocabulary.ids, values), len(vocabulary) - 1).astype(np.int32)
    return codes, vocabulary.ids[codes] == values
