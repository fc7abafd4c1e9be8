"""The piecewise hash of files."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.artifacts import content_hash


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 24))
def test_hash_does_not_depend_on_how_the_bytes_are_split_into_updates(parts, piece):
    content = b"".join(parts)
    digests = [hashlib.sha256(content[begin : begin + piece]).digest() for begin in range(0, len(content), piece)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_hash, "PIECE", piece)
        with content_hash.PiecewiseHash() as hasher:
            for part in parts:
                hasher.update(part)
            assert hasher.hexdigest() == hashlib.sha256(b"".join(digests)).hexdigest()


def test_memoryview_is_hashed_without_a_copy():
    data = bytearray(b"x" * (content_hash.PIECE + 5))
    with content_hash.PiecewiseHash() as hasher:
        hasher.update(memoryview(data))
        pieces = (b"x" * content_hash.PIECE, b"x" * 5)
        expected = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()
        assert hasher.hexdigest() == expected
