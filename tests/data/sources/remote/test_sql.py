"""Which statements are queries, and which of them order their rows."""

from __future__ import annotations

import pytest

from recctl.data.sources.remote.sql import has_order, require_query
from recctl.errors import ConfigError


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "-- all of it\nSELECT * from t;",
        "/* ; drop */ with a as (select ';' x) select * from a ; ",
        "(select 1) union (select 2)",
        'select "delete" from t where update_time > 3',
        "with a as (select deleted, insert from t) select * from a",
        "select $$; drop table t$$",
        "values (1, 2)",
        "from ratings",
        "select E'it\\'s; x' from t",
    ],
)
def test_query_is_accepted(sql: str) -> None:
    accepted = require_query(sql)
    assert accepted in sql
    assert not accepted.endswith(";")


@pytest.mark.parametrize("end", ["", ";", " ; ", "-- all", "; -- all;\n", " /* a */ ;; /* b */", "\n--"])
def test_semicolons_and_comments_after_a_query_are_left_out(end: str) -> None:
    assert require_query(f"select ';' from t -- ours\n where x{end}") == "select ';' from t -- ours\n where x"


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        "delete from t",
        "select 1; select 2",
        "select 1; drop table t",
        "copy t to 'file'",
        "pragma query_only = off",
        "with a as (delete from t returning *) select * from a",
        "with a as (select 1) insert into t select * from a",
        "attach 'x' as y",
        "set transaction read write",
    ],
)
def test_statement_other_than_one_query_is_refused(sql: str) -> None:
    with pytest.raises(ConfigError, match=r"^data.source.sql: "):
        require_query(sql)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select a from t order by a", True),
        ("select a from t ORDER  BY a desc limit 3", True),
        ("select a from (select a from t order by a)", False),
        ("select row_number() over (order by a) from t", False),
        ("select a from t -- order by a", False),
        ("select 'order by' from t", False),
        ("select a order, b by from t", False),
    ],
)
def test_only_order_by_of_the_whole_query_orders_its_rows(sql: str, expected: bool) -> None:
    assert has_order(sql) is expected
