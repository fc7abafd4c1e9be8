"""What a run has not kept: the data and its models, read again as `evaluate` does it, hashes checked.

Nothing is fetched, and test is not read: what is measured anew here is of validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recctl import rng
from recctl.data.matrix import Int32Array, Int64Array
from recctl.data.sources import catalog, item_titles
from recctl.data.splitting import HISTORY, TRAIN
from recctl.errors import RecctlError
from recctl.evaluation.eval_users import UserGroup, collect_eval_users
from recctl.experiment.data import Prepared
from recctl.experiment.lifecycle import prepare_for
from recctl.experiment.stages import load_fitted
from recctl.ranking import map_blocks, rank_block
from recctl.reports.report_data import LeftOutError, RunView
from recctl.runs.store import run_hashes

if TYPE_CHECKING:
    from recctl.data.dataset import InteractionDataset
    from recctl.models.base import Recommender

LENGTH = 20  # of the lists that are looked at
MOST_USERS = 10_000  # whose lists are


@dataclass(frozen=True, eq=False)
class Lists:
    """What a model recommends to some people, and what of validation is in it. Codes are those of the whole data set.

    Attributes:
        items: Item codes, best first, -1 at empty places, `(n_people, LENGTH)`.
        n_items: How many items the model can recommend.
        pair_people: Of each pair that could be found, the row in `items`.
        pair_items: Its item.
        found: Whether it is among the first 10.
    """

    items: Int32Array
    n_items: int
    pair_people: Int64Array
    pair_items: Int32Array
    found: NDArray[np.bool_]


class Recomputed:
    """The data and split of some runs, and their models.

    Attributes:
        prepared: The data and the split.
        models: By label; fitted on train alone.
        without: Why the other subjects have none here.
    """

    def __init__(self, prepared: Prepared, seed: int) -> None:
        self.prepared = prepared
        self.seed = seed
        self.models: dict[str, Recommender] = {}
        self.without: dict[str, str] = {}
        self._lists: dict[str, Lists] = {}

    @property
    def dataset(self) -> InteractionDataset:
        """All the interactions."""
        return self.prepared.dataset

    @cached_property
    def _known(self) -> NDArray[np.bool_]:
        """Rows that models may know of: those of train, and the histories of people that are held out."""
        return np.isin(self.prepared.split.parts, [TRAIN, HISTORY])

    @cached_property
    def activity(self) -> Int64Array:
        """Known interactions of each user, `(n_users,)`."""
        return np.bincount(self.dataset.users[self._known], minlength=self.dataset.n_users)

    @cached_property
    def popularity(self) -> Int64Array:
        """Interactions of each item in train, `(n_items,)`."""
        return np.bincount(self.dataset.items[self.prepared.split.parts == TRAIN], minlength=self.dataset.n_items)

    @cached_property
    def titles(self) -> dict[Any, str]:
        """Of items, by id; empty where the data have none."""
        return item_titles(str(self.prepared.record["data"].get("source", "")))

    @cached_property
    def validation(self) -> InteractionDataset:
        """The part that models are chosen by.

        Raises:
            LeftOutError: There is none.
        """
        if not self.prepared.split.has_validation:
            raise LeftOutError("the split has no validation part, and test is not read again for a report")
        return self.prepared.split.validation(self.dataset)

    def history(self, user: int) -> Int32Array:
        """The items a user is known by, in the order of time where there are times, else of the rows."""
        rows = np.flatnonzero(self._known & (self.dataset.users == user))
        if self.dataset.timestamps is not None:
            rows = rows[np.argsort(self.dataset.timestamps[rows], kind="stable")]
        return self.dataset.items[rows]

    def lists(self, label: str, threshold: float | None) -> Lists:
        """What a model recommends to the people of validation; to `MOST_USERS` of them, if there are more.

        Without a validation part, to those of train.
        """
        if label not in self._lists:
            self._lists[label] = self._list(self.models[label], threshold)
        return self._lists[label]

    def _list(self, model: Recommender, threshold: float | None) -> Lists:
        code_of = self.dataset.item_vocabulary.codes(model.item_vocabulary.ids)
        items, people, wanted = [], [], []
        n_before = 0
        for group in self._groups(model, threshold):
            who = self._some(len(group.users), salt=n_before)
            items.append(_rank(model, group, who))
            relevant = group.relevant.take(who)
            people.append(relevant.rows.astype(np.int64) + n_before)
            wanted.append(relevant.columns)
            n_before += len(who)
        ranked, pair_people, pair_items = np.concatenate(items), np.concatenate(people), np.concatenate(wanted)
        found = (ranked[pair_people, :10] == pair_items[:, None]).any(axis=1)
        everywhere = np.append(code_of, np.int32(-1))  # -1 is the last: an empty place stays one
        return Lists(everywhere[ranked], len(code_of), pair_people, code_of[pair_items], found)

    def _groups(self, model: Recommender, threshold: float | None) -> Sequence[UserGroup]:
        split = self.prepared.split
        if not split.has_validation:
            rows = np.arange(model.seen.n_rows, dtype=np.int32)
            nothing = model.seen.take(rows[:0])
            starts = np.zeros(len(rows) + 1, np.int64)
            none = type(nothing)(starts, nothing.columns, nothing.values[:0], nothing.n_columns)
            return [UserGroup(rows, rows, model.seen, none, starts[1:], True)]
        groups = collect_eval_users(model, self.validation, self.validation.history, threshold, "skip").groups
        return [group for group in groups if len(group.users)]

    def _some(self, n_users: int, salt: int) -> Int32Array:
        if n_users <= MOST_USERS:
            return np.arange(n_users, dtype=np.int32)
        drawn = rng.stream(self.seed, "report", salt).choice(n_users, MOST_USERS, replace=False)
        return np.sort(drawn).astype(np.int32)


def _rank(model: Recommender, group: UserGroup, who: Int32Array) -> Int32Array:
    n_items = len(model.item_vocabulary)
    k = min(LENGTH, n_items)

    def of_block(rows: Int32Array) -> tuple[Int32Array, Any]:
        return rank_block(group.score(model, who[rows]), k, group.masked(who[rows]))

    ranked = np.full((len(who), LENGTH), -1, np.int32)
    done = 0
    for items, _ in map_blocks(of_block, len(who), n_items):
        ranked[done : done + len(items), :k] = items
        done += len(items)
    return ranked


def recompute(subjects: Sequence[RunView]) -> Recomputed:
    """Read the data and the models of runs of one data and split.

    Raises:
        LeftOutError: The data are gone, or not what they were; or the runs are of different ones.
    """
    if not subjects:
        raise LeftOutError("there is no run of a model")
    first = subjects[0]
    if len({run_hashes(one.run) for one in subjects}) > 1:
        raise LeftOutError("the runs are of different data or splits; each has it in a report of its own")
    try:
        _require_here(first)
        prepared, _ = prepare_for(first.loaded, first.run)
    except RecctlError as error:
        raise LeftOutError(str(error)) from None
    again = Recomputed(prepared, int(first.run.metadata.get("seed", 42)))
    for one in subjects:
        try:
            model = load_fitted(one.run, "train")
        except RecctlError as error:
            again.without[one.label] = str(error)
            continue
        if model is None:
            again.without[one.label] = "it has no model that was fitted on train alone"
        else:
            again.models[one.label] = model
    return again


def _require_here(subject: RunView) -> None:
    """Refuse data that would have to be fetched: a report needs no network."""
    source = subject.loaded.config.data.source
    entry = next((entry for entry in catalog() if entry.name == source), None)
    if entry is not None and not entry.cached:
        raise LeftOutError(f"{source} is not in the cache, and a report fetches nothing: recctl data fetch {source}")
    if entry is None and source != "synthetic" and not Path(subject.loaded.base / source).expanduser().exists():
        raise LeftOutError(f"{source} is not there any more")
