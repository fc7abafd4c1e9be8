"""Estimates of fits: seconds extrapolated from samples, file sizes, and dummy models of the size of fitted ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.models.base.hyperparameters import Fitted

if TYPE_CHECKING:
    from recctl.models.base.recommender import Recommender

Model = TypeVar("Model", bound="Recommender")

# Seconds after which a measurement is well above the noise, so that it can be extrapolated.
LONG_ENOUGH = 0.3
_SMALLEST_SHARE = 1 / 256
# Random values are drawn once for a tile and repeated: drawing all values of a large array would take too long.
_TILE = 1 << 16


def extrapolate_seconds(measure: Callable[[float], float], smallest: float = _SMALLEST_SHARE) -> float:
    """Estimate the seconds of a whole computation from growing parts of it.

    The part grows fourfold until it takes `LONG_ENOUGH`. The line through the last two measurements is extrapolated to
    the whole; a single measurement is extrapolated in proportion.

    Args:
        measure: Computes a share of the whole and returns its seconds.
        smallest: Fraction of the work of the first measurement, between 0 and 1.
    """
    share = smallest
    # Measured twice: the first call also loads kernels and libraries.
    first_call = measure(share)
    seconds = measure(share)
    loading = max(0.0, first_call - seconds)  # time to load kernels and libraries, spent once
    if share >= 1:
        return loading + seconds
    previous_share = 0.0
    previous_seconds = 0.0
    while seconds < LONG_ENOUGH and share < 1:
        previous_share = share
        previous_seconds = seconds
        share = min(1.0, 4 * share)
        seconds = measure(share)
    # A larger part that took less time is noise: a negative slope would predict less than was measured.
    slope = max(seconds - previous_seconds, 0.0) / (share - previous_share)
    return loading + max(seconds, seconds + slope * (1 - share))


def sample_users(interactions: InteractionDataset, share: float) -> InteractionDataset:
    """The interactions of a share of the users, at least one, evenly spaced in the order of ids."""
    n_sampled = max(1, round(share * interactions.n_users))
    if n_sampled == interactions.n_users:
        return interactions
    is_sampled = np.zeros(interactions.n_users, bool)
    # Evenly spaced and not the first ones: ids are often in the order of registration, and old users have more
    # interactions.
    is_sampled[np.linspace(0, interactions.n_users - 1, n_sampled).astype(int)] = True
    return interactions.take(is_sampled[interactions.users])


def seconds_from_samples(model: Recommender, interactions: InteractionDataset) -> float:
    """Estimate the seconds of a fit from fits on samples of the users."""

    def measure(share: float) -> float:
        sample = sample_users(interactions, share)
        sample.matrix  # noqa: B018 - computed on first access, which is not part of the fit
        begin = perf_counter()
        with progress.silence():
            model.clone().fit(sample)
        return perf_counter() - begin

    return extrapolate_seconds(measure)


def dummy_model(model: Model, interactions: InteractionDataset, sizes: Mapping[str, int]) -> Model:
    """A model whose fitted values have the sizes they would have after a fit, and random content.

    Args:
        model: Supplies class, hyperparameters and any values it already has; not changed.
        interactions: The interactions of the fit.
        sizes: The sizes that shapes name; and, by the name of a sparse matrix, the number of its entries.
    """
    dummy = model.clone()
    dummy.user_vocabulary = interactions.user_vocabulary
    dummy.item_vocabulary = interactions.item_vocabulary
    dummy.seen = interactions.matrix
    known_sizes = _integer_hyperparameters(model) | dict(sizes)
    for name, declared in dummy.fitted_values.items():
        if name not in vars(dummy):
            setattr(dummy, name, _random_value(declared, known_sizes, sizes.get(name, 0)))
    return dummy


def file_bytes(model: Recommender, sizes: Mapping[str, int], *, dense_only: bool = False) -> int:
    """Estimate the bytes of the fitted values in a file, from their declared shapes. Ids count 8 bytes each.

    Args:
        model: Fitted or not.
        sizes: As for `dummy_model`.
        dense_only: Count dense arrays only: the values that training in epochs changes.
    """
    known_sizes = _integer_hyperparameters(model) | dict(sizes)
    total = 0
    for name, declared in model.fitted_values.items():
        if dense_only and _dtype(declared) is None:
            continue
        shape = _shape(declared, known_sizes)
        if declared.annotation is InteractionMatrix:
            # int32 columns, and float32 values unless every value is 1.
            has_values = name != "seen" or model.needs_ratings
            bytes_per_entry = 8 if has_values else 4
            total += 8 * (shape[0] + 1) + bytes_per_entry * sizes.get(name, 0)
        else:
            total += _item_bytes(declared) * int(np.prod(shape, dtype=np.int64))
    return total


def _integer_hyperparameters(model: Recommender) -> dict[str, int]:
    return {name: value for name, value in model.hyperparameters().items() if type(value) is int}


def _shape(declared: Fitted, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The declared shape in numbers. A size that is not known before a fit counts as 1."""
    return tuple(sizes.get(name, 1) for name in declared.dimensions)


def _dtype(declared: Fitted) -> np.dtype[Any] | None:
    """The dtype of an array, float64 if any is allowed; None for a value that is not an array."""
    if not declared.is_array:
        return None
    return np.dtype(np.float64) if declared.dtype is None else declared.dtype


def _item_bytes(declared: Fitted) -> int:
    dtype = _dtype(declared)
    return 8 if dtype is None else dtype.itemsize


def _random_value(declared: Fitted, sizes: Mapping[str, int], n_entries: int) -> Any:
    shape = _shape(declared, sizes)
    random = np.random.default_rng(0)
    if declared.annotation is InteractionMatrix:
        n_rows, n_columns = shape
        starts = np.linspace(0, n_entries, n_rows + 1).astype(np.int64)
        columns = random.integers(0, n_columns, n_entries).astype(np.int32)
        return InteractionMatrix(starts, columns, random.random(n_entries, np.float32), n_columns)
    dtype = _dtype(declared)
    if dtype is None:
        return declared.annotation(1)
    array = np.empty(shape, dtype)
    flat = array.reshape(-1)
    tile = random.standard_normal(_TILE).astype(dtype)
    for begin in range(0, len(flat), _TILE):
        flat[begin : begin + _TILE] = tile[: len(flat) - begin]
    return array
