"""Import numba without the linear algebra of SciPy, which takes as long as the rest of numba."""

from __future__ import annotations

from contextlib import suppress


def import_without_scipy_linalg() -> None:
    """Import numba's array functions, without `scipy.linalg` if this version of numba allows it.

    At its import, `numba.np.arraymath` imports SciPy's BLAS only to note that there is one. Kernels that call BLAS
    import it themselves: `np.dot` when it is compiled, and when it is first called. Few kernels do.
    """
    # The names are internal to numba; in a version without them, SciPy is imported as numba does.
    with suppress(ImportError, AttributeError):
        from numba.np import linalg

        ensure_blas = linalg.ensure_blas
        # The rest of what `ensure_blas` does: a numba that was built for another BLAS must still be refused.
        linalg.ensure_blas = linalg._check_lapack_int_width
        try:
            import numba.np.arraymath  # noqa: F401
        finally:
            linalg.ensure_blas = ensure_blas
