"""Suggesting the columns of a file for roles that no well-known name fills, for error messages."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import yaml

from recctl.data.columns import ITEM, USER

# A placeholder for a column that can't be suggested.
UNKNOWN = "NAME"

_ROLE_WORDS = {
    USER: "user users usr cust customer customers client clients member members visitor visitors reader readers "
    "listener listeners viewer viewers account accounts acct buyer buyers shopper shoppers consumer consumers "
    "subscriber subscribers reviewer reviewers rater raters player players person persons people patron patrons "
    "guest guests student students learner learners household profile profiles uid who username login",
    ITEM: "item items prod product products sku skus article articles thing things movie movies film films book books "
    "song songs track tracks artist artists album albums video videos game games news recipe recipes joke jokes anime "
    "show shows series restaurant restaurants business venue venues place places poi hotel hotels listing listings "
    "ad ads offer offers asset content page pages course courses job jobs document documents doc docs paper papers "
    "podcast podcasts isbn asin ean upc gtin barcode stockcode pid iid app apps goods merchandise dish dishes",
}
_ROLE_WORDS_BY_ROLE = {role: frozenset(words.split()) for role, words in _ROLE_WORDS.items()}

_OTHER_WORDS = {
    # Words beside that of a role which leave no doubt that the column identifies it.
    "id": "id ids key code no nr num number uuid guid hash ref token sk pk fk",
    # Words that describe a user or an item: such a column is suggested only with the word of the role: `user name`.
    "name": "name names title titles label",
    # Columns with one of these words are neither users nor items.
    "unsuitable": "order orders transaction transactions trans txn invoice invoices basket baskets cart receipt "
    "ticket bill payment "
    "description desc text comment comments review reviews summary body note notes message tag tags "
    "price prices cost amount quantity qty count counts total sum discount revenue sales value "
    "date dates datetime time times timestamp ts day month year hour minute week weekday created updated modified at "
    "since duration length index idx row rows unnamed rating ratings score scores stars weight preference vote votes "
    "flag type category categories cat genre genres department dept gender sex age birth country city region zip "
    "postcode state address street email mail phone language lang latitude longitude lat lon lng status event events "
    "action behavior behaviour click clicks view views purchase purchases rank position color colour size currency "
    "store shop seller vendor merchant brand company url link image img version source device browser platform "
    "is has",
}
_ID_WORDS, _NAME_WORDS, _UNSUITABLE_WORDS = (frozenset(words.split()) for words in _OTHER_WORDS.values())
_TIME_WORDS = frozenset({"at", "date", "datetime", "time", "timestamp", "ts"})
# Times that are no times of interactions.
_OTHER_TIMES = "birth birthday birthdate born dob release released publication published expiry expires zone timezone"
_OTHER_TIME_WORDS = frozenset(_OTHER_TIMES.split())
_SESSION_WORDS = frozenset({"session", "sessions"})
_KNOWN_WORDS = _ID_WORDS | _UNSUITABLE_WORDS | _SESSION_WORDS | _NAME_WORDS.union(*_ROLE_WORDS_BY_ROLE.values())


class _Dumper(yaml.SafeDumper):
    """Quotes text that may be read as a number: configs follow YAML 1.2, PyYAML 1.1."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "'" if text[:1] in "0123456789.+-" else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def suggest_columns(
    names: Sequence[str], unassigned: Sequence[int], roles: Collection[str], known: Collection[int] = ()
) -> dict[str, int]:
    """Suggest a column for each of the roles `user_id` and `item_id`, as far as any column is suitable.

    Args:
        names: The names of all columns.
        unassigned: Positions of the columns without a role.
        roles: The roles to fill.
        known: Positions of columns that well-known names of other roles rule out.

    Returns:
        Role -> position. No column is suggested for two roles.
    """
    fits = []
    for role in roles:
        for position in unassigned:
            rank = None if position in known else _rank(names[position], role)
            if rank is not None:
                fits.append((rank, position, list(roles).index(role), role))
    suggested: dict[str, int] = {}
    # The best fits first, so that a neutral name does not take the column that resembles the other role.
    for _, position, _, role in sorted(fits):
        if role not in suggested and position not in suggested.values():
            suggested[role] = position
    return suggested


def suggest_timestamp(names: Sequence[str], unassigned: Sequence[int]) -> int | None:
    """The only column without a role whose name has a word for a time, such as `bought_at`; None if there is none."""
    fits = [position for position in unassigned if has_time_word(names[position])]
    return fits[0] if len(fits) == 1 else None


def has_time_word(name: str) -> bool:
    """Whether a column name has a word for a time, such as `bought_at`."""
    return bool(_words(name) & _TIME_WORDS)


def has_id_word(name: str) -> bool:
    """Whether a column name has a word of an identifier, such as `order_no`."""
    return bool(_words(name) & _ID_WORDS)


def describes_other_time(name: str) -> bool:
    """Whether a column name is that of a time of the item or the user, such as `release_date`."""
    return bool(_words(name) & _OTHER_TIME_WORDS)


def column_reference(names: Sequence[str], position: int) -> str | int:
    """The name of a column as `data.columns` takes it; its position if the name does not identify it on one line."""
    name = names[position]
    is_plain = name.isprintable() and name == name.strip() and name != ""
    return name if is_plain and list(names).count(name) == 1 else position


def mapping_hint(columns: Mapping[str, str | int | None]) -> str:
    """The YAML that assigns these columns, on one line: `set data.columns: {user_id: 0}`."""
    text = yaml.dump(
        dict(columns), Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=1 << 30
    )
    return f"set data.columns: {text.strip()}"


def _rank(name: str, role: str) -> int | None:
    """How well a name fits a role: 0 is best; None if it does not."""
    words = _words(name)
    other_role = ITEM if role == USER else USER
    has_role = bool(words & _ROLE_WORDS_BY_ROLE[role])
    others = words - _ROLE_WORDS_BY_ROLE[role] - _ID_WORDS
    if not words or others & _UNSUITABLE_WORDS:
        return None
    if words & _SESSION_WORDS:  # a user, if no other column is
        return 3 if role == USER else None
    if not has_role:
        is_neutral = not words & (_NAME_WORDS | _ROLE_WORDS_BY_ROLE[other_role]) and bool(others)
        return 2 if is_neutral else None
    return 1 if others else 0


def _words(name: str) -> frozenset[str]:
    """The words of a column name in lower case: those of `CustomerID`, `customer_id` and `Customer ID` are equal."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = re.findall(r"[^\W\d_]+", spaced.lower())
    return frozenset(_without_id(word) for word in words)


def _without_id(word: str) -> str:
    """`cust` of `custid`: the word before an `id` that is written without a separator."""
    stem = word.removesuffix("id")
    return stem if word not in _KNOWN_WORDS and stem in _KNOWN_WORDS else word
