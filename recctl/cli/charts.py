"""Line charts of text, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

# Bits of the dots of a braille character by row and column: Unicode numbers them down the left column first, the fourth
# row last.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BRAILLE = 0x2800


def curve(values: Sequence[float | None], title: str, x: str, width: int = 50, height: int = 6) -> list[str]:
    """Draw a line through values at 1, 2, ..., with their range at the left.

    Args:
        values: One value per step; gaps (None, or not finite) are skipped.
        title: Title of the chart.
        x: Name of the horizontal axis, e.g. "epoch".
        width: Width in characters, without the labels.
        height: Height in lines, without title and axis.

    Returns:
        Lines of text; none if there are not two different values.
    """
    points = [(step, value) for step, value in enumerate(values) if value is not None and math.isfinite(value)]
    lowest = min((value for _, value in points), default=0.0)
    highest = max((value for _, value in points), default=0.0)
    if lowest == highest:
        return []
    braille_cells = [[0] * width for _ in range(height)]
    columns_per_step = (2 * width - 1) / (len(values) - 1)
    for (first_step, first_value), (last_step, last_value) in pairwise(points):
        first_column = first_step * columns_per_step
        last_column = last_step * columns_per_step
        n_dots = max(1, math.ceil(last_column - first_column)) * 4 * height
        for dot_number in range(n_dots + 1):
            fraction = dot_number / n_dots
            value = first_value + fraction * (last_value - first_value)
            column = round(first_column + fraction * (last_column - first_column))
            dot_row = round((4 * height - 1) * (highest - value) / (highest - lowest))
            braille_cells[dot_row // 4][column // 2] |= _DOTS[dot_row % 4][column % 2]
    labels = [""] * height
    labels[-1] = f"{lowest:.4g}"
    labels[0] = f"{highest:.4g}"
    margin = max(map(len, labels))
    chart_lines = [title]
    for axis_label, row_cells in zip(labels, braille_cells, strict=True):
        braille_text = "".join(chr(_BRAILLE + cell_bits) for cell_bits in row_cells)
        chart_lines.append(f"{axis_label:>{margin}} │{braille_text}")
    end_label = f"{x} {len(values)}"
    chart_lines.append(" " * (margin + 2) + "1" + end_label.rjust(max(width - 1, len(end_label) + 1)))
    return chart_lines
