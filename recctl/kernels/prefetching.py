"""Fetch rows of an array from memory before they are used."""

from __future__ import annotations

from typing import Any

from recctl.kernels.compile import Intrinsic

_CACHE_LINE = 64


@Intrinsic
def prefetch_row(typing_context: Any, array: Any, row: Any) -> Any:
    """Begin to load all cache lines of row `row` of a C-contiguous matrix into the cache; changes nothing."""
    from numba.core import cgutils, types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, row_type = signature.args
        matrix = context.make_array(array_type)(context, builder, arguments[0])
        position = context.cast(builder, arguments[1], row_type, types.intp)
        row_bytes = cgutils.unpack_tuple(builder, matrix.strides)[0]
        address = builder.add(builder.ptrtoint(matrix.data, row_bytes.type), builder.mul(position, row_bytes))
        with cgutils.for_range_slice(builder, row_bytes.type(0), row_bytes, row_bytes.type(_CACHE_LINE)) as (offset, _):
            _prefetch_address(builder, builder.add(address, offset), for_writing=True)
        return context.get_dummy_value()

    return types.none(array, row), generate


@Intrinsic
def prefetch(typing_context: Any, array: Any, position: Any) -> Any:
    """Begin to load the cache line of `array[position]`, of one dimension, into the cache; changes nothing."""
    from numba.core import types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, position_type = signature.args
        data = context.make_array(array_type)(context, builder, arguments[0]).data
        element = builder.gep(data, [context.cast(builder, arguments[1], position_type, types.intp)])
        address = builder.ptrtoint(element, context.get_value_type(types.intp))
        _prefetch_address(builder, address, for_writing=False)
        return context.get_dummy_value()

    return types.none(array, position), generate


def _prefetch_address(builder: Any, address: Any, *, for_writing: bool) -> None:
    from llvmlite import ir
    from numba.core import cgutils

    byte_pointer = ir.IntType(8).as_pointer()
    flag = ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, flag, flag, flag])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    # Keep in all caches; data, not code.
    builder.call(function, [builder.inttoptr(address, byte_pointer), flag(int(for_writing)), flag(3), flag(1)])
