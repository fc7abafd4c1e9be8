"""Which models give something up for nothing."""

from __future__ import annotations

from collections.abc import Mapping


def pareto_front(gains: Mapping[str, float | None], others: Mapping[str, float | None]) -> list[str]:
    """The Pareto front of two figures of which more is better: whom no other beats in one without losing in the other.

    Args:
        gains: By model; those without a figure are on no front.
        others: Likewise.
    """
    points = {
        label: (gain, other)
        for label, gain in gains.items()
        if gain is not None and (other := others.get(label)) is not None
    }
    return [
        label
        for label, (gain, other) in points.items()
        if not any(a >= gain and b >= other and (a, b) != (gain, other) for a, b in points.values())
    ]
