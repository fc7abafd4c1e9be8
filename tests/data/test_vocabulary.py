import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data import vocabulary
from recctl.data.columns import ids_of
from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError

int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


def assert_encodes(ids, encoded):
    encoded_vocabulary, codes = encoded
    assert encoded_vocabulary.ids.tolist() == sorted(set(ids))
    assert codes.dtype == np.int32
    assert encoded_vocabulary.decode(codes).tolist() == ids
    assert encoded_vocabulary.column(codes).tolist() == ids


@given(st.lists(st.integers(-50, 50) | int64, max_size=60))
def test_int64_ids_are_encoded(ids):
    assert_encodes(ids, Vocabulary.encode(np.array(ids, np.int64)))


@given(st.lists(st.integers(-50, 50) | st.integers(-(2**31), 2**31 - 1), max_size=60))
def test_int32_ids_are_encoded(ids):
    vocabulary, codes = Vocabulary.encode(np.array(ids, np.int32))
    assert vocabulary.ids.dtype == np.int64
    assert_encodes(ids, (vocabulary, codes))


@given(st.lists(text, min_size=1, max_size=60))
def test_text_ids_of_all_types_are_encoded(ids):
    objects = np.array([*ids, None], object)[:-1]
    assert_encodes(ids, Vocabulary.encode(objects))
    half = len(ids) // 2
    chunks = [pa.array(part, pa.string()) for part in (ids[:half], ids[half:])]
    assert_encodes(ids, Vocabulary.encode(pa.chunked_array(chunks)))
    assert_encodes(ids, Vocabulary.encode(pa.chunked_array([chunk.dictionary_encode() for chunk in chunks])))
    assert_encodes(ids, Vocabulary.encode(pa.array(ids).dictionary_encode()))


def test_unused_categories_are_left_out():
    column = pd.Series(["b", "a", "b"]).astype(pd.CategoricalDtype(["z", "b", "y", "a"]))
    assert_encodes(["b", "a", "b"], Vocabulary.encode(ids_of(column, "user_id")))


@pytest.mark.parametrize("dtype", ["int64", "str"])
def test_empty_column_gives_an_empty_vocabulary(dtype):
    empty, codes = Vocabulary.encode(ids_of(pd.Series([], dtype=dtype), "user_id"))
    assert (len(empty), len(codes)) == (0, 0)
    assert empty.codes([1, "a"]).tolist() == [-1, -1]


def test_too_many_ids_are_rejected(monkeypatch):
    monkeypatch.setattr(vocabulary, "MAX_CODES", 2)
    with pytest.raises(DataError, match="3 distinct ids; at most 2"):
        Vocabulary.encode(np.array([1, 2, 3]))


class TestCodes:
    numbers = Vocabulary(np.array([-5, 1, 7]))
    names = Vocabulary(np.array(["1", "a", "ж"], object))

    @pytest.mark.parametrize(
        "ids",
        [
            [7, -5, 2],
            (7, -5, 2),
            iter([7, -5, 2]),
            np.array([7, -5, 2], np.int16),
            pd.Series([7, -5, 2], index=[9, 9, 9]),
            pd.Series([7, -5, 2], dtype="Int64"),
            pd.Index([7, -5, 2]),
            [7, -5, 2**70],
            [7, -5, None],
            [7, -5, "1"],
            [7, -5, 1.5],
        ],
    )
    def test_unknown_integers_have_code_minus_one(self, ids):
        codes = self.numbers.codes(ids)
        assert codes.tolist() == [2, 0, -1]
        assert codes.dtype == np.int32

    @pytest.mark.parametrize(
        "ids",
        [
            ["ж", "1", "b"],
            np.array(["ж", "1", "b"]),
            np.array(["ж", "1", None], object),
            pd.Series(["ж", "1", None]),
            pd.Series(["ж", "1", "b"], dtype="category"),
            ["ж", "1", 1],
            ["ж", "1", b"a"],
        ],
    )
    def test_unknown_text_has_code_minus_one(self, ids):
        assert self.names.codes(ids).tolist() == [2, 0, -1]

    @pytest.mark.parametrize("convert", [pa.array, lambda ids: pa.array(ids).dictionary_encode(), pa.chunked_array])
    def test_arrow_text_has_codes_of_its_ids(self, convert):
        ids = [str(self.names.ids[1]), "nobody", str(self.names.ids[0])]
        ids = convert([ids]) if convert is pa.chunked_array else convert(ids)
        assert self.names.codes(ids).tolist() == [1, -1, 0]

    def test_int_and_text_ids_are_different(self):
        assert self.names.codes([1]).tolist() == [-1]
        assert self.numbers.codes(["1"]).tolist() == [-1]

    @pytest.mark.parametrize("ids", [[[1]], [{"a": 1}], np.array([[1]]), ["a", "\ud800"]])
    def test_invalid_id_is_rejected(self, ids):
        with pytest.raises(DataError, match="ids must be int or str"):
            self.names.codes(ids)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20))
def test_subset_keeps_the_ids_that_occur(codes):
    whole = Vocabulary(np.arange(10) * 11)
    part, renumbered = whole.subset(np.array(codes, np.int32))
    assert part.ids.tolist() == sorted({11 * code for code in codes})
    assert part.decode(renumbered).tolist() == [11 * code for code in codes]
    assert renumbered.dtype == np.int32


@given(st.lists(st.integers(-50, 50) | st.sampled_from([-(2**63), 2**63 - 1]), unique=True), st.data())
def test_few_integers_are_looked_up_as_many_are(known, data):
    vocabulary = Vocabulary(np.array(sorted(known), np.int64))
    values = st.integers(-60, 60) | st.sampled_from([-(2**63), 2**63 - 1, 2**63, True, False, 1.0, 2.5, "1", None])
    looked_up = data.draw(st.lists(values))
    found = vocabulary.codes(looked_up)
    assert found.dtype == np.int32
    # A Series is looked up by the index of all ids.
    np.testing.assert_array_equal(found, vocabulary.codes(pd.Series(looked_up, dtype=object)))


@given(st.lists(st.text(max_size=3), unique=True), st.data())
def test_few_texts_are_looked_up_as_many_are(known, data):
    vocabulary = Vocabulary(np.array([*sorted(known), None], object)[:-1])
    looked_up = data.draw(st.lists(st.text(max_size=3) | st.sampled_from([*known, 1, None])))
    expected = {id_: code for code, id_ in enumerate(sorted(known))}
    np.testing.assert_array_equal(vocabulary.codes(looked_up), [expected.get(id_, -1) for id_ in looked_up])
