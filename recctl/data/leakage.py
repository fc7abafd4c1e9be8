"""Leakage of a split: what the training data reveals about the held-out parts, and what it lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.data.interactions import Interactions
from recctl.data.matrix import InteractionMatrix
from recctl.data.splitting import HISTORY, PART_NAMES, TEST, TRAIN, VALIDATION, Split
from recctl.kernels import group_by, time_overlap


def leakage_report(split: Split, dataset: Interactions) -> dict[str, Any]:
    """Figures about a split, ready for JSON.

    `parts` has the interactions, users and items of each part. `test`, and `validation` if there is one, have

    - `first_moment`: the part's oldest timestamp, in seconds.
    - `train_later`: training interactions that are newer than the part's oldest interaction, and their share of train.
      A temporal split has none. With any other split a model learns from the future of some held-out interactions.
    - `own_later`: the same within each user: known interactions (train, history and, for test, validation) that are
      newer than the same user's oldest one in the part. `leave_last` has none.
    - `border_ties`: training interactions with the part's oldest timestamp.
    - `own_ties`: users whose newest known timestamp equals their oldest one in the part, so that row order decided.
    - `unseen_users`, `unseen_items`: users and items of the part that are not in train, and their share of the part's
      interactions. With the `user` strategy, no user of the part is in train.
    - `duplicates`: pairs of user and item in the part that are also in train or history.

    Without timestamps the first five are None.

    Args:
        split: The split.
        dataset: The data set that was split.
    """
    user_counts = group_by.count_by_part(split.parts, len(PART_NAMES), dataset.users, dataset.n_users)
    item_counts = group_by.count_by_part(split.parts, len(PART_NAMES), dataset.items, dataset.n_items)
    sizes = user_counts.sum(axis=1)
    existing_parts = [part for part in range(len(PART_NAMES)) if sizes[part]]
    held_out_parts = [part for part in (VALIDATION, TEST) if sizes[part]]
    duplicates = _count_duplicates(split.parts, dataset, held_out_parts)
    report: dict[str, Any] = {"strategy": split.strategy, "parts": {}}
    for part in existing_parts:
        report["parts"][PART_NAMES[part]] = {
            "interactions": int(sizes[part]),
            "users": int((user_counts[part] > 0).sum()),
            "items": int((item_counts[part] > 0).sum()),
        }
    for part in held_out_parts:
        report[PART_NAMES[part]] = {
            **_time_overlap(split.parts, sizes, part, dataset),
            "unseen_users": _unseen("users", user_counts, part),
            "unseen_items": _unseen("items", item_counts, part),
            "duplicates": duplicates[part],
        }
    return report


def warnings(report: dict[str, Any]) -> list[str]:
    """The properties of a split that affect how far its metrics can be trusted, one sentence each.

    Args:
        report: From `leakage_report`.
    """
    holds_out_users = "history" in report["parts"]
    sentences = []
    for name in ("validation", "test"):
        if name in report:
            sentences += [f"{name}: {sentence}" for sentence in _warnings_of_part(report[name], name, holds_out_users)]
    return sentences


def _warnings_of_part(part: dict[str, Any], name: str, holds_out_users: bool) -> list[str]:
    sentences = []
    newer = part["train_later"]
    newer_of_user = part["own_later"]
    if newer is None:
        sentences.append(f"without timestamps it is unknown whether the training data is older than the {name} data")
    elif newer["interactions"]:
        sentence = f"{newer['share']:.1%} of the training interactions are newer than the oldest {name} interaction"
        if not newer_of_user["interactions"]:
            sentence += f", but no user has known interactions newer than their own {name} interactions"
        sentences.append(sentence)
    if part["own_ties"] and not newer_of_user["interactions"]:
        n_ties = part["own_ties"]
        verb = "user has" if n_ties == 1 else "users have"
        sentences.append(f"{n_ties:,} {verb} tied timestamps at the split point; row order breaks the ties")
    if not holds_out_users:  # all users of the part are unseen then
        sentences += _unseen_warning(part["unseen_users"], "users", name)
    sentences += _unseen_warning(part["unseen_items"], "items", name)
    if part["duplicates"]:
        n_pairs = part["duplicates"]
        text = f"1 {name} pair is" if n_pairs == 1 else f"{n_pairs:,} {name} pairs are"
        sentences.append(f"{text} also in the training data and left out of the evaluation")
    return sentences


def _unseen_warning(unseen: dict[str, Any], kind: str, name: str) -> list[str]:
    count = unseen[kind]
    if not count:
        return []
    subject = f"1 {kind.removesuffix('s')} is" if count == 1 else f"{count:,} {kind} are"
    return [f"{subject} not in the training data ({unseen['share']:.1%} of the {name} interactions)"]


def _unseen(kind: str, counts: NDArray[np.int64], part: int) -> dict[str, float]:
    """The users (or items) of a part that are not in train, and the part's interactions with them."""
    unseen_counts = counts[part, counts[TRAIN] == 0]
    return {kind: int((unseen_counts > 0).sum()), **_count_and_share(unseen_counts.sum(), counts[part].sum())}


def _count_and_share(count: int, total: int) -> dict[str, float]:
    return {"interactions": int(count), "share": float(count / total) if total else 0.0}


def _time_overlap(
    parts: NDArray[np.uint8], sizes: NDArray[np.int64], part: int, dataset: Interactions
) -> dict[str, Any]:
    if dataset.timestamps is None:
        return dict.fromkeys(["first_moment", "train_later", "own_later", "border_ties", "own_ties"])
    known_parts = [TRAIN, HISTORY]
    if part == TEST:
        known_parts.append(VALIDATION)
    # The kernel takes a set of parts as a bit mask.
    known_bits = sum(1 << known for known in known_parts)
    overlap = time_overlap.overlaps(
        parts, dataset.users, dataset.n_users, dataset.timestamps.astype(np.float64), part, known_bits
    )
    has_fractions = dataset.timestamps.dtype.kind == "f"
    return {
        "first_moment": overlap.first_time if has_fractions else int(overlap.first_time),
        "train_later": _count_and_share(overlap.n_train_later, sizes[TRAIN]),
        "own_later": _count_and_share(overlap.n_known_later, sizes[known_parts].sum()),
        "border_ties": overlap.n_train_tied,
        "own_ties": overlap.n_tied_users,
    }


def _count_duplicates(parts: NDArray[np.uint8], dataset: Interactions, held_out_parts: list[int]) -> dict[int, int]:
    """For each held-out part, its distinct pairs that are also in train or history."""

    def distinct_pairs(rows: NDArray[np.bool_]) -> InteractionMatrix:
        shape = (dataset.n_users, dataset.n_items)
        return InteractionMatrix.from_pairs(dataset.users[rows], dataset.items[rows], None, shape)

    seen = distinct_pairs((parts == TRAIN) | (parts == HISTORY))
    return {part: seen.n_shared(distinct_pairs(parts == part)) for part in held_out_parts}
