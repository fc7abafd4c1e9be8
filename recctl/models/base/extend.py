"""Extension of a fitted model by users, items and interactions: its vocabularies and arrays grow."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array, Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError
from recctl.models.base.recommender import Recommender


def extend_model(
    model: Recommender,
    interactions: InteractionDataset,
    arrays: Mapping[str, bool],
    initial_rows: Callable[[str, int, int], Float32Array],
) -> tuple[Int32Array, NDArray[np.uint8]]:
    """Add interactions to a fitted model: extend its vocabularies and `seen`, and add rows for new users and items.

    Args:
        model: The model. Its arrays are replaced, not changed in place.
        interactions: The new interactions. The rating of a pair that is already known replaces the old one.
        arrays: The names of the model's arrays; True for one row per user, False for one row per item.
        initial_rows: Returns the rows of new users or items, from the name of the array, the number of new rows, and
            the number of old rows.

    Returns:
        The users with new interactions; and 1 for each new item, else 0, `(n_items,)`. Both in the new codes.

    Raises:
        DataError: The ids of the model are text and the new ones integers, or vice versa.
    """
    users, old_users, new_users = _merge(model, "user", model.user_vocabulary, interactions.user_vocabulary)
    items, old_items, new_items = _merge(model, "item", model.item_vocabulary, interactions.item_vocabulary)
    for name, by_user in arrays.items():
        old_codes = old_users if by_user else old_items
        n_rows = len(users) if by_user else len(items)
        # A new array: the caller restores the old ones if an error follows.
        setattr(model, name, _extended_array(name, getattr(model, name), old_codes, n_rows, initial_rows))
    seen = model.seen
    added = interactions.matrix
    # Of a repeated pair the last value counts: the new interactions come last.
    model.seen = InteractionMatrix.from_pairs(
        np.concatenate([old_users[seen.rows], new_users[added.rows]]),
        np.concatenate([old_items[seen.columns], new_items[added.columns]]),
        np.concatenate([seen.values, added.values]),
        (len(users), len(items)),
    )
    model.user_vocabulary = users
    model.item_vocabulary = items
    is_new_item = np.ones(len(items), np.uint8)
    is_new_item[old_items] = 0
    return np.unique(new_users), is_new_item


def _extended_array(
    name: str,
    rows: Float32Array,
    codes: Int32Array,
    n_rows: int,
    initial_rows: Callable[[str, int, int], Float32Array],
) -> Float32Array:
    """An array of `n_rows` rows: the old ones at their new codes, initial rows elsewhere."""
    # Vocabularies are sorted: new ids fall between old ones, and old rows move.
    extended = np.empty((n_rows, *rows.shape[1:]), np.float32)
    is_new = np.ones(n_rows, bool)
    is_new[codes] = False
    extended[codes] = rows
    extended[is_new] = initial_rows(name, int(is_new.sum()), len(rows))
    return extended


def _merge(
    model: Recommender, side: str, old: Vocabulary, new: Vocabulary
) -> tuple[Vocabulary, Int32Array, Int32Array]:
    """The union of two vocabularies, and the codes in it of the old and of the new ids."""
    if old.is_text != new.is_text:
        kinds = ["text" if vocabulary.is_text else "integers" for vocabulary in (old, new)]
        raise DataError(
            f"{model.name}: the {side} ids of the model are {kinds[0]}, the new ones are {kinds[1]}; convert the new "
            "ids to the same type"
        )
    merged, codes = Vocabulary.encode(np.concatenate([old.ids, new.ids]))
    return merged, codes[: len(old)], codes[len(old) :]
