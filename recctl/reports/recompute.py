"""Results that runs do not store: recommendation lists and errors, recomputed from the data and the models.

Data and models are read as `recctl evaluate` reads them, with their hashes checked. Nothing is downloaded or queried:
sections whose data are at a URL or in a database are omitted. The test part is not read: everything here concerns
validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recctl import rng, urls
from recctl.config.schema import QueryConfig, source_label
from recctl.data.matrix import Int32Array, Int64Array, InteractionMatrix
from recctl.data.sources import catalog
from recctl.data.splitting import HISTORY, TRAIN
from recctl.errors import RecctlError
from recctl.evaluation.eval_users import Relevance, UserGroup, collect_eval_users
from recctl.experiment.data import Prepared
from recctl.experiment.lifecycle import prepare_for
from recctl.experiment.run_config import require_files
from recctl.experiment.stages import ALL, load_fitted
from recctl.experiment.stages import TRAIN as FITTED_ON_TRAIN
from recctl.experiment.titles import run_titles
from recctl.ranking import map_blocks, rank_block
from recctl.reports.errors import SectionOmittedError
from recctl.reports.run_view import RunView
from recctl.runs import Run
from recctl.runs.store import run_hashes

if TYPE_CHECKING:
    from recctl.data.dataset import InteractionDataset
    from recctl.data.titles import ItemTitles
    from recctl.models.base import Recommender

LIST_LENGTH = 20
# A larger sample moves no curve visibly: a share of 10,000 users has a standard error of at most 0.5 percentage points.
MAX_USERS = 10_000
_HIT_CUTOFF = 10


@dataclass(frozen=True, eq=False)
class RecommendationLists:
    """The recommendations of a model to some users, and the held-out pairs of these users.

    Item codes are those of the whole data set.

    Attributes:
        items: Recommended items, best first, -1 at empty places, shape `(n_users, LIST_LENGTH)`.
        n_items: Number of items that the model can recommend.
        pair_rows: For each held-out pair of a user and a relevant item, the user's row in `items`, shape `(n_pairs,)`.
        pair_items: The items of the pairs, shape `(n_pairs,)`.
        hits: Whether the item of each pair is among the user's first 10 recommendations, shape `(n_pairs,)`.
    """

    items: Int32Array
    n_items: int
    pair_rows: Int64Array
    pair_items: Int32Array
    hits: NDArray[np.bool_]


class Recomputed:
    """The data and the split of some runs, and their models.

    Attributes:
        run: The first run.
        prepared: The data and the split.
        models: By label, the models that were fitted on train alone, or on all data if nothing was held out.
        unavailable: By label, why a run has no such model.
    """

    def __init__(self, prepared: Prepared, run: Run) -> None:
        self.prepared = prepared
        self.run = run
        self.seed = int(run.metadata.get("seed", 42))
        self.models: dict[str, Recommender] = {}
        self.unavailable: dict[str, str] = {}
        self._lists: dict[str, RecommendationLists] = {}

    @property
    def dataset(self) -> InteractionDataset:
        """All interactions."""
        return self.prepared.dataset

    @property
    def has_validation(self) -> bool:
        """Whether the split has a validation part."""
        return self.prepared.split.has_validation

    @cached_property
    def _is_known(self) -> NDArray[np.bool_]:
        """Rows that are input to the models: train, and the histories of held-out users."""
        # Without validation and test: activity and popularity are those that the model could learn from.
        return np.isin(self.prepared.split.parts, [TRAIN, HISTORY])

    @cached_property
    def user_counts(self) -> Int64Array:
        """Number of input interactions of each user, shape `(n_users,)`."""
        return np.bincount(self.dataset.users[self._is_known], minlength=self.dataset.n_users)

    @cached_property
    def item_counts(self) -> Int64Array:
        """Number of interactions of each item in train, shape `(n_items,)`."""
        return np.bincount(self.dataset.items[self.prepared.split.parts == TRAIN], minlength=self.dataset.n_items)

    @cached_property
    def titles(self) -> ItemTitles:
        """Titles of the items; none if the first run has none."""
        return run_titles(self.run)

    @cached_property
    def validation(self) -> InteractionDataset:
        """The validation part.

        Raises:
            SectionOmittedError: The split has none.
        """
        if not self.has_validation:
            raise SectionOmittedError("the split has no validation part, and reports do not read the test part")
        return self.prepared.split.validation(self.dataset)

    def history(self, user: int) -> Int32Array:
        """The input items of a user, in order of time; in the order of the rows if there are no timestamps."""
        user_rows = np.flatnonzero(self._is_known & (self.dataset.users == user))
        if self.dataset.timestamps is not None:
            user_rows = user_rows[np.argsort(self.dataset.timestamps[user_rows], kind="stable")]
        return self.dataset.items[user_rows]

    def lists(self, view: RunView) -> RecommendationLists:
        """The recommendations of a run's model to the users of validation, or of train if there is no validation.

        Of more than `MAX_USERS` users, a random sample of that size is taken.
        """
        if view.label not in self._lists:
            self._lists[view.label] = self._compute_lists(self.models[view.label], view.relevance_threshold)
        return self._lists[view.label]

    def _compute_lists(self, model: Recommender, threshold: float | None) -> RecommendationLists:
        dataset_codes = self.dataset.item_vocabulary.codes(model.item_vocabulary.ids)
        ranked_groups = []
        row_groups = []
        item_groups = []
        n_ranked = 0
        for user_group in self._groups(model, threshold):
            # With a salt, so that the samples of the two groups are independent.
            positions = self._sample(len(user_group.users), salt=n_ranked)
            relevant = user_group.relevant.take(positions)
            ranked_groups.append(_rank(model, user_group, positions))
            row_groups.append(relevant.rows.astype(np.int64) + n_ranked)
            item_groups.append(relevant.columns)
            n_ranked += len(positions)
        # Codes of the model's items so far; `RecommendationLists` has codes of the whole data set.
        ranked = np.concatenate(ranked_groups)
        pair_rows = np.concatenate(row_groups)
        pair_items = np.concatenate(item_groups)
        hit_flags = (ranked[pair_rows, :_HIT_CUTOFF] == pair_items[:, None]).any(axis=1)
        # Index -1, an empty place of a list, selects the last entry: it remains -1.
        codes_and_empty = np.append(dataset_codes, np.int32(-1))
        return RecommendationLists(
            items=codes_and_empty[ranked],
            n_items=len(dataset_codes),
            pair_rows=pair_rows,
            pair_items=dataset_codes[pair_items],
            hits=hit_flags,
        )

    def _groups(self, model: Recommender, threshold: float | None) -> Sequence[UserGroup]:
        if not self.has_validation:
            return [_all_fitted_users(model)]
        groups = collect_eval_users(model, self.validation, self.validation.history, threshold=threshold).groups
        return [user_group for user_group in groups if len(user_group.users)]

    def _sample(self, n_users: int, salt: int) -> Int32Array:
        if n_users <= MAX_USERS:
            return np.arange(n_users, dtype=np.int32)
        sample = rng.stream(self.seed, "report", salt).choice(n_users, MAX_USERS, replace=False)
        # Ascending, so that rows are gathered in the order of memory.
        return np.sort(sample).astype(np.int32)


def _all_fitted_users(model: Recommender) -> UserGroup:
    """The users that the model was fitted on, without relevant items."""
    all_rows = np.arange(model.seen.n_rows, dtype=np.int32)
    empty_rows = model.seen.take(all_rows[:0])
    starts = np.zeros(len(all_rows) + 1, np.int64)
    nothing_relevant = InteractionMatrix(starts, empty_rows.columns, empty_rows.values[:0], empty_rows.n_columns)
    return UserGroup(all_rows, all_rows, None, model.seen, all_rows, Relevance(nothing_relevant, starts[1:]))


def _rank(model: Recommender, group: UserGroup, positions: Int32Array) -> Int32Array:
    """The recommendations to the users at some positions of a group, shape `(n_positions, LIST_LENGTH)`."""
    n_items = len(model.item_vocabulary)
    list_length = min(LIST_LENGTH, n_items)
    ties = group.ties(model).take(positions)

    def rank_rows(rows: Int32Array) -> tuple[Int32Array, Any]:
        excluded = group.excluded_items(positions[rows])
        return rank_block(group.score(model, positions[rows]), list_length, excluded, ties.take(rows))

    ranked = np.full((len(positions), LIST_LENGTH), -1, np.int32)
    n_done = 0
    for items, _ in map_blocks(rank_rows, len(positions), n_items, "lists of a report"):
        ranked[n_done : n_done + len(items), :list_length] = items
        n_done += len(items)
    return ranked


def recompute(views: Sequence[RunView]) -> Recomputed:
    """Read the data and the models of runs that share data and split.

    Raises:
        SectionOmittedError: The data cannot be read or have changed, or the runs differ in data or split.
    """
    if not views:
        raise SectionOmittedError("no run has a model")
    first_view = views[0]
    # One copy of the data serves all models.
    if len({run_hashes(view.run) for view in views}) > 1:
        raise SectionOmittedError(
            "the runs have different data or splits; write a report of each run for its own: recctl report RUN"
        )
    try:
        _require_local_data(first_view)
        prepared, _ = prepare_for(first_view.loaded, first_view.run)
    except RecctlError as error:
        raise SectionOmittedError(str(error)) from None
    recomputed = Recomputed(prepared, first_view.run)
    for view in views:
        try:
            model = load_fitted(view.run, ALL if view.run.is_fitted_on_all else FITTED_ON_TRAIN)
        except RecctlError as error:
            # A damaged model must not hide the figures of the others.
            recomputed.unavailable[view.label] = str(error)
            continue
        if model is None:
            recomputed.unavailable[view.label] = f"{view.label} has no model that was fitted on train alone"
        else:
            recomputed.models[view.label] = model
    return recomputed


def _require_local_data(view: RunView) -> None:
    """Refuse data that would have to be downloaded or queried: reports work offline."""
    config = view.loaded.config
    parts = [(f"split.{part}", getattr(config.split, part, None)) for part in ("validation", "test")]
    for key, place in [("data.source", config.data.source), *parts]:
        if isinstance(place, QueryConfig) or (isinstance(place, str) and urls.is_url(place)):
            raise SectionOmittedError(
                f"{key} is {source_label(place)}, and reports download and query nothing; name a local copy of the "
                f"data: recctl report {view.run.id} --set {key}=FILE"
            )
    source = config.data.source
    catalog_entry = next((catalog_entry for catalog_entry in catalog() if catalog_entry.name == source), None)
    if catalog_entry is not None:
        if not catalog_entry.cached:
            raise SectionOmittedError(
                f"{source} is not in the cache, and reports download nothing; fetch it: recctl data fetch {source}"
            )
        return
    require_files(view.run, view.loaded)
