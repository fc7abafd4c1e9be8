from __future__ import annotations

import re

import pytest
import yaml

from recctl.data.sources.options import ReadOptions
from recctl.data.sources.readers.column_roles import roles_from_header, roles_from_positions
from recctl.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("userId,movieId,rating,timestamp", (0, 1, 2, 3)),
        ("book_id,user_id,rating", (1, 0, 2)),
        ("User-ID,ISBN,Book-Rating", (0, 1, 2)),
        ("timestamp,visitorid,event,itemid,transactionid", (1, 3, 0)),
        ("reviewerID,asin,overall,unixReviewTime", (0, 1, 2, 3)),
        ("user_id:token,item_id:token,rating:float,timestamp:float", (0, 1, 2, 3)),
        ("user,item,user_id,item_id,score,rating", (2, 3, 5)),  # the first name of a role wins
    ],
)
def test_header_of_well_known_data_sets_gives_the_roles(header, expected):
    found = roles_from_header(header.split(","), {}, "f")
    order = [role for role in ("user_id", "item_id", "rating", "timestamp") if role in found]
    assert {role: found[role] for role in order} == found
    assert sorted(found.values()) == sorted(expected)
    assert (found["user_id"], found["item_id"]) == expected[:2]


def test_mapping_by_name_and_position_overrides_known_names():
    names = ["rating", "user_id", "who", "item:token", "when"]
    mapping = {"user_id": "who", "item_id": "item", "timestamp": 4}
    assert roles_from_header(names, mapping, "f") == {"user_id": 2, "item_id": 3, "rating": 0, "timestamp": 4}


@pytest.mark.parametrize(
    ("names", "mapping", "message"),
    [
        ("user b", {}, r"f: no item_id column among user, b; set data\.columns: \{item_id: b\}"),
        ("user time", {}, r"\{item_id: NAME\}"),
        ("customer sku bought_at", {}, r"\{item_id: sku, timestamp: bought_at\}"),
        ("customer sku bought_at shipped_at", {}, r"\{item_id: sku\}"),
        ("customer sku bought_at", {"timestamp": None}, r"\{timestamp: null, item_id: sku\}"),
        ("user item", {"user_id": "usr"}, r"data\.columns\.user_id: no column 'usr'; did you mean user\?"),
        ("user item", {"user_id": 2}, r"data\.columns\.user_id=2 is beyond the 2 columns user, item"),
        ("user item", {"user_id": "item", "item_id": "item"}, r"data\.columns\.user_id: column 'item' is mapped twice"),
        ("x x item", {"user_id": "x"}, r"2 columns are called 'x'; .* \{user_id: 0\} \(its position\)"),
        (" ".join(f"c{i}" for i in range(30)), {}, r"c19, \.\.\.; set"),
    ],
)
def test_missing_or_ambiguous_column_is_rejected_with_the_yaml_to_write(names, mapping, message):
    with pytest.raises(DataError, match=message):
        roles_from_header(names.split(), mapping, "f")


