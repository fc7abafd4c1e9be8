"""A column of text as codes: a value for each row, each distinct value stored once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recctl.data.matrix import Int32Array


@dataclass(frozen=True, eq=False)
class Labels:
    """A label for each user, item or interaction.

    Attributes:
        codes: The position of each label in `values`, shape `(n,)`; -1 where there is none.
        values: The distinct labels, without surrounding whitespace; "" is an empty field.
    """

    codes: Int32Array
    values: list[str]

    @classmethod
    def encode(cls, column: Iterable[Any]) -> Labels:
        """Encode a column; values that are no text are converted, and missing ones are empty."""
        import pandas as pd  # slow to import, and not needed to recommend

        codes, distinct = pd.factorize(pd.Series(column))
        # Missing values have the code -1: they become the last value.
        texts = [_to_text(value) for value in distinct]
        texts.append("")
        values, positions = np.unique(np.array(texts, object), return_inverse=True)
        return cls(positions[codes].astype(np.int32), values.tolist())

    def take(self, rows: NDArray[Any]) -> Labels:
        """Select rows by index or mask."""
        return Labels(self.codes[rows], self.values)


def _to_text(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()
