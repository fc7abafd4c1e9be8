"""Pareto fronts: what no alternative beats in every respect."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

Label = TypeVar("Label", bound=Hashable)


def dominates(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the first point is at least as good as the second in all values, and better in one.

    Args:
        first: Values, of which higher ones are better.
        second: The same quantities of another point.
    """
    pairs = list(zip(first, second, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def pareto_front(points: Mapping[Label, Sequence[float]]) -> list[Label]:
    """Return the labels of the points that no other point dominates, in the order of `points`.

    Equal points do not dominate each other, so that all of them are on the front.

    Args:
        points: For each label its values, of which higher ones are better.
    """
    front: dict[Label, Sequence[float]] = {}
    for label, point in points.items():
        if any(dominates(member, point) for member in front.values()):
            continue
        front = {other: member for other, member in front.items() if not dominates(point, member)}
        front[label] = point
    return list(front)
