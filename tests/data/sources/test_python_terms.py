from __future__ import annotations

import pytest

from recctl import progress
from recctl.data.sources import ReadOptions, read_configured_source, read_source
from recctl.data.sources.python_terms import to_python
from recctl.errors import ConfigError, DataError, RecctlWarning


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("set data.id_type: text)", "set ReadOptions(id_type='text'))"),
        (
            "set data.columns: {user_id: 'visit: a', item_id: 2}",
            "set ReadOptions(columns={'user_id': 'visit: a', 'item_id': 2})",
        ),
        ("set data.columns: {rating: null} (or not)", "set ReadOptions(columns={'rating': None}) (or not)"),
        ('set data.timestamp_format: "%d.%m.%Y %H:%M"', "set ReadOptions(timestamp_format='%d.%m.%Y %H:%M')"),
        ("data.columns.rating=7 is beyond the columns", "columns.rating=7 is beyond the columns"),
        ("data.delimiter: movielens-1m has a layout", "delimiter: movielens-1m has a layout"),
        ("set data.header for all parts", "set header for all parts"),
        ("data.source and data.min_user_interactions", "data.source and data.min_user_interactions"),
    ],
)
def test_keys_of_configs_become_arguments(message, expected):
    assert to_python(message) == expected


def test_errors_and_notices_of_a_python_program_name_arguments(write):
    path = write("a.csv", "cust,prod\n1,2\n3,4\n")
    with pytest.raises(DataError, match=r"set ReadOptions\(columns=\{'user_id': 'cust', 'item_id': 'prod'\}\)"):
        read_source(path)
    with pytest.raises(DataError, match=r"set data\.columns: \{user_id: cust, item_id: prod\}"):
        read_configured_source(path, ReadOptions())
    path = write("b.csv", "user_id,item_id,timestamp\n1,2,17\n3,4,18\n")
    with pytest.warns(RecctlWarning, match=r"ReadOptions\(timestamp_unit="):
        read_source(path)
    with pytest.raises(ConfigError, match=r"^delimiter: movielens-100k has its own layout"), progress.silence():
        read_source("movielens-100k", ReadOptions(delimiter=","))
