"""Fetch rows of an array from memory before they are used."""

from __future__ import annotations

from typing import Any

from recctl.kernels.compile import Intrinsic

_CACHE_LINE = 64


@Intrinsic
def prefetch_row(typing_context: Any, array: Any, row: Any) -> Any:
    """Begin to load all cache lines of row `row` of a C-contiguous matrix into the cache; changes nothing."""
    from llvmlite import ir
    from numba.core import cgutils, types

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array_type, row_type = signature.args
        matrix = context.make_array(array_type)(context, builder, arguments[0])
        position = context.cast(builder, arguments[1], row_type, types.intp)
        row_bytes = cgutils.unpack_tuple(builder, matrix.strides)[0]
        address = builder.add(builder.ptrtoint(matrix.data, row_bytes.type), builder.mul(position, row_bytes))
        byte_pointer = ir.IntType(8).as_pointer()
        flag = ir.IntType(32)
        function_type = ir.FunctionType(ir.VoidType(), [byte_pointer, flag, flag, flag])
        prefetch = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
        with cgutils.for_range_slice(builder, row_bytes.type(0), row_bytes, row_bytes.type(_CACHE_LINE)) as (offset, _):
            pointer = builder.inttoptr(builder.add(address, offset), byte_pointer)
            # To be written; keep in all caches; data, not code.
            builder.call(prefetch, [pointer, flag(1), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.none(array, row), generate