def suggested(header, mapping=None):
    """The mapping that the message about a header proposes, as YAML reads it."""
    with pytest.raises(DataError) as caught:
        roles_from_header(header.split("|"), mapping or {}, "f.csv")
    message = str(caught.value)
    assert message.startswith("f.csv: ")
    return yaml.safe_load(re.search(r"set data\.columns: (.*?)( \(|$)", message)[1])


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("a|b", {"user_id": "a", "item_id": "b"}),
        ("user_id|thing #2", {"item_id": "thing #2"}),
        ("visit: a|thing", {"user_id": "visit: a", "item_id": "thing"}),
        ("thing|visit, b", {"user_id": "visit, b", "item_id": "thing"}),
        ("1e5x|0x1f", {"user_id": "1e5x", "item_id": "0x1f"}),
        ("{a}|2019x|yes", {"user_id": "{a}", "item_id": "2019x"}),
        ("order_id|prod|cust|price", {"user_id": "cust", "item_id": "prod"}),
        ("InvoiceNo|StockCode|Description|Quantity|Customer No", {"user_id": "Customer No", "item_id": "StockCode"}),
        ("review_id|listing_id|date|reviewer_nr|comments", {"user_id": "reviewer_nr", "item_id": "listing_id"}),
        ("session_key|track_uri", {"user_id": "session_key", "item_id": "track_uri"}),
        ("session_key|client|track_uri", {"user_id": "client", "item_id": "track_uri"}),
        ("Unnamed: 0|custid|prodid", {"user_id": "custid", "item_id": "prodid"}),
        ("|cust|prod", {"user_id": "cust", "item_id": "prod"}),
        ("member|title", {"user_id": "member", "item_id": "NAME"}),
        ("id|name|title|date", {"user_id": "NAME", "item_id": "NAME"}),
        ("user|transactionId|order|price", {"item_id": "NAME"}),
        ("cust|cust|prod", {"user_id": 0, "item_id": "prod"}),
        ("user_id|item_id|rating|rating", {"rating": 2}),
        ("user|movie|book", {"item_id": "movie"}),
        ("user|item|score|stars", {"rating": "score"}),
        ("customer|visitor|thing|score|stars", {"user_id": "customer", "item_id": "thing", "rating": "score"}),
    ],
)
def test_suggested_mapping_is_yaml_without_unsuitable_columns(header, expected):
    mapping = suggested(header)
    assert mapping == expected
    if "NAME" not in mapping.values():
        roles_from_header(header.split("|"), mapping, "f.csv")


def test_suggested_mapping_repeats_the_configured_one():
    configured = {"rating": None, "user_id": "who"}
    assert suggested("who|what|rating", configured) == {"rating": None, "user_id": "who", "item_id": "what"}


def test_all_open_roles_are_named_in_one_message():
    with pytest.raises(
        DataError, match=r"no item_id column among .*; several columns may be user_id: customer, visitor"
    ):
        roles_from_header(["customer", "visitor", "what"], {}, "f")


def test_columns_without_header_are_assigned_by_position():
    assert roles_from_positions(3, {}, "f") == {"user_id": 0, "item_id": 1, "rating": 2}
    assert roles_from_positions(9, {"item_id": 7, "user_id": 3}, "f") == {"user_id": 3, "item_id": 7}


@pytest.mark.parametrize(
    ("n_fields", "mapping", "message"),
    [
        (5, {}, r"f: 5 columns and no header; set data\.columns: \{user_id: 0, item_id: 1\}"),
        (1, {}, r"f: 1 column and no header; .* data\.delimiter"),
        (
            4,
            {"user_id": "user", "item_id": "item", "rating": 1},
            r"no column 'user'; .*header: true; else set data\.columns: \{user_id: 0, item_id: 2, rating: 1\}",
        ),
        (2, {"user_id": 0, "item_id": 2}, r"data\.columns\.item_id=2 does not exist; positions count from 0"),
        (3, {"user_id": 0}, r"data\.columns has no item_id; set data\.columns: \{user_id: 0, item_id: 1\}"),
        (3, {"user_id": 0, "item_id": 0}, "column at position 0 is mapped twice"),
    ],
)
def test_invalid_position_is_rejected(n_fields, mapping, message):
    with pytest.raises(DataError, match=message):
        roles_from_positions(n_fields, mapping, "f")


def test_invalid_options_are_all_reported_together():
    with pytest.raises(ConfigError) as caught:
        ReadOptions(format="cvs", bad_rows="ignore", columns={"usr_id": "a", "item_id": -1, "rating": ""}, delimiter="")
    assert caught.value.problems == [
        "format: unknown value 'cvs'; did you mean csv?",
        "bad_rows: unknown value 'ignore'; one of error, skip",
        "columns: unknown column 'usr_id'; did you mean user_id?",
        "columns.item_id: -1 is neither a column name nor a position counted from 0",
        "columns.rating: '' is neither a column name nor a position counted from 0",
        "delimiter: '' is empty; leave it out to detect the delimiter",
    ]
