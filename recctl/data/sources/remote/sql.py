"""What must be known of a query before it is sent: that it is one, and whether it says the order of its rows."""

from __future__ import annotations

import re

from recctl.errors import ConfigError

# Comments, texts, quoted names and dollar-quoted texts of PostgreSQL are read as a whole: their content is no SQL.
_SYMBOL = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)
    |(?P<quoted>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
    |(?P<word>[A-Za-z_]\w*)
    |(?P<space>\s+)
    |(?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_QUERIES = ("select", "with", "values", "table", "from")
# After WITH, these change data.
_CHANGES = ("insert", "update", "delete", "merge")


def require_query(sql: str) -> str:
    """Check that a text is one statement that reads.

    This gives a clear message early. What keeps the data safe is the read-only connection.

    Returns:
        The statement, without a semicolon and comments at its end: drivers write the statement within others.

    Raises:
        ConfigError: It is something else.
    """
    symbols = _symbols(sql)
    words = [symbol for symbol in symbols if symbol != "("]
    if not words:
        raise ConfigError(
            "data.source.sql: is empty; write a query, e.g. select user_id, item_id, rated_at from ratings"
        )
    if words[0] not in _QUERIES:
        raise ConfigError(
            f"data.source.sql: begins with {words[0]!r}; only a query is allowed, which begins with select"
        )
    if ";" in symbols[:-1] and any(symbol != ";" for symbol in symbols[symbols.index(";") :]):
        raise ConfigError("data.source.sql: holds several statements; only one query is allowed")
    if words[0] == "with":
        changes = [
            word for word, before in zip(symbols[1:], symbols, strict=False) if word in _CHANGES and before in "()"
        ]
        if changes:
            raise ConfigError(f"data.source.sql: has {changes[0]!r}, which changes data; only a query is allowed")
    return sql[: _end(sql)]


def has_order(sql: str) -> bool:
    """Whether a query has ORDER BY outside of parentheses, which orders its result."""
    depth = 0
    previous = ""
    for symbol in _symbols(sql):
        if symbol == "(":
            depth += 1
        elif symbol == ")":
            depth -= 1
        elif symbol == "by" and previous == "order" and depth == 0:
            return True
        previous = symbol
    return False


def _end(sql: str) -> int:
    """Where the last symbol ends that is neither a semicolon nor a comment."""
    matches = _SYMBOL.finditer(sql)
    return max(match.end() for match in matches if match.lastgroup not in ("comment", "space") and match[0] != ";")


def _symbols(sql: str) -> list[str]:
    """Words in lower case and signs; each quoted text is one sign."""
    symbols = []
    for match in _SYMBOL.finditer(sql):
        kind = match.lastgroup
        if kind == "word":
            symbols.append(match[0].lower())
        elif kind == "sign":
            symbols.append(match[0])
        elif match["quoted"]:
            symbols.append("'")
    return symbols
