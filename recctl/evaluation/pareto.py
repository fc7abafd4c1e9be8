"""Pareto front of two quantities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def pareto_front(first: Mapping[str, float | None], second: Mapping[str, float | None]) -> list[str]:
    """Return the models that no other model dominates: none is at least as good in both values and better in one.

    Args:
        first: Values by model; higher is better. Models without a value are ignored.
        second: Values of another quantity, likewise.
    """
    points: dict[str, tuple[float, float]] = {}
    for label, value in first.items():
        other_value = second.get(label)
        if value is not None and other_value is not None:
            points[label] = (value, other_value)
    return [label for label, point in points.items() if not _is_dominated(point, points.values())]


# Equal points do not dominate each other, so that all of them are on the front. Quadratic, for a handful of models.
def _is_dominated(point: tuple[float, float], points: Iterable[tuple[float, float]]) -> bool:
    return any(
        other_point[0] >= point[0] and other_point[1] >= point[1] and other_point != point for other_point in points
    )
