"""What a split gives away: what train knows of the future, and what it does not know of the part that judges it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.data.splitting import HISTORY, PART_NAMES, TEST, TRAIN, VALIDATION, Split
from recctl.kernels import group_by, time_overlap


def leakage_report(split: Split, dataset: InteractionDataset) -> dict[str, Any]:
    """Figures about a split, ready for JSON.

    `parts` has the interactions, users and items of each part. `test`, and `validation` if there is one, have

    - `train_later`: interactions of train later than the part's first moment, and their share of train. A temporal
      split has none; with any other a model learns from what is, for some of the part, the future.
    - `own_later`: the same within each user: interactions known before (train, history and, for test, validation)
      that are later than the user's first one in the part. `leave_last` has none.
    - `border_ties`: interactions of train at the part's very first moment; and `own_ties`: users whose last known
      moment is the first in their part, so that the order of the rows decided.
    - `unseen_users`, `unseen_items`: those of the part that train never saw, and their share of the part. The `user`
      strategy holds out people: train saw none of them.
    - `duplicates`: pairs of user and item that are in the part, and in train or history as well.

    Without timestamps the first four, and `first_moment`, are None.
    """
    parts = split.parts
    users = group_by.count(parts, len(PART_NAMES), dataset.users, dataset.n_users)
    items = group_by.count(parts, len(PART_NAMES), dataset.items, dataset.n_items)
    sizes = users.sum(axis=1)
    there = np.flatnonzero(users.any(axis=1))
    held_out = [part for part in (VALIDATION, TEST) if part in there]
    duplicates = _duplicates(parts, dataset, held_out)
    return {
        "strategy": split.strategy,
        "parts": {
            PART_NAMES[part]: {
                "interactions": int(sizes[part]),
                "users": int((users[part] > 0).sum()),
                "items": int((items[part] > 0).sum()),
            }
            for part in there
        },
        **{
            PART_NAMES[part]: {
                **_times(parts, sizes, part, dataset),
                "unseen_users": _unseen("users", users, part),
                "unseen_items": _unseen("items", items, part),
                "duplicates": duplicates[part],
            }
            for part in held_out
        },
    }


def warnings(report: dict[str, Any]) -> list[str]:
    """What a person must know before believing a metric of the split, a sentence each."""
    told = []
    for name in ("validation", "test"):
        if name in report:
            told += [f"{name}: {fact}" for fact in _facts(report[name], people_held_out="history" in report["parts"])]
    return told


def _facts(part: dict[str, Any], people_held_out: bool) -> list[str]:
    facts = []
    later, own = part["train_later"], part["own_later"]
    if later is None:
        facts.append("without timestamps, nobody can tell whether train holds the future")
    elif later["interactions"]:
        but = "" if own["interactions"] else ", but nothing that is known of a user is later than what is to be found"
        facts.append(f"{later['share']:.1%} of train is later than its first interaction{but}")
    if part["own_ties"] and not own["interactions"]:
        facts.append(
            f"users whose border falls within one moment, so that the order of the rows decides: {part['own_ties']:,}"
        )
    for what in ("users", "items"):
        unseen = part[f"unseen_{what}"]
        if unseen[what] and not (what == "users" and people_held_out):
            facts.append(
                f"{what} that train never saw: {unseen[what]:,}, with {unseen['share']:.1%} of the interactions"
            )
    if part["duplicates"]:
        facts.append(f"pairs that train has too, so that they count as seen and can't be found: {part['duplicates']:,}")
    return facts


def _unseen(name: str, counts: NDArray[np.int64], part: int) -> dict[str, float]:
    unseen = counts[part, counts[TRAIN] == 0]
    return {name: int((unseen > 0).sum()), **_part_of(unseen.sum(), counts[part].sum())}


def _part_of(count: int, total: int) -> dict[str, float]:
    return {"interactions": int(count), "share": float(count / total) if total else 0.0}


def _times(
    parts: NDArray[np.uint8], sizes: NDArray[np.int64], part: int, dataset: InteractionDataset
) -> dict[str, Any]:
    if dataset.timestamps is None:
        return dict.fromkeys(["first_moment", "train_later", "own_later", "border_ties", "own_ties"])
    known = [TRAIN, HISTORY, *([VALIDATION] if part == TEST else [])]
    times = dataset.timestamps.astype(np.float64)
    first, (later, ties, own_later, own_ties) = time_overlap.overlaps(
        parts, dataset.users, dataset.n_users, times, part, sum(1 << p for p in known)
    )
    return {
        "first_moment": first if dataset.timestamps.dtype.kind == "f" else int(first),
        "train_later": _part_of(later, sizes[TRAIN]),
        "own_later": _part_of(own_later, sizes[known].sum()),
        "border_ties": ties,
        "own_ties": own_ties,
    }


def _duplicates(parts: NDArray[np.uint8], dataset: InteractionDataset, held_out: list[int]) -> dict[int, int]:
    def distinct(rows: NDArray[np.bool_]) -> InteractionMatrix:
        shape = dataset.n_users, dataset.n_items
        return InteractionMatrix.from_pairs(dataset.users[rows], dataset.items[rows], None, shape)

    seen = distinct((parts == TRAIN) | (parts == HISTORY))
    return {part: seen.n_shared(distinct(parts == part)) for part in held_out}
