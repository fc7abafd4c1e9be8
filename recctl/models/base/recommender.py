"""The base class of all models: hyperparameters, fitted values and ids; fit, recommend, predict, save and load.

A model declares its hyperparameters and fitted values and implements `_fit` and `_score`. The public methods are
implemented here, once for all models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from inspect import Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, cast, dataclass_transform, get_args

import numpy as np
from numpy.typing import NDArray

from recctl import arguments, progress
from recctl.arguments import at_least, flag, one_of, validated
from recctl.data import columns, frames
from recctl.data.dataset import InteractionDataset
from recctl.data.frames import Frame
from recctl.data.id_hashes import hash_id_list
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.engines import available_memory, require_memory
from recctl.errors import ConfigError, DataError, TrainingError, UnsupportedError
from recctl.models.base import fit_probe, fitted_values, id_tables, model_file
from recctl.models.base import warm_start as warm_starts
from recctl.models.base.hyperparameters import (
    Fitted,
    Hyperparameter,
    collect,
    fitted,
    hyperparameter,
    signature,
    validate,
)
from recctl.models.base.id_tables import Histories, OnUnknown, OnUnknownPair, RankedLists
from recctl.models.base.methods import model_or_class_method
from recctl.models.base.onnx_graph import ScoreGraph, Value
from recctl.ranking import TieBreaker, pairs, rank

if TYPE_CHECKING:
    import pandas as pd

    from recctl.training import Validate


class Embeddings(NamedTuple):
    """Vectors whose inner products are the scores of known users: `score_users(u) = users[u] @ items.T`.

    Terms that a model adds to the product of factors (biases, a mean) have dimensions of their own, with 1 as the
    counterpart on the other side.
    """

    users: Float32Array
    """`(n_users, n_dimensions)`, C-contiguous."""
    items: Float32Array
    """`(n_items, n_dimensions)`, C-contiguous."""


class _FollowsNeedsRatings:
    """The default of `predicts_ratings`: the value of `needs_ratings`, which may depend on hyperparameters."""

    def __get__(self, model: Recommender | None, owner: type[Recommender]) -> bool:
        return bool(owner.needs_ratings if model is None else model.needs_ratings)


@dataclass_transform(kw_only_default=True, field_specifiers=(hyperparameter, fitted))
class Recommender:
    """The base class of all models.

    A *known* user is one the model was fitted on. Any other user is scored from a history, the items the user
    interacted with. Ties, items with equal scores, are ranked by a hash of user and item; see `recctl.ranking.ties`.

    Attributes:
        name: The name of the model in configs and on the command line: its file name, with `-` instead of `_`.
        parameters: The declared hyperparameters by name.
        fitted_values: The declared fitted values by name.
        needs_ratings: Whether the model learns from ratings. Otherwise each distinct pair in a table has weight 1.
        predicts_ratings: Whether scores are ratings on the scale of the data, so that rmse and mae mean something; by
            default, if the model learns from ratings.
        uses_weights: Whether the model uses weights of interactions: the ratings of data with `implicit=False`.
        reads_order: Whether the order and repetition of items in a history affect its scores. Otherwise each item
            counts once.
        trained_in_epochs: Whether the model is trained in epochs (`train_epoch`), so that `fit` makes use of validation
            data and callbacks.
        serves_empty_history: Whether it can recommend from an empty history.
        serves_unknown_users: Whether it has recommendations of their own for users that it was not fitted on and whose
            history is empty.
        too_large_advice: What to do if a fit needs more memory than is available; part of the error message.
        warm_start_parameters: Hyperparameters that must equal those of the model that a fit begins from, because the
            weights depend on them; None if the model is always fitted from scratch.
        user_vocabulary: Ids of the known users, in the order of every per-user array.
        item_vocabulary: Ids of the items, in the order of every per-item array.
        seen: The interactions the model was fitted on, `(n_users, n_items)`: the history of each known user, and the
            items that `exclude_seen` excludes.

    Examples:
        ```python
        from recctl import EASERecommender, Recommender, load_model

        model = EASERecommender().fit(train)  # a subclass
        assert isinstance(model, Recommender)
        model.recommend([1, 2], k=5)  # columns user_id, item_id, score, rank
        model.save("model.pkl")
        load_model("model.pkl").similar_items([3], k=5)
        ```
    """

    __signature__: ClassVar[Signature] = Signature()
    name: ClassVar[str] = ""
    parameters: ClassVar[dict[str, Hyperparameter]] = {}
    fitted_values: ClassVar[dict[str, Fitted]] = {}
    needs_ratings: ClassVar[bool] = False
    predicts_ratings: ClassVar[bool] = cast("bool", _FollowsNeedsRatings())
    uses_weights: ClassVar[bool] = False
    reads_order: ClassVar[bool] = False
    trained_in_epochs: ClassVar[bool] = False
    serves_empty_history: ClassVar[bool] = False
    serves_unknown_users: ClassVar[bool] = False
    too_large_advice: ClassVar[str] = "choose another model, or raise data.min_item_interactions"
    warm_start_parameters: ClassVar[tuple[str, ...] | None] = None

    user_vocabulary: Vocabulary = fitted("(n_users,)")
    item_vocabulary: Vocabulary = fitted("(n_items,)")
    seen: InteractionMatrix = fitted("(n_users, n_items)")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.parameters, cls.fitted_values = collect(cls)
        # For help(), notebooks and editors: __init__ takes the hyperparameters of any model.
        cls.__signature__ = signature(cls.parameters)

    def __init__(self, **values: Any) -> None:
        checked, problems = self.check(values)
        if problems:
            raise ConfigError(*(f"{type(self).__name__}: {name}: {problem}" for name, problem in problems))
        vars(self).update(checked)

    @classmethod
    def check(cls, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Check hyperparameters.

        Returns:
            The value of every hyperparameter, defaults included; and all problems, as (hyperparameter, problem).
        """
        checked, problems = validate(cls.parameters, values)
        return checked, problems or list(cls._conflicts(checked))

    @classmethod
    def _conflicts(cls, values: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Conflicts between hyperparameters that are valid individually.

        Returns:
            For each conflict, the name of a hyperparameter, and the problem with a suggested fix.
        """
        return ()

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.hyperparameters().items())
        return f"{type(self).__name__}({values})"

    def _repr_html_(self) -> str:
        from recctl.html_repr import Table, render

        rows = [(name, repr(value), self.parameters[name].help) for name, value in self.hyperparameters().items()]
        is_changed = [
            position
            for position, (name, value) in enumerate(self.hyperparameters().items())
            if value != self.parameters[name].default
        ]
        lines = []
        if self.is_fitted:
            lines.append(
                f"fitted on {self.seen.nnz:,} interactions of {len(self.user_vocabulary):,} users with "
                f"{len(self.item_vocabulary):,} items"
            )
        state = "fitted" if self.is_fitted else "not fitted"
        table = Table(["hyperparameter", "value", "meaning"], rows, strong=is_changed)
        return render(type(self).__name__, [state], lines, [table])

    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters by name."""
        return {name: getattr(self, name) for name in self.parameters}

    def clone(self) -> Self:
        """An unfitted model with the same hyperparameters."""
        return type(self)(**self.hyperparameters())

    def __getstate__(self) -> dict[str, Any]:
        """The attributes for a copy or a pickle, without cached properties, which the copy computes again."""
        return {
            name: value
            for name, value in vars(self).items()
            if not isinstance(getattr(type(self), name, None), cached_property)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    @property
    def is_fitted(self) -> bool:
        """Whether the model is fitted."""
        # By the instance's attributes: the class attribute is the declaration.
        return "seen" in vars(self)

    # ---- what a model implements

    def _fit(self, interactions: InteractionDataset) -> None:
        """Set every fitted value that the model declares. `seen` and the vocabularies are already set.

        A model that is trained in epochs sets the initial values; `_train` follows.
        """
        raise UnsupportedError(f"{type(self).__name__} has no _fit")

    def _fit_from(self, interactions: InteractionDataset, parent: Self) -> None:
        """`_fit`, beginning from a fitted model with equal `warm_start_parameters`, whose rows are matched by ids."""
        raise UnsupportedError(f"{type(self).__name__} has no _fit_from")

    def _warm_start_problems(self) -> Iterable[str]:
        """Why this model cannot begin from any other one with its hyperparameters; each with a suggested fix."""
        return ()

    def _train(
        self,
        interactions: InteractionDataset,
        validation: InteractionDataset | Validate | None,
        callbacks: Sequence[Any],
    ) -> None:
        """Run the epochs of a model that is trained in epochs, after `_fit`."""

    def _score(self, histories: InteractionMatrix, users: Int32Array | None) -> Float32Array:
        """Score every item for several users.

        Args:
            histories: The interactions of each user, `(n, n_items)`.
            users: Codes of the users, `(n,)`; None for users the model was not fitted on.

        Returns:
            A new, C-contiguous float32 array, `(n, n_items)`.
        """
        raise UnsupportedError(f"{type(self).__name__} has no _score")

    def _expected_ratings(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """The expected rating of pairs with an unknown user or item, of which the code is -1; float32 `(n_pairs,)`.

        The default is the mean of all ratings. Only called for models that learn from ratings.
        """
        return np.full(len(users), self.seen.values.mean(dtype=np.float64), np.float32)

    def _similarity(self, items: Int32Array) -> Float32Array:
        """Similarities of several items to every item, a new float32 array `(n, n_items)`."""
        raise UnsupportedError(f"{self.name} does not define similar items")

    def _graph_of_histories(self, graph: ScoreGraph, histories: Value) -> Value:
        """`_score` for users the model was not fitted on, as a graph of ONNX operators.

        Args:
            graph: The graph to add operations to.
            histories: Weights, float32 `(n, n_items)`, 0 for items that are not in a history. For a model that reads
                order: item codes, int64 `(n, length)`, oldest first, padded on the left with -1.

        Returns:
            Scores, float32 `(n, n_items)`.
        """
        raise UnsupportedError(f"{self.name} has no graph that scores a history: it has no _graph_of_histories")

    def _graph_of_users(self, graph: ScoreGraph, users: Value) -> Value:
        """`_score` for known users as a graph: by default the products of `embeddings`.

        Args:
            graph: The graph to add operations to.
            users: User codes, int64 `(n,)`.

        Returns:
            Scores, float32 `(n, n_items)`.
        """
        vectors, items = self.embeddings()
        return graph.constant(vectors, "users").gather(users).matmul_transposed(graph.constant(items, "items"))

    def convergence(self) -> dict[str, float]:
        """Measures of how far the solver converged, recorded with a run; empty if there are none.

        `last_fall`, the relative decrease of the objective in the last iteration, with `at_limit`, whether the maximum
        number of iterations was reached; `unsolved`, the share of subproblems not solved to `tol`; or `relative_error`,
        an estimate of the relative error of the weights due to rounding.
        """
        return {}

    def estimate_memory(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Peak memory of a fit in bytes, without the data."""
        return 0

    def _sizes(self, n_users: int, n_items: int, n_interactions: int) -> dict[str, int]:
        """Sizes known before a fit: those that the shapes of fitted values name, and entries of sparse matrices."""
        return {"n_users": n_users, "n_items": n_items, "seen": n_interactions}

    def estimate_file(self, n_users: int, n_items: int, n_interactions: int) -> int:
        """Size in bytes of the file that `save` writes."""
        return fit_probe.file_bytes(self, self._sizes(n_users, n_items, n_interactions))

    def estimate_checkpoints(self, n_users: int, n_items: int, n_interactions: int, keeps_best: bool = False) -> int:
        """Size in bytes of all checkpoints of a training.

        Args:
            n_users: Number of users.
            n_items: Number of items.
            n_interactions: Number of interactions.
            keeps_best: Whether the checkpoint to resume from also holds the best weights, as with early stopping.
        """
        return 0

    def probe_fit(self, interactions: InteractionDataset) -> tuple[float, Self]:
        """Estimate the time of a fit from a small part of it.

        The default fits samples of the users. Models whose cost is not proportional to their users override it.

        Returns:
            The estimated seconds of the whole fit on this machine, all epochs included, validation excluded; and a
            dummy model that scores as fast as the fitted one, with meaningless scores.
        """
        seconds = fit_probe.seconds_from_samples(self, interactions)
        sizes = self._sizes(interactions.n_users, interactions.n_items, len(interactions))
        return seconds, fit_probe.dummy_model(self, interactions, sizes)

    # ---- public methods

    @validated(callbacks=arguments.callbacks)
    def fit(
        self,
        interactions: Frame | InteractionDataset,
        *,
        validation: InteractionDataset | Validate | None = None,
        callbacks: Sequence[Any] = (),
        warm_start: Self | None = None,
    ) -> Self:
        """Fit the model. A model that is already fitted is fitted from scratch, unless `warm_start` is given.

        A fit that fails leaves the model unfitted. So does a KeyboardInterrupt (Ctrl-C), except that a model that is
        trained in epochs keeps its last finished epoch, or the best one if the callback `EarlyStopping` is used, and
        can recommend and train on.

        Args:
            interactions: A dataset, or a table with `user_id`, `item_id` and, where the model needs them, `rating`
                and `timestamp`.
            validation: For models trained in epochs: validation data, or a function that returns metrics of the model,
                such as `lambda model: evaluator.evaluate(model, val)`. Other models ignore it.
            callbacks: For models trained in epochs: called after each epoch; see `recctl.training.Callback`.
            warm_start: A fitted model of the same kind and size to begin from, possibly this one; only als, lightgcn,
                ncf and sasrec can. Users and items are matched by their ids; new ones are initialized as in a fit
                from scratch. It is not changed.

        Returns:
            The model itself.

        Raises:
            ConfigError: Callbacks are passed to a model that is not trained in epochs; or the model cannot begin from
                `warm_start`.
            DataError: The interactions are invalid; or `warm_start` was fitted on pairs of the data set `validation`.
            TrainingError: The fit would exceed the available memory, diverged, or yielded values that are not finite.
        """
        if callbacks and not self.trained_in_epochs:
            raise ConfigError(f"{self.name} is not trained in epochs and cannot call callbacks; leave them out")
        self._check_validation(validation)
        if warm_start is not None:
            warm_starts.require_same_kind(self, warm_start)
            if warm_start is self:
                # Initialization clears the values of this model.
                warm_start = copy(self)
        interactions = self._checked_dataset(interactions)
        if warm_start is not None:
            self._check_warm_start(warm_start, interactions, validation)
        try:
            with progress.task(f"Fitting {self.name or type(self).__name__}"):
                self._initialize(interactions, warm_start)
                self._train(interactions, validation, callbacks)
                self._require_finite()
        except KeyboardInterrupt:
            if not self._keeps_values_after_interrupt():
                self._reset()
            raise
        except BaseException:
            self._reset()
            raise
        return self

    @validated(k=at_least(1), exclude_seen=flag, on_unknown=one_of(*get_args(OnUnknown)))
    def recommend(
        self, user_ids: Iterable[Any], k: int = 10, exclude_seen: bool = True, *, on_unknown: OnUnknown = "error"
    ) -> pd.DataFrame:
        """Recommend the k items with the highest scores to each user.

        Args:
            user_ids: Users, in the order of the result.
            k: The number of items, at least 1. A user with fewer items left gets fewer.
            exclude_seen: Exclude the items that the user interacted with in the data the model was fitted on.
            on_unknown: For users the model was not fitted on: "error" raises an error, "popular" recommends the most
                popular items, "skip" leaves the users out.

        Returns:
            Columns `user_id, item_id, score, rank`; ranks start at 1.

        Raises:
            DataError: A user is unknown and `on_unknown` is "error".
        """
        return self.recommended_lists(user_ids, k, exclude_seen, on_unknown).table()

    def recommended_lists(
        self, user_ids: Iterable[Any], k: int, exclude_seen: bool, on_unknown: OnUnknown
    ) -> RankedLists:
        """As `recommend`, without the table, for which pandas has to be imported. Arguments are not checked."""
        ids = id_tables.id_list(user_ids, "user_ids")
        codes = self.user_vocabulary.codes(ids)
        is_known = codes >= 0
        id_tables.require_known(f"{self.name}: user", ids, is_known, on_unknown)
        ranked = self.rank_users(codes[is_known], k, exclude_seen)
        unknown = [ids[row] for row in np.flatnonzero(~is_known).tolist()]
        ties = TieBreaker.of_ids(hash_id_list(unknown), self.item_vocabulary.hashes)
        return self._recommended(ids, is_known, ranked, k, on_unknown, ties)

    @validated(k=at_least(1), exclude_seen=flag, on_unknown=one_of(*get_args(OnUnknown)))
    def recommend_for_history(
        self, histories: Histories, k: int = 10, exclude_seen: bool = True, *, on_unknown: OnUnknown = "error"
    ) -> pd.DataFrame:
        """Recommend the k items with the highest scores from histories, to users the model was not fitted on.

        Args:
            histories: Lists of item ids, oldest first; or a dict of such lists by user id; or a table with
                `user_id, item_id` and optionally `rating` and `timestamp`. Items the model does not know are ignored.
            k: The number of items, at least 1.
            exclude_seen: Exclude the items of the history.
            on_unknown: As in `recommend`, for users without a known item in their history.

        Returns:
            As in `recommend`; if histories have no user ids, `user_id` is the position in the list, from 0.

        Raises:
            DataError: The histories are invalid, or one has no known item and `on_unknown` is "error".
        """
        return self.recommended_lists_for_history(histories, k, exclude_seen, on_unknown).table()

    def recommended_lists_for_history(
        self, histories: Histories, k: int, exclude_seen: bool, on_unknown: OnUnknown
    ) -> RankedLists:
        """As `recommend_for_history`, without the table; see `recommended_lists`."""
        ids, matrix = id_tables.histories_to_matrix(histories, self.item_vocabulary)
        if not self.reads_order:
            matrix = id_tables.distinct_items(matrix)
        if self.serves_empty_history:
            is_served = np.ones(len(ids), bool)
        else:
            is_served = np.diff(matrix.starts) > 0
        id_tables.require_history(self.name, ids, is_served, on_unknown)
        served = matrix.take(np.flatnonzero(is_served).astype(np.int32))
        ranked = self.rank_histories(served, k, exclude_seen)
        ties = self.ties_of_histories(matrix.take(np.flatnonzero(~is_served).astype(np.int32)))
        return self._recommended(ids, is_served, ranked, k, on_unknown, ties)

    @validated(on_unknown=one_of(*get_args(OnUnknownPair)))
    def predict(
        self, user_ids: Iterable[Any], item_ids: Iterable[Any], *, on_unknown: OnUnknownPair = "error"
    ) -> Float32Array:
        """Predict the score of each pair of a user and an item.

        Args:
            user_ids: The user of each pair.
            item_ids: The item of each pair.
            on_unknown: For users or items the model was not fitted on: "error" raises an error, "skip" yields NaN,
                "mean" yields the mean rating plus the bias that is known, if the model has biases.

        Returns:
            Scores, float32 `(n_pairs,)`.

        Raises:
            DataError: The numbers of users and items differ; or one is unknown and `on_unknown` is "error".
            UnsupportedError: `on_unknown` is "mean", and the scores of the model are not ratings.
        """
        if on_unknown == "mean" and not self.predicts_ratings:
            raise UnsupportedError(
                f"{self.name}: on_unknown='mean': the scores of this model are not ratings and cannot be compared with "
                "a mean rating; pass on_unknown='skip'"
            )
        users = id_tables.id_list(user_ids, "user_ids")
        items = id_tables.id_list(item_ids, "item_ids")
        if len(users) != len(items):
            raise DataError(
                f"predict: {len(users)} users and {len(items)} items; user_ids and item_ids must have one user and one "
                "item per pair"
            )
        user_codes = self.user_vocabulary.codes(users)
        item_codes = self.item_vocabulary.codes(items)
        id_tables.require_known(f"{self.name}: user", users, user_codes >= 0, on_unknown)
        id_tables.require_known(f"{self.name}: item", items, item_codes >= 0, on_unknown)
        is_known = (user_codes >= 0) & (item_codes >= 0)
        scores = np.full(len(users), np.nan, np.float32)
        scores[is_known] = self.score_pairs(user_codes[is_known], item_codes[is_known])
        if on_unknown == "mean":
            scores[~is_known] = self._expected_ratings(user_codes[~is_known], item_codes[~is_known])
        return scores

    @validated(k=at_least(1))
    def similar_items(self, item_ids: Iterable[Any], k: int = 10) -> pd.DataFrame:
        """Find the k items most similar to each item, excluding the item itself.

        Args:
            item_ids: Items, in the order of the result.
            k: The number of similar items, at least 1.

        Returns:
            Columns `item_id, similar_item_id, score, rank`.

        Raises:
            DataError: An item is unknown.
            UnsupportedError: The model does not define similar items.
        """
        return self.similar_lists(item_ids, k).table()

    def similar_lists(self, item_ids: Iterable[Any], k: int) -> RankedLists:
        """As `similar_items`, without the table; see `recommended_lists`."""
        ids = id_tables.id_list(item_ids, "item_ids")
        codes = self.item_vocabulary.codes(ids)
        id_tables.require_known(f"{self.name}: item", ids, codes >= 0)
        itself = InteractionMatrix.from_rows(list(codes.reshape(-1, 1)), len(self.item_vocabulary))
        hashes = self.item_vocabulary.hashes
        ties = TieBreaker.of_ids(hashes[codes], hashes)
        items, scores = rank(lambda rows: self._similarity(codes[rows]), len(codes), len(hashes), k, itself, ties)
        return RankedLists(ids, items, scores, self.item_vocabulary, columns.ITEM, "similar_item_id")

    @validated(path=arguments.path, training_state=flag)
    def save(self, path: str | Path, *, training_state: bool = False) -> str:
        """Write the model to a file. The file appears complete or not at all; missing folders are created.

        Args:
            path: The file.
            training_state: Whether a network also saves the state of its optimizer, which triples the file: a loaded
                model then trains on as this one. Other models need nothing else to train on.

        Returns:
            The SHA-256 of the content. Equal models yield equal files.

        Raises:
            NotFittedError: The model is not fitted.
            ArtifactError: The file cannot be written.
        """
        return model_file.save(self, Path(path), training_state)

    @model_or_class_method
    @validated(path=arguments.path)
    def load(self, path: str | Path) -> Self:
        """Load a model file, hyperparameters included: `EASERecommender.load(path)`, or into an existing model.

        No code in the file is executed.

        Returns:
            The model itself.

        Raises:
            ArtifactError: The file does not exist, is damaged, or holds another model.
        """
        return model_file.load_into(self, Path(path))

    # ---- for evaluation and export: codes in, arrays out

    def score_users(self, users: Int32Array) -> Float32Array:
        """Scores of every item for known users, `(len(users), n_items)`."""
        return self._score(self.seen.take(users), users)

    def score_histories(self, histories: InteractionMatrix) -> Float32Array:
        """Scores of every item for users with these histories, `(n, n_items)`."""
        return self._score(histories, None)

    def embeddings(self) -> Embeddings:
        """Vectors whose inner products are the scores, to 1e-5 of the largest score.

        Raises:
            UnsupportedError: The scores are not inner products.
        """
        raise UnsupportedError(f"{self.name} has no embeddings: its scores are not inner products of vectors")

    def rank_users(self, users: Int32Array, k: int, exclude_seen: bool = True) -> tuple[Int32Array, Float32Array]:
        """The k best items of known users: item codes and scores, `(len(users), k)`; see `ranking.rank_block`."""
        masked = self.seen.take(users) if exclude_seen else None
        n_items = len(self.item_vocabulary)
        ties = self.ties_of_users(users)
        return rank(lambda rows: self.score_users(users[rows]), len(users), n_items, k, masked, ties)

    def rank_histories(
        self, histories: InteractionMatrix, k: int, exclude_seen: bool = True
    ) -> tuple[Int32Array, Float32Array]:
        """The k best items of users with these histories: item codes and scores, `(n, k)`; see `ranking.rank_block`."""
        masked = histories if exclude_seen else None
        n_rows = histories.n_rows
        n_items = histories.n_columns
        ties = self.ties_of_histories(histories)
        return rank(lambda rows: self.score_histories(histories.take(rows)), n_rows, n_items, k, masked, ties)

    def rank_popular(self, ties: TieBreaker, k: int) -> tuple[Int32Array, Float32Array]:
        """The k items with the most users, for users that the model can't score: `(n, k)`, a row for each key."""
        counts = self.seen.column_counts().astype(np.float32)
        return rank(lambda rows: np.tile(counts, (len(rows), 1)), len(ties.row_keys), len(counts), k, None, ties)

    def ties_of_users(self, users: Int32Array) -> TieBreaker:
        """What breaks ties in the scores of known users."""
        return TieBreaker.of_ids(self.user_vocabulary.hashes[users], self.item_vocabulary.hashes)

    def ties_of_histories(self, histories: InteractionMatrix) -> TieBreaker:
        """What breaks ties in the scores of users with these histories, `(n, n_items)`."""
        return TieBreaker.of_histories(histories, self.item_vocabulary.hashes)

    def score_pairs(self, users: Int32Array, items: Int32Array) -> Float32Array:
        """The score of each pair of codes, `(n_pairs,)`.

        The default scores every item for each user. Models that can score a single pair override it.
        """
        return pairs.score_pairs(self.score_users, users, items, len(self.item_vocabulary))

    def state(self) -> dict[str, Any]:
        """The fitted values by name: those that a model file stores beside the hyperparameters."""
        return {name: getattr(self, name) for name in self.fitted_values}

    def require_device(self) -> None:
        """Check that the device that the hyperparameters select exists on this machine.

        Raises:
            ConfigError: It does not exist; the message suggests another one.
        """

    def require_memory_for(self, n_users: int, n_items: int, n_interactions: int, min_ratio: float = 1.0) -> None:
        """Check that a fit does not exceed the available memory.

        Args:
            n_users: Number of users.
            n_items: Number of items.
            n_interactions: Number of interactions.
            min_ratio: Raise only if the estimate exceeds this multiple of the available memory; above 1 if the sizes
                are uncertain.

        Raises:
            TrainingError: The fit would exceed it; the message has both numbers and `too_large_advice`.
        """
        needed = self.estimate_memory(n_users, n_items, n_interactions)
        if needed > min_ratio * available_memory():
            what = f"{self.name}: {n_users:,} users x {n_items:,} items, {n_interactions:,} interactions"
            require_memory(needed, what, self.too_large_advice)

    # ---- internals

    def _check_validation(self, validation: Any) -> None:
        """Check that validation data are data or a function.

        Raises:
            DataError: They are not.
        """
        is_function = callable(validation) and not isinstance(validation, type)
        if validation is not None and not isinstance(validation, InteractionDataset) and not is_function:
            frames.to_pandas(validation, "validation", also="an InteractionDataset, a function that returns metrics")

    def _checked_dataset(self, interactions: Frame | InteractionDataset) -> InteractionDataset:
        """The dataset to fit on.

        Raises:
            DataError: It is not a dataset, or lacks ratings that the model needs.
            TrainingError: The fit would exceed the available memory.
        """
        if not isinstance(interactions, InteractionDataset):
            table = frames.to_pandas(interactions, f"{self.name}: interactions", also="an InteractionDataset")
            interactions = InteractionDataset(table, implicit=not self.needs_ratings)
        if self.needs_ratings and interactions.implicit:
            raise DataError(
                f"{self.name} learns from ratings, but these interactions are implicit: use "
                "InteractionDataset(df, implicit=False), or data.implicit: false in a config"
            )
        self.require_memory_for(interactions.n_users, interactions.n_items, len(interactions))
        return interactions

    def _check_warm_start(
        self, parent: Self, interactions: InteractionDataset, validation: InteractionDataset | Validate | None
    ) -> None:
        """Check that a model shares items with the data, and was not fitted on the validation data."""
        warm_starts.require_shared_ids(parent, interactions.user_vocabulary, interactions.item_vocabulary)
        if not isinstance(validation, InteractionDataset):
            return
        leaked = warm_starts.fitted_pairs(parent, validation, interactions)
        if leaked.example is not None:
            user, item = leaked.example
            raise DataError(
                f"{self.name}: warm_start was fitted on {leaked.n_fitted:,} of the {leaked.n_pairs:,} pairs of "
                f"validation, such as user {user!r} and item {item!r}, by which the epoch would be chosen; hold out "
                "newer interactions"
            )

    def _initialize(self, interactions: InteractionDataset, parent: Self | None = None) -> None:
        """Reset the model and call `_fit` or `_fit_from`: the whole fit, or what precedes the first epoch."""
        self._reset()
        self.user_vocabulary = interactions.user_vocabulary
        self.item_vocabulary = interactions.item_vocabulary
        self.seen = interactions.matrix
        if parent is None:
            self._fit(interactions)
        else:
            self._fit_from(interactions, parent)

    def _reset(self) -> None:
        hyperparameters = self.hyperparameters()
        vars(self).clear()
        vars(self).update(hyperparameters)

    def _keeps_values_after_interrupt(self) -> bool:
        """Whether the values that an interrupted fit has set are those of a usable model."""
        return False

    def _optimizer_state(self) -> dict[str, Any] | None:
        """What further training depends on beside the fitted values, as plain values; None if there is nothing."""
        return None

    def _set_optimizer_state(self, state: Any) -> None:
        """Continue training from a result of `_optimizer_state`, as read from a file.

        Raises:
            ValueError: It is invalid.
        """

    def _require_finite(self) -> None:
        for name, value in self.state().items():
            if not fitted_values.is_finite(value):
                raise TrainingError(f"{self.name}: fitting yielded values that are not finite, in {name}")

    def _recommended(
        self,
        ids: Sequence[Any],
        is_served: NDArray[np.bool_],
        ranked: tuple[Int32Array, Float32Array],
        k: int,
        on_unknown: OnUnknown,
        ties: TieBreaker,
    ) -> RankedLists:
        """The recommendations of all users.

        Args:
            ids: Ids of all users.
            is_served: Whether `ranked` has a row for the user, `(len(ids),)`.
            ranked: Item codes and scores of the users served.
            k: The number of items.
            on_unknown: What the other users get: the most popular items, or nothing.
            ties: Orders equally popular items, a key for each of the other users.
        """
        items, scores = ranked
        if on_unknown == "popular" and not is_served.all():
            items = np.empty((len(ids), items.shape[1]), np.int32)
            scores = np.empty(items.shape, np.float32)
            items[is_served], scores[is_served] = ranked
            items[~is_served], scores[~is_served] = self.rank_popular(ties, k)
        elif not is_served.all():
            # With `skip`, users who cannot be served have no rows.
            ids = [ids[row] for row in np.flatnonzero(is_served).tolist()]
        return RankedLists(ids, items, scores, self.item_vocabulary, columns.USER, columns.ITEM)
