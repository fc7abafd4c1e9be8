"""Importing this module compiles all kernels.

Otherwise the first target that calls a kernel would exceed its time limit. It must be imported before atheris
instruments other modules, because numba can't compile instrumented code.
"""

from importlib import import_module
from pkgutil import iter_modules

from recctl import kernels
from recctl.kernels.compile import CompiledFunction

for module_info in iter_modules(kernels.__path__, "recctl.kernels."):
    for value in vars(import_module(module_info.name)).values():
        if isinstance(value, CompiledFunction):
            # Compiles a function with a signature. Helper functions are compiled with the kernels that call them.
            _ = value.dispatcher
