"""How threads that are all in compiled code wait for each other: in a microsecond, where to wake one takes a hundred.

They share a `board`, an int64 array that is 0 to begin with. What one of them wrote before it arrived, or announced,
the others see after it.
"""

from __future__ import annotations

import os

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from recctl.kernels.compile import inlined

# Places of the board that are written while others look, each in a cache line of its own. From `FREE` it is the user's.
_ARRIVED, _ANNOUNCED, FREE = 0, 16, 32
# After so many looks a thread lets others have its processor, between one look and the next; after so many, it sleeps.
_LOOKS, _MANY_LOOKS = 1 << 12, 1 << 13

_POSIX = os.name == "posix"
_yield = types.ExternalFunction("sched_yield" if _POSIX else "SwitchToThread", types.int32())
_sleep = types.ExternalFunction("usleep" if _POSIX else "Sleep", types.int32(types.uint32))
_NAP = np.uint32(50 if _POSIX else 1)


def new_board(n_free: int) -> NDArray[np.int64]:
    """A board with room for so many numbers of the user's own."""
    return np.zeros(FREE + n_free, np.int64)


@intrinsic
def _load(typing_context, board, at):
    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load_atomic(builder.gep(array.data, [arguments[1]]), "acquire", 8)

    return types.int64(board, types.intp), generate


@intrinsic
def _add(typing_context, board, at):
    """Add 1; returns what was there."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        one = context.get_constant(types.int64, 1)
        return builder.atomic_rmw("add", builder.gep(array.data, [arguments[1]]), one, "seq_cst")

    return types.int64(board, types.intp), generate


@numba.njit
def _wait(board, at, least):
    looks = 0
    while _load(board, at) < least:
        looks += 1
        if looks > _MANY_LOOKS:
            _sleep(_NAP)
        elif looks > _LOOKS:
            _yield()


@inlined
def meet(board, size):
    """Wait until all `size` threads are here."""
    before = _add(board, _ARRIVED)
    _wait(board, _ARRIVED, (before // size + 1) * size)


@inlined
def announce(board):
    """Let those go on that wait to hear of it."""
    _add(board, _ANNOUNCED)


@inlined
def hear(board, number):
    """Wait for announcement `number`, the first being 1."""
    _wait(board, _ANNOUNCED, number)
