import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.artifacts import content_hash


@given(st.lists(st.binary(max_size=40), max_size=12), st.integers(1, 24))
def test_the_hash_depends_on_the_bytes_and_not_on_how_they_came(parts, piece):
    whole = b"".join(parts)
    digests = [hashlib.sha256(whole[at : at + piece]).digest() for at in range(0, len(whole), piece)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content_hash, "PIECE", piece)
        with content_hash.PiecewiseHash() as hasher:
            for part in parts:
                hasher.update(part)
            assert hasher.hexdigest() == hashlib.sha256(b"".join(digests)).hexdigest()


def test_memory_is_hashed_where_it_lies():
    data = bytearray(b"x" * (content_hash.PIECE + 5))
    with content_hash.PiecewiseHash() as hasher:
        hasher.update(memoryview(data))
        pieces = (b"x" * content_hash.PIECE, b"x" * 5)
        expected = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()
        assert hasher.hexdigest() == expected
