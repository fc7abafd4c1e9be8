"""Numerical kernels compiled by numba: arrays in, arrays out.

Each kernel has one explicit signature, which accepts read-only arrays. It is compiled at its first call, or read from
numba's cache on disk if it was compiled before. Kernels release the GIL; callers run them on several threads with
`recctl.engines.map_threads`.
"""
