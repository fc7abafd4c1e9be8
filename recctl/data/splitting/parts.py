"""The parts of a split, and how large they are to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.errors import DataError

TRAIN, VALIDATION, TEST, HISTORY, UNUSED = range(5)
PART_NAMES = ("train", "validation", "test", "history", "unused")

PartCodes = NDArray[np.uint8]


@dataclass(frozen=True)
class Sizes:
    """How much goes to test and to validation, each a fraction (float) or a count (int).

    Attributes:
        test: The test part.
        validation: The validation part, 0 for none.
    """

    test: float
    validation: float

    def of(self, total: int, what: str) -> tuple[int, int]:
        """How many of `total` things go to test, and how many to validation.

        Raises:
            DataError: Nothing would be left for one of the parts.
        """
        n_test, n_validation = (
            int(size * total + 0.5) if is_fraction(size) else int(size) for size in (self.test, self.validation)
        )
        if not n_test or (self.validation and not n_validation) or n_test + n_validation >= total:
            raise DataError(
                f"test_size={self.test}, val_size={self.validation}: {n_test:,} and {n_validation:,} of {total:,} "
                f"{what} leave nothing for one of the parts; use other sizes or more data"
            )
        return n_test, n_validation


def is_fraction(value: Any) -> bool:
    """Whether a value is a float above 0 and below 1."""
    return isinstance(value, float) and 0 < value < 1


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is an int of at least `least`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)
