"""The parts of a split and their sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl import arguments
from recctl.errors import DataError

# Codes of the parts; runs store them.
TRAIN = 0
VALIDATION = 1
TEST = 2
HISTORY = 3
UNUSED = 4
PART_NAMES = ("train", "validation", "test", "history", "unused")

# One code per interaction, shape `(n_interactions,)`.
PartCodes = NDArray[np.uint8]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the test and validation parts, each a fraction (float) or a count (int).

    Attributes:
        test: Size of the test part.
        validation: Size of the validation part; 0 for none.
    """

    test: float
    validation: float

    def counts(self, total: int, unit: str) -> tuple[int, int]:
        """The number of interactions (or users) in the test part and in the validation part.

        Args:
            total: Number of interactions (or users) to divide.
            unit: What is counted, for the error message.

        Raises:
            DataError: A part would be empty, train included.
        """
        n_test = _count(self.test, total)
        n_validation = _count(self.validation, total)
        lacks_validation = bool(self.validation) and not n_validation
        if not n_test or lacks_validation or n_test + n_validation >= total:
            raise DataError(
                f"test_size={self.test}, val_size={self.validation}: {n_test:,} and {n_validation:,} of {total:,} "
                f"{unit} leave nothing for one of the parts; use other sizes or more data"
            )
        return n_test, n_validation


def is_fraction(value: Any) -> bool:
    """Whether a value is a float above 0 and below 1."""
    return isinstance(value, float) and 0 < value < 1


def is_whole(value: Any, least: int) -> bool:
    """Whether a value is an int of at least `least`."""
    return arguments.is_whole(value) and bool(value >= least)


def _count(size: float, total: int) -> int:
    """A size as a count; fractions are rounded to the nearest one."""
    return int(size * total + 0.5) if is_fraction(size) else int(size)
