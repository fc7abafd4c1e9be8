"""Assigning a file's columns to the roles user_id, item_id, rating and timestamp."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from recctl.data.columns import COLUMNS, ITEM, RATING, TIMESTAMP, USER
from recctl.data.sources.readers.column_suggestions import (
    UNKNOWN,
    column_reference,
    mapping_hint,
    suggest_columns,
    suggest_timestamp,
)
from recctl.errors import DataError
from recctl.suggest import did_you_mean

# Compared without case, punctuation and RecBole's types (`user_id:token`). The first name of a role always wins; if
# several columns have one of its other names, the user has to choose.
_NAMES = {
    USER: "userid user uid users visitorid visitor customerid customer reviewerid memberid profileid accountid "
    "sessionid session userindex useridx",
    ITEM: "itemid item iid items movieid movie bookid book isbn productid product asin parentasin businessid artistid "
    "artist trackid track songid song videoid animeid gameid articleid newsid recipeid jokeid itemindex itemidx",
    RATING: "rating ratings score stars starrating overall bookrating weight preference playcount plays count",
    TIMESTAMP: "timestamp time ts date datetime unixreviewtime unixtime eventtime createdat reviewdate ratingtimestamp",
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
    positions = {role: _mapped_position(names, role, column, source, mapping) for role, column in mapped.items()}
    ambiguous: dict[str, list[int]] = {}
    for role in COLUMNS:
        if role in mapping:
            continue
        candidates = _candidates(names, _unassigned(names, positions), role)
        if len(candidates) == 1:
            positions[role] = candidates[0]
        elif candidates:
            ambiguous[role] = candidates
    # A mapping to None also stands for a column that comes from elsewhere, such as the folder of a part.
    assigned = {*mapping, *positions, *ambiguous}
    missing = [role for role in (USER, ITEM) if role not in assigned]
    if missing or ambiguous:
        raise DataError(_unassigned_roles_message(names, mapping, positions, missing, ambiguous, source))
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
    n_needed = sum(mapping.get(role, role) is not None for role in (USER, ITEM))
    if n_fields < n_needed == 2:
        raise DataError(f"{source}: 1 column and no header; if the fields have a separator, set data.delimiter to it")
    mapped = {role: column for role, column in mapping.items() if column is not None}
    if not mapped:
        if n_fields > len(COLUMNS):
            raise DataError(f"{layout}; {mapping_hint({USER: 0, ITEM: 1, **mapping})} (positions from 0)")
        in_order = dict(zip(COLUMNS, range(n_fields), strict=False))
        return {role: position for role, position in in_order.items() if role not in mapping}
    positions = {}
    for role, column in mapped.items():
        if isinstance(column, str):
            raise DataError(
                f"{layout}, so there is no column {column!r}; if the first line has the names, set data.header: true; "
                f"else {mapping_hint(_mapping_by_position(n_fields, mapping))} (positions from 0)"
            )
        if column >= n_fields:
            raise DataError(f"{layout}, so data.columns.{role}={column} does not exist; positions count from 0")
        positions[role] = int(column)
    missing = [role for role in (USER, ITEM) if role not in mapping]
    if missing:
        hint = mapping_hint(_mapping_by_position(n_fields, mapping))
        raise DataError(f"{layout}, and data.columns has no {' and '.join(missing)}; {hint} (positions from 0)")
    return _in_role_order(positions, None, source)


def _unassigned_roles_message(
    names: Sequence[str],
    mapping: Mapping[str, str | int | None],
    positions: Mapping[str, int],
    missing: Sequence[str],
    ambiguous: Mapping[str, Sequence[int]],
    source: str,
) -> str:
    """All roles that the names leave open, with one mapping that settles all of them."""
    problems = []
    if missing:
        problems.append(f"no {' and '.join(missing)} column among {_join_names(names)}")
    for role, candidates in ambiguous.items():
        choices = ", ".join(names[position] for position in candidates)
        problems.append(f"several columns may be {role}: {choices}")
    chosen = {role: candidates[0] for role, candidates in ambiguous.items()}
    unassigned = _unassigned(names, {**positions, **chosen})
    known = [position for position in unassigned if is_known_name(names[position])]
    chosen |= suggest_columns(names, unassigned, missing, known)
    if TIMESTAMP not in (*mapping, *positions, *ambiguous):
        # Times are optional, but a user whose other names are unknown may want them too.
        times = suggest_timestamp(names, _unassigned(names, {**positions, **chosen}))
        if times is not None:
            chosen[TIMESTAMP] = times
    # The hint replaces what is configured, so it repeats it.
    columns = dict(mapping)
    for role in COLUMNS:
        if role in chosen:
            columns[role] = column_reference(names, chosen[role])
        elif role in missing:
            columns[role] = UNKNOWN
    hint = mapping_hint(columns)
    # Positions alone would leave it open whether the first line is a header.
    if any(type(column) is int for column in columns.values()):
        hint += " (positions from 0) and data.header: true"
    return f"{source}: {'; '.join(problems)}; {hint}"


def _unassigned(names: Sequence[str], positions: Mapping[str, int]) -> list[int]:
    return [position for position in range(len(names)) if position not in positions.values()]


def _mapping_by_position(n_fields: int, mapping: Mapping[str, str | int | None]) -> dict[str, str | int | None]:
    """A mapping of the same roles, and of user and item, by position; names get the first free positions."""
    columns = {role: column for role, column in mapping.items() if not isinstance(column, str)}
    free = [position for position in range(n_fields) if position not in columns.values()]
    for role in COLUMNS:
        is_open = isinstance(mapping.get(role), str) or (role in (USER, ITEM) and role not in mapping)
        if is_open and free:
            columns[role] = free.pop(0)
    return {role: columns[role] for role in COLUMNS if role in columns}


def _candidates(names: Sequence[str], unassigned: Sequence[int], role: str) -> list[int]:
    """Positions of the columns that may have a role: those of its first well-known name, else of any other."""
    certain = [i for i in unassigned if normalize_name(names[i]) == KNOWN_NAMES[role][0]]
    if certain:
        return certain
    return [i for i in unassigned if normalize_name(names[i]) in KNOWN_NAMES[role]]


def _mapped_position(
    names: Sequence[str], role: str, column: str | int, source: str, mapping: Mapping[str, str | int | None]
) -> int:
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
        hint = mapping_hint({**mapping, role: matches[0]})
        raise DataError(
            f"{source}: {len(matches)} columns are called {column!r}; {hint} (its position) and data.header: true"
        )
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
    return ", ".join(name or "''" for name in names[:_MAX_NAMES_IN_MESSAGE]) + more
