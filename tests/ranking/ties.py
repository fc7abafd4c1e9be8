"""The order of items with equal scores, in plain Python from docs/reference/metrics.md, as an oracle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

U64 = 2**64
SALT = int.from_bytes(b"recctl", "big")


def fnv1a(text: str) -> int:
    value = 14695981039346656037
    for byte in text.encode():
        value = (value ^ byte) * 1099511628211 % U64
    return value


def splitmix64(number: int) -> int:
    z = number * 0x9E3779B97F4A7C15 % U64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % U64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % U64
    return z ^ z >> 31


def key_of_id(user: Any) -> int:
    """The key of a user, or of an item that others are compared with."""
    return splitmix64(SALT ^ fnv1a(str(user)))


def key_of_history(items: Iterable[Any]) -> int:
    """The key of a given history."""
    return splitmix64(SALT ^ sum(splitmix64(fnv1a(str(item))) for item in set(items)) % U64)


def tie_key(row_key: int, item: Any) -> int:
    return splitmix64(row_key ^ fnv1a(str(item)))


def ranking(scores: Mapping[Any, float], row_key: int) -> list[Any]:
    """Items in order of descending score, of equal scores in order of ascending tie key."""
    return sorted(scores, key=lambda item: (-scores[item], tie_key(row_key, item)))
