"""Factorizing integer ids."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recctl.kernels.factorize import encode_dense


@given(arrays(np.int64, st.integers(1, 200), elements=st.integers(-500, 500)))
def test_int64_ids_are_factorized_as_by_numpy(ids):
    distinct, codes = encode_dense(ids, int(ids.min()), int(ids.max()))
    expected_distinct, expected_codes = np.unique(ids, return_inverse=True)
    np.testing.assert_array_equal(distinct, expected_distinct)
    np.testing.assert_array_equal(codes, expected_codes)
    assert (distinct.dtype, codes.dtype) == (np.int64, np.int32)


@given(arrays(np.int32, st.integers(1, 200), elements=st.integers(-500, 500)))
def test_int32_ids_are_overwritten_with_their_codes(ids):
    expected_distinct, expected_codes = np.unique(ids, return_inverse=True)
    distinct, codes = encode_dense(ids, int(ids.min()), int(ids.max()))
    assert codes is ids
    np.testing.assert_array_equal(distinct, expected_distinct)
    np.testing.assert_array_equal(codes, expected_codes)
    assert distinct.dtype == np.int64


def test_ids_far_from_zero_are_factorized():
    low = -(2**62)
    distinct, codes = encode_dense(np.array([low + 3, low, low + 3]), low, low + 3)
    assert distinct.tolist() == [low, low + 3]
    assert codes.tolist() == [1, 0, 1]
