"""The data sets that recctl knows by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recctl.data.columns import ITEM, RATING, TIMESTAMP, USER
from recctl.data.sources.catalog import cache
from recctl.data.sources.catalog.mirrors import Mirror, TitleFile, WebArchive, WheelMember
from recctl.data.sources.options import ReadOptions
from recctl.errors import DataError
from recctl.suggest import did_you_mean

RECORD = "source.json"
_MB = 10**6
_HOMEPAGE = "https://grouplens.org/datasets/movielens"
_TERMS = (
    "MovieLens data is GroupLens's: for research; no redistribution and no commercial or revenue-bearing use without "
    "their permission, no endorsement implied, no warranty; publications cite Harper & Konstan 2015, The MovieLens "
    "Datasets, doi:10.1145/2827872"
)


@dataclass(frozen=True)
class CatalogDataset:
    """A data set that is fetched when it is first used.

    Attributes:
        name: What a config calls it.
        rows: Interactions.
        users: Distinct users.
        items: Distinct items with an interaction.
        licence: The terms of use in short.
        homepage: Where they stand in full.
        limit: Bytes that it may take unpacked; more is refused.
        mirrors: Where it can be had, in the order they are tried.
    """

    name: str
    rows: int
    users: int
    items: int
    licence: str
    homepage: str
    limit: int
    mirrors: tuple[Mirror, ...]

    @property
    def cached(self) -> bool:
        """Whether it lies in the cache, whole."""
        return self.record() is not None

    @property
    def folder(self) -> Path:
        """Where it lies, or will."""
        return cache.home() / self.name

    def mirror(self, name: str) -> Mirror | None:
        """The mirror of that name."""
        return next((mirror for mirror in self.mirrors if mirror.name == name), None)

    def record(self) -> dict[str, Any] | None:
        """What was noted when it was fetched; None if it was not, or if something of it is gone."""
        try:
            record: dict[str, Any] = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
            mirror = self.mirror(record["mirror"])
            whole = mirror is not None and (self.folder / mirror.ratings).stat().st_size == record["bytes"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record if whole else None


_BY_PLACE = {USER: 0, ITEM: 1, RATING: 2, TIMESTAMP: 3}
_TABS = ReadOptions(format="csv", delimiter="\t", header=False, columns=_BY_PLACE)
_COLONS = ReadOptions(format="csv", delimiter="::", header=False, columns=_BY_PLACE)
_COMMAS = ReadOptions(format="csv", delimiter=",", header=True)

_RECBOLE = WheelMember(
    name="RecBole's wheel",
    requirement="recbole==1.2.1",
    archive="recbole-1.2.1-py3-none-any.whl",
    ratings="recbole/dataset_example/ml-100k/ml-100k.inter",
    options=ReadOptions(format="inter"),
    sha256="4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    titles=TitleFile("recbole/dataset_example/ml-100k/ml-100k.item", "\t", header=True),
)


def _movielens(
    size: str,
    counts: tuple[int, int, int],
    ratings: str,
    options: ReadOptions,
    md5: str | None,
    megabytes: int,
    *others: Mirror,
) -> CatalogDataset:
    url = f"https://files.grouplens.org/datasets/movielens/ml-{size}.zip"
    web = WebArchive("GroupLens", url, ratings, options, md5, _titles(ratings))
    homepage = f"{_HOMEPAGE}/{size if size[0].isdigit() else 'latest'}/"
    return CatalogDataset(f"movielens-{size}", *counts, _TERMS, homepage, megabytes * _MB, (web, *others))


def _titles(ratings: str) -> TitleFile:
    """The file of the titles, which lies beside that of the ratings."""
    folder, _, name = ratings.rpartition("/")
    return {
        "u.data": TitleFile(f"{folder}/u.item", "|", "latin-1"),
        "ratings.dat": TitleFile(f"{folder}/movies.dat", "::", "latin-1" if folder == "ml-1m" else "utf-8"),
        "ratings.csv": TitleFile(f"{folder}/movies.csv", ",", header=True),
    }[name]


# Counts are of the ratings; items without any are left out. GroupLens republishes latest-small from time to time: its
# counts are those of 2018, and it has no checksum.
_ENTRIES = (
    _movielens(
        "100k",
        (100_000, 943, 1_682),
        "ml-100k/u.data",
        _TABS,
        "0e33842e24a9c977be4e0107933c0723",
        100,
        _RECBOLE,
    ),
    _movielens("1m", (1_000_209, 6_040, 3_706), "ml-1m/ratings.dat", _COLONS, "c4d9eecfca2ab87c1945afe126590906", 200),
    _movielens(
        "10m", (10_000_054, 69_878, 10_677), "ml-10M100K/ratings.dat", _COLONS, "ce571fd55effeba0271552578f2648bd", 1000
    ),
    _movielens(
        "20m", (20_000_263, 138_493, 26_744), "ml-20m/ratings.csv", _COMMAS, "cd245b17a1ae2cc31bb14903e1204af3", 3000
    ),
    _movielens(
        "25m", (25_000_095, 162_541, 59_047), "ml-25m/ratings.csv", _COMMAS, "6b51fb2759a8657d3bfcbfc42b592ada", 3000
    ),
    _movielens(
        "32m", (32_000_204, 200_948, 84_432), "ml-32m/ratings.csv", _COMMAS, "d472be332d4daa821edc399621853b57", 3000
    ),
    _movielens("latest-small", (100_836, 610, 9_724), "ml-latest-small/ratings.csv", _COMMAS, None, 100),
)


def catalog() -> list[CatalogDataset]:
    """Every data set known by name."""
    return list(_ENTRIES)


def find(name: str) -> CatalogDataset:
    """The entry of that name.

    Raises:
        DataError: There is none.
    """
    names = [entry.name for entry in catalog()]
    if name not in names:
        raise DataError(f"data set {name!r}: not in the catalog{did_you_mean(name, names)}")
    return catalog()[names.index(name)]
