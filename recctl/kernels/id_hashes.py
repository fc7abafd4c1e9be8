"""Hashes of ids: the 64-bit FNV-1a hash (Fowler, Noll and Vo) of an id's text in UTF-8."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import I64, OUT_U64, U8, VOID, kernel

FNV_OFFSET_BASIS = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)

_MINUS = np.uint64(ord("-"))
_ZERO = np.uint64(ord("0"))
_TEN = np.uint64(10)
# Digits of 2**63.
_MAX_DIGITS = 19


@kernel(VOID, I64, U8, OUT_U64)
def hash_texts(offsets, characters, out):
    """Hash texts.

    Args:
        offsets: Text `t` is `characters[offsets[t]:offsets[t + 1]]`.
        characters: UTF-8 bytes.
        out: Output, a hash for each text.
    """
    for text in range(len(out)):
        value = FNV_OFFSET_BASIS
        for p in range(offsets[text], offsets[text + 1]):
            value = (value ^ np.uint64(characters[p])) * FNV_PRIME
        out[text] = value


@kernel(VOID, I64, OUT_U64)
def hash_integers(ids, out):
    """Hash integers by the characters that Python prints them with: 7 has the hash of the text "7".

    Args:
        ids: Integers.
        out: Output, a hash for each of them.
    """
    digits = np.empty(_MAX_DIGITS, np.uint64)
    for row in range(len(ids)):
        value = FNV_OFFSET_BASIS
        if ids[row] < 0:
            value = (value ^ _MINUS) * FNV_PRIME
            # -(id + 1) fits in int64 for the lowest number too.
            rest = np.uint64(-(ids[row] + 1)) + np.uint64(1)
        else:
            rest = np.uint64(ids[row])
        n_digits = 0
        while True:
            digits[n_digits] = rest % _TEN
            rest //= _TEN
            n_digits += 1
            if rest == 0:
                break
        for place in range(n_digits - 1, -1, -1):
            value = (value ^ (digits[place] + _ZERO)) * FNV_PRIME
        out[row] = value
