"""What every model is: hyperparameters, fitted values and id maps; fit, recommend, predict, save, load.

A model file declares its hyperparameters and fitted values and fills in `_fit` and `_score`. Everything a user calls
is here, once, for all models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self, dataclass_transform

import numpy as np
import pandas as pd

from recctl.data import columns
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.engines import available_memory, require_memory
from recctl.errors import ConfigError, DataError, TrainingError, UnsupportedError
from recctl.models.base import fit_probe, fitted_values, id_tables, model_file
from recctl.models.base.hyperparameters import Fitted, Hyperparameter, collect, fitted, hyperparameter, validate
from recctl.models.base.id_tables import Histories, OnUnknown
from recctl.models.base.onnx_graph import ScoreGraph, Value
from recctl.ranking import pairs, rank

if TYPE_CHECKING:
    from recctl.training import Validate


class Embeddings(NamedTuple):
    """Vectors whose inner products are the scores of known users: `score_users(u) = users[u] @ items.T`.

    What a model adds to products of factors (biases, a mean) stands in dimensions of its own, against a 1 on the other
    side.
    """

    users: Float32Array
    """`(n_users, n_dimensions)`, C-contiguous."""
    items: Float32Array
    """`(n_items, n_dimensions)`, C-contiguous."""


@dataclass_transform(kw_only_default=True, field_specifiers=(hyperparameter, fitted))
class Recommender:
    """A model. Subclasses are in `recctl/models/`, one a file.

    Attributes:
        name: The model's name in configs and on the command line; the file's name, with `-` for `_`.
        parameters: Its hyperparameters' declarations, by name.
        fitted_values: Its fitted values' declarations, by name.
        needs_ratings: Whether it learns from ratings; if not, each distinct pair of a table weighs 1.
        reads_order: Whether the order of a history, and repeats in it, tell it something; if not, items count once.
        trained_in_epochs: Whether it learns by going through the interactions again and again (`train_epoch`), so that
            `fit` has use for validation and callbacks.
        serves_empty_history: Whether it has something to say to a person it knows nothing of.
        too_large_advice: What to do when its fit would not fit in memory.
        user_vocabulary: Ids of the users it was fitted on, in the order of every per-user array.
        item_vocabulary: Ids of the items it can recommend, in the order of every per-item array.
        seen: What it was fitted on, `(n_users, n_items)`: a known user's history, and what `exclude_seen` leaves out.
    """

    name: ClassVar[str] = ""
    parameters: ClassVar[dict[str, Hyperparameter]] = {}
    fitted_values: ClassVar[dict[str, Fitted]] = {}
    needs_ratings: ClassVar[bool] = False
    reads_order: ClassVar[bool] = False
    trained_in_epochs: ClassVar[bool] = False
    serves_empty_history: ClassVar[bool] = False
    too_large_advice: ClassVar[str] = "choose another model, or raise data.min_item_interactions"

    user_vocabulary: Vocabulary = fitted("(n_users,)")
    item_vocabulary: Vocabulary = fitted("(n_items,)")
    seen: InteractionMatrix = fitted("(n_users, n_items)")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.parameters, cls.fitted_values = collect(cls)

    def __init__(self, **values: Any) -> None:
        checked, problems = self.check(values)
        if problems:
            raise ConfigError(*(f"{type(self).__name__}: {name}: {problem}" for name, problem in problems))
        vars(self).update(checked)

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The value of every hyperparameter, given some, and every problem as (hyperparameter, what is wrong)."""
        checked, problems = validate(cls.parameters, values)
        return checked, problems or list(cls._contradictions(checked))

    @classmethod
    def _contradictions(cls, values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Hyperparameters that are valid, but not together: (one of them, what is wrong and the way out)."""
        return ()

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.hyperparameters().items())
        return f"{type(self).__name__}({values})"

    def hyperparameters(self) -> dict[str, Any]:
        """The values it was made with."""
        return {name: getattr(self, name) for name in self.parameters}

    def clone(self) -> Self:
        """A model with the same hyperparameters, not fitted."""
        return type(self)(**self.hyperparameters())

    @property
    def is_fitted(self) -> bool:
        """Whether it can recommend."""
        return "seen" in vars(self)

    # ---- what a model fills in

    def _fit(self, interactions: InteractionDataset) -> None:
        """Set every fitted value declared by the model. `seen` and the vocabularies are set already.

        Models that are trained in epochs set what they begin with; `_train` follows.
        """
        raise UnsupportedError(f"{type(self).__name__} has no _fit")

    def _train(
        self,
        interactions: InteractionDataset,
        validation: InteractionDataset | Validate | None,
        callbacks: Sequence[Any],
    ) -> None:
        """Run the epochs of a model that is trained in epochs, after `_fit`."""

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        """Scores of every item for some people.

        Args:
            histories: What each of them has interacted with, `(n, n_items)`.
            users: Their codes, `(n,)`; None for people the model was not fitted on.

        Returns:
            `(n, n_items)` float32, C-contiguous, a new array.
        """
        raise UnsupportedError(f"{type(self).__name__} has no _score")

    def _similarity(self, items: Int32Array) -> Float32Array:
        """How alike every item is to each of some items, `(n, n_items)` float32, a new array."""
        raise UnsupportedError(f"{self.name} has no notion of similar items")

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        """`_score` of people the model was not fitted on, as a graph that other programs run.

        Args:
            graph: What it is built in.
            histories: Weights float32 `(n, n_items)`, 0 for other items; for a model that reads order, item codes int64
                `(n, length)`, oldest first, behind as many -1 as a row is shorter than the longest.

        Returns:
            `(n, n_items)` float32.
        """
        raise UnsupportedError(f"{self.name} has no graph that scores a history: it has no _graph_of_histories")

    def _graph_of_users(self, graph: ScoreGraph, users: Value) -> Value:
        """`_score` of known users, codes int64 `(n,)`, as a graph; products of `embeddings`, where it has them."""
        vectors, items = self.embeddings()
        return graph.constant(vectors, "users").gather(users).matmul_transposed(graph.constant(items, "items"))

    def convergence(self) -> dict[str, float]:
        """How near to the minimum it came, in figures that a run records; empty where there is nothing to say.

        `last_fall`: the part by which the objective fell last, and `at_limit`, whether more iterations were not
        allowed; or `unsolved`, the part of its problems that are not solved to `tol`.
        """
        return {}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Bytes that a fit takes at its peak, above the data."""
        return 0

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        """What the shapes of fitted values name, as far as it is known before a fit; and entries of sparse values."""
        return {"n_users": n_users, "n_items": n_items, "seen": n_interactions}

    def estimate_file(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Bytes of the file that `save` writes."""
        return fit_probe.file_bytes(self, self._sizes(n_users, n_items, n_interactions))

    def estimate_checkpoints(self, n_users: int, n_items: int, n_interactions: int, keeps_best: bool = False) -> int:
        """Bytes of what training leaves on its way; with `keeps_best`, the best weights are in it as well."""
        return 0

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """Do a part of a fit. A model whose cost is not in proportion to its users overrides this.

        Returns:
            The seconds that the whole will take on this machine, epochs and all, validation aside; and a model that
            answers in the time of the fitted one, with answers that mean nothing.
        """
        seconds = fit_probe.seconds_from_samples(self, interactions)
        size = interactions.n_users, interactions.n_items, len(interactions)
        return seconds, fit_probe.dummy_model(self, interactions, self._sizes(*size))

    # ---- what a user calls

    def fit(
        self,
        interactions: pd.DataFrame | InteractionDataset,
        *,
        validation: InteractionDataset | Validate | None = None,
        callbacks: Sequence[Any] = (),
    ) -> Self:
        """Learn from interactions; a second fit forgets the first.

        Args:
            interactions: A dataset, or a table with `user_id`, `item_id` and, where the model needs them, `rating`
                and `timestamp`.
            validation: For models that are trained in epochs: what to watch, or a function that measures the model,
                such as `lambda model: evaluator.evaluate(model, val)`. Others have no use for it.
            callbacks: For models that are trained in epochs: asked after each; see `recctl.training.Callback`.

        Raises:
            ConfigError: Callbacks for a model that is not trained in epochs.
            DataError: The interactions are not usable.
            TrainingError: It would not fit in memory, diverged, or came to values that are not finite.
        """
        if callbacks and not self.trained_in_epochs:
            raise ConfigError(f"{self.name} is not trained in epochs: callbacks have nothing to follow; leave them out")
        interactions = self._usable(interactions)
        try:
            self._begin(interactions)
            self._train(interactions, validation, callbacks)
            self._require_finite()
        except BaseException:
            self._forget()
            raise
        return self

    def recommend(
        self, user_ids: Iterable[Any], k: int = 10, exclude_seen: bool = True, *, on_unknown: OnUnknown = "error"
    ) -> pd.DataFrame:
        """The k best items for each user.

        Args:
            user_ids: Users, in the order wanted.
            k: How many items, at least 1. Users with fewer items left get fewer.
            exclude_seen: Leave out what the user interacted with in the data the model was fitted on.
            on_unknown: For users the model was not fitted on: raise, give the most popular items, or leave them out.

        Returns:
            Columns `user_id, item_id, score, rank`; rank counts from 1.

        Raises:
            DataError: A user is unknown and `on_unknown` is "error".
        """
        id_tables.check_arguments(k, on_unknown)
        ids = id_tables.id_list(user_ids)
        codes = self.user_vocabulary.codes(ids)
        known = codes >= 0
        id_tables.require_known(f"{self.name}: user", ids, known, on_unknown)
        return self._table(ids, known, self.rank_users(codes[known], k, exclude_seen), k, on_unknown)

    def recommend_for_history(
        self, histories: Histories, k: int = 10, exclude_seen: bool = True, *, on_unknown: OnUnknown = "error"
    ) -> pd.DataFrame:
        """The k best items for people the model was not fitted on, from what they interacted with.

        Args:
            histories: A list of lists of item ids, oldest first; or a dict of them by user id; or a table with
                `user_id, item_id` and optionally `rating` and `timestamp`. Items the model does not know don't count.
            k: How many items, at least 1.
            exclude_seen: Leave out the items of the history itself.
            on_unknown: As in `recommend`, for people with no known item in their history.

        Returns:
            As `recommend`; `user_id` is the place in the list where histories have no ids.
        """
        id_tables.check_arguments(k, on_unknown)
        ids, matrix = id_tables.histories_to_matrix(histories, self.item_vocabulary)
        matrix = matrix if self.reads_order else id_tables.distinct_items(matrix)
        served = np.ones(len(ids), bool) if self.serves_empty_history else np.diff(matrix.starts) > 0
        id_tables.require_known(f"{self.name}: no known item in the history of", ids, served, on_unknown)
        asked = matrix.take(np.flatnonzero(served).astype(np.int32))
        return self._table(ids, served, self.rank_histories(asked, k, exclude_seen), k, on_unknown)

    def predict(
        self, user_ids: Iterable[Any], item_ids: Iterable[Any], *, on_unknown: Literal["error", "skip"] = "error"
    ) -> Float32Array:
        """The score of each pair of a user and an item.

        Args:
            user_ids: One for each pair.
            item_ids: One for each pair.
            on_unknown: For users or items the model was not fitted on: raise, or give NaN.

        Returns:
            float32, one value a pair.
        """
        id_tables.check_arguments(1, on_unknown, "error", "skip")
        users, items = id_tables.id_list(user_ids), id_tables.id_list(item_ids)
        if len(users) != len(items):
            raise DataError(f"predict: {len(users)} users and {len(items)} items; give one of each for every pair")
        user_codes, item_codes = self.user_vocabulary.codes(users), self.item_vocabulary.codes(items)
        id_tables.require_known(f"{self.name}: user", users, user_codes >= 0, on_unknown)
        id_tables.require_known(f"{self.name}: item", items, item_codes >= 0, on_unknown)
        known = (user_codes >= 0) & (item_codes >= 0)
        out = np.full(len(users), np.nan, np.float32)
        out[known] = self.score_pairs(user_codes[known], item_codes[known])
        return out

    def similar_items(self, item_ids: Iterable[Any], k: int = 10) -> pd.DataFrame:
        """The k items most like each item, itself left out.

        Returns:
            Columns `item_id, similar_item_id, score, rank`.

        Raises:
            DataError: An item is unknown.
            UnsupportedError: The model has no notion of similar items.
        """
        id_tables.check_arguments(k)
        ids = id_tables.id_list(item_ids)
        codes = self.item_vocabulary.codes(ids)
        id_tables.require_known(f"{self.name}: item", ids, codes >= 0)
        itself = InteractionMatrix.from_rows(list(codes.reshape(-1, 1)), len(self.item_vocabulary))
        items, scores = rank(
            lambda rows: self._similarity(codes[rows]), len(codes), len(self.item_vocabulary), k, itself
        )
        return id_tables.ranked_table(ids, items, scores, self.item_vocabulary, columns.ITEM, "similar_item_id")

    def save(self, path: str | Path) -> str:
        """Write the model to a file, whole or not at all; missing folders are made.

        Returns:
            The SHA-256 of its content; equal models give equal files.
        """
        return model_file.save(self, Path(path))

    def load(self, path: str | Path) -> Self:
        """Become the model of a file, hyperparameters included. Nothing in the file is run.

        Raises:
            ArtifactError: No such file, a damaged one, or another model's.
        """
        return model_file.load_into(self, Path(path))

    # ---- what evaluation and export use: codes in, arrays out

    def score_users(self, users: Int32Array) -> Float32Array:
        """Scores of every item for known users, `(len(users), n_items)`."""
        return self._score(self.seen.take(users), users)

    def score_histories(self, histories: InteractionMatrix) -> Float32Array:
        """Scores of every item for people with these histories, `(n, n_items)`."""
        return self._score(histories, None)

    def embeddings(self) -> Embeddings:
        """Vectors whose inner products are its scores, to 1e-5 of the largest; for indexes and for scoring elsewhere.

        Raises:
            UnsupportedError: Its scores are no such products.
        """
        raise UnsupportedError(f"{self.name} has no embeddings: its scores are no products of vectors")

    def rank_users(self, users: Int32Array, k: int, exclude_seen: bool = True) -> tuple[Int32Array, Float32Array]:
        """Item codes and scores of the k best for known users; see `ranking.rank_block`."""
        masked = self.seen.take(users) if exclude_seen else None
        return rank(lambda rows: self.score_users(users[rows]), len(users), len(self.item_vocabulary), k, masked)

    def rank_histories(
        self, histories: InteractionMatrix, k: int, exclude_seen: bool = True
    ) -> tuple[Int32Array, Float32Array]:
        """Item codes and scores of the k best for people with these histories; see `ranking.rank_block`."""
        masked = histories if exclude_seen else None
        return rank(
            lambda rows: self.score_histories(histories.take(rows)), histories.n_rows, histories.n_columns, k, masked
        )

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """The score of each pair of codes; models that need not score every item for it override this."""
        return pairs.score_pairs(self.score_users, users, items, len(self.item_vocabulary))

    def state(self) -> dict[str, Any]:
        """Its fitted values by name: what a file holds beside the hyperparameters."""
        return {name: getattr(self, name) for name in self.fitted_values}

    # ---- internals

    def _usable(self, interactions: pd.DataFrame | InteractionDataset) -> InteractionDataset:
        """The data set to fit on; refused if it is none, lacks ratings, or would not fit in memory."""
        if isinstance(interactions, pd.DataFrame):
            interactions = InteractionDataset(interactions, implicit=not self.needs_ratings)
        if not isinstance(interactions, InteractionDataset):
            kind = type(interactions).__name__
            raise DataError(f"{self.name}: fit takes a DataFrame or an InteractionDataset, not {kind}")
        if self.needs_ratings and interactions.implicit:
            raise DataError(
                f"{self.name} learns from ratings, and these interactions are implicit: "
                "InteractionDataset(df, implicit=False), or data.implicit: false in a config"
            )
        self.require_memory_for(interactions.n_users, interactions.n_items, len(interactions))
        return interactions

    def require_device(self) -> None:
        """Refuse a fit that asks for what this machine has not.

        Raises:
            ConfigError: What it is, and the way out.
        """

    def require_memory_for(self, n_users: int, n_items: int, n_interactions: int, min_ratio: float = 1.0) -> None:
        """Refuse a fit that would not fit in memory.

        Args:
            n_users: Of what it is to be fitted on.
            n_items: The same.
            n_interactions: The same.
            times: How many times what there is must be needed, where the sizes are not yet sure.

        Raises:
            TrainingError: With the numbers and the way out.
        """
        size = n_users, n_items, n_interactions
        needed = self.estimate_memory(*size)
        if needed > min_ratio * available_memory():
            what = "{}: {:,} users x {:,} items, {:,} interactions".format(self.name, *size)
            require_memory(needed, what, self.too_large_advice)

    def _begin(self, interactions: InteractionDataset) -> None:
        """Forget everything, and fit; of models that are trained in epochs, what comes before the first."""
        self._forget()
        self.user_vocabulary = interactions.user_vocabulary
        self.item_vocabulary = interactions.item_vocabulary
        self.seen = interactions.matrix
        self._fit(interactions)

    def _forget(self) -> None:
        hyperparameters = self.hyperparameters()
        vars(self).clear()
        vars(self).update(hyperparameters)

    def _require_finite(self) -> None:
        for name, value in self.state().items():
            if not fitted_values.is_finite(value):
                raise TrainingError(f"{self.name}: fitting came to values that are not finite, in {name}")

    def _table(
        self, ids: Sequence[Any], served: Any, ranked: tuple[Int32Array, Float32Array], k: int, on_unknown: OnUnknown
    ) -> pd.DataFrame:
        """The answer to everyone: what was ranked for those served, and what `on_unknown` says for the others."""
        items, scores = ranked
        if on_unknown == "popular" and not served.all():
            counts = self.seen.column_counts()
            popular = np.argsort(-counts, kind="stable")[:k].astype(np.int32)
            items, scores = np.tile(popular, (len(ids), 1)), np.tile(counts[popular].astype(np.float32), (len(ids), 1))
            items[served], scores[served] = ranked
        elif not served.all():
            ids = [ids[at] for at in np.flatnonzero(served).tolist()]
        return id_tables.ranked_table(ids, items, scores, self.item_vocabulary, columns.USER, columns.ITEM)
