"""An index of approximate nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from recctl import progress, rng
from recctl.data.matrix import Float32Array
from recctl.errors import ArtifactError, AssertionFailedError, UnsupportedError
from recctl.export.base import Context, ExportFormat
from recctl.export.embeddings import EmbeddingsFormat, read_vectors
from recctl.models.base import Recommender
from recctl.ranking import rank

_FILE = "index.usearch"
_SEED, _AT_ONCE = 42, 4096
_ROUNDING = 0.005  # what other processors' sums may change a recall by


class AnnFormat(ExportFormat):
    """A usearch index of the items' vectors, with the users', and its measured recall.

    `index.usearch` finds items by inner product (HNSW: Malkov & Yashunin, 2018, "Efficient and Robust Approximate
    Nearest Neighbor Search Using Hierarchical Navigable Small World Graphs"); its keys are rows of `items.parquet`.
    Queries are rows of `users.parquet`, or any other vector the model gives a person:

        index = usearch.index.Index.restore("index.usearch", view=True)
        index.expansion_search = ...  # as in the manifest: the file does not keep it
        found = index.search(users, 10)  # found.keys, and scores 1 - found.distances

    `i8` keeps directions only. Items therefore have one more dimension, which makes all of one length, and users a 0
    there; the index then is by cosine, in which order scores come, and those wanted are to be made of the vectors.

    An index knows nothing of what users had: ask for as many more as are to be left out. Recall is the share of the
    `k` best items that are found, by exact scores, for `sample` users drawn by a fixed seed. The index is built on one
    thread, so that equal models give equal files: about 0.1 ms an item.
    """

    name = "ann"
    extra = "ann"
    needs = ("usearch",)

    connectivity: int = Field(16, ge=2, description="Neighbours of an item in the graph: more find more, take memory.")
    expansion_add: int = Field(
        256, ge=1, description="Candidates when an item is put in: more find more, build longer."
    )
    expansion_search: int = Field(128, ge=1, description="Candidates of a search: more find more, search longer.")
    dtype: Literal["f32", "f16", "i8"] = Field("f32", description="What the index keeps vectors in: f32, f16 or i8.")
    k: int = Field(10, ge=1, description="How many items recall is measured for.")
    sample: int = Field(1000, ge=1, description="How many users recall is measured for.")
    min_recall: float | None = Field(None, ge=0, le=1, description="Refuse an index that finds less.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write vectors and index, and measure recall."""
        from usearch.index import Index

        try:
            facts = EmbeddingsFormat().write(model, folder, context)
        except UnsupportedError as error:
            raise UnsupportedError(
                f"ann: {error}; of others, format recommendations has the best items of all users"
            ) from None
        items = read_vectors(folder / "items.parquet")
        vectors = _of_items(items, self.dtype)
        index = Index(
            ndim=vectors.shape[1],
            metric=_metric(self.dtype),
            dtype=self.dtype,
            connectivity=self.connectivity,
            expansion_add=self.expansion_add,
        )
        with progress.task("ann: index", len(vectors), "items") as task:
            for begin in range(0, len(vectors), _AT_ONCE):
                part = vectors[begin : begin + _AT_ONCE]
                index.add(np.arange(begin, begin + len(part)), part, threads=1)
                task.update(begin + len(part))
        index.save(str(folder / _FILE))
        recall = self._recall(folder)
        if self.min_recall is not None and recall < self.min_recall:
            raise AssertionFailedError(
                f"ann: recall@{self.k} is {recall:.4f}, below min_recall={self.min_recall:g}: it is not written; raise "
                "expansion_search, expansion_add or connectivity"
                + ("" if self.dtype == "f32" else ", or use dtype=f32")
            )
        return facts | {
            "metric": _metric(self.dtype),
            f"recall@{self.k}": recall,
            "expansion_search": self.expansion_search,
        }

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Load the index, and find again what it found; vectors as in the format `embeddings`."""
        EmbeddingsFormat.verify(folder, manifest, model)
        try:
            asked = cls(**manifest["options"])
            again = asked._recall(folder)
        except Exception as error:  # whatever usearch raises: its errors have no common class
            raise ArtifactError(f"{folder / _FILE}: usearch can't search it: {error}") from error
        told = manifest["facts"][f"recall@{asked.k}"]
        if abs(again - told) > _ROUNDING:
            raise ArtifactError(
                f"{folder / _FILE}: recall@{asked.k} is {again:.4f}, not {told:.4f} as the manifest says"
            )

    def _recall(self, folder: Path) -> float:
        """The share of the best items that the index of a folder finds."""
        from usearch.index import Index

        users, items = (read_vectors(folder / f"{side}.parquet") for side in ("users", "items"))
        drawn = rng.stream(_SEED, "ann").permutation(len(users))[: self.sample]
        # One alone would be answered in another form.
        users, k = users[np.sort(np.resize(drawn, max(2, len(drawn))))], min(self.k, len(items))
        index = Index.restore(str(folder / _FILE))
        if index is None or len(index) != len(items):
            raise ValueError(f"it holds {0 if index is None else len(index):,} of {len(items):,} items")
        index.expansion_search = self.expansion_search
        found = index.search(_of_users(users, self.dtype), k, threads=1)
        _, best = rank(lambda rows: users[rows] @ items.T, len(users), len(items), k, None)
        keys = np.minimum(found.keys, len(items) - 1).astype(np.int64)
        scores = np.einsum("nd,nkd->nk", users, items[keys])
        # Items that score as the last of the best does are as good; sums in another order differ in the last digits.
        lowest = best[:, -1:] - 1e-6 * np.abs(best).max(axis=1, keepdims=True)
        there = np.arange(k) < found.counts[:, None]
        return round(float(((scores >= lowest) & there).mean()), 4)


def _metric(dtype: str) -> str:
    return "cos" if dtype == "i8" else "ip"


def _of_items(items: Float32Array, dtype: str) -> Float32Array:
    """What the index keeps of items."""
    if dtype != "i8":
        return items
    squares = np.einsum("nd,nd->n", items, items)
    return np.column_stack((items, np.sqrt(squares.max(initial=0) - squares)))


def _of_users(users: Float32Array, dtype: str) -> Float32Array:
    """What it is asked with."""
    return users if dtype != "i8" else np.column_stack((users, np.zeros(len(users), np.float32)))
