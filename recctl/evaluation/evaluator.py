"""Evaluator: measures a fitted model on interactions it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from recctl import progress, rng
from recctl.data import columns
from recctl.data.dataset import InteractionDataset
from recctl.errors import ConfigError, DataError
from recctl.evaluation.eval_users import EvalUsers, collect_eval_users
from recctl.evaluation.options import as_list, check_options
from recctl.evaluation.ranking import Protocol, evaluate_rankings
from recctl.evaluation.rating import evaluate_ratings
from recctl.metrics import METRICS, MetricKey, metric_keys
from recctl.models.base import Recommender
from recctl.suggest import did_you_mean

Task = Literal["ranking", "rating_prediction"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation came to.

    Attributes:
        metrics: Each metric's value, by key: `ndcg@10`, `auc`, `coverage@10`, `rmse`; `sampled_ndcg@10` where
            candidates were drawn.
        per_user: `user_id`, a float64 column for each metric that is a mean over users (for rating prediction: each
            metric over the user's own ratings), and `n_relevant`, the user's relevant items (or predicted ratings).
        n_users: Users in the means.
        n_folded_in: Those among them whom the model was not fitted on and who were served by their history.
        n_skipped: Users left out because neither the model nor the history knows them.
        n_interactions: Test interactions that were judged.
        n_unknown_items: Those among them whose item the model does not know: they can't be hit, and count as missed.
        left_out: Test interactions that were not judged, by reason.
        protocol: `full` where all items are candidates, `sampled-100` where 100 are drawn, `rating_prediction`.
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

    def record(self) -> dict[str, Any]:
        """Everything but the values: what was judged and how, as plain values."""
        return {name: value for name, value in vars(self).items() if name not in ("metrics", "per_user")}


class Evaluator:
    """Measures rankings and predicted ratings.

    Users the model was fitted on are asked, and all they interacted with in what it was fitted on is masked. People it
    was not fitted on are folded in by their history, which is masked, where there is one. Test interactions that are
    masked can't be recommended and are not relevant; relevant items the model does not know stay in the denominators.
    Definitions are in `recctl.metrics`. Results don't depend on the number of threads.

    Args:
        metrics: Names of `METRICS`. Those of the other task than asked for are left out.
        k_values: Cutoffs.
        n_candidates: Rank each user's relevant items among this many drawn ones instead of all items, as older papers
            do. The draw is uniform over items that are neither masked nor relevant, and each user's own. Keys then
            begin with `sampled_`: such values are far higher than, and don't compare with, those of the full ranking.
        relevance_threshold: Only test interactions rated at least this are relevant; None: all are.
        on_unknown: Users known to neither the model nor the history: leave them out, or count them 0 at everything.
        seed: Of the draw of candidates.

    Raises:
        ConfigError: An argument is not valid; all problems at once.
    """

    def __init__(
        self,
        metrics: Sequence[str] = ("precision", "recall", "ndcg", "hit_rate"),
        k_values: Sequence[int] = (5, 10, 20),
        *,
        n_candidates: int | None = None,
        relevance_threshold: float | None = None,
        on_unknown: Literal["skip", "zero"] = "skip",
        seed: int = 42,
    ) -> None:
        metrics, k_values = as_list(metrics), as_list(k_values)
        check_options(metrics, k_values, n_candidates, relevance_threshold, on_unknown)
        rng.stream(seed)
        self.metrics = tuple(dict.fromkeys(metrics))
        self.k_values = tuple(sorted({int(k) for k in k_values}))
        self.n_candidates = n_candidates
        self.relevance_threshold = relevance_threshold
        self.on_unknown = on_unknown
        self.seed = seed

    def evaluate(
        self,
        model: Recommender,
        test: InteractionDataset | pd.DataFrame,
        task: Task = "ranking",
        train_data: InteractionDataset | pd.DataFrame | None = None,
    ) -> dict[str, float]:
        """The metrics of `evaluate_users`."""
        return self.evaluate_users(model, test, task, train_data).metrics

    def evaluate_users(
        self,
        model: Recommender,
        test: InteractionDataset | pd.DataFrame,
        task: Task = "ranking",
        train_data: InteractionDataset | pd.DataFrame | None = None,
    ) -> Evaluation:
        """Measure a fitted model.

        Args:
            model: A fitted model.
            test: Held-out interactions.
            task: "ranking", or "rating_prediction": metrics of errors, RMSE and MAE unless some are asked for.
                Interactions the model can't predict are left out and counted.
            train_data: Where the history of people is found whom the model was not fitted on; `test.history` (of a
                split by user) unless given. What is masked for users it was fitted on does not depend on it.

        Raises:
            ConfigError: The task is unknown, or none of the metrics belongs to it.
            DataError: There is nobody to ask, nothing relevant, or no ratings where they are needed.
            NotFittedError: The model is not fitted.
        """
        if task not in get_args(Task):
            hint = did_you_mean(
                str(task), get_args(Task), {"rating": "rating_prediction", "ratings": "rating_prediction"}
            )
            raise ConfigError(f"task={task!r}: unknown task{hint}")
        if not isinstance(model, Recommender):
            raise ConfigError(f"evaluate: the model comes first, then test; {type(model).__name__} is no recctl model")
        test = _dataset(test, "test")
        names = [name for name in self.metrics if METRICS[name].task == task]
        if task == "rating_prediction":
            return _rating(model, test, names or ["rmse", "mae"])
        if not names:
            raise ConfigError(f"metrics: {', '.join(self.metrics)}: none is of task='ranking'; add ndcg, say")
        history = test.history if train_data is None else _dataset(train_data, "train_data")
        return self._ranking(model, test, history, names)

    def print_results(self, results: dict[str, float]) -> None:
        """Print metrics as a table: a row for each metric, a column for each cutoff."""
        from recctl.evaluation.formatting import print_results

        print_results(results)

    def _ranking(
        self, model: Recommender, test: InteractionDataset, history: InteractionDataset | None, names: list[str]
    ) -> Evaluation:
        audience = collect_eval_users(model, test, history, self.relevance_threshold, self.on_unknown)
        known, folded_in = (len(group.users) for group in audience.groups)
        if not known + folded_in:
            raise DataError(_nobody(model, test, audience))
        if audience.n_skipped:
            progress.notice(
                f"{audience.n_skipped:,} of {len(audience.users) + audience.n_skipped:,} test users are left out: the "
                "model was not fitted on them, and no history says what they like"
            )
        sampled = self.n_candidates is not None
        seeds = rng.stream(self.seed, "candidates").integers(2**63, size=test.n_users if sampled else 0)
        protocol = Protocol(names, self.k_values, self.n_candidates, seeds)
        values, recommended = evaluate_rankings(model, audience, protocol)

        order = np.argsort(audience.users)  # by id, so that means don't depend on how each was served
        keys = [str(key) for key in protocol.per_user_keys]
        table = pd.DataFrame(values[order], columns=keys)
        found = dict(zip(keys, values[order].mean(axis=0).tolist(), strict=True))
        for name in protocol.counts:
            for at, k in enumerate(self.k_values):
                found[str(MetricKey(name, k))] = METRICS[name].compute(recommended[at])
        table.insert(0, columns.USER, test.user_vocabulary.column(audience.users[order]))
        table["n_relevant"] = audience.n_relevant[order]
        n_interactions = int(audience.n_relevant.sum())
        return Evaluation(
            metrics={str(key): found[str(key)] for key in metric_keys(names, self.k_values, sampled=sampled)},
            per_user=table,
            n_users=len(table),
            n_folded_in=folded_in,
            n_skipped=audience.n_skipped,
            n_interactions=n_interactions,
            n_unknown_items=sum(int(group.n_relevant.sum()) - group.relevant.nnz for group in audience.groups),
            left_out=audience.left_out,
            protocol=f"sampled-{self.n_candidates}" if sampled else "full",
        )


def _rating(model: Recommender, test: InteractionDataset, names: list[str]) -> Evaluation:
    found, table = evaluate_ratings(model, test, names)
    n_predicted = int(table["n_relevant"].sum())
    users_with_none = test.n_users - len(table)
    return Evaluation(
        metrics=found,
        per_user=table,
        n_users=len(table),
        n_folded_in=0,
        n_skipped=users_with_none,
        n_interactions=n_predicted,
        n_unknown_items=0,
        left_out={"not_predictable": len(test) - n_predicted},
        protocol="rating_prediction",
    )


def _dataset(given: Any, name: str) -> InteractionDataset:
    if isinstance(given, pd.DataFrame):
        return InteractionDataset(given)
    if not isinstance(given, InteractionDataset):
        raise ConfigError(f"{name}: give an InteractionDataset or a DataFrame, not {type(given).__name__}")
    return given


def _nobody(model: Recommender, test: InteractionDataset, audience: EvalUsers) -> str:
    """Why there is nobody to ask."""
    if not audience.n_skipped and not len(audience.users):
        reasons = ", ".join(f"{count:,} {why.replace('_', ' ')}" for why, count in audience.left_out.items() if count)
        return f"test: nothing is relevant: of {len(test):,} interactions {reasons}"
    here, there = (vocabulary.ids[:1].tolist()[0] for vocabulary in (test.user_vocabulary, model.user_vocabulary))
    if type(here) is not type(there):
        kind = {str: "text", int: "whole numbers"}
        return (
            f"test: its user ids are {kind[type(here)]} ({here!r}), those the model was fitted on {kind[type(there)]} "
            f"({there!r}); make them alike"
        )
    return (
        f"test: the model was fitted on none of its {test.n_users:,} users (the first is {here!r}); "
        "give their history as train_data"
    )
