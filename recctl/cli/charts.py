"""Curves drawn with letters, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

# Dots of a braille letter by row and column: Unicode numbers them down the left column first, the fourth row last.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def curve(values: Sequence[float | None], title: str, x: str, width: int = 50, height: int = 6) -> list[str]:
    """A line through values at 1, 2, ..., as lines of text with their range at the left.

    Args:
        values: One for each step; gaps (None, or not finite) are passed over.
        title: Stands above.
        x: What is counted, e.g. "epoch".
        width: Letters across, without the labels.
        height: Lines of letters.

    Returns:
        Nothing where there are not two different values.
    """
    points = [(at, value) for at, value in enumerate(values) if value is not None and math.isfinite(value)]
    low, high = min((value for _, value in points), default=0.0), max((value for _, value in points), default=0.0)
    if low == high:
        return []
    cells = [[0] * width for _ in range(height)]
    for (x0, y0), (x1, y1) in pairwise(points):
        begin, end = (place * (2 * width - 1) / (len(values) - 1) for place in (x0, x1))
        steps = max(1, math.ceil(end - begin)) * 4 * height
        for step in range(steps + 1):
            share = step / steps
            value = y0 + share * (y1 - y0)
            column = round(begin + share * (end - begin))
            row = round((4 * height - 1) * (high - value) / (high - low))
            cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    labels = [f"{high:.4g}" if not line else f"{low:.4g}" if line == height - 1 else "" for line in range(height)]
    margin = max(map(len, labels))
    lines = ["".join(chr(0x2800 + cell) for cell in row) for row in cells]
    drawn = [f"{label:>{margin}} │{line}" for label, line in zip(labels, lines, strict=True)]
    below = f"{x} {len(values)}"
    return [title, *drawn, " " * (margin + 2) + "1" + below.rjust(max(width - 1, len(below) + 1))]
