"""Interactions of a shop with its own columns and ids, and metrics in plain Python from the lists of a model."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Rows = list[tuple[int, int, int]]


def interactions(n_users: int = 60, n_items: int = 40, per_user: int = 12, seed: int = 1) -> Rows:
    """Rows (user, item, time): users keep mostly to one of four groups of items."""
    draw = random.Random(seed)
    rows = []
    for user in range(1, n_users + 1):
        items: set[int] = set()
        while len(items) < per_user:
            item = min(int(draw.expovariate(4 / n_items)), n_items - 1)
            if draw.random() < 0.6:
                item = min(item - item % 4 + user % 4, n_items - 1)
            items.add(item + 1)
        ordered = sorted(items, key=lambda _: draw.random())
        rows += [(user, item, 1_700_000_000 + 3600 * place + user) for place, item in enumerate(ordered)]
    return rows


def write(
    path: Path, rows: Iterable[tuple[Any, ...]], header: str = "user_id,item_id,timestamp", sep: str = ","
) -> None:
    path.write_text("\n".join([header, *(sep.join(map(str, row)) for row in rows)]) + "\n")


def by_user(rows: Iterable[tuple[Any, ...]]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for user, item, *_ in rows:
        found.setdefault(user, []).append(item)
    return found


def lists(recctl: Any, run: str, users: Iterable[Any], *options: str) -> dict[Any, list[Any]]:
    """All items that a run's model recommends to each user, best first."""
    done = recctl("recommend", run, *map(str, users), "-k", "1000", "--json", *options)
    assert done.code == 0, done.err
    return by_user((row["user_id"], row["item_id"]) for row in done.json["recommendations"])


def without(ranked: Mapping[Any, list[Any]], *excluded: Mapping[Any, list[Any]]) -> dict[Any, list[Any]]:
    return {u: [i for i in items if not any(i in part.get(u, ()) for part in excluded)] for u, items in ranked.items()}


def ndcg(ranked: Mapping[Any, list[Any]], relevant: Mapping[Any, list[Any]], k: int = 10) -> dict[Any, float]:
    values = {}
    for user, items in relevant.items():
        wanted = set(items)
        gain = sum(1 / math.log2(rank + 2) for rank, item in enumerate(ranked[user][:k]) if item in wanted)
        values[user] = gain / sum(1 / math.log2(rank + 2) for rank in range(min(k, len(wanted))))
    return values


def mean(values: Mapping[Any, float]) -> float:
    return sum(values.values()) / len(values)
