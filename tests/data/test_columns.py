import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recctl.data.columns import ids_of, ratings_of, require_columns, timestamps_of
from recctl.errors import DataError

NEW_YEAR = 1_577_836_800  # 2020-01-01T00:00:00Z


def objects(*values):
    return pd.Series(list(values), dtype=object)


def error_message(function, column, *args):
    with pytest.raises(DataError) as caught:
        function(column, *args)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestRequireColumns:
    def test_missing_and_existing_columns_are_named(self):
        frame = pd.DataFrame({"user": [1], "item_id": [2]})
        with pytest.raises(DataError, match="no column user_id, rating; the columns are user, item_id"):
            require_columns(frame, "user_id", "item_id", "rating")

    def test_table_without_columns_is_rejected(self):
        with pytest.raises(DataError, match="the columns are none"):
            require_columns(pd.DataFrame(), "user_id")

    def test_repeated_column_name_is_rejected(self):
        frame = pd.DataFrame([[1, 2]], columns=["user_id", "user_id"])
        with pytest.raises(DataError, match="more than one column is called user_id"):
            require_columns(frame, "user_id")


class TestIds:
    @pytest.mark.parametrize(
        "dtype", ["int64", "int8", "uint64", "Int64", "uint32", "category", "int64[pyarrow]", object]
    )
    def test_integers_of_any_type_become_int64(self, dtype):
        ids = ids_of(pd.Series([3, 1, 3], dtype=dtype), "user_id")
        assert ids.dtype == np.int64
        assert ids.tolist() == [3, 1, 3]

    @pytest.mark.parametrize(
        "dtype", ["str", "string", "string[python]", object, "category", pd.ArrowDtype(pa.string()), "string[pyarrow]"]
    )
    def test_text_of_any_type_becomes_arrow_text(self, dtype):
        assert ids_of(pd.Series(["b", "ж", "b"], dtype=dtype), "user_id").to_pylist() == ["b", "ж", "b"]

    @pytest.mark.parametrize("dtype", ["str", object, "category", pd.ArrowDtype(pa.string())])
    def test_white_space_around_text_is_removed(self, dtype):
        ids = ids_of(pd.Series([" b", "b", "b\u3000", "NA"], dtype=dtype), "user_id")
        assert ids.to_pylist() == ["b", "b", "b", "NA"]

    @pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "double[pyarrow]", "category", object])
    def test_floats_that_are_whole_numbers_become_int64(self, dtype):
        ids = ids_of(pd.Series([17850.0, -2.0]).astype(dtype), "user_id")
        assert ids.dtype == np.int64
        assert ids.tolist() == [17850, -2]

    def test_decimals_that_are_whole_numbers_become_int64(self):
        assert ids_of(objects(Decimal(7), Decimal(-2)), "user_id").tolist() == [7, -2]

    def test_extreme_integers_are_exact(self):
        extremes = [-(2**63), -1, 2**63 - 1]
        assert ids_of(pd.Series(extremes), "user_id").tolist() == extremes
        assert ids_of(objects(*extremes), "user_id").tolist() == extremes

    def test_strided_column_is_converted(self):
        assert ids_of(pd.Series([1, 2, 3, 4])[::2], "user_id").tolist() == [1, 3]

    @pytest.mark.parametrize("dtype", [object, "float64", "int64"])
    def test_empty_column_becomes_int64(self, dtype):
        assert ids_of(pd.Series([], dtype=dtype), "user_id").dtype == np.int64

    @pytest.mark.parametrize(
        "column",
        [
            objects("a", None, None),
            pd.Series(["a", None, None]),
            pd.Series([1, None, None]),
            pd.Series([1, None, None], dtype="Int64"),
            pd.Series(["a", None, None], dtype="category"),
        ],
    )
    def test_missing_id_is_named_and_counted(self, column):
        message = error_message(ids_of, column, "user_id")
        assert message.startswith("user_id: row 1: ")
        assert "is missing (2 such values)" in message

    @pytest.mark.parametrize(
        ("column", "problem"),
        [
            (objects(1, "a"), "row 1: 'a' is str, row 0 (1) is int; convert all ids to one type"),
            (objects("a", 1), "row 1: 1 is int, row 0 ('a') is str; convert all ids to one type"),
            (objects(1, 2.5), "row 1: 2.5 is a float; ids must be whole numbers or str"),
            (pd.Series([1.5]), "row 0: 1.5 is a float; ids must be whole numbers or str"),
            (pd.Series([1.0, 2.0**54]), "row 1: 1.8014398509481984e+16 is a float; ids must be whole numbers or str"),
            (pd.Series([1.0, np.inf]), "row 1: inf is a float"),
            (objects("a", ""), "row 1: '' is empty; each interaction needs an id"),
            (pd.Series(["a", " ", ""], dtype="category"), "row 1: ' ' is empty"),
            (pd.Series([True]), "row 0: True is of type bool"),
            (objects(1, True), "row 1: True is of type bool"),
            (objects("a", b"x"), "row 1: b'x' is of type bytes"),
            (objects(Decimal(1), Decimal("1.5")), "row 1: 1.5 is of type Decimal"),
            (objects((1, 2)), "row 0: (1, 2) is of type tuple"),
            (objects([1]), "row 0: [1] is of type list"),
            (pd.Series(pd.to_datetime(["2020-01-01"])), "is of type Timestamp"),
            (pd.Series([1.5], dtype="category"), "row 0: 1.5 is a float"),
            (pd.Series([1 + 2j]), "is of type complex"),
            (pd.Series(pd.arrays.SparseArray([1, 2])), "column of type Sparse"),
            (
                pd.Series([1, 2**63], dtype="uint64"),
                "row 1: 9223372036854775808 is beyond int64; convert these ids to text",
            ),
            (objects(2**63), "row 0: 9223372036854775808 is beyond int64"),
            (objects(0, -(2**70)), "row 1: -1180591620717411303424 is beyond int64"),
            (objects("ok", "\ud800"), "row 1: '\\ud800' is not valid Unicode"),
            (objects("a" * 100, 1), "row 1: 1 is int, row 0 ('" + "a" * 56 + "...) is str"),
        ],
    )
    def test_invalid_value_is_named_by_row(self, column, problem):
        message = error_message(ids_of, column, "user_id")
        assert message.startswith("user_id: ")
        assert problem in message


