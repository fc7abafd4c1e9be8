"""What a fit will take, found by doing a part of it; and models that stand in for fitted ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from recctl import progress
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.models.base.hyperparameters import Fitted

if TYPE_CHECKING:
    from recctl.models.base import Recommender

Model = TypeVar("Model", bound="Recommender")

# What takes so long is told from noise, and is worth going on from.
LONG_ENOUGH = 0.3
_SMALLEST = 1 / 256
_TILE = 1 << 16


def extrapolate_seconds(measure: Callable[[float], float], smallest: float = _SMALLEST) -> float:
    """Seconds of a whole, from parts of it that grow until one takes long enough, along the line through the last two.

    Args:
        measure: Does a part, and gives its seconds.
        smallest: The first part, of 1.
    """
    first, share = measure(smallest), smallest
    before, seconds = 0.0, measure(smallest)
    loading = max(0.0, first - seconds)  # of kernels and libraries, once
    share_before = 0.0
    if share >= 1:
        return loading + seconds
    while seconds < LONG_ENOUGH and share < 1:
        share_before, before = share, seconds
        share = min(1.0, 4 * share)
        seconds = measure(share)
    slope = max(seconds - before, 0.0) / (share - share_before)  # of the first alone: through nothing
    return loading + max(seconds, seconds + slope * (1 - share))


def sample_users(interactions: InteractionDataset, share: float) -> InteractionDataset:
    """The interactions of a share of the users, spread over all."""
    count = max(1, round(share * interactions.n_users))
    if count == interactions.n_users:
        return interactions
    chosen = np.zeros(interactions.n_users, bool)
    chosen[np.linspace(0, interactions.n_users - 1, count).astype(int)] = True
    return interactions.take(chosen[interactions.users])


def seconds_from_samples(model: Recommender, interactions: InteractionDataset) -> float:
    """Seconds of a fit, from fits of some users."""

    def measure(share: float) -> float:
        sample = sample_users(interactions, share)
        sample.matrix  # noqa: B018 - made when it is first asked for, by whoever asks
        begin = perf_counter()
        with progress.silence():
            model.clone().fit(sample)
        return perf_counter() - begin

    return extrapolate_seconds(measure)


def dummy_model(model: Model, interactions: InteractionDataset, sizes: Mapping[str, int]) -> Model:
    """A model whose values have the sizes of those fitted on interactions, and mean nothing.

    Args:
        model: Not changed.
        interactions: What it is as if fitted on.
        sizes: What shapes name, and entries of sparse values by their names.
    """
    made = model.clone()
    made.user_vocabulary, made.item_vocabulary = interactions.user_vocabulary, interactions.item_vocabulary
    made.seen = interactions.matrix
    for name, declared in made.fitted_values.items():
        if name not in vars(made):
            setattr(made, name, _filled(declared, {**_whole_numbers(model), **sizes}, sizes.get(name, 0)))
    return made


def file_bytes(model: Recommender, sizes: Mapping[str, int], *, dense_only: bool = False) -> int:
    """Bytes of the fitted values, by their declared shapes; of ids as if they were numbers.

    Args:
        model: Fitted or not.
        sizes: What shapes name, and entries of sparse values by their names.
        dense_only: Only of dense arrays, which is what training in epochs changes.
    """
    known = {**_whole_numbers(model), **sizes}
    total = 0
    for name, declared in model.fitted_values.items():
        if dense_only and _dtype(declared) is None:
            continue
        shape = _shape(declared, known)
        if declared.annotation is InteractionMatrix:
            weighed = name != "seen" or model.needs_ratings
            total += 8 * (shape[0] + 1) + (8 if weighed else 4) * sizes.get(name, 0)
        else:
            total += _width(declared) * int(np.prod(shape, dtype=np.int64))
    return total


def _whole_numbers(model: Recommender) -> dict[str, int]:
    return {name: value for name, value in model.hyperparameters().items() if type(value) is int}


def _shape(declared: Fitted, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """A declared shape in numbers; what is not known before a fit is 1."""
    names = [part.strip() for part in declared.shape.strip("()").split(",") if part.strip()]
    return tuple(sizes.get(name, 1) for name in names)


def _dtype(declared: Fitted) -> Any:
    """The dtype of an array, float64 where any is allowed; None for a value that is not an array."""
    if not declared.is_array:
        return None
    return np.dtype(np.float64) if declared.dtype is None else declared.dtype


def _width(declared: Fitted) -> int:
    return 8 if declared.annotation is Vocabulary or _dtype(declared) is None else _dtype(declared).itemsize


def _filled(declared: Fitted, sizes: Mapping[str, int], n_entries: int) -> Any:
    shape, random = _shape(declared, sizes), np.random.default_rng(0)
    if declared.annotation is InteractionMatrix:
        n_rows, n_columns = shape
        starts = np.linspace(0, n_entries, n_rows + 1).astype(np.int64)
        columns = random.integers(0, n_columns, n_entries).astype(np.int32)
        return InteractionMatrix(starts, columns, random.random(n_entries, np.float32), n_columns)
    dtype = _dtype(declared)
    if dtype is None:
        return declared.annotation(1)
    array = np.empty(shape, dtype)
    flat, tile = array.reshape(-1), random.standard_normal(_TILE).astype(dtype)
    for begin in range(0, len(flat), _TILE):
        flat[begin : begin + _TILE] = tile[: len(flat) - begin]
    return array
