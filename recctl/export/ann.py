"""An index for approximate nearest neighbor search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow.parquet as pq
from pydantic import Field

from recctl import progress, rng
from recctl.data import columns
from recctl.data.matrix import Float32Array
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError, AssertionFailedError, UnsupportedError
from recctl.export import _id_files
from recctl.export.base import Context, ExportFormat
from recctl.export.embeddings import EmbeddingsFormat, read_vectors
from recctl.models.base import Recommender
from recctl.ranking import TieBreaker, rank

_FILE = "index.usearch"
# What the keys of an index are; the values stand in manifests.
_ITEM_ID = "item_id"
_ROW = "row"
_SEED = 42
_ITEMS_PER_BLOCK = 4096
# Tolerance of recall: other processors sum in another order.
_RECALL_TOLERANCE = 0.005
# Relative tolerance of scores that count as ties with the k-th best.
_TIE_TOLERANCE = 1e-6


class AnnFormat(ExportFormat):
    """A usearch index of item embeddings, with user embeddings and its measured recall.

    `index.usearch` finds items by inner product (HNSW: Malkov & Yashunin, 2018, "Efficient and Robust Approximate
    Nearest Neighbor Search Using Hierarchical Navigable Small World Graphs"). Its keys are the item ids, if these are
    integers from 0; otherwise they are positions, from 0, in `items.json`, which are also the rows of `items.parquet`.
    The manifest says which: `facts.keys` is `item_id` or `row`. The other files are those of `embeddings`. Queries are
    vectors of `users.parquet`, or any other user vector of the model:

        index = usearch.index.Index.restore("index.usearch", view=True)
        index.expansion_search = ...  # see the manifest: the file does not store it
        matches = index.search(users, 10)  # matches.keys, and scores 1 - matches.distances

    `i8` stores directions only. Item vectors therefore get one more dimension that makes all norms equal, and user
    vectors a 0 there. The index then uses cosine similarity, which preserves the order; compute scores from the
    vectors.

    The index does not know which items a user has seen: request as many more items as you have to leave out. Recall is
    the share of the exact top `k` that the index finds, for `sample` users drawn with a fixed seed. Ties: of
    items with equal scores the index returns any, and each counts as found. The index is built on one thread, so that
    equal models give equal files, in about 0.1 ms per item. `facts` of the manifest has the recall (`recall@10`), the
    metric of the index, and `expansion_search`.
    """

    name = "ann"
    extra = "ann"
    needs = ("usearch",)
    # Keys were rows in version 1.
    version = 2
    libraries = ("usearch", "pyarrow")
    read_with: ClassVar[Mapping[str, str]] = {
        "index.usearch": "usearch 2.16 or later, for Python, JavaScript and others",
        **_id_files.READ_WITH,
    }

    connectivity: int = Field(16, ge=2, description="Edges per item in the graph: more raise recall and memory.")
    expansion_add: int = Field(256, ge=1, description="Candidates per inserted item: more raise recall and build time.")
    expansion_search: int = Field(128, ge=1, description="Candidates per search: more raise recall and search time.")
    dtype: Literal["f32", "f16", "i8"] = Field("f32", description="Stored type of vectors: f32, f16 or i8.")
    k: int = Field(10, ge=1, description="List length for which recall is measured.")
    sample: int = Field(1000, ge=1, description="Number of users for which recall is measured.")
    min_recall: float | None = Field(None, ge=0, le=1, description="Fail if the measured recall is lower.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write embeddings and index, and measure recall."""
        from usearch.index import Index

        try:
            export_facts = EmbeddingsFormat().write(model, folder, context)
        except UnsupportedError as error:
            raise UnsupportedError(f"ann: {error}; for other models, export recommendations") from None
        items = read_vectors(folder / "items.parquet")
        vectors = _item_vectors(items, self.dtype)
        index = Index(
            ndim=vectors.shape[1],
            metric=_metric(self.dtype),
            dtype=self.dtype,
            connectivity=self.connectivity,
            expansion_add=self.expansion_add,
        )
        key_kind = _ITEM_ID if _can_be_keys(model.item_vocabulary) else _ROW
        keys = model.item_vocabulary.ids if key_kind == _ITEM_ID else np.arange(len(vectors))
        with progress.task("ann: index", len(vectors), "items") as task:
            # In blocks only for the progress bar: one call would build the same index.
            for begin in range(0, len(vectors), _ITEMS_PER_BLOCK):
                block = vectors[begin : begin + _ITEMS_PER_BLOCK]
                index.add(keys[begin : begin + len(block)], block, threads=1)
                task.update(begin + len(block))
        index.save(str(folder / _FILE))
        recall = self._recall(folder, key_kind)
        if self.min_recall is not None and recall < self.min_recall:
            hint = "raise expansion_search, expansion_add or connectivity"
            if self.dtype != "f32":
                hint += ", or use dtype=f32"
            raise AssertionFailedError(
                f"ann: recall@{self.k} is {recall:.4f}, below min_recall={self.min_recall:g}; nothing was written; "
                f"{hint}"
            )
        return export_facts | {
            "metric": _metric(self.dtype),
            "keys": key_kind,
            f"recall@{self.k}": recall,
            "expansion_search": self.expansion_search,
        }

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Check the embeddings as in the format `embeddings`, load the index, and measure its recall again."""
        EmbeddingsFormat.verify(folder, manifest, model)
        try:
            options = cls(**manifest["options"])
            recall = options._recall(folder, manifest["facts"].get("keys", _ROW))
        except Exception as error:  # usearch's errors have no common class
            raise ArtifactError(f"{folder / _FILE}: usearch cannot search it: {error}") from error
        expected = manifest["facts"][f"recall@{options.k}"]
        if abs(recall - expected) > _RECALL_TOLERANCE:
            raise ArtifactError(
                f"{folder / _FILE}: recall@{options.k} is {recall:.4f}, but {expected:.4f} in the manifest"
            )

    def _recall(self, folder: Path, key_kind: str) -> float:
        """Share of the exact top k that the index finds.

        Args:
            folder: The export.
            key_kind: What the keys of the index are.
        """
        from usearch.index import Index

        all_users = read_vectors(folder / "users.parquet")
        items = read_vectors(folder / "items.parquet")
        sample = rng.stream(_SEED, "ann").permutation(len(all_users))[: self.sample]
        # At least two queries: usearch returns another shape for a single one.
        sample = np.sort(np.resize(sample, max(2, len(sample))))
        users = all_users[sample]
        k = min(self.k, len(items))
        # Read from the file, so that the recall is that of what was written, also at verification.
        index = Index.restore(str(folder / _FILE))
        n_indexed = 0 if index is None else len(index)
        if n_indexed != len(items):
            raise ValueError(f"it holds {n_indexed:,} of {len(items):,} items")
        index.expansion_search = self.expansion_search
        matches = index.search(_user_vectors(users, self.dtype), k, threads=1)
        # Only the scores are used, so the order of ties does not matter.
        ties = TieBreaker(np.zeros(len(users), np.uint64), np.zeros(len(items), np.uint64))
        _, exact_scores = rank(lambda rows: users[rows] @ items.T, len(users), len(items), k, None, ties)
        if key_kind == _ITEM_ID:
            key_column = pq.read_table(folder / "items.parquet", columns=[columns.ITEM])[columns.ITEM]
            item_keys = key_column.to_numpy().astype(np.uint64)
        else:
            item_keys = np.arange(len(items), dtype=np.uint64)
        # Keys are in ascending order, as ids are. Entries beyond `matches.counts` hold arbitrary keys.
        found_items = np.minimum(np.searchsorted(item_keys, matches.keys), len(items) - 1)
        # Exact scores of the found items: the index returns those of its stored type.
        scores = np.einsum("nd,nkd->nk", users, items[found_items])
        # Any item that ties with the k-th best counts as found.
        lowest = exact_scores[:, -1:] - _TIE_TOLERANCE * np.abs(exact_scores).max(axis=1, keepdims=True)
        is_match = (np.arange(k) < matches.counts[:, None]) & (item_keys[found_items] == matches.keys)
        return round(float(((scores >= lowest) & is_match).mean()), 4)


def _can_be_keys(vocabulary: Vocabulary) -> bool:
    """Whether ids can be the keys of an index, which are unsigned integers of 64 bits."""
    return not vocabulary.is_text and bool(vocabulary.ids.min(initial=0) >= 0)


def _metric(dtype: str) -> str:
    return "cos" if dtype == "i8" else "ip"


def _item_vectors(items: Float32Array, dtype: str) -> Float32Array:
    """Item vectors as the index stores them."""
    if dtype != "i8":
        return items
    # The extra dimension makes every norm the largest one, so that the order by cosine is the order by inner product
    # (Bachrach et al., 2014, "Speeding Up the Xbox Recommender System Using a Euclidean Transformation for
    # Inner-Product Spaces").
    squared_norms = np.einsum("nd,nd->n", items, items)
    return np.column_stack((items, np.sqrt(squared_norms.max(initial=0) - squared_norms)))


def _user_vectors(users: Float32Array, dtype: str) -> Float32Array:
    """User vectors as the index is queried with them."""
    if dtype != "i8":
        return users
    return np.column_stack((users, np.zeros(len(users), np.float32)))
