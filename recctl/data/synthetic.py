"""Generated interactions with a structure that models can find: for tests, and for scale."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from recctl.data import columns
from recctl.data.arguments import checked
from recctl.data.matrix import Float32Array, Int32Array, Int64Array
from recctl.engines import map_threads
from recctl.errors import ConfigError
from recctl.kernels import synthetic_sampling
from recctl.progress import track
from recctl.rng import stream

_BEGIN = 1_577_836_800  # 2020-01-01
_MOST_DAYS = (columns.LATEST_TIMESTAMP - _BEGIN) // 86_400

Share = Annotated[float, Field(ge=0, le=1)]
_BLOCK = 1 << 20  # interactions; cut by the data, so that each block's stream is the same on any number of threads


@dataclass(frozen=True)
class _Catalogue:
    """The items, by cluster and within a cluster the most popular first."""

    ids: Int32Array
    bounds: Int64Array
    next_item: Int32Array
    by_season: Int32Array
    quality: Float32Array


@dataclass(frozen=True)
class _People:
    """The users: whose rows are where, what they like, and when they are there (in [0, 1) of the time)."""

    starts: Int64Array
    main: Int32Array
    second: Int32Array
    bias: Float32Array
    begin: NDArray[np.float64]
    end: NDArray[np.float64]


@checked
def generate(
    n_users: Annotated[int, Field(ge=1)],
    n_items: Annotated[int, Field(ge=2)],
    n_interactions: Annotated[int, Field(ge=1)],
    seed: int = 42,
    *,
    popularity: Annotated[float, Field(ge=0)] = 1.1,
    activity: Annotated[float, Field(ge=0)] = 1.0,
    n_clusters: Annotated[int, Field(ge=1)] = 10,
    taste: Share = 0.6,
    sequence: Share = 0.3,
    drift: Share = 0.1,
    days: Annotated[float, Field(gt=0, le=_MOST_DAYS)] = 730,
) -> pd.DataFrame:
    """Interactions of people who have tastes, follow fashions, and do one thing after another.

    Items fall into clusters. A user likes one cluster most and another one too; what follows an item is drawn as

    - with probability `sequence`, the one item that follows it;
    - with probability `drift`, an item of a cluster whose time it is: each has its season, one after the other;
    - else an item of a cluster by popularity, which is a power law of the item's rank;

    where the cluster is one of the user's own with probability `taste`, else that of an item of general popularity.
    Ratings are higher in the own clusters, and depend on the item's quality and the user's kindness. Nobody has an item
    twice: where one is taken, the next less popular one is.

    Args:
        n_users: Users, each with one interaction at least.
        n_items: Items; unpopular ones may have no interaction.
        n_interactions: Interactions; at most half of all pairs, so that distinct ones are found fast.
        seed: Of the streams `synthetic`; equal arguments give equal tables on any number of threads.
        popularity: Exponent of the items' power law; 0 makes all equally popular.
        activity: Spread of the users' activity, the standard deviation of its logarithm.
        n_clusters: Clusters of items.
        taste: How much users keep to their own clusters, 0 to 1.
        sequence: How often an item follows from the one before, 0 to 1.
        drift: How often the time decides, 0 to 1; `sequence` and `drift` together are at most 1.
        days: Length of the time.

    Returns:
        Columns `user_id` (int32, from 1), `item_id` (int32, from 1, in no order), `rating` (float32, 1 to 5) and
        `timestamp` (int64, seconds, from 2020 on); user after user, each in order of time.

    Raises:
        ConfigError: Arguments out of range; all of them are named.
    """
    problems = list(_problems(n_users, n_items, n_interactions, n_clusters, sequence, drift))
    if problems:
        raise ConfigError(*problems)
    catalog = _catalogue(n_items, n_clusters, stream(seed, "synthetic", "items"))
    people = _people(n_users, n_items, n_interactions, n_clusters, activity, stream(seed, "synthetic", "users"))
    table: dict[str, NDArray[Any]] = {
        columns.USER: np.empty(n_interactions, np.int32),
        columns.ITEM: np.empty(n_interactions, np.int32),
        columns.RATING: np.empty(n_interactions, np.float32),
        columns.TIMESTAMP: np.empty(n_interactions, np.int64),
    }

    def fill(block: tuple[int, int, int]) -> None:
        number, first, last = block
        rows = slice(people.starts[first], people.starts[last])
        rng = stream(seed, "synthetic", "block", number)
        users = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(people.starts[first : last + 1]))
        times = _times(people, first, last, users, rng)
        items = np.empty(len(users), np.int32)
        synthetic_sampling.sample_items(
            people.starts[first : last + 1] - people.starts[first],
            (people.main[first:last], people.second[first:last]),
            (catalog.bounds, catalog.next_item, catalog.by_season),
            times,
            rng.random((len(users), 3)),
            (taste, sequence, drift),
            popularity,
            items,
        )
        table[columns.USER][rows] = users + 1
        table[columns.ITEM][rows] = catalog.ids[items]
        table[columns.RATING][rows] = _ratings(catalog, people, users, items, rng)
        table[columns.TIMESTAMP][rows] = _BEGIN + (times * days * 86_400).astype(np.int64)

    blocks = list(_blocks(people.starts))
    for _ in track(map_threads(fill, blocks), "Generating interactions", len(blocks), "blocks"):
        pass
    return pd.DataFrame(table, copy=False)


def _problems(
    n_users: int, n_items: int, n_interactions: int, n_clusters: int, sequence: float, drift: float
) -> Iterator[str]:
    most = n_users * (n_items // 2)
    if not n_users <= n_interactions <= most:
        yield f"n_interactions={n_interactions}: must be from n_users ({n_users}) to half of all pairs ({most})"
    if n_clusters > n_items:
        yield f"n_clusters={n_clusters}: must be at most n_items ({n_items})"
    if sequence + drift > 1:
        yield f"sequence={sequence}, drift={drift}: must be at most 1 together"


def _catalogue(n_items: int, n_clusters: int, rng: np.random.Generator) -> _Catalogue:
    bounds = np.linspace(0, n_items, n_clusters + 1).astype(np.int64)
    cluster = np.repeat(np.arange(n_clusters), np.diff(bounds))
    # Like follows like: what follows a popular item is popular, else the chain would level the popularity out.
    rank = np.arange(n_items) - bounds[cluster]
    chain = np.lexsort((np.log1p(rank) + rng.normal(0, 0.5, n_items), cluster))
    following = np.arange(1, n_items + 1)
    following[bounds[1:] - 1] = bounds[:-1]  # each cluster's chain is closed
    next_item = np.empty(n_items, np.int32)
    next_item[chain] = chain[following]
    return _Catalogue(
        ids=(rng.permutation(n_items) + 1).astype(np.int32),
        bounds=bounds,
        next_item=next_item,
        by_season=np.lexsort((rng.random(n_items), cluster)).astype(np.int32),
        quality=rng.normal(0, 0.4, n_items).astype(np.float32),
    )


def _people(
    n_users: int, n_items: int, n_interactions: int, n_clusters: int, activity: float, rng: np.random.Generator
) -> _People:
    weights = rng.lognormal(0, activity, n_users)
    counts = 1 + rng.multinomial(n_interactions - n_users, weights / weights.sum())
    appeal = np.arange(1, n_clusters + 1) ** -0.5
    main = rng.choice(n_clusters, n_users, p=appeal / appeal.sum()).astype(np.int32)
    begin = 0.8 * rng.random(n_users)
    return _People(
        starts=np.concatenate([[0], np.cumsum(_capped(counts, n_items // 2))]),
        main=main,
        second=(main + rng.integers(min(1, n_clusters - 1), n_clusters, n_users, np.int32)) % np.int32(n_clusters),
        bias=rng.normal(0, 0.3, n_users).astype(np.float32),
        begin=begin,
        end=begin + (1 - begin) * rng.random(n_users),
    )


def _capped(counts: Int64Array, most: int) -> Int64Array:
    """The counts with none above `most` and the same sum: what is cut off is spread over the room of the others."""
    capped = np.minimum(counts, most)
    excess, room = int(counts.sum() - capped.sum()), most - capped
    if excess:
        # Whole numbers along the running sum of the room: each share is at most the room itself.
        capped += np.diff(np.cumsum(room) * excess // room.sum(), prepend=0)
    return capped


def _blocks(starts: Int64Array) -> Iterator[tuple[int, int, int]]:
    """(number, first user, user after the last) of blocks of about `_BLOCK` interactions."""
    cuts = np.unique(np.append(np.searchsorted(starts, np.arange(0, starts[-1], _BLOCK)), len(starts) - 1))
    yield from ((number, int(first), int(last)) for number, (first, last) in enumerate(pairwise(cuts)))


def _times(people: _People, first: int, last: int, users: Int32Array, rng: np.random.Generator) -> NDArray[np.float64]:
    """When each interaction happens, in [0, 1): a user's are spread over their stay, in order."""
    gaps = rng.standard_exponential(len(users))
    sums = np.concatenate([[0.0], np.cumsum(gaps)])
    starts = people.starts[first : last + 1] - people.starts[first]
    before, all_of_user = sums[starts[:-1]], np.diff(sums[starts]) + 1  # and 1 from the last one to the end
    place = users - np.int32(first)
    part: NDArray[np.float64] = (sums[1:] - before[place]) / all_of_user[place]
    return people.begin[users] + (people.end - people.begin)[users] * part


def _ratings(
    catalog: _Catalogue, people: _People, users: Int32Array, items: Int32Array, rng: np.random.Generator
) -> NDArray[Any]:
    cluster = np.searchsorted(catalog.bounds, items, "right") - 1
    liking = np.where(cluster == people.main[users], 0.7, np.where(cluster == people.second[users], 0.3, -0.6))
    mean = 3.4 + people.bias[users] + catalog.quality[items] + liking
    return np.clip(np.rint(mean + rng.normal(0, 0.7, len(users))), 1, 5)
