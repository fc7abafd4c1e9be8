"""Hot loops, compiled by numba: arrays in, arrays out.

Every kernel has one explicit signature that accepts read-only arrays, so that it compiles once, whatever it is given,
and is read from numba's cache afterwards. Kernels release the GIL; callers spread them over threads with
`recctl.engines.map_threads`.
"""
