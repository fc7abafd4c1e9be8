"""Titles of the items of a run: read when the run begins, and stored in it, so that they stay with the run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from recctl import progress, urls
from recctl.data.titles import ItemTitles, MatchedTitles, match_titles
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError
from recctl.runs import Run, layout

if TYPE_CHECKING:
    from recctl.config import LoadedConfig


class TitlesToStore(NamedTuple):
    """Titles that a new run stores.

    Attributes:
        files: The content of each file, by name; empty if there are no titles.
        record: The section `titles` of metadata.json; None if there are no titles.
        notes: Notes for the user.
    """

    files: dict[str, bytes]
    record: dict[str, Any] | None
    notes: list[str]


def titles_to_store(loaded: LoadedConfig, vocabulary: Vocabulary) -> TitlesToStore:
    """Read the titles of the items of a data set: those of `data.items`, else those that the data set comes with.

    Args:
        loaded: The config.
        vocabulary: The items of the data set.

    Raises:
        DataError: The items file can't be read.
    """
    # Imported here: stored titles are read without the sources.
    from recctl.config.schema import source_label
    from recctl.data.sources.tables import find_table, read_titles

    items = loaded.config.data.items
    has_titles = items is not None and items.title is not None
    if items is None or items.title is None:
        source = source_label(loaded.config.data.source)
        matched = _dataset_titles(source, vocabulary)
        record: dict[str, Any] = {"source": source}
    else:
        path = find_table("items", items.file, loaded.base)
        options = items.model_dump(exclude={"file", "id", "title"})
        options["encoding"] = items.encoding or loaded.config.data.encoding
        ids, titles = read_titles(path, items.id, items.title, **options)
        matched = match_titles(vocabulary, ids, titles, path.name)
        record = {"file": urls.redact(items.file) if urls.is_url(items.file) else str(path.resolve())}
        if path.is_file():
            record["sha256"] = _sha256(path)
    if not has_titles and not len(matched.titles):
        return TitlesToStore({}, None, [])
    return TitlesToStore({layout.TITLES: matched.titles.to_parquet()}, record | matched.record, matched.notes)


def run_titles(run: Run) -> ItemTitles:
    """The titles of the items of a run.

    Titles that can't be read are no reason to fail: a notice says so, and there are none.
    """
    if "titles" not in run.metadata:
        return _titles_of_old_run(run)
    if run.metadata["titles"] is None:
        return ItemTitles.none()
    try:
        return run.titles()
    except ArtifactError as error:
        progress.notice(f"items are shown without titles: {error}")
        return ItemTitles.none()


def _titles_of_old_run(run: Run) -> ItemTitles:
    """The titles of a run of version 0.1, which stored none: those of its data set, if that is in the cache."""
    from recctl.data.sources import item_titles

    titles = item_titles(str(run.metadata.get("data", {}).get("source", "")))
    ids = np.array(sorted(titles), np.int64)
    return ItemTitles(Vocabulary(ids), np.array([titles[item_id] for item_id in ids.tolist()], object))


def _dataset_titles(source: str, vocabulary: Vocabulary) -> MatchedTitles:
    from recctl.data.sources import item_titles

    titles = item_titles(source)
    ids = pa.chunked_array([pa.array([str(item_id) for item_id in titles], pa.large_string())])
    texts = pa.chunked_array([pa.array(list(titles.values()), pa.large_string())])
    return match_titles(vocabulary, ids, texts, source)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