class TestRatings:
    @pytest.mark.parametrize(
        ("column", "expected"),
        [
            (pd.Series([1, 2], dtype="int8"), [1, 2]),
            (pd.Series([0.5, -3.0]), [0.5, -3]),
            (pd.Series([True, False]), [1, 0]),
            (pd.Series(["2.5", "3"]), [2.5, 3]),
            (pd.Series(["2.5", "3"], dtype="category"), [2.5, 3]),
            (pd.Series([4, 5], dtype="category"), [4, 5]),
            (pd.Series([1.5, 2], dtype="Float64"), [1.5, 2]),
            (pd.Series([1.5, 2], dtype="double[pyarrow]"), [1.5, 2]),
            (objects(1, "2", Decimal("1.5")), [1, 2, 1.5]),
        ],
    )
    def test_numbers_of_any_type_become_float32(self, column, expected):
        ratings = ratings_of(column)
        assert ratings.dtype == np.float32
        assert ratings.tolist() == expected

    @pytest.mark.parametrize(
        ("column", "problem"),
        [
            (pd.Series([1, np.nan]), "row 1: nan is missing"),
            (pd.Series([1.5, None], dtype="Float64"), "row 1: <NA> is missing"),
            (pd.Series([1, np.inf, -np.inf]), "row 1: inf is not a finite number (2 such values)"),
            (pd.Series([1, 1e300]), "row 1: 1e+300 is not a finite number"),
            (pd.Series(["4", "good"]), "row 1: 'good' is not a number"),
            (objects(1, [2]), "row 1: [2] is not a number"),
            (objects(1, dt.date(2020, 1, 1)), "row 1: 2020-01-01 is not a number"),
            (objects(2**2000), "not all values are numbers"),
            (pd.Series(pd.to_datetime(["2020-01-01"])), "column of type datetime64"),
            (pd.Series(pd.to_timedelta(["1s"])), "column of type timedelta64"),
            (pd.Series([1j]), "column of type complex128"),
        ],
    )
    def test_invalid_value_is_named_by_row(self, column, problem):
        message = error_message(ratings_of, column)
        assert message.startswith("rating: ")
        assert problem in message


