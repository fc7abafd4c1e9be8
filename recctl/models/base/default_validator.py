"""Default validators: what a model measures between epochs on a data set, if the caller names no metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recctl.data.dataset import InteractionDataset
from recctl.data.frames import Frame
from recctl.data.matrix import Int32Array, InteractionMatrix
from recctl.errors import DataError
from recctl.metrics import definitions
from recctl.models.base import Recommender

_K = 10


class NDCG:
    """NDCG@10 over the users of a data set that the model was fitted on; training items are excluded from the lists."""

    def __init__(self, model: Recommender, validation: InteractionDataset | Frame) -> None:
        if not isinstance(validation, InteractionDataset):
            validation = InteractionDataset(validation)
        users, items, _ = _known(model, validation)
        self.users, rows = np.unique(users, return_inverse=True)
        shape = len(self.users), len(model.item_vocabulary)
        self.relevant = InteractionMatrix.from_pairs(rows.astype(np.int32), items, None, shape)

    def __call__(self, model: Recommender) -> dict[str, float]:
        """Compute NDCG@10."""
        items, _ = model.rank_users(self.users, _K)
        rows = np.arange(len(items))[:, None]
        pairs = self.relevant.rows.astype(np.int64) * self.relevant.n_columns + self.relevant.columns
        hits = (items >= 0) & np.isin(rows * self.relevant.n_columns + items, pairs)
        n_relevant = np.diff(self.relevant.starts)
        lists = definitions.Lists(items, hits.astype(np.float64), n_relevant, definitions.Catalog(model.seen))
        return {f"ndcg@{_K}": float(definitions.ndcg(lists)[:, -1].mean())}


class RMSE:
    """Root mean squared error of predictions, clipped to the rating scale, for pairs of known users and items.

    The latest of repeated pairs counts.
    """

    def __init__(self, model: Recommender, validation: InteractionDataset | Frame) -> None:
        if not isinstance(validation, InteractionDataset):
            validation = InteractionDataset(validation, implicit=False)
        if validation.ratings is None:
            raise DataError(f"{model.name}: validation has no ratings to compare predictions with")
        validation = validation.take(validation.latest_rows())
        assert validation.ratings is not None
        self.users, self.items, rows = _known(model, validation, "rating")
        self.ratings = validation.ratings[rows]
        self.scale = model.state()["lowest"], model.state()["highest"]

    def __call__(self, model: Recommender) -> dict[str, float]:
        """Compute RMSE."""
        predicted = np.clip(model.score_pairs(self.users, self.items), *self.scale)
        return {"rmse": float(np.sqrt(np.mean((predicted.astype(np.float64) - self.ratings) ** 2)))}


def _known(
    model: Recommender, validation: InteractionDataset, what: str = "interaction"
) -> tuple[Int32Array, Int32Array, NDArray[np.bool_]]:
    """The model's codes of the interactions whose user and item it was fitted on, and a mask of these interactions."""
    users = model.user_vocabulary.recode(validation.users, validation.user_vocabulary)
    items = model.item_vocabulary.recode(validation.items, validation.item_vocabulary)
    known = (users >= 0) & (items >= 0)
    if not known.any():
        raise DataError(f"{model.name}: validation has no {what} of a user and an item that are both in train")
    return users[known], items[known], known
