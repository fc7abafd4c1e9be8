"""Which column of a table is which."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from recctl.data.columns import COLUMNS, ITEM, RATING, TIMESTAMP, USER
from recctl.errors import DataError
from recctl.suggest import did_you_mean

# Compared without case, punctuation and RecBole's types (`user_id:token`). The first name of each is sure; of the
# others there may be one, else the user has to say.
_NAMES = {
    USER: "userid user uid users visitorid visitor customerid customer reviewerid memberid profileid accountid "
    "sessionid session userindex useridx",
    ITEM: "itemid item iid items movieid movie bookid book isbn productid product asin parentasin businessid artistid "
    "artist trackid track songid song videoid animeid gameid articleid newsid recipeid jokeid itemindex itemidx",
    RATING: "rating ratings score stars overall bookrating weight preference playcount plays count",
    TIMESTAMP: "timestamp time ts date datetime unixreviewtime unixtime eventtime createdat ratingtimestamp",
}
_LISTED = 20
KNOWN_NAMES = {role: names.split() for role, names in _NAMES.items()}


def normalised(name: str) -> str:
    """A column's name as it is compared: `User-ID` and `user_id:token` are both `userid`."""
    return re.sub(r"[\W_]", "", name.split(":")[0].lower())


def is_known(name: str) -> bool:
    """Whether the name says what the column holds."""
    return any(normalised(name) in names for names in KNOWN_NAMES.values())


def find_columns(names: Sequence[str], mapping: Mapping[str, str | int], place: str) -> dict[str, int]:
    """The position of each role's column: mapped, or by its name. Ratings and timestamps may be missing.

    Raises:
        DataError: A column is missing, ambiguous, or mapped twice; the message shows the YAML to write.
    """
    found = {role: _mapped(names, role, column, place) for role, column in mapping.items()}
    for role in COLUMNS:
        if role in found:
            continue
        free = {i: normalised(name) for i, name in enumerate(names) if i not in found.values()}
        sure = [i for i, name in free.items() if name == KNOWN_NAMES[role][0]]
        candidates = sure or [i for i, name in free.items() if name in KNOWN_NAMES[role]]
        if len(candidates) > 1:
            these = ", ".join(names[i] for i in candidates)
            raise DataError(f"{place}: {role} may be any of {these}; {_say(role, names[candidates[0]])}")
        if candidates:
            found[role] = candidates[0]
        elif role in (USER, ITEM):
            other = next((names[i] for i in free if not is_known(names[i])), "NAME")
            raise DataError(f"{place}: no {role} among the columns {_listed(names)}; {_say(role, other)}")
    return _distinct(found, names, place)


def place_columns(n_fields: int, mapping: Mapping[str, str | int], place: str) -> dict[str, int]:
    """The position of each role's column in a table without a header: mapped, else in the order of the roles.

    Raises:
        DataError: A mapped column isn't there, or there are too few or too many columns to go by their order.
    """
    there = f"{place}: {n_fields} columns and no header"
    if not mapping:
        if not 2 <= n_fields <= len(COLUMNS):
            raise DataError(f"{there}; {_say(USER, 0, ITEM, 1)} (positions from 0)")
        return dict(zip(COLUMNS, range(n_fields), strict=False))
    for role, column in mapping.items():
        if isinstance(column, str):
            raise DataError(f"{there}, so {column!r} names none; {_say(role, 0)} (positions from 0)")
        if column >= n_fields:
            raise DataError(f"{there}, so data.columns.{role}={column} is none of them; positions count from 0")
    for role in (USER, ITEM):
        if role not in mapping:
            raise DataError(f"{there}, and data.columns does not say where {role} is; {_say(role, 0)}")
    return _distinct({role: int(column) for role, column in mapping.items()}, None, place)


def _mapped(names: Sequence[str], role: str, column: str | int, place: str) -> int:
    if isinstance(column, int):
        if column < len(names):
            return column
        raise DataError(f"{place}: data.columns.{role}={column} is beyond the {len(names)} columns {_listed(names)}")
    same = [i for i, name in enumerate(names) if name == column] or [
        i for i, name in enumerate(names) if name.split(":")[0] == column
    ]
    if len(same) == 1:
        return same[0]
    if same:
        raise DataError(f"{place}: {len(same)} columns are called {column!r}; {_say(role, same[0])} (its position)")
    raise DataError(f"{place}: data.columns.{role}: no column {column!r}{did_you_mean(column, names)}")


def _distinct(found: dict[str, int], names: Sequence[str] | None, place: str) -> dict[str, int]:
    for role, at in found.items():
        if list(found.values()).count(at) > 1:
            column = repr(names[at]) if names else f"at position {at}"
            raise DataError(f"{place}: data.columns.{role}: column {column} is mapped twice")
    return {role: found[role] for role in COLUMNS if role in found}


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"


def _say(*pairs: str | int) -> str:
    inside = ", ".join(f"{role}: {column}" for role, column in zip(pairs[::2], pairs[1::2], strict=True))
    return f"say which it is, e.g. data.columns: {{{inside}}}"
