"""Importing this compiles all kernels: so that no reader is blamed for the time, and before atheris, whose changes to
code numba can't compile."""

from importlib import import_module
from pkgutil import iter_modules

from recctl import kernels

for module in iter_modules(kernels.__path__, "recctl.kernels."):
    import_module(module.name)
