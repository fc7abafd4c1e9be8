"""The decorator of kernels and the short names of their argument types."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
from numba import types

from recctl import progress


def _array(dtype: types.Type, ndim: int, *, readonly: bool) -> types.Array:
    return types.Array(dtype, ndim, "C", readonly=readonly)


# In: read-only, so that arrays of a loaded model are as welcome as fresh ones. Out: written by the kernel.
I32, I64, F32, F64, U8 = (
    _array(t, 1, readonly=True) for t in (types.int32, types.int64, types.float32, types.float64, types.uint8)
)
I32_2D, I64_2D, F32_2D, U8_2D = (
    _array(t, 2, readonly=True) for t in (types.int32, types.int64, types.float32, types.uint8)
)
OUT_I32, OUT_I64, OUT_F32, OUT_F64, OUT_U8 = (
    _array(t, 1, readonly=False) for t in (types.int32, types.int64, types.float32, types.float64, types.uint8)
)
OUT_I32_2D, OUT_I64_2D, OUT_F32_2D, OUT_F64_2D, OUT_U8_2D = (
    _array(t, 2, readonly=False) for t in (types.int32, types.int64, types.float32, types.float64, types.uint8)
)
OUT_F32_3D = _array(types.float32, 3, readonly=False)
INT, FLOAT, BOOL, VOID = types.int64, types.float64, types.boolean, types.void


Function = Callable[..., Any]


def kernel(
    returns: types.Type, *arguments: types.Type, fastmath: bool | set[str] = False
) -> Callable[[Function], Function]:
    """Compile a function for exactly these argument types, without the GIL, cached on disk.

    Args:
        returns: The result's numba type.
        arguments: The arguments' numba types.
        fastmath: Passed to numba; only where no infinity or NaN is compared.
    """
    compiled: Callable[[Function], Function] = numba.njit(
        returns(*arguments), nogil=True, cache=True, error_model="numpy", fastmath=fastmath
    )
    return compiled


def _announce_compilation() -> None:
    """Print a notice, once in a process, when a kernel is compiled and not read from the cache.

    Numba documents its events for developers only. If a version changes them, the notice is not printed.
    """
    try:
        from numba.core import event

        class Announcement(event.Listener):  # type: ignore[misc]
            """Prints the notice at the first event."""

            printed = False

            def on_start(self, _: Any) -> None:
                if not self.printed:
                    self.printed = True
                    progress.notice("compiling what this needs, once on this machine: a minute at most")

            def on_end(self, _: Any) -> None:
                pass

        event.register("numba:compile", Announcement())
    except Exception:
        return


_announce_compilation()

# Parts of kernels. Each is compiled for each type of integer it is given: `np.int64(...)` of a code, or of a
# constant that changes later, spares a second time.

# In the machine code of each kernel: a compiled function that a kernel calls is another one in the process that
# compiled both than in those that read them from the cache, and sums in another order.
inlined = partial(numba.njit, forceinline=True, error_model="numpy")

# In the kernel's source, and not compiled for itself, which takes half the time where it is called from one place; and
# the compiler sees which arrays do not overlap. The kernel's `fastmath` holds for it.
merged = numba.njit(inline="always")

# Compiled once for all places it is called from: what computes the same however it is compiled, since it only copies,
# or adds up in a given order.
apart = numba.njit(error_model="numpy")
