"""The metrics in plain Python, as an oracle, and a model with given scores."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.models.base import Recommender
from tests.ranking.ties import ranking


def frame(rows: Iterable[tuple[Any, ...]]) -> pd.DataFrame:
    """A table of `(user, item)` or `(user, item, rating)` rows."""
    rows = list(rows)
    return pd.DataFrame(rows, columns=["user_id", "item_id", "rating"][: len(rows[0]) if rows else 2])


def hand_made(scores: np.ndarray, links: np.ndarray) -> Recommender:
    """A model for integer ids below the arrays' sizes.

    Users that it was fitted on have `scores[user, item]`; others have the sum of `links[i, item]` over the items i of
    their history.
    """

    class HandMade(Recommender):
        name = "hand-made"
        predicts_ratings = True

        def _fit(self, interactions: InteractionDataset) -> None:
            pass

        def _score(self, histories: InteractionMatrix, users: np.ndarray | None) -> np.ndarray:
            items = self.item_vocabulary.ids
            if users is not None:
                return scores[np.ix_(self.user_vocabulary.ids[users], items)].astype(np.float32)
            return (histories.to_scipy() @ links[np.ix_(items, items)]).astype(np.float32)

    return HandMade()


@dataclass
class Oracle:
    """The inputs of one evaluation.

    Attributes:
        scores: The model's score of each `(user, item)`, for items it knows and users it can score.
        fitted: The pairs it was fitted on.
        seen: The seen items of each user it can score.
        relevant: The held-out items of each test user, including seen items.
        row_keys: What breaks ties in the scores of each user it can score.
    """

    scores: dict[tuple[int, int], float]
    fitted: set[tuple[int, int]]
    seen: dict[int, set[int]]
    relevant: dict[int, set[int]]
    row_keys: dict[int, int]

    @property
    def items(self) -> list[int]:
        return sorted({i for _, i in self.fitted})

    def served(self) -> dict[int, set[int]]:
        """Users in the means, with their relevant items."""
        kept = {u: items - self.seen[u] for u, items in self.relevant.items() if u in self.seen}
        return {u: items for u, items in sorted(kept.items()) if items}

    def ranking(self, user: int) -> list[int]:
        """All recommendable items, best first."""
        left = [i for i in self.items if i not in self.seen[user]]
        return ranking({item: self.scores[user, item] for item in left}, self.row_keys[user])

    def per_user(self, k: int) -> dict[int, dict[str, float]]:
        return {u: self._of_user(self.ranking(u), relevant, k) for u, relevant in self.served().items()}

    def _of_user(self, ranking: list[int], relevant: set[int], k: int) -> dict[str, float]:
        top = ranking[:k]
        places = [place for place, item in enumerate(top, start=1) if item in relevant]
        ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(relevant)) + 1))
        n_users = len({u for u, _ in self.fitted})
        owners = {i: {u for u, j in self.fitted if j == i} for i in self.items}
        counts = [len(owners[i]) for i in top]
        distances = [
            1 - len(owners[i] & owners[j]) / math.sqrt(len(owners[i]) * len(owners[j])) for i, j in combinations(top, 2)
        ]
        return {
            "precision": len(places) / k,
            "recall": len(places) / len(relevant),
            "hit_rate": float(bool(places)),
            "ndcg": sum(1 / math.log2(place + 1) for place in places) / ideal,
            "map": sum(len([q for q in places if q <= p]) / p for p in places) / min(k, len(relevant)),
            "mrr": 1 / places[0] if places else 0.0,
            "novelty": sum(-math.log2(c / n_users) for c in counts) / max(1, len(top)),
            "popularity": sum(counts) / max(1, len(top)),
            "diversity": sum(distances) / len(distances) if distances else 0.0,
        }

    def auc(self) -> dict[int, float]:
        values = {}
        for user, relevant in self.served().items():
            others = [i for i in self.ranking(user) if i not in relevant]
            pairs = [self._pair(user, i, j) for i in relevant for j in others]
            values[user] = sum(pairs) / len(pairs) if pairs else 0.5
        return values

    def _pair(self, user: int, relevant: int, other: int) -> float:
        if (user, relevant) not in self.scores:  # items that the model does not know come last
            return 0.0
        a, b = self.scores[user, relevant], self.scores[user, other]
        return 1.0 if a > b else 0.5 if a == b else 0.0

    def from_counts(self, k: int) -> dict[str, float]:
        counts = [sum(item in self.ranking(u)[:k] for u in self.served()) for item in self.items]
        n, total = len(counts), sum(counts)
        differences = sum(abs(a - b) for a in counts for b in counts)
        return {"coverage": sum(c > 0 for c in counts) / n, "gini": differences / (2 * n * total) if total else 0.0}

    def metrics(self, k_values: Iterable[int]) -> dict[str, float]:
        """Every ranking metric at every cutoff."""
        values = {"auc": float(np.mean(list(self.auc().values())))}
        for k in k_values:
            per_user = list(self.per_user(k).values())
            values |= {f"{name}@{k}": float(np.mean([row[name] for row in per_user])) for name in per_user[0]}
            values |= {f"{name}@{k}": value for name, value in self.from_counts(k).items()}
        return values
