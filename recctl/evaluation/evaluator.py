"""Evaluator: measures a fitted model on held-out interactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from recctl import progress, rng
from recctl.arguments import many, of_type, validated
from recctl.data import columns, frames
from recctl.data.dataset import InteractionDataset
from recctl.data.frames import Frame
from recctl.data.matrix import Int32Array, Int64Array
from recctl.errors import ConfigError, DataError
from recctl.evaluation.eval_users import EvalUsers, Exclude, Gain, KnownPairs, OnUnknownUser, collect_eval_users
from recctl.evaluation.given_lists import GivenLists
from recctl.evaluation.options import as_list, check_options
from recctl.evaluation.ranking import Protocol, evaluate_rankings
from recctl.evaluation.rating import evaluate_ratings
from recctl.evaluation.segments import Segment, require_members
from recctl.metrics import METRICS, Float64Array, MetricKey, metric_keys
from recctl.models.base import Recommender
from recctl.models.base.rating_metrics import require_meaningful
from recctl.ranking import TIE_RULE
from recctl.suggest import did_you_mean

Task = Literal["ranking", "rating_prediction"]

# Raised when the same model on the same data comes to other figures. Version 1 is that of recctl before 0.3, which
# ranked items of validation on test and broke ties by item code.
PROTOCOL_VERSION = 2

_TASK_SYNONYMS = {"rating": "rating_prediction", "ratings": "rating_prediction"}
_DEFAULT_RATING_METRICS = ["rmse", "mae"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        metrics: Values by key: `ndcg@10`, `auc`, `coverage@10`, `rmse`; `sampled_ndcg@10` if candidates were sampled.
        per_user: `user_id`, a float64 column for each metric that is a mean over users (for rating prediction: each
            metric over the user's own ratings), and `n_relevant`, the number of relevant items (or predicted ratings).
        n_users: Number of users in the means.
        n_folded_in: Number of these users that the model was not fitted on and that were scored by their history.
        n_skipped: Number of users excluded because neither the model nor the history knows them.
        n_interactions: Number of test interactions that were evaluated.
        n_unknown_items: Number of these whose item the model does not know: they can't be hit and count as misses.
        left_out: Number of excluded test interactions by reason.
        protocol: `full` if all items are candidates, `sampled-100` if 100 are sampled, `rating_prediction`.
        segments: By key of each segment, a table like `per_user` of its users. Of a segment of items or interactions
            these are the users with relevant items in it, and the metrics those that depend on relevant items.
        lists: Of lists that were made elsewhere: `known`, the number of entries that were dropped because their items
            are excluded for the user, and `users_without_list`; None for models.
        n_popular: Number of users in the means who got the most popular items, because neither the model nor the
            history knows them.
    """

    metrics: dict[str, float]
    per_user: pd.DataFrame
    n_users: int
    n_folded_in: int
    n_skipped: int
    n_interactions: int
    n_unknown_items: int
    left_out: dict[str, int]
    protocol: str
    segments: dict[str, pd.DataFrame] = field(default_factory=dict)
    lists: dict[str, int] | None = None
    n_popular: int = 0

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value:.4f}" for name, value in self.metrics.items())
        return f"Evaluation({self.n_users:,} users, {self.protocol}: {values})"

    def _repr_html_(self) -> str:
        from recctl.html_repr import Table, render

        lines = [f"{self.n_interactions:,} interactions of {self.n_users:,} users"]
        if self.n_popular:
            lines.append(f"{self.n_popular:,} unknown users got the most popular items")
        counts = {"users excluded": self.n_skipped, "items unknown": self.n_unknown_items} | self.left_out
        left_out = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in counts.items() if count]
        if left_out:
            lines.append(f"left out: {', '.join(left_out)}")
        return render("Evaluation", [self.protocol], lines, [Table(["metric", "value"], list(self.metrics.items()))])

    def record(self) -> dict[str, Any]:
        """Return everything but the values as plain values: the numbers of users and interactions, and the protocol."""
        left_out = ["metrics", "per_user", "segments"]
        if self.lists is None:
            left_out.append("lists")
        if not self.n_popular:
            left_out.append("n_popular")
        return {field_name: value for field_name, value in vars(self).items() if field_name not in left_out}


