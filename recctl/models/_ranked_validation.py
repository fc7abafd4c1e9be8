"""The metric that models of rankings watch when they are given a data set to watch and no metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.errors import DataError
from recctl.ranking import metrics

if TYPE_CHECKING:
    from recctl.models.base import Recommender

_K = 10


class NDCG:
    """NDCG@10 over the users of a data set that the model knows; what it was fitted on is left out of the lists."""

    def __init__(self, model: Recommender, validation: InteractionDataset | pd.DataFrame) -> None:
        if isinstance(validation, pd.DataFrame):
            validation = InteractionDataset(validation)
        users = model.user_vocabulary.codes(validation.user_vocabulary.ids)[validation.users]
        items = model.item_vocabulary.codes(validation.item_vocabulary.ids)[validation.items]
        known = (users >= 0) & (items >= 0)
        if not known.any():
            raise DataError(f"{model.name}: validation has no interaction of a user and an item that are both in train")
        self.users, rows = np.unique(users[known], return_inverse=True)
        shape = len(self.users), len(model.item_vocabulary)
        self.relevant = InteractionMatrix.from_pairs(rows.astype(np.int32), items[known], None, shape)

    def __call__(self, model: Recommender) -> dict[str, float]:
        items, _ = model.rank_users(self.users, _K)
        n_relevant = np.diff(self.relevant.starts)
        rows = np.arange(len(items))[:, None]
        pairs = np.repeat(rows[:, 0], n_relevant) * self.relevant.n_columns + self.relevant.columns
        hits = (items >= 0) & np.isin(rows * self.relevant.n_columns + items, pairs)
        lists = metrics.Lists(items, hits.astype(np.float64), n_relevant, metrics.Catalogue(model.seen))
        return {f"ndcg@{_K}": float(metrics.ndcg(lists)[:, -1].mean())}
