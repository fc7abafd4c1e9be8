"""Warm starts: which model a fit may begin from, and which of its rows are those of the new data's users and items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Int32Array
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from recctl.models.base.recommender import Recommender


class SharedRows(NamedTuple):
    """The rows of the ids that two vocabularies share.

    Attributes:
        new: Their codes in the new vocabulary, ascending, `(n,)`.
        old: Their codes in the old vocabulary, `(n,)`.
    """

    new: Int32Array
    old: Int32Array


class FittedPairs(NamedTuple):
    """Held-out pairs that a model was fitted on.

    Attributes:
        n_fitted: Their number.
        n_pairs: The number of all distinct pairs that are held out.
        example: User and item of one of them; None if there are none.
    """

    n_fitted: int
    n_pairs: int
    example: tuple[Any, Any] | None


def shared_rows(new: Vocabulary, old: Vocabulary) -> SharedRows:
    """Match two vocabularies by their ids, which may be in any order and need not all be in both."""
    old_codes = old.codes(new.ids)
    new_codes = np.flatnonzero(old_codes >= 0).astype(np.int32)
    return SharedRows(new_codes, old_codes[new_codes])


def require_same_kind(model: Recommender, parent: Recommender) -> None:
    """Check that a model can begin from another one.

    Raises:
        ConfigError: The model is always fitted from scratch; the other one is not fitted, is another model, or differs
            in a hyperparameter that its weights depend on.
    """
    if model.warm_start_parameters is None:
        raise ConfigError(f"{model.name}: is always fitted from scratch; leave out warm_start")
    if type(parent) is not type(model):
        raise ConfigError(
            f"{model.name}: warm_start is a model of {getattr(parent, 'name', type(parent).__name__)}, whose weights "
            f"mean something else; begin from a model of {model.name}"
        )
    if not parent.is_fitted:
        raise ConfigError(f"{model.name}: warm_start is not fitted; fit or load it first")
    own = model.hyperparameters()
    fitted = parent.hyperparameters()
    problems = [
        f"{model.name}: {name}={own[name]!r}, but warm_start was fitted with {name}={fitted[name]!r}, on which its "
        f"weights depend; set {name} to {fitted[name]!r}, or fit from scratch"
        for name in model.warm_start_parameters
        if own[name] != fitted[name]
    ]
    problems += [f"{model.name}: {problem}" for problem in model._warm_start_problems()]
    if problems:
        raise ConfigError(*problems)


def require_shared_ids(parent: Recommender, users: Vocabulary, items: Vocabulary) -> None:
    """Check that a model knows at least one item of new data.

    Raises:
        DataError: It does not; or ids are integers on one side and text on the other, so that none can match.
    """
    for side, new, old in (("user", users, parent.user_vocabulary), ("item", items, parent.item_vocabulary)):
        if new.is_text != old.is_text:
            kinds = ["text" if vocabulary.is_text else "integers" for vocabulary in (new, old)]
            raise DataError(
                f"{parent.name}: the {side} ids are {kinds[0]}, those of warm_start are {kinds[1]}, so none would "
                "match; read both with the same data.id_type"
            )
    if not len(shared_rows(items, parent.item_vocabulary).new):
        raise DataError(
            f"{parent.name}: warm_start knows none of the {len(items):,} items, such as {_id(items, 0)!r}; its own are "
            f"such as {_id(parent.item_vocabulary, 0)!r}; fit from scratch, or begin from a model of the same items"
        )


def fitted_pairs(
    parent: Recommender, held_out: InteractionDataset, train: InteractionDataset | None = None
) -> FittedPairs:
    """Find the held-out pairs that a model was fitted on.

    Args:
        parent: The model.
        held_out: The pairs.
        train: Pairs that do not count: the new model is fitted on them itself, and evaluation leaves them out.
    """
    pairs = held_out.matrix_of(None)
    users = held_out.user_vocabulary
    items = held_out.item_vocabulary
    keys = pairs.rows.astype(np.int64) * pairs.n_columns + pairs.columns
    is_fitted = np.isin(keys, _keys_of(parent.seen, parent.user_vocabulary, parent.item_vocabulary, users, items))
    if train is not None:
        trained = train.matrix_of(None)
        is_fitted &= ~np.isin(keys, _keys_of(trained, train.user_vocabulary, train.item_vocabulary, users, items))
    found = np.flatnonzero(is_fitted)
    example = None
    if len(found):
        user, item = divmod(int(keys[found[0]]), pairs.n_columns)
        example = _id(users, user), _id(items, item)
    return FittedPairs(len(found), len(keys), example)


def _keys_of(matrix: Any, users: Vocabulary, items: Vocabulary, new_users: Vocabulary, new_items: Vocabulary) -> Any:
    """The pairs of a matrix as numbers `user * n_items + item` in other vocabularies; pairs that these lack are not in.

    Args:
        matrix: The pairs.
        users: Ids of its rows.
        items: Ids of its columns.
        new_users: The ids that give the codes of users.
        new_items: The ids that give the codes of items.
    """
    codes_of_users = new_users.codes(users.ids)[matrix.rows].astype(np.int64)
    codes_of_items = new_items.codes(items.ids)[matrix.columns]
    is_known = (codes_of_users >= 0) & (codes_of_items >= 0)
    return codes_of_users[is_known] * len(new_items) + codes_of_items[is_known]


def _id(vocabulary: Vocabulary, code: int) -> Any:
    """The id of a code as a plain int or str."""
    return vocabulary.ids[code : code + 1].tolist()[0]