class TestTimestamps:
    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_datetimes_of_any_unit_become_seconds(self, unit):
        seconds = timestamps_of(pd.Series(pd.to_datetime(["2020-01-01", "1970-01-01"])).astype(f"datetime64[{unit}]"))
        assert seconds.dtype == np.int64
        assert seconds.tolist() == [NEW_YEAR, 0]

    def test_time_zones_are_converted_to_utc(self):
        local = pd.Series(pd.to_datetime(["2020-01-01 09:00"])).dt.tz_localize("Asia/Tokyo")
        assert timestamps_of(local).tolist() == [NEW_YEAR]
        assert timestamps_of(local.astype(pd.ArrowDtype(pa.timestamp("us", "Asia/Tokyo")))).tolist() == [NEW_YEAR]

    def test_fractions_of_seconds_are_kept(self):
        seconds = timestamps_of(pd.Series(pd.to_datetime(["2020-01-01 00:00:00.250", "2020-01-01 00:00:01.000"])))
        assert seconds.dtype == np.float64
        assert seconds.tolist() == [NEW_YEAR + 0.25, NEW_YEAR + 1]
        assert timestamps_of(pd.Series([1.5])).tolist() == [1.5]

    @pytest.mark.parametrize("dtype", ["int64", "int8", "uint64", "float64", "float32", "Int64", "str", object])
    def test_whole_seconds_of_any_type_become_int64(self, dtype):
        seconds = timestamps_of(pd.Series([5, 0], dtype=dtype))
        assert seconds.dtype == np.int64
        assert seconds.tolist() == [5, 0]

    @pytest.mark.parametrize(
        ("column", "problem"),
        [
            (pd.Series([NEW_YEAR * 1000]), "is not in seconds since 1970; if it is in another unit"),
            (pd.Series([0, -1, -2]), "row 1: -1 is not in seconds since 1970"),
            (pd.Series([1e300]), "row 0: 1e+300 is not in seconds"),
            (pd.Series([2**64 - 1], dtype="uint64"), "row 0: 18446744073709551615 is not in seconds"),
            (pd.Series([1.0, np.nan]), "row 1: nan is missing"),
            (pd.Series([np.inf]), "row 0: inf is not in seconds"),
            (pd.Series(pd.to_datetime(["2020-01-01", None])), "row 1: NaT is missing"),
            (pd.Series(pd.to_datetime(["1969-12-31"])), "is before 1970 or after 2199"),
            (pd.Series(np.array(["5000-01-01"], "datetime64[s]")), "is before 1970 or after 2199"),
            (
                pd.Series(["2020-01-01"]),
                "row 0: '2020-01-01' is not a number; convert dates to datetimes: pd.to_datetime",
            ),
            (pd.Series(pd.period_range("2020", periods=1, freq="D")), "column of type period[D]"),
            (pd.Series([1_577_836_800_000]), "convert it, e.g. pd.to_datetime(frame['timestamp'], unit='ms')"),
            (pd.Series(["31.12.2019", "01.02.2020"]), "pd.to_datetime(frame['timestamp'], format='%d.%m.%Y')"),
            (pd.Series(["05/01/2020"]), "format='%d/%m/%Y') or '%m/%d/%Y': the day or the month may come first"),
            (pd.Series([20200105, 20200106]), "row 0: 20200105 looks like a date, as all others do"),
            (pd.Series([20200105.0]), "pd.to_datetime(frame['timestamp'], format='%Y%m%d')"),
            (pd.Series([2019, 2020]), "pd.to_datetime(frame['timestamp'], format='%Y')"),
            (pd.Series([202001051030, 202001061030]), "pd.to_datetime(frame['timestamp'], format='%Y%m%d%H%M')"),
        ],
    )
    def test_invalid_value_is_named_by_row(self, column, problem):
        message = error_message(timestamps_of, column)
        assert message.startswith("timestamp: ")
        assert problem in message
