"""Assigning a file's columns to the roles user_id, item_id, rating and timestamp."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from recctl.data.columns import COLUMNS, ITEM, RATING, TIMESTAMP, USER
from recctl.errors import DataError
from recctl.suggest import did_you_mean

# Compared without case, punctuation and RecBole's types (`user_id:token`). The first name of a role always wins; if
# several columns have one of its other names, the user has to choose.
_NAMES = {
    USER: "userid user uid users visitorid visitor customerid customer reviewerid memberid profileid accountid "
    "sessionid session userindex useridx",
    ITEM: "itemid item iid items movieid movie bookid book isbn productid product asin parentasin businessid artistid "
    "artist trackid track songid song videoid animeid gameid articleid newsid recipeid jokeid itemindex itemidx",
    RATING: "rating ratings score stars overall bookrating weight preference playcount plays count",
    TIMESTAMP: "timestamp time ts date datetime unixreviewtime unixtime eventtime createdat ratingtimestamp",
}
KNOWN_NAMES = {role: names.split() for role, names in _NAMES.items()}
_MAX_NAMES_IN_MESSAGE = 20


def normalize_name(name: str) -> str:
    """A column name in the form used for comparison: `User-ID` and `user_id:token` both give `userid`."""
    return re.sub(r"[\W_]", "", name.split(":")[0].lower())


def is_known_name(name: str) -> bool:
    """Whether a column name is one of the well-known names of any role."""
    return any(normalize_name(name) in names for names in KNOWN_NAMES.values())


def roles_from_header(names: Sequence[str], mapping: Mapping[str, str | int | None], source: str) -> dict[str, int]:
    """Find the column of each role in a file with a header, by the user's mapping or else by its name.

    Args:
        names: The names in the header.
        mapping: Role -> name or position, as the user configured it; None for a role that is left out.
        source: Name of the file for error messages.

    Returns:
        Role -> position, in the order of `COLUMNS`. Ratings and timestamps are left out if there is no such column.

    Raises:
        DataError: A column is missing, ambiguous, or mapped twice; the message shows the YAML to write.
    """
    # The user's mapping comes first, so that a mapped column is not a candidate for another role.
    mapped = {role: column for role, column in mapping.items() if column is not None}
    positions = {role: _mapped_position(names, role, column, source) for role, column in mapped.items()}
    for role in COLUMNS:
        if role in mapping:
            continue
        unassigned = [i for i in range(len(names)) if i not in positions.values()]
        candidates = _candidates(names, unassigned, role)
        if len(candidates) > 1:
            choices = ", ".join(names[i] for i in candidates)
            hint = _mapping_hint({role: names[candidates[0]]})
            raise DataError(f"{source}: several columns may be {role}: {choices}; {hint}")
        if candidates:
            positions[role] = candidates[0]
        elif role in (USER, ITEM):
            example = next((names[i] for i in unassigned if not is_known_name(names[i])), "NAME")
            hint = _mapping_hint({role: example})
            raise DataError(f"{source}: no {role} column among {_join_names(names)}; {hint}")
    return _in_role_order(positions, names, source)


def roles_from_positions(n_fields: int, mapping: Mapping[str, str | int | None], source: str) -> dict[str, int]:
    """Assign roles in a file without a header, by the user's mapping or else in the order of `COLUMNS`.

    Args:
        n_fields: Number of columns.
        mapping: Role -> position, as the user configured it; None for a role that is left out.
        source: Name of the file for error messages.

    Raises:
        DataError: A mapped column does not exist, or the number of columns does not allow assigning them in order.
    """
    layout = f"{source}: {n_fields} columns and no header"
    mapped = {role: column for role, column in mapping.items() if column is not None}
    if not mapped:
        if not 2 <= n_fields <= len(COLUMNS):
            raise DataError(f"{layout}; {_mapping_hint({USER: 0, ITEM: 1})} (positions from 0)")
        in_order = dict(zip(COLUMNS, range(n_fields), strict=False))
        return {role: position for role, position in in_order.items() if role not in mapping}
    positions = {}
    for role, column in mapped.items():
        if isinstance(column, str):
            raise DataError(
                f"{layout}, so there is no column {column!r}; {_mapping_hint({role: 0})} (positions from 0)"
            )
        if column >= n_fields:
            raise DataError(f"{layout}, so data.columns.{role}={column} does not exist; positions count from 0")
        positions[role] = int(column)
    for role in (USER, ITEM):
        if role not in mapped:
            raise DataError(f"{layout}, and data.columns has no {role}; {_mapping_hint({role: 0})} (positions from 0)")
    return _in_role_order(positions, None, source)


def _candidates(names: Sequence[str], unassigned: Sequence[int], role: str) -> list[int]:
    """Positions of the columns that may have a role: those of its first well-known name, else of any other."""
    certain = [i for i in unassigned if normalize_name(names[i]) == KNOWN_NAMES[role][0]]
    if certain:
        return certain
    return [i for i in unassigned if normalize_name(names[i]) in KNOWN_NAMES[role]]


def _mapped_position(names: Sequence[str], role: str, column: str | int, source: str) -> int:
    if isinstance(column, int):
        if column < len(names):
            return column
        raise DataError(
            f"{source}: data.columns.{role}={column} is beyond the {len(names)} columns {_join_names(names)}; "
            "positions count from 0"
        )
    matches = [i for i, name in enumerate(names) if name == column]
    if not matches:  # RecBole's `user_id:token` may be mapped as `user_id`
        matches = [i for i, name in enumerate(names) if name.split(":")[0] == column]
    if len(matches) > 1:
        hint = _mapping_hint({role: matches[0]})
        raise DataError(f"{source}: {len(matches)} columns are called {column!r}; {hint} (its position)")
    if not matches:
        raise DataError(f"{source}: data.columns.{role}: no column {column!r}{did_you_mean(column, names)}")
    return matches[0]


def _in_role_order(positions: dict[str, int], names: Sequence[str] | None, source: str) -> dict[str, int]:
    """The positions in the order of `COLUMNS`, after checking that no column has two roles."""
    assigned = list(positions.values())
    for role, position in positions.items():
        if assigned.count(position) > 1:
            column = repr(names[position]) if names else f"at position {position}"
            raise DataError(f"{source}: data.columns.{role}: column {column} is mapped twice")
    return {role: positions[role] for role in COLUMNS if role in positions}


def _join_names(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _MAX_NAMES_IN_MESSAGE else ""
    return ", ".join(names[:_MAX_NAMES_IN_MESSAGE]) + more


def _mapping_hint(columns: Mapping[str, str | int]) -> str:
    """The YAML that would assign these columns: `set data.columns: {user_id: 0}`."""
    entries = ", ".join(f"{role}: {column}" for role, column in columns.items())
    return f"set data.columns: {{{entries}}}"
