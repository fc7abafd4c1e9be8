"""Users, items and interactions added to a fitted model: vocabularies grow, and arrays with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError
from recctl.models.base import Recommender


def grow(
    model: Recommender,
    interactions: InteractionDataset,
    arrays: Mapping[str, bool],
    first: Callable[[str, int, int], Float32Array],
) -> tuple[Int32Array, NDArray[np.uint8]]:
    """Add interactions to a model: its vocabularies, `seen`, and a row in its arrays for each new user and item.

    Args:
        model: Fitted; none of its old arrays is changed, they are replaced.
        interactions: What is new; of a pair that is known already the new rating counts.
        arrays: The model's arrays by name, and whether they have a row for each user (or for each item).
        first: Makes the rows of an array for new users or items, from its name, how many, and how many there were.

    Returns:
        The users who have new interactions, and 1 for each new item, `(n_items,)`; both in the new codes.

    Raises:
        DataError: Ids are text in one and numbers in the other.
    """
    users, old_users, new_users = _merged(model, "user", model.user_vocabulary, interactions.user_vocabulary)
    items, old_items, new_items = _merged(model, "item", model.item_vocabulary, interactions.item_vocabulary)
    for name, of_users in arrays.items():
        rows, codes, n = getattr(model, name), *((old_users, len(users)) if of_users else (old_items, len(items)))
        grown = np.empty((n, *rows.shape[1:]), np.float32)
        fresh = np.ones(n, bool)
        fresh[codes] = False
        grown[codes] = rows
        grown[fresh] = first(name, int(fresh.sum()), len(rows))
        setattr(model, name, grown)
    added, seen, shape = interactions.matrix, model.seen, (len(users), len(items))
    new = new_users[added.rows], new_items[added.columns]
    old = old_users[seen.rows], old_items[seen.columns]
    all_users, all_items = np.concatenate([old[0], new[0]]), np.concatenate([old[1], new[1]])
    model.seen = InteractionMatrix.from_pairs(all_users, all_items, np.concatenate([seen.values, added.values]), shape)
    model.user_vocabulary, model.item_vocabulary = users, items
    fresh_items = np.ones(len(items), np.uint8)
    fresh_items[old_items] = 0
    return np.unique(new_users), fresh_items


def _merged(
    model: Recommender, side: str, old: Vocabulary, new: Vocabulary
) -> tuple[Vocabulary, Int32Array, Int32Array]:
    """The vocabulary of the ids of both, and in it the codes of those of each."""
    if old.is_text != new.is_text:
        kinds = ["text" if vocabulary.is_text else "whole numbers" for vocabulary in (old, new)]
        raise DataError(
            f"{model.name}: the model's {side} ids are {kinds[0]}, the new ones {kinds[1]}; make them alike"
        )
    merged, codes = Vocabulary.encode(np.concatenate([old.ids, new.ids]))
    return merged, codes[: len(old)], codes[len(old) :]
