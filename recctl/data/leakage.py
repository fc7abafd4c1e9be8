"""What a split gives away: what train knows of the future, and what it does not know of the part that judges it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.data.columns import LATEST_TIMESTAMP
from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import HISTORY, PART_NAMES, TEST, TRAIN, VALIDATION, Split
from recctl.kernels import grouping

Mask = NDArray[np.bool_]


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
    held_out = [part for part in (VALIDATION, TEST) if (split.parts == part).any()]
    duplicates = _duplicates(split, dataset, held_out)
    return {
        "strategy": split.strategy,
        "parts": {PART_NAMES[part]: _sizes(split.parts == part, dataset) for part in np.unique(split.parts)},
        **{
            PART_NAMES[part]: {
                **_times(split.parts, part, dataset),
                "unseen_users": _unseen("users", dataset.users, dataset.n_users, split.parts, part),
                "unseen_items": _unseen("items", dataset.items, dataset.n_items, split.parts, part),
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


def _sizes(rows: Mask, dataset: InteractionDataset) -> dict[str, int]:
    return {
        "interactions": int(rows.sum()),
        "users": int(_present(dataset.users[rows], dataset.n_users).sum()),
        "items": int(_present(dataset.items[rows], dataset.n_items).sum()),
    }


def _times(parts: NDArray[np.uint8], part: int, dataset: InteractionDataset) -> dict[str, Any]:
    if dataset.timestamps is None:
        return dict.fromkeys(["first_moment", "train_later", "own_later", "border_ties", "own_ties"])
    times, users = dataset.timestamps, dataset.users
    judged, train = parts == part, times[parts == TRAIN]
    known = np.isin(parts, [TRAIN, HISTORY, *([VALIDATION] if part == TEST else [])])
    first = np.full(dataset.n_users, LATEST_TIMESTAMP + 1, times.dtype)
    np.minimum.at(first, users[judged], times[judged])
    last = np.full(dataset.n_users, -1, times.dtype)
    np.maximum.at(last, users[known], times[known])
    return {
        "first_moment": first.min().item(),
        "train_later": _part_of(train > first.min()),
        "own_later": _part_of(times[known] > first[users[known]]),
        "border_ties": int((train == first.min()).sum()),
        "own_ties": int((last == first).sum()),
    }


def _part_of(rows: Mask) -> dict[str, float]:
    return {"interactions": int(rows.sum()), "share": float(rows.mean()) if len(rows) else 0.0}


def _unseen(name: str, codes: NDArray[np.int32], n_codes: int, parts: NDArray[np.uint8], part: int) -> dict[str, float]:
    unseen = ~_present(codes[parts == TRAIN], n_codes)
    judged = codes[parts == part]
    return {name: int((unseen & _present(judged, n_codes)).sum()), **_part_of(unseen[judged])}


def _present(codes: NDArray[np.int32], n_codes: int) -> Mask:
    present = np.zeros(n_codes, bool)
    present[codes] = True
    return present


def _duplicates(split: Split, dataset: InteractionDataset, held_out: list[int]) -> dict[int, int]:
    rows, begins = grouping.pairs(
        dataset.users, dataset.items, dataset.n_users, dataset.n_items, np.arange(len(dataset))
    )
    # One bit per part that a pair is in.
    bits = np.bitwise_or.reduceat(np.left_shift(np.uint8(1), split.parts)[rows], begins)
    seen = (bits & (1 << TRAIN | 1 << HISTORY)) != 0
    return {part: int((seen & (bits & 1 << part != 0)).sum()) for part in held_out}
