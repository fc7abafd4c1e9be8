"""Comparing 64 bytes at a time: bit `i` of a mask says something about byte `i`.

LLVM does not find these instructions by itself: a loop that sets one bit for each byte takes ten times as long.
"""

from __future__ import annotations

from typing import Any

from recctl.kernels.compile import Intrinsic

N_BYTES = 64


@Intrinsic
def equal_bytes(_: Any, data: Any, begin: Any, byte: Any) -> Any:
    """The mask of the bytes of `data[begin : begin + 64]` that equal `byte`; all of them must be in the array."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, begin_value, byte_value = arguments
        vector = ir.VectorType(ir.IntType(8), N_BYTES)
        pointer = builder.gep(context.make_array(signature.args[0])(context, builder, array).data, [begin_value])
        loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
        loaded.align = 1
        undefined = ir.Constant(vector, ir.Undefined)
        first = builder.insert_element(undefined, byte_value, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), N_BYTES), None)
        repeated = builder.shuffle_vector(first, undefined, zeros)
        return builder.bitcast(builder.icmp_unsigned("==", loaded, repeated), ir.IntType(N_BYTES))

    return types.uint64(data, types.int64, types.uint8), generate


@Intrinsic
def count_bits(_: Any, mask: Any) -> Any:
    """The number of bits of a mask that are set."""
    from numba import types

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate
