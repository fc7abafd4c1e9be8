"""Decorators that compile kernels, and short names for the types of their arguments.

Kernels are compiled, or read from the cache on disk, at their first call, which also imports numba. Importing numba
takes about half a second and compiling all kernels about a minute: commands that only print text import modules with
kernels, and must not wait for either. `recctl.kernels.loading` loads those that a command will call, before it measures
durations.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial, update_wrapper
from pathlib import Path
from typing import Any, NamedTuple

from recctl.kernels.cache import KernelCache
from recctl.kernels.numba_import import import_without_scipy_linalg


class ArrayType(NamedTuple):
    """A contiguous array as argument of a kernel; `dtype` is numba's name of the element type."""

    dtype: str
    ndim: int = 1
    readonly: bool = True


class TupleType(NamedTuple):
    """A plain tuple of scalars and arrays as argument of a kernel.

    Numba converts arrays to read-only ones, and integers to floats, inside of plain tuples but not of named ones: a
    kernel with many parameters takes the fields of a NamedTuple as a plain tuple, `tuple(fields)`.
    """

    fields: tuple[str | ArrayType, ...]


# A string is numba's name of a scalar type.
ArgumentType = str | ArrayType | TupleType

# Inputs are declared read-only: numba then accepts both writeable arrays and the read-only arrays of a loaded model.
I32 = ArrayType("int32")
I64 = ArrayType("int64")
F32 = ArrayType("float32")
F64 = ArrayType("float64")
U8 = ArrayType("uint8")
U64 = ArrayType("uint64")
I32_2D = ArrayType("int32", 2)
I64_2D = ArrayType("int64", 2)
F32_2D = ArrayType("float32", 2)
F64_2D = ArrayType("float64", 2)
U8_2D = ArrayType("uint8", 2)

# Outputs: arrays that the kernel writes.
OUT_I32 = ArrayType("int32", readonly=False)
OUT_I64 = ArrayType("int64", readonly=False)
OUT_F32 = ArrayType("float32", readonly=False)
OUT_F64 = ArrayType("float64", readonly=False)
OUT_U8 = ArrayType("uint8", readonly=False)
OUT_U64 = ArrayType("uint64", readonly=False)
OUT_I32_2D = ArrayType("int32", 2, readonly=False)
OUT_I64_2D = ArrayType("int64", 2, readonly=False)
OUT_F32_2D = ArrayType("float32", 2, readonly=False)
OUT_F64_2D = ArrayType("float64", 2, readonly=False)
OUT_U8_2D = ArrayType("uint8", 2, readonly=False)

INT = "int64"
UINT64 = "uint64"
FLOAT = "float64"
BOOL = "boolean"
VOID = "void"

Function = Callable[..., Any]

_PREFIX = f"{__package__}."


# Kernels by module and name, such as `csr.row_starts`; several if a function is compiled for several signatures.
_kernels: dict[str, list[CompiledFunction]] = {}


class CompiledFunction:
    """A function that numba compiles at its first call; other kernels can call it too.

    The attributes `_numba_type_`, `targetoptions` and `py_func` are those by which numba recognizes a compiled
    function among the globals of the one it compiles.

    Args:
        function: The Python function.
        signature: Types of the result and the arguments; None compiles once for each combination of argument types.
        options: Passed to `numba.njit`.
    """

    def __init__(self, function: Function, signature: tuple[ArgumentType, ...] | None = None, **options: Any) -> None:
        update_wrapper(self, function)
        self.py_func = function
        self._signature = signature
        self._options = options
        self._dispatcher: Any = None
        if signature is not None:
            _kernels.setdefault(self.name, []).append(self)

    def __call__(self, *arguments: Any) -> Any:
        """Call the compiled function."""
        dispatcher = self._dispatcher
        if dispatcher is None:
            dispatcher = self.dispatcher
        return dispatcher(*arguments)

    def __reduce__(self) -> str:
        # As functions are pickled: by name, so that a worker process compiles its own.
        return self.py_func.__qualname__

    @property
    def dispatcher(self) -> Any:
        """Numba's compiled function."""
        numba = _import_numba()
        # Numba's own lock: this may run while numba compiles a function that calls this one, and a second lock, taken
        # in the other order by another thread, would be a deadlock.
        with numba.core.compiler_lock.global_compiler_lock:
            if self._dispatcher is None:
                self._dispatcher = self._compile(numba)
            return self._dispatcher

    @property
    def name(self) -> str:
        """Module and name, such as `csr.row_starts`; outside of recctl the whole name of the module."""
        return f"{self.py_func.__module__.removeprefix(_PREFIX)}.{self.py_func.__name__}"

    @property
    def is_loaded(self) -> bool:
        """Whether this process has compiled the kernel or read it from the cache."""
        return self._dispatcher is not None

    def cache(self) -> KernelCache:
        """The kernel's file in the cache."""
        module = self.py_func.__module__
        # Sources of recctl's own kernels are a part of the folder's name.
        source_hash = "" if module.startswith(_PREFIX) else _hash_source(self.py_func)
        # Of a set of flags, the order differs between processes.
        options = {name: sorted(value) if isinstance(value, set) else value for name, value in self._options.items()}
        description = (module, self.py_func.__qualname__, self._signature, options, source_hash)
        return KernelCache(self.name, repr(description))

    def _compile(self, numba: Any) -> Any:
        dispatcher = numba.njit(**self._options)(self.py_func)
        if self._signature is None or numba.core.config.DISABLE_JIT:
            return dispatcher
        result, *arguments = [_numba_type(numba, declared) for declared in self._signature]
        dispatcher._cache = self.cache()
        dispatcher.compile(result(*arguments))
        dispatcher.disable_compile()
        return dispatcher

    @property
    def _numba_type_(self) -> Any:
        return self.dispatcher._numba_type_

    @property
    def targetoptions(self) -> Any:
        """The options of the compiled function, where numba looks for `inline`."""
        return self.dispatcher.targetoptions


class Intrinsic:
    """A function that builds LLVM instructions which numba never generates; kernels can call it.

    Args:
        definition: As `numba.extending.intrinsic` takes it. It must import numba and llvmlite itself.
    """

    def __init__(self, definition: Function) -> None:
        update_wrapper(self, definition)
        self._definition = definition
        self._intrinsic: Any = None

    def __call__(self, *arguments: Any) -> Any:
        """Raise an error: only compiled kernels can call it."""
        raise TypeError(f"{self._definition.__name__} can be called by kernels only")

    @property
    def _numba_type_(self) -> Any:
        numba = _import_numba()
        with numba.core.compiler_lock.global_compiler_lock:
            typing_context = numba.core.registry.cpu_target.typing_context
            if self._intrinsic is None:
                self._intrinsic = numba.extending.intrinsic(self._definition)
                typing_context.refresh()  # numba notices new intrinsics only before it compiles a kernel
            return typing_context.resolve_value_type(self._intrinsic)


def kernels_of_module(module: str) -> list[str]:
    """Names of the kernels of a module of this package, such as `csr`."""
    importlib.import_module(f"{_PREFIX}{module}")
    return [name for name in _kernels if name.rpartition(".")[0] == module]


def find_kernels(names: Iterable[str]) -> list[CompiledFunction]:
    """Import kernels by their names, such as `csr.row_starts`; those that do not exist are left out."""
    found = []
    for name in names:
        module = name.rpartition(".")[0]
        if name not in _kernels:
            importlib.import_module(f"{_PREFIX}{module}")
        found += _kernels.get(name, [])
    return found


def _hash_source(function: Function) -> str:
    try:
        return hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()
    except (OSError, TypeError):  # typed at a prompt
        return hashlib.sha256(function.__code__.co_code).hexdigest()


def _numba_type(numba: Any, declared: ArgumentType) -> Any:
    if isinstance(declared, str):
        return getattr(numba.types, declared)
    if isinstance(declared, TupleType):
        return numba.types.Tuple([_numba_type(numba, field) for field in declared.fields])
    dtype = getattr(numba.types, declared.dtype)
    return numba.types.Array(dtype, declared.ndim, "C", readonly=declared.readonly)


_import_lock = threading.RLock()


@contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Raise the `KeyboardInterrupt` of Ctrl-C, or of a Ray task that is cancelled, at the end of the block only.

    An import that is interrupted leaves packages half imported, and the process can't import numba any more.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    arrived = []
    signal.signal(signal.SIGINT, lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if arrived:
        raise KeyboardInterrupt


@cache
def _import_numba() -> Any:
    # One thread at a time: Python breaks a deadlock between two imports of packages of numba by returning one that is
    # half imported, and the import without SciPy's linear algebra replaces a function of numba for a moment.
    with _import_lock, _interrupt_deferred():
        import numba
        import numba.core.compiler_lock
        import numba.core.registry
        import numba.extending

        import_without_scipy_linalg()
        return numba


def kernel(
    returns: ArgumentType, *arguments: ArgumentType, fastmath: bool | set[str] = False
) -> Callable[[Function], Function]:
    """Compile a function for one signature, at its first call; it releases the GIL and is cached on disk.

    Args:
        returns: Type of the result.
        arguments: Types of the arguments.
        fastmath: Floating-point optimizations, as numba takes them. Allow "nnan" and "ninf" only where the kernel
            never compares a NaN or an infinity.

    Returns:
        A decorator.
    """

    def decorate(function: Function) -> Function:
        signature = (returns, *arguments)
        # The wrapper for callers in C, which there are none of, would take a twentieth of the time.
        return CompiledFunction(
            function, signature, nogil=True, error_model="numpy", fastmath=fastmath, no_cfunc_wrapper=True
        )

    return decorate


# Decorators for helper functions that kernels call. Numba compiles a helper once for each combination of argument
# types: pass `np.int64(...)` for an element of an int32 array, or for a constant that is later reassigned, to avoid
# compiling the helper twice.


def inline_llvm(function: Function | None = None, *, fastmath: bool | set[str] = False) -> Any:
    """Inline a helper in LLVM, into the machine code of each kernel.

    A helper that is called as a compiled function may be a different one in the process that compiled it and in
    processes that read it from the cache; they can add numbers in a different order, and results would differ in the
    last bits.
    """
    if function is None:
        return partial(inline_llvm, fastmath=fastmath)
    return CompiledFunction(function, forceinline=True, error_model="numpy", fastmath=fastmath)


def inline_ir(function: Function) -> Any:
    """Inline a helper in numba's intermediate representation.

    The helper is not compiled on its own, which halves the compile time if it has a single caller, and LLVM sees which
    arrays do not overlap. The kernel's `fastmath` applies to it.
    """
    return CompiledFunction(function, inline="always")


def outlined(function: Function | None = None, *, fastmath: bool | set[str] = False) -> Any:
    """Compile one copy of a helper for all callers.

    Only for helpers whose result does not depend on how they are compiled, because they only copy, or add in a fixed
    order.
    """
    if function is None:
        return partial(outlined, fastmath=fastmath)
    return CompiledFunction(function, error_model="numpy", fastmath=fastmath)
