"""Rows that can't be read: collected, then refused or left out, and told of either way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl import progress
from recctl.data.sources.options import ReadOptions
from recctl.errors import DataError

_SHOWN = 10


class BadRows:
    """The bad rows of one source.

    Attributes:
        count: How many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: list[tuple[int, str]] = []

    def add(self, rows: NDArray[np.int64], describe: Callable[[int], str]) -> None:
        """Add rows by ascending number; `describe(i)` says what is wrong with the i-th of them."""
        self.count += len(rows)
        self._first += [(int(row), describe(i)) for i, row in enumerate(rows[:_SHOWN])]
        self._first = sorted(self._first)[:_SHOWN]

    def settle(
        self, total: int, options: ReadOptions, place: str, label: Callable[[Sequence[int]], list[str]]
    ) -> list[dict[str, str]]:
        """Refuse the rows, or tell that they are left out.

        Args:
            total: Rows of the source, bad ones included.
            options: `bad_rows` decides.
            place: The source's name.
            label: Where rows of these numbers are, for a person: `ratings.csv: row 17`.

        Returns:
            The first bad rows as `{"row": ..., "reason": ...}`.

        Raises:
            DataError: There is a bad row and bad rows are errors, or no row is good.
        """
        if not self.count:
            return []
        labels = label([row for row, _ in self._first])
        first = f"{labels[0]}: {self._first[0][1]}"
        if options.bad_rows == "error":
            more = f"; {self.count - 1:,} more bad row{'s' if self.count > 2 else ''}" if self.count > 1 else ""
            raise DataError(f"{first}{more} (data.bad_rows: skip leaves such rows out)")
        if self.count == total:
            raise DataError(f"{place}: none of its {total:,} rows can be read; {first}")
        progress.notice(f"{place}: left out {self.count:,} of {total:,} rows that can't be read; {first}")
        return [{"row": where, "reason": why} for where, (_, why) in zip(labels, self._first, strict=True)]


def shown(value: Any) -> str:
    """A value as an error shows it, not longer than a line."""
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