class Evaluator:
    """Evaluates rankings and predicted ratings.

    Items that a user has interacted with before are known: they are neither candidates nor relevant (see `exclude`).
    Users that the model was not fitted on are scored by their history. Relevant items that the model does not know
    count as misses. `recctl.metrics` defines the metrics. The results do not depend on the number of threads.

    Args:
        metrics: Names of `METRICS`. Those of another task than the requested one are ignored.
        k_values: Cutoffs.
        n_candidates: Rank the relevant items of each user among this many sampled items instead of all, as older papers
            do. Items that are neither excluded nor relevant are sampled uniformly for each user. The keys of the
            metrics then begin with `sampled_`: their values are much higher than those of the full ranking, and can't
            be compared with them (Krichene and Rendle, 2020, "On Sampled Metrics for Item Recommendation").
        relevance_threshold: The minimum rating of relevant test interactions; None: all are relevant.
        on_unknown: Users that neither the model nor the history knows are excluded ("skip"), count as 0 in all means
            over users ("zero"), or get the most popular items of the data that the model was fitted on ("popular"), as
            `model.recommend(users, on_unknown="popular")` answers.
        exclude: Which items of a user are neither candidates nor relevant. "known": those that the model was fitted on,
            and those that the user had in validation if test is measured; "train": those that the model was fitted on;
            "none": none, to measure repeat consumption, as of groceries or music.
        gain: The gain of a relevant item in NDCG: "rating": its rating; "exp2": `2**rating - 1`; None: 1. Relevant
            ratings must be above 0. The other metrics do not depend on it.
        seed: Seed of the candidate samples.

    Raises:
        ConfigError: Arguments are invalid; all problems are reported together.

    Examples:
        ```python
        from recctl import EASERecommender, Evaluator

        evaluator = Evaluator(metrics=["ndcg", "recall"], k_values=[5, 10])
        results = evaluator.evaluate(EASERecommender().fit(train), test)
        print(results["ndcg@10"])
        ```
    """

    def __init__(
        self,
        metrics: Sequence[str] = ("precision", "recall", "ndcg", "hit_rate"),
        k_values: Sequence[int] = (5, 10, 20),
        *,
        n_candidates: int | None = None,
        relevance_threshold: float | None = None,
        on_unknown: OnUnknownUser = "skip",
        exclude: Exclude = "known",
        gain: Gain | None = None,
        seed: int = 42,
    ) -> None:
        metrics = as_list(metrics)
        k_values = as_list(k_values)
        check_options(metrics, k_values, n_candidates, relevance_threshold, on_unknown, exclude, gain, seed)
        # Without duplicates, in the given order, which is that of tables.
        self.metrics = tuple(dict.fromkeys(metrics))
        self.k_values = tuple(sorted({int(cutoff) for cutoff in k_values}))
        self.n_candidates = n_candidates
        self.relevance_threshold = relevance_threshold
        self.on_unknown = on_unknown
        self.exclude = exclude
        self.gain = gain
        self.seed = seed

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"Evaluator({values})"

    @property
    def settings(self) -> dict[str, Any]:
        """The protocol as plain values: figures of different protocols can't be compared."""
        settings: dict[str, Any] = {
            "version": PROTOCOL_VERSION,
            "tie_rule": TIE_RULE,
            "exclude": self.exclude,
            "n_candidates": self.n_candidates,
            "relevance_threshold": self.relevance_threshold,
            "on_unknown": self.on_unknown,
        }
        if self.n_candidates is not None:
            settings["candidate_seed"] = self.seed
        # Only if it is set: binary relevance is that of evaluations that were stored before there was a choice.
        if self.gain is not None:
            settings["gain"] = self.gain
        return settings

    def evaluate(
        self,
        model: Recommender,
        test: InteractionDataset | Frame,
        task: Task = "ranking",
        train_data: InteractionDataset | Frame | None = None,
        known: InteractionDataset | Frame | None = None,
    ) -> dict[str, float]:
        """Evaluate a fitted model and return its metrics by key; see `evaluate_users`."""
        return self.evaluate_users(model, test, task, train_data, known).metrics

    @validated(
        excluded=many(of_type(KnownPairs, "a KnownPairs"), "[KnownPairs.of_model(model)]"),
        segments=many(of_type(Segment, "a Segment"), "[Segment('new', 'users', is_new)]"),
    )
    def evaluate_users(
        self,
        model: Recommender,
        test: InteractionDataset | Frame,
        task: Task = "ranking",
        train_data: InteractionDataset | Frame | None = None,
        known: InteractionDataset | Frame | None = None,
        excluded: Sequence[KnownPairs] = (),
        segments: Sequence[Segment] = (),
    ) -> Evaluation:
        """Evaluate a fitted model and return metrics, values by user, and what was excluded.

        Args:
            model: A fitted model; or `GivenLists`, which another program made.
            test: The held-out interactions.
            task: "ranking", or "rating_prediction" for RMSE and MAE (both, unless `metrics` names one of them).
                Interactions whose rating the model can't predict are excluded and counted.
            train_data: The history of users that the model was not fitted on; by default `test.history`, which a split
                by user sets. Users that the model was fitted on do not depend on it.
            known: All interactions of the test users before test; by default `test.known`, which a split with a
                validation part sets. Their items are known even if the model was fitted on train alone, and models that
                read the order of a history are given them as the history.
            excluded: Other pairs that are neither candidates nor relevant, such as those that another model was fitted
                on, so that both are measured alike.
            segments: Groups of users, items or interactions of test for which the metrics are computed as well.

        Raises:
            ConfigError: The task is unknown, or has none of the metrics; or ratings are to be predicted by a model
                whose scores are no ratings.
            DataError: No user can be evaluated, nothing is relevant, or ratings are missing.
            NotFittedError: The model is not fitted.
        """
        if not isinstance(task, str) or task not in get_args(Task):
            hint = did_you_mean(str(task), get_args(Task), _TASK_SYNONYMS)
            raise ConfigError(f"task={task!r}: unknown task{hint}")
        if not isinstance(model, Recommender):
            raise ConfigError(
                f"evaluate: give the model first, then test; {type(model).__name__} is not a recctl model"
            )
        test = _as_dataset(test, "test")
        require_members(segments, test)
        # Checked for each task, also those of rankings that rating prediction does not use.
        history = test.history if train_data is None else _as_dataset(train_data, "train_data")
        known_data = test.known if known is None else _as_dataset(known, "known")
        metric_names = [metric_name for metric_name in self.metrics if METRICS[metric_name].task == task]
        if isinstance(model, GivenLists):
            model.require_measurable(self.metrics, self.k_values, self.n_candidates)
        if task == "rating_prediction":
            require_meaningful(model, metric_names or _DEFAULT_RATING_METRICS)
            return _evaluate_ratings(model, test, metric_names or _DEFAULT_RATING_METRICS, segments)
        if not metric_names:
            raise ConfigError(
                f"metrics: {', '.join(self.metrics)}: none belongs to task='ranking'; add one, such as ndcg"
            )
        return self._evaluate_rankings(model, test, history, known_data, excluded, metric_names, segments)

    @validated(results=of_type(Mapping, "a dict of metrics, as `evaluate` returns"))
    def print_results(self, results: dict[str, float]) -> None:
        """Print metrics as a table with a row for each metric and a column for each cutoff."""
        from recctl.evaluation.formatting import print_results

        print_results(results)

    def _evaluate_rankings(
        self,
        model: Recommender,
        test: InteractionDataset,
        history: InteractionDataset | None,
        known: InteractionDataset | None,
        excluded: Sequence[KnownPairs],
        names: list[str],
        segments: Sequence[Segment],
    ) -> Evaluation:
        users = collect_eval_users(
            model,
            test,
            history,
            known,
            excluded,
            exclude=self.exclude,
            threshold=self.relevance_threshold,
            on_unknown=self.on_unknown,
            gain=self.gain,
            segments=[segment for segment in segments if segment.unit != "users"],
        )
        if not any(len(group.users) for group in users.groups):
            raise DataError(_no_users_message(model, test, users))
        if users.n_skipped:
            progress.notice(
                f"{users.n_skipped:,} of {len(users.users) + users.n_skipped:,} test users are excluded: they are not "
                "in the training data and have no history; evaluation.on_unknown: zero counts them as 0, popular gives "
                "them popular items"
            )
        is_sampled = self.n_candidates is not None
        n_seeds = test.n_users if is_sampled else 0
        # One for each test user, by code: a user's candidates do not depend on which users are evaluated with it.
        seeds = rng.stream(self.seed, "candidates").integers(2**63, size=n_seeds)
        given = None
        if isinstance(model, GivenLists):
            given = model.rank(users, test.user_vocabulary, self.k_values[-1])
        protocol = Protocol(names, self.k_values, self.n_candidates, seeds, self.gain)
        values, counts, values_in_segments = evaluate_rankings(model, users, protocol, given)

        keys = [str(metric_key) for metric_key in protocol.per_user_keys]
        per_user = _user_table(test, users.users, values, keys, users.n_relevant)
        metrics = dict(zip(keys, values[np.argsort(users.users)].mean(axis=0).tolist(), strict=True))
        for metric_name in protocol.count_metrics:
            for position, cutoff in enumerate(self.k_values):
                metrics[str(MetricKey(metric_name, cutoff))] = METRICS[metric_name].compute(counts[position])
        segment_keys = [str(metric_key) for metric_key in protocol.of_relevant_items.per_user_keys]
        restricted = iter(zip(users.n_in_segments, values_in_segments, strict=True))
        tables = {}
        for segment in segments:
            if segment.unit == "users":
                is_member = segment.members[test.user_vocabulary.codes(per_user[columns.USER])]
                tables[segment.key] = per_user[is_member].reset_index(drop=True)
                continue
            n_relevant, values_in_segment = next(restricted)
            has_relevant = n_relevant > 0
            tables[segment.key] = _user_table(
                test, users.users[has_relevant], values_in_segment, segment_keys, n_relevant[has_relevant]
            )
        # `relevant` holds only items that the model can recommend; `n_relevant` counts the others, too.
        n_unknown_items = sum(int(user_group.n_relevant.sum()) - user_group.relevant.nnz for user_group in users.groups)
        return Evaluation(
            metrics={
                str(metric_key): metrics[str(metric_key)]
                for metric_key in metric_keys(names, self.k_values, sampled=is_sampled)
            },
            per_user=per_user,
            n_users=len(per_user),
            n_folded_in=users.n_folded_in,
            n_skipped=users.n_skipped,
            n_interactions=int(users.n_relevant.sum()),
            n_unknown_items=n_unknown_items,
            left_out=users.left_out,
            protocol=f"sampled-{self.n_candidates}" if is_sampled else "full",
            segments=tables,
            lists=None if given is None else {"known": given.n_known, "users_without_list": given.n_without_list},
            n_popular=users.n_popular,
        )


