"""Every model, fitted on the toys: what all tests of exports share."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from recctl.models.base import Recommender
from recctl.models.registry import make_model, model_class, model_names
from tests.models.suite import toy

_QUICK: dict[str, Any] = {
    "epochs": 2,
    "n_epochs": 2,
    "n_iterations": 2,
    "embedding_dim": 8,
    "n_factors": 6,
    "hidden_layers": [8, 4],
    "n_negatives": 2,
    "max_length": 10,
}
# Models whose hyperparameters decide what a score is.
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in model_names()},
    "als ratings": {"implicit": False},
    "lightgcn bpr": {"loss": "bpr"},
    "ncf gmf": {"variant": "gmf"},
    "ncf mlp": {"variant": "mlp"},
    "sasrec cosine": {"similarity": "cosine"},
    "user-knn few": {"n_neighbors": 3},
    "user-knn jaccard": {"similarity": "jaccard", "n_neighbors": 3},
    "user-knn bm25": {"similarity": "dot", "weighting": "bm25", "n_neighbors": 3},
}


def rows() -> pd.DataFrame:
    """Interactions of 30 users with 20 items."""
    return toy(n_users=30, n_items=20)


@cache
def fitted(variant: str, text: bool = False) -> Recommender:
    """A model fitted on the toys; not to be changed. Ids of `text` are full of what files must escape."""
    name = variant.partition(" ")[0]
    quick = {key: value for key, value in _QUICK.items() if key in model_class(name).parameters}
    table = rows()
    if text:
        table = table.assign(
            user_id=[hostile(each) for each in table.user_id], item_id=[hostile(each) for each in table.item_id]
        )
    return make_model(name, **quick | VARIANTS[variant]).fit(table)


def hostile(number: int) -> str:
    """An id with a comma, quotes, line ends, a letter of no alphabet here, and a beginning that a sheet would run."""
    return f'=й,"{number}"\r\n\t漢 \\é\N{PILE OF POO}'


def users_of(model: Recommender) -> np.ndarray:
    """Codes of all users."""
    return np.arange(len(model.user_vocabulary), dtype=np.int32)
