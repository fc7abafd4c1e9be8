"""Decorators that compile kernels, and short names for the numba types of their arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
from numba import types

from recctl import progress

Function = Callable[..., Any]


def _array(dtype: types.Type, ndim: int, *, readonly: bool) -> types.Array:
    return types.Array(dtype, ndim, "C", readonly=readonly)


_NUMBERS = (types.int32, types.int64, types.float32, types.float64, types.uint8)

# Inputs are declared read-only: numba then accepts both writeable arrays and the read-only arrays of a loaded model.
I32, I64, F32, F64, U8 = (_array(dtype, 1, readonly=True) for dtype in _NUMBERS)
I32_2D = _array(types.int32, 2, readonly=True)
I64_2D = _array(types.int64, 2, readonly=True)
F32_2D = _array(types.float32, 2, readonly=True)
U8_2D = _array(types.uint8, 2, readonly=True)

# Outputs: arrays that the kernel writes.
OUT_I32, OUT_I64, OUT_F32, OUT_F64, OUT_U8 = (_array(dtype, 1, readonly=False) for dtype in _NUMBERS)
OUT_I32_2D, OUT_I64_2D, OUT_F32_2D, OUT_F64_2D, OUT_U8_2D = (_array(dtype, 2, readonly=False) for dtype in _NUMBERS)
OUT_F32_3D = _array(types.float32, 3, readonly=False)

INT = types.int64
FLOAT = types.float64
BOOL = types.boolean
VOID = types.void


def kernel(
    returns: types.Type, *arguments: types.Type, fastmath: bool | set[str] = False
) -> Callable[[Function], Function]:
    """Compile a function eagerly for one signature; it releases the GIL and is cached on disk.

    Args:
        returns: Numba type of the result.
        arguments: Numba types of the arguments.
        fastmath: Floating-point optimizations, as numba takes them. Allow "nnan" and "ninf" only where the kernel
            never compares a NaN or an infinity.

    Returns:
        A decorator.
    """
    decorator: Callable[[Function], Function] = numba.njit(
        returns(*arguments), nogil=True, cache=True, error_model="numpy", fastmath=fastmath
    )
    return decorator


def _announce_compilation() -> None:
    """Print a notice, once per process, when numba compiles a kernel instead of reading it from the cache.

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
                    progress.notice("compiling numerical kernels (only once on this machine; up to a minute)")

            def on_end(self, _: Any) -> None:
                pass

        event.register("numba:compile", Announcement())
    except Exception:
        return


_announce_compilation()

# Decorators for helper functions that kernels call. Numba compiles a helper once for each combination of argument
# types: pass `np.int64(...)` for an element of an int32 array, or for a constant that is later reassigned, to avoid
# compiling the helper twice.

# Inline in LLVM, into the machine code of each kernel. A helper that is called as a compiled function may be a
# different one in the process that compiled it and in processes that read it from the cache; they can add numbers in
# a different order, and results would differ in the last bits.
inline_llvm = partial(numba.njit, forceinline=True, error_model="numpy")

# Inline in numba's intermediate representation: the helper is not compiled on its own, which halves the compile time if
# it has a single caller, and LLVM sees which arrays do not overlap. The kernel's `fastmath` applies to it.
inline_ir = numba.njit(inline="always")

# Do not inline: one compiled copy for all callers. Only for helpers whose result does not depend on how they are
# compiled, because they only copy, or add in a fixed order.
outlined = numba.njit(error_model="numpy")

# Previous names, still used by the NCF kernels.
inlined = inline_llvm
merged = inline_ir
apart = outlined