def _user_table(
    test: InteractionDataset, users: Int32Array, values: Float64Array, keys: list[str], n_relevant: Int64Array
) -> pd.DataFrame:
    """The values of users, by user id, so that the rounding of means does not depend on the groups."""
    user_order = np.argsort(users)
    table = pd.DataFrame(values[user_order], columns=keys)
    table.insert(0, columns.USER, test.user_vocabulary.column(users[user_order]))
    table["n_relevant"] = n_relevant[user_order]
    return table


def _evaluate_ratings(
    model: Recommender, test: InteractionDataset, names: list[str], segments: Sequence[Segment]
) -> Evaluation:
    metrics, per_user, tables = evaluate_ratings(model, test, names, segments)
    n_predicted = int(per_user["n_relevant"].sum())
    n_repeated = len(test) - len(test.latest_rows())
    return Evaluation(
        metrics=metrics,
        per_user=per_user,
        n_users=len(per_user),
        n_folded_in=0,
        n_skipped=test.n_users - len(per_user),
        n_interactions=n_predicted,
        n_unknown_items=0,
        left_out={"repeated": n_repeated, "not_predictable": len(test) - n_repeated - n_predicted},
        protocol="rating_prediction",
        segments=tables,
    )


def _as_dataset(data: Any, name: str) -> InteractionDataset:
    if isinstance(data, InteractionDataset):
        return data
    return InteractionDataset(frames.to_pandas(data, name, also="an InteractionDataset"))


def _no_users_message(model: Recommender, test: InteractionDataset, users: EvalUsers) -> str:
    """Say why no user can be evaluated."""
    if not users.n_skipped and not len(users.users):
        reasons = ", ".join(
            f"{n_users:,} {reason.replace('_', ' ')}" for reason, n_users in users.left_out.items() if n_users
        )
        return f"test: has no relevant interactions; of {len(test):,}: {reasons}"
    test_id = test.user_vocabulary.ids[:1].tolist()[0]
    model_id = model.user_vocabulary.ids[:1].tolist()[0]
    if type(test_id) is not type(model_id):
        type_names = {str: "text", int: "integers"}
        return (
            f"test: its user ids are {type_names[type(test_id)]} (such as {test_id!r}), but those of the model are "
            f"{type_names[type(model_id)]} (such as {model_id!r}); convert one of them"
        )
    return (
        f"test: the model was fitted on none of its {test.n_users:,} users (the first is {test_id!r}); "
        "give their history as train_data"
    )
