"""The inverse of a regularized Gram matrix, with an estimate of its error."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl import progress
from recctl.data.matrix import Float32Array, InteractionMatrix
from recctl.engines import available_memory, blas_threads, format_bytes
from recctl.errors import TrainingError
from recctl.kernels import gram as kernels
from recctl.models.linear.gram import upper_gram, upper_gram_in_double

Float64Array = NDArray[np.float64]
AnyFloatArray = NDArray[np.float32] | NDArray[np.float64]

# An inverse whose weights have a larger relative error is not used.
_MAX_ERROR = 0.01
# The error is estimated from this many columns.
_SAMPLED_COLUMNS = 8
# The inverse in float64, and its copy in float32.
_BYTES_IN_DOUBLE = 12
# The regularization that is suggested, in units of rounding relative to the Gram matrix.
_SAFE_MULTIPLE = 1e4


class RegularizedInverse(NamedTuple):
    """The inverse of `X.T X + l2_reg I`, up to a positive factor.

    Attributes:
        upper: Its upper triangle with the diagonal, `(n_items, n_items)`; undefined below the diagonal.
        relative_error: The estimated relative error of `-P[i, j] / P[j, j]`, the weights made from it.
    """

    upper: Float32Array
    relative_error: float


def regularized_inverse(name: str, interactions: InteractionMatrix, l2_reg: float) -> RegularizedInverse:
    """Invert `X.T X + l2_reg I` in float32; in float64 if float32 is too imprecise.

    Args:
        name: The name of the model, for messages.
        interactions: X, `(n_users, n_items)`.
        l2_reg: The regularization, above 0.

    Raises:
        TrainingError: Float64 would be needed and exceeds the available memory, or is too imprecise as well. The
            message has the `l2_reg` to try.
    """
    n_items = interactions.n_columns
    size = f"{n_items:,} x {n_items:,}"
    with progress.task(f"{name.upper()}: Gram matrix"):
        upper = upper_gram(interactions)
    trace = float(np.trace(upper, dtype=np.float64))
    # In place, as everything below: at 40,000 items a copy would be 6.4 GB.
    upper[np.diag_indices_from(upper)] += np.float32(l2_reg)
    with progress.task(f"{name.upper()}: inverse of {size}"):
        error = _invert(upper, interactions, l2_reg)
    if error <= _MAX_ERROR:
        return RegularizedInverse(upper, error)
    del upper
    reason = f"{name}: float32 is too imprecise for l2_reg={l2_reg:g} ({_error_text(error)})"
    needed = _BYTES_IN_DOUBLE * n_items**2
    available = available_memory()
    if needed > available:
        raise TrainingError(
            f"{reason}, and float64 needs {format_bytes(needed)} of memory, {format_bytes(available)} are available; "
            f"{_advice(l2_reg, trace, np.float32)}"
        )
    progress.notice(f"{reason}; computing in float64, which takes longer and three times the memory")
    with progress.task(f"{name.upper()}: inverse of {size} in float64"):
        upper_in_double = upper_gram_in_double(interactions)
        upper_in_double[np.diag_indices_from(upper_in_double)] += l2_reg
        error = _invert(upper_in_double, interactions, l2_reg)
        if error > _MAX_ERROR:
            raise TrainingError(
                f"{name}: float64 is too imprecise for l2_reg={l2_reg:g} ({_error_text(error)}); "
                f"{_advice(l2_reg, trace, np.float64)}"
            )
        # Divided by its largest element, so that it is in the range of float32.
        upper_in_double /= upper_in_double.diagonal().max()
        return RegularizedInverse(upper_in_double.astype(np.float32), error)


def invert_upper(matrix: AnyFloatArray) -> bool:
    """Replace the upper triangle of a positive definite matrix by that of its inverse, in place.

    Returns:
        Whether the matrix is positive definite; if not, it is undefined.
    """
    import scipy.linalg.lapack as lapack  # as slow to import as a small fit, and not needed to recommend

    factorize = lapack.spotrf if matrix.dtype == np.float32 else lapack.dpotrf
    invert = lapack.spotri if matrix.dtype == np.float32 else lapack.dpotri
    # LAPACK uses column-major order: its lower triangle is the upper triangle here, so that nothing is copied.
    factor, failed = factorize(matrix.T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        factor, failed = invert(factor, lower=1, overwrite_c=1)
    if failed:
        return False
    if not np.shares_memory(factor, matrix):  # pragma: no cover - SciPy does not copy a Fortran-ordered array
        matrix[:] = factor.T
    return True


def _invert(matrix: AnyFloatArray, interactions: InteractionMatrix, l2_reg: float) -> float:
    """Invert in place; returns the estimated error of the weights, infinity without an inverse."""
    # Overflow shows in the error.
    with blas_threads(), np.errstate(all="ignore"):
        if not invert_upper(matrix):
            return math.inf
        return _relative_error(matrix, interactions, l2_reg)


def _relative_error(inverse: AnyFloatArray, interactions: InteractionMatrix, l2_reg: float) -> float:
    """Estimate the relative error of the weights from a few columns, by one step of iterative refinement.

    The residual `e - (X.T X + l2_reg I) p` of a column p is computed in float64 from the interactions, so that rounding
    in the Gram matrix shows as well; the inverse times the residual is the error of the column.

    Returns:
        The error over all of these columns, or that of the median column if it is larger; infinity if not finite.
    """
    columns = _sample_columns(interactions)
    places = np.arange(len(columns))
    p = np.empty((len(inverse), len(columns)))
    for place, column in enumerate(columns.tolist()):
        p[:column, place] = inverse[:column, column]
        p[column:, place] = inverse[column, column:]
    residual = np.empty_like(p)
    kernels.multiply(interactions.starts, interactions.columns, interactions.values, p, residual)
    residual += l2_reg * p
    residual *= -1
    residual[columns, places] += 1
    import scipy.linalg.blas as blas

    multiply = blas.ssymm if inverse.dtype == np.float32 else blas.dsymm
    corrected = p + multiply(1.0, inverse.T, residual.astype(inverse.dtype), lower=1)
    weights = p / p[columns, places]
    better_weights = corrected / corrected[columns, places]
    better_weights[columns, places] = 1
    difference = weights - better_weights
    better_weights[columns, places] = 0
    errors = np.linalg.norm(difference, axis=0)
    sizes = np.linalg.norm(better_weights, axis=0)
    if not (np.isfinite(errors).all() and np.isfinite(sizes).all() and (p[columns, places] > 0).all()):
        return math.inf
    used = sizes > 0  # an item that shares no user with another has no weights
    if not used.any():
        return 0.0
    of_all = np.linalg.norm(errors[used]) / np.linalg.norm(sizes[used])
    return float(max(of_all, np.median(errors[used] / sizes[used])))


def _sample_columns(interactions: InteractionMatrix) -> NDArray[np.int64]:
    """Half of the columns are those with the largest norms, half are evenly spaced among the others by norm."""
    if interactions.is_binary:
        norms = interactions.column_counts().astype(np.float64)
    else:
        squares = np.square(interactions.values, dtype=np.float64)
        norms = np.bincount(interactions.columns, squares, interactions.n_columns).astype(np.float64)
    order = np.argsort(-norms, kind="stable")
    n_largest = min(_SAMPLED_COLUMNS // 2, len(order))
    others = order[n_largest:]
    n_others = min(_SAMPLED_COLUMNS - n_largest, len(others))
    spaced = others[np.linspace(0, len(others) - 1, n_others).astype(int)] if n_others else others
    return np.concatenate([order[:n_largest], spaced])


def _error_text(error: float) -> str:
    if math.isfinite(error):
        return f"the weights would be off by about {error:.0%}"
    return "the regularized Gram matrix is not positive definite after rounding"


def _advice(l2_reg: float, trace: float, dtype: type[np.floating]) -> str:
    least = max(10 * l2_reg, _SAFE_MULTIPLE * float(np.finfo(dtype).eps) * trace)
    if not math.isfinite(least):
        return "scale ratings down (normalize_ratings)"
    return f"raise l2_reg, try l2_reg={_rounded_up(least):g}, or scale ratings down (normalize_ratings)"


def _rounded_up(value: float) -> float:
    """The next power of ten."""
    return float(10.0 ** math.ceil(math.log10(value)))
