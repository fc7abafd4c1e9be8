"""Similarities and neighbors by dense matrices, from the formulas of the models' docstrings: oracles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.ranking.ties import ranking


def weighted(rows: np.ndarray, weighting: str, k1: float = 1.2, b: float = 0.75) -> np.ndarray:
    """The rows `(n_rows, n_features)` with weighted features; an interaction is a value other than 0."""
    if weighting == "none":
        return rows
    n_rows = len(rows)
    n_with = (rows != 0).sum(axis=0)
    idf = np.log(1 + (n_rows - n_with + 0.5) / (n_with + 0.5))
    if weighting == "tf_idf":
        return rows * idf
    out = np.zeros(rows.shape)
    lengths = [sum(abs(x) for x in row) for row in rows]
    for i, f in zip(*np.nonzero(rows), strict=True):
        x = rows[i, f]
        relative_length = lengths[i] / (sum(lengths) / n_rows)
        out[i, f] = x * (k1 + 1) / (abs(x) + k1 * (1 - b + b * relative_length)) * idf[f]
    return out


def similarities(left: np.ndarray, right: np.ndarray, similarity: str, shrinkage: float) -> np.ndarray:
    """The similarity of each row of `left` with each row of `right`; 0 where it is not positive."""
    S = np.zeros((len(left), len(right)))
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            dot = x @ y
            size = np.linalg.norm(x) * np.linalg.norm(y)
            if similarity == "jaccard":
                dot = ((x != 0) & (y != 0)).sum()
                size = ((x != 0) | (y != 0)).sum()
            if dot > 0:
                S[i, j] = dot if similarity == "dot" else dot / (size + shrinkage)
    return S


def keep_best(S: np.ndarray, row_keys: Sequence[int], ids: Sequence[Any], n_neighbors: int) -> np.ndarray:
    """The largest similarities of each row; the others are 0. Equal ones have the order of tie keys."""
    kept = np.zeros(S.shape)
    for i, (key, row) in enumerate(zip(row_keys, S, strict=True)):
        # Rounded, so that values equal but for the last bits are ties.
        of_ids = {name: float(np.float32(value)) for name, value in zip(ids, row, strict=True)}
        best = set(ranking(of_ids, key)[:n_neighbors])
        for j, name in enumerate(ids):
            if name in best:
                kept[i, j] = row[j]
    return kept
