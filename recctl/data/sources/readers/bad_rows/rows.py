"""Collecting rows that can't be read, and rejecting or skipping them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from recctl import progress
from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.interface import RowLabeler
from recctl.errors import DataError

# Rows that are described; all others are only counted.
_MAX_DESCRIBED = 10


class BadRows:
    """The bad rows of one source.

    Args:
        first_row_hint: What to do if the first row is bad, instead of skipping it.

    Attributes:
        count: Number of bad rows.
    """

    def __init__(self, first_row_hint: str | None = None) -> None:
        self.count = 0
        self._first_row_hint = first_row_hint
        self._first: list[tuple[int, str]] = []  # (row, reason), ascending

    def add(self, rows: NDArray[np.int64], describe: Callable[[int], str]) -> None:
        """Add bad rows.

        Args:
            rows: Row numbers counted from 0, ascending.
            describe: Returns what is wrong with `rows[i]`, given i; called for the first rows only.
        """
        self.count += len(rows)
        self._first += [(int(row), describe(i)) for i, row in enumerate(rows[:_MAX_DESCRIBED])]
        self._first = sorted(self._first)[:_MAX_DESCRIBED]

    def resolve(self, n_rows: int, options: ReadOptions, source: str, label_rows: RowLabeler) -> list[dict[str, str]]:
        """Raise if bad rows are errors, else send a notice that they are skipped.

        Args:
            n_rows: Rows of the source, bad ones included.
            options: `bad_rows` decides.
            source: Name of the file for messages.
            label_rows: Turns row numbers into locations.

        Returns:
            The first bad rows as `{"row": ..., "reason": ...}`.

        Raises:
            DataError: There is a bad row and bad rows are errors, or no row is good.
        """
        if not self.count:
            return []
        labels = label_rows([row for row, _ in self._first])
        reasons = [reason for _, reason in self._first]
        first = f"{labels[0]}: {reasons[0]}"
        if options.bad_rows == "error":
            hint = "set data.bad_rows: skip to leave out such rows"
            if self._first_row_hint and self._first[0][0] == 0:
                hint = self._first_row_hint
            raise DataError(f"{first}{self._more()} ({hint})")
        if self.count == n_rows:
            raise DataError(f"{source}: none of the {n_rows:,} rows can be read; the first: {first}")
        progress.notice(f"{source}: skipped {self.count:,} of {n_rows:,} rows that can't be read; the first: {first}")
        return [{"row": label, "reason": reason} for label, reason in zip(labels, reasons, strict=True)]

    def _more(self) -> str:
        if self.count == 1:
            return ""
        return f"; {self.count - 1:,} more bad row{'s' if self.count > 2 else ''}"
